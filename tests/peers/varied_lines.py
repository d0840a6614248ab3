"""Lines of text in which tokenizers differ: scripts, digits, spaces, punctuation, and how they meet."""

import random

PIECES = """
The quick brown fox|jumps over the lazy dog|I'm|you'RE|we'Ve|it'S|don't|they'd've|'tis|o'clock|a'b
12345|3.14159|1,000,000|2024-05-17|0x1F|½|Ⅻ|٣٤٥|一二三|x²|1st|007|99 bottles|v1.2.3|12:34|5e-4
foo_bar|CamelCase|snake_case_2|fn main() { println!("{}", 1); }|a[i]=b[j]+=1;|<html lang="en">|// TODO|#include <stdio.h>
a->b|x != y && z <= w|$100|€20|50%|100°C|#hashtag|@user|user@example.com|https://example.com/a?b=c&d=e|~/.bashrc|C:\\\\dir
...|--|—|“quoted”|‘single’|«guillemets»|¿qué?|¡hola!|(parentheses)|[brackets]|{braces}|^caret^|`tick`|=+<>~
naïve café|Ångström|Ünïcödé|straße|İstanbul|ﬁne ligature|e\u0301 combining|Ελληνικά|Кириллица|Український текст|עברית|العربية نص
हिन्दी पाठ|বাংলা|தமிழ்|ไทยไม่เว้นวรรค|中文没有空格|日本語のテキスト|カタカナ|한국어 문장|漢字とかな交じり文|Ｆｕｌｌｗｉｄｔｈ|，。！？|ქართული|Հայերեն|አማርኛ
🙂|👩\u200d👩\u200d👧|🇩🇪|🏳️\u200d🌈|♥|→|∑∞≠|½µ|™|\u00ad|\u200b|\ufeff
""".strip("\n").replace("\n", "|").split("|")

SPACES = [" ", " ", " ", " ", "  ", "   ", "\t", "\n", "\n\n", "\r\n", " \n", "\n ", " \t ", "\u00a0", "\u3000", "", "", ""]


def lines(count: int, seed: int) -> list[str]:
    """So many different lines, of one to twelve pieces."""
    chance = random.Random(seed)
    found = dict.fromkeys(["", " ", "  ", "\n", "\n\n\n", " leading", "trailing ", "trailing  ", "\ttab", *PIECES])
    while len(found) < count:
        pieces = chance.choices(PIECES, k=chance.randint(1, 12))
        line = "".join(piece + chance.choice(SPACES) for piece in pieces)
        found[chance.choice(SPACES) + line] = None
    return list(found)[:count]
