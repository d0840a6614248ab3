"""Small helpers shared by the domain generators.

A template is plain text with two kinds of markup:

  {name}      replaced by a slot value, or by expanding the rule of that name
  {Name}      the same, with the first letter of the result in upper case
  [a|b|c]     one alternative, chosen at random; alternatives may nest
  [a]         optional text: kept about half of the time

`expand(rng, rules, template, **slots)` applies both until nothing is left.
A rule is a list of templates (or one template).  Slot values are inserted as
they are, so a bracket or a brace inside a slot value is never interpreted.
"""
from __future__ import annotations

import random
import re
from pathlib import Path
from typing import Iterator, Mapping, Sequence

_MARK = re.compile(r"[\[{]")
PASSAGES = Path(__file__).resolve().parent / "passages"


def pick(rng: random.Random, items: Sequence):
    """One item, all equally likely."""
    return items[rng.randrange(len(items))]


def weighted(rng: random.Random, pairs: Sequence[tuple]):
    """One item from (item, weight) pairs."""
    items, weights = zip(*pairs)
    return rng.choices(items, weights)[0]


def some(rng: random.Random, items: Sequence, count: int) -> list:
    """`count` different items in random order."""
    return rng.sample(list(items), count)


def capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _close(text: str, start: int) -> int:
    """Index of the bracket that closes the one at `start`."""
    depth = 0
    for i in range(start, len(text)):
        if text[i] == "[":
            depth += 1
        elif text[i] == "]":
            depth -= 1
            if depth == 0:
                return i
    raise ValueError(f"unbalanced bracket in template: {text!r}")


def _alternatives(body: str) -> list[str]:
    """Split at the bars that stand outside nested brackets."""
    parts, depth, last = [], 0, 0
    for i, c in enumerate(body):
        if c == "[":
            depth += 1
        elif c == "]":
            depth -= 1
        elif c == "|" and depth == 0:
            parts.append(body[last:i])
            last = i + 1
    return parts + [body[last:]]


def expand(rng: random.Random, rules: Mapping, template: str, **slots) -> str:
    """Expand a template; see the top of this module for the markup."""
    out, i = [], 0
    while i < len(template):
        c = template[i]
        if c == "[":
            end = _close(template, i)
            options = _alternatives(template[i + 1:end])
            if len(options) == 1:
                options.append("")
            out.append(expand(rng, rules, pick(rng, options), **slots))
            i = end + 1
        elif c == "{":
            end = template.index("}", i)
            name = template[i + 1:end]
            key = name if name in slots or name in rules else name[:1].lower() + name[1:]
            if key in slots:
                value = str(slots[key])
            else:
                rule = rules[key]
                chosen = rule if isinstance(rule, str) else pick(rng, rule)
                value = expand(rng, rules, chosen, **slots)
            out.append(value if key == name else capital(value))
            i = end + 1
        else:
            mark = _MARK.search(template, i)
            end = mark.start() if mark else len(template)
            out.append(template[i:end])
            i = end
    return "".join(out)


def tidy(text: str) -> str:
    """Remove doubled spaces and spaces before punctuation."""
    text = re.sub(r"[ \t]+", " ", text)
    text = re.sub(r" +([,.;:?!])", r"\1", text)
    return re.sub(r" *\n *", "\n", text).strip()


def article(noun: str) -> str:
    """The noun phrase with `a` or `an` in front."""
    word = noun.lower()
    an = word[:1] in "aeiou" or word.startswith(("hour", "honest", "heir"))
    if word.startswith(("uni", "use", "usu", "eu", "one", "ute", "ura")) \
            and not word.startswith(("unim", "unin")):
        an = False
    return ("an " if an else "a ") + noun


def plural(noun: str) -> str:
    """A regular English plural, with the common spelling changes."""
    if noun.endswith(("s", "x", "z", "ch", "sh")):
        return noun + "es"
    if noun.endswith("y") and noun[-2:-1] not in "aeiou":
        return noun[:-1] + "ies"
    return noun + "s"


def count(n: int, noun: str, many: str | None = None) -> str:
    """`1 apple`, `3 apples`."""
    return f"{n} {noun if n == 1 else (many or plural(noun))}"


def listing(items: Sequence[str], last: str = "and") -> str:
    """`a, b and c`."""
    items = list(items)
    if len(items) < 2:
        return "".join(items)
    return ", ".join(items[:-1]) + f" {last} " + items[-1]


def number(n: int | float) -> str:
    """Digits with thousands separators: 12,345."""
    return f"{n:,}"


_ONES = ("zero one two three four five six seven eight nine ten eleven twelve thirteen "
         "fourteen fifteen sixteen seventeen eighteen nineteen").split()
_TENS = "zero ten twenty thirty forty fifty sixty seventy eighty ninety".split()


def in_words(n: int) -> str:
    """An integer below a million in words."""
    if n < 0:
        return "minus " + in_words(-n)
    if n < 20:
        return _ONES[n]
    if n < 100:
        return _TENS[n // 10] + ("-" + _ONES[n % 10] if n % 10 else "")
    if n < 1000:
        rest = " and " + in_words(n % 100) if n % 100 else ""
        return _ONES[n // 100] + " hundred" + rest
    rest = n % 1000
    link = "" if not rest else (" " if rest >= 100 else " and ")
    return in_words(n // 1000) + " thousand" + link + (in_words(rest) if rest else "")


def passages(domain: str) -> list[str]:
    """The hand-written passages of a domain, in file order.

    They stand in `passages/<domain>.txt`, separated by a line `---`.
    """
    path = PASSAGES / f"{domain}.txt"
    if not path.exists():
        return []
    parts = re.split(r"\n\s*---\s*\n", path.read_text(encoding="utf-8"))
    return [part.strip() for part in parts if part.strip().strip("-")]


def mixed(rng: random.Random, domain: str, makers: Sequence, every: int = 3) -> Iterator[str]:
    """An endless stream: generated documents with the passages strewn between.

    `makers` is a list of functions `f(rng) -> str`, or of (function, weight)
    pairs.  Each passage comes exactly once, about one in `every` documents
    until they are used up.
    """
    pairs = [m if isinstance(m, tuple) else (m, 1) for m in makers]
    hand = passages(domain)
    rng.shuffle(hand)
    while True:
        if hand and rng.randrange(every) == 0:
            yield hand.pop()
        yield weighted(rng, pairs)(rng)
