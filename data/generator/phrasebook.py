"""A small phrase grammar with a preference for wording not used before.

A phrasebook is read from text files. Two kinds of entry exist:

    :rule           alternatives follow, one per line
    =list           comma-separated words follow, over any number of lines

Inside an alternative:

    [a|b|c]         one of the options (nesting allowed, options may be empty)
    {name}          the value bound to `name`, else an expansion of that entry
    {name=x}        expands `name` and binds the result to `x`
    {3-9} {10-90/5} {1.2-4.8}   a random number from the range (optional step)
    a~              "a" or "an", by the word that follows

A document plan is an alternative whose parts are separated by " + " (same
paragraph) or " // " (new paragraph) or " ;; " (new line); a part ending in
"?" is optional.  Each part is expanded several times and the version sharing
the least text with everything written so far is kept.
"""

import random
import re
from pathlib import Path

HERE = Path(__file__).resolve().parent
SHINGLE = 16
CANDIDATES = 9
DRAFTS = 3
MAX_SHINGLES = 4_000_000
MIN_DOCUMENT, MAX_DOCUMENT = 400, 3000

NUMBER = re.compile(r"^(\d+(?:\.\d+)?)-(\d+(?:\.\d+)?)(?:/(\d+))?$")
ARTICLE = re.compile(r"\b(A(?=~)|a)~? (\W?)(\w+)")
CONSONANT_SOUND = re.compile(r"^(uni|eu|use|usu|one|once|ut[ei]|ur[aie])", re.I)
SENTENCE_START = re.compile(
    r"(^\"?|[.!?:]\n|\.\"? \"?|[!?] \"?|[!?]\" \"|\n\n\"?)([a-z])", re.M)


def load(*names):
    """Reads the named files of the forms folder into one table of entries."""
    entries = {}
    for name in names:
        current, is_list = None, False
        for raw in (HERE / "forms" / f"{name}.txt").read_text().splitlines():
            line = raw.strip()
            if not line or line.startswith("#"):
                continue
            if line[0] in ":=":
                is_list = line[0] == "="
                current = entries.setdefault(line[1:].strip(), [])
            elif is_list:
                current.extend(w.strip() for w in line.split(",") if w.strip())
            else:
                current.append(line)
    return entries


def passages(domain):
    """The hand-written passages of a domain, each used once in a stream."""
    text = (HERE / "passages" / f"{domain}.txt").read_text()
    return [p.strip() for p in re.split(r"^---$", text, flags=re.M) if p.strip()]


def _article(match):
    letter, quote, word = match.groups()
    vowel = word[0].lower() in "aeiou" and not CONSONANT_SOUND.match(word)
    vowel = vowel or word.lower().startswith(("hour", "honest", "heir"))
    vowel = vowel or re.match(r"(8\d*|11|18)$", word) is not None
    return f"{letter}{'n' if vowel else ''} {quote}{word}"


def polish(text):
    """Settles articles, spacing and sentence capitals."""
    text = ARTICLE.sub(_article, text)
    text = re.sub(r" +([,.;:!?])", r"\1", text)
    text = re.sub(r" {2,}", " ", text).strip()
    return SENTENCE_START.sub(lambda m: m.group(1) + m.group(2).upper(), text)


def split_options(template, start):
    """The options of the bracket that opens at `start`, and where it ends."""
    depth, options, begin = 0, [], start + 1
    for i in range(start, len(template)):
        char = template[i]
        if char == "[":
            depth += 1
        elif char == "]":
            depth -= 1
            if depth == 0:
                options.append(template[begin:i])
                return options, i + 1
        elif char == "|" and depth == 1:
            options.append(template[begin:i])
            begin = i + 1
    raise ValueError(f"unclosed bracket in: {template}")


def parse(template):
    """A template as a list of ("text", str), ("slot", str) and ("one of", lists)."""
    items, i = [], 0
    while i < len(template):
        if template[i] == "[":
            options, i = split_options(template, i)
            items.append(("one of", [parse(option) for option in options]))
        elif template[i] == "{":
            end = template.index("}", i)
            items.append(("slot", template[i + 1:end]))
            i = end + 1
        else:
            end = min((p for p in (template.find(c, i) for c in "[{") if p >= 0),
                      default=len(template))
            items.append(("text", template[i:end]))
            i = end
    return items


class Phrasebook:
    def __init__(self, rng, *files):
        self.rng = rng
        self.entries = load("common", *files)
        self.seen = set()
        self.parsed = {}

    def expand(self, template, ctx):
        """One random expansion; new bindings are written into `ctx`."""
        if template not in self.parsed:
            self.parsed[template] = parse(template)
        return self._write(self.parsed[template], ctx)

    def _write(self, items, ctx):
        out = []
        for kind, value in items:
            if kind == "text":
                out.append(value)
            elif kind == "slot":
                out.append(self._slot(value, ctx))
            else:
                out.append(self._write(self.rng.choice(value), ctx))
        return "".join(out)

    def _slot(self, slot, ctx):
        name, _, bind = slot.partition("=")
        number = NUMBER.match(name)
        if number:
            value = self._number(*number.groups())
        elif name in ctx:
            value = str(ctx[name])
        else:
            value = self.expand(self._draw(name, ctx), ctx)
        if bind:
            ctx[bind] = value
        return value

    def _number(self, low, high, step):
        if "." in low:
            return f"{self.rng.uniform(float(low), float(high)):.1f}"
        return str(self.rng.randrange(int(low), int(high) + 1, int(step or 1)))

    def _draw(self, name, ctx):
        """Draws from an entry, avoiding what this document already drew."""
        name = ctx.get("_alias", {}).get(name, name)
        choices = self.entries[name]
        used = ctx.setdefault("_used", {}).setdefault(name, set())
        fresh = [c for c in choices if c not in used]
        if not fresh:
            used.clear()
            fresh = choices
        pick = self.rng.choice(fresh)
        used.add(pick)
        return pick

    def staleness(self, text):
        if len(text) < SHINGLE:
            return 0.0
        count = len(text) - SHINGLE + 1
        stale = sum(text[i:i + SHINGLE] in self.seen for i in range(count))
        return stale / count

    def remember(self, text):
        if len(self.seen) > MAX_SHINGLES:
            self.seen.clear()
        self.seen.update(text[i:i + SHINGLE] for i in range(len(text) - SHINGLE + 1))

    def part(self, template, ctx):
        """The least stale of several expansions of one part."""
        best = None
        for _ in range(CANDIDATES):
            trial = {k: v for k, v in ctx.items() if k != "_used"}
            trial["_used"] = {k: set(v) for k, v in ctx.get("_used", {}).items()}
            text = polish(self.expand(template, trial))
            score = self.staleness(text)
            if best is None or score < best[0]:
                best = (score, text, trial)
            if score == 0.0:
                break
        ctx.clear()
        ctx.update(best[2])
        return best[1]

    def document(self, plan, ctx):
        """Writes one document by a plan (see the head of this file)."""
        line = self.rng.choice(self.entries[plan])
        text = ""
        for joint, part in re.findall(r"( \+ | // | ;; |^)(.*?)(?= \+ | // | ;; |$)", line):
            if part.endswith("?"):
                part = part[:-1]
                if self.rng.random() < 0.4:
                    continue
            piece = self.part(part, ctx)
            if not piece:
                continue
            gap = {" // ": "\n\n", " ;; ": "\n"}.get(joint, " ") if text else ""
            text += gap + piece
        return polish_lines(text)


def polish_lines(text):
    return "\n".join(line.strip() for line in text.split("\n"))


def capital(text):
    return text[0].upper() + text[1:]


def assemble(book, opening, lines, closing):
    """An opening, lines each with their own context, and a closing."""
    shared = {k: v for k, v in lines[0][1].items() if k == "month"}
    parts = [book.part("{%s}" % opening, shared)]
    for rule, ctx in lines:
        ctx["_used"] = shared.setdefault("_used", {})
        parts.append(book.part("{%s}" % rule, ctx))
        shared["_used"] = ctx["_used"]
    parts.append(book.part("{%s}" % closing, shared))
    rng = book.rng
    gaps = ["\n\n" if rng.random() < 0.3 else " " for _ in parts[1:]]
    return parts[0] + "".join(g + p for g, p in zip(gaps, parts[1:]))


def stream(rng, domain, book, kinds, passage_share=0.14):
    """Endless documents: hand-written passages among generated ones.

    `kinds` is a list of (weight, function of book) pairs, each function
    returning one document.  Of several drafts the one that repeats least is kept.
    """
    written = passages(domain)
    rng.shuffle(written)
    weights = [w for w, _ in kinds]
    makers = [m for _, m in kinds]
    emitted = set()
    while True:
        if written and rng.random() < passage_share:
            text = written.pop()
        else:
            drafts = [rng.choices(makers, weights)[0](book) for _ in range(DRAFTS)]
            drafts = [d for d in drafts if MIN_DOCUMENT <= len(d) <= MAX_DOCUMENT
                      and d not in emitted]
            if not drafts:
                continue
            text = min(drafts, key=book.staleness)
        emitted.add(text)
        book.remember(text)
        yield text
