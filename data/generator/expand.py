"""A small text-expansion engine shared by the business, legal, government and code writers.

A grammar file holds rules.  A long rule is a heading line ``:name`` followed by
one alternative per line; a short one is a single line ``:name = a | b | c``.
Inside an alternative

* ``[rule]`` expands a rule, or a value bound earlier in the same document;
* ``[key:rule]`` expands ``rule`` once per document and remembers it as ``key``;
* ``{a|b|c}`` picks one of the inline choices, which may nest and may be empty;
* ``<3-90>``, ``<1.0-9.9>`` and ``<1,000-90,000>`` draw numbers in that format;
* ``\\n`` and ``\\p`` break the line and the paragraph.
"""

import random
import re
from functools import lru_cache
from pathlib import Path

HERE = Path(__file__).resolve().parent
NUMBER = re.compile(r"<(\d[\d,]*(?:\.\d+)?)-(\d[\d,]*(?:\.\d+)?)>")
PLAIN = re.compile(r"[^{\[\\<]*")
SILENT_H = ("hour", "honest", "heir", "honour", "honor")
CONSONANT_SOUND = ("uni", "use", "usu", "eu", "one", "once", "ute", "ubi")
VOWEL_NUMBER = re.compile(r"(8|11\b|18\b|11,|18,)")


@lru_cache(maxsize=None)
def split_choices(text):
    """Split on the bars that are outside every brace."""
    parts, depth, start = [], 0, 0
    for i, ch in enumerate(text):
        if ch == "{":
            depth += 1
        elif ch == "}":
            depth -= 1
        elif ch == "|" and depth == 0:
            parts.append(text[start:i])
            start = i + 1
    parts.append(text[start:])
    return parts


@lru_cache(maxsize=None)
def closing(text, start):
    """The position of the brace that closes the one at ``start``."""
    depth = 0
    for i in range(start, len(text)):
        if text[i] == "{":
            depth += 1
        elif text[i] == "}":
            depth -= 1
            if depth == 0:
                return i
    raise ValueError("unclosed brace: " + text)


def load_rules(*names):
    """Read grammar files into a table from rule name to its alternatives."""
    rules, current = {}, None
    for name in names:
        for line in (HERE / "grammars" / (name + ".txt")).read_text().splitlines():
            line = line.strip()
            if not line or line.startswith("#"):
                continue
            if line.startswith(":"):
                head, equals, rest = line[1:].partition("=")
                current = head.strip()
                entries = rules.setdefault(current, [])
                if equals:
                    entries.extend(part.strip() for part in split_choices(rest))
            else:
                rules[current].append(line)
    return rules


def passages(domain):
    """The hand-written passages of a domain."""
    text = (HERE / "passages" / (domain + ".txt")).read_text()
    return [part.strip() for part in re.split(r"(?m)^---\s*$", text) if part.strip()]


def article(match):
    """Choose between ``a`` and ``an`` from the word that follows."""
    first, word = match.group(1), match.group(2)
    low = word.lower()
    if low[0].isdigit():
        vowel = bool(VOWEL_NUMBER.match(low))
    elif low[0] in "aeiou":
        vowel = not low.startswith(CONSONANT_SOUND)
    else:
        vowel = low.startswith(SILENT_H)
    return f"{first}{'n' if vowel else ''} {word}"


def tidy(text):
    """Fix articles, spaces and sentence capitals."""
    text = re.sub(r"\b([Aa])n? (\w[\w,.-]*)", article, text)
    text = re.sub(r"[ ]+([,.;:?!])", r"\1", re.sub(r"(?<=\S) {2,}", " ", text))
    text = re.sub(r"(^|[.?!]\"? |\n)([a-z])", lambda m: m.group(1) + m.group(2).upper(), text)
    return "\n".join(line.rstrip() for line in text.strip().split("\n"))


class Grammar:
    """Expands rules and prefers wordings that it has not used before."""

    PIECE = 10

    def __init__(self, rules, rng, topics=(), tries=10):
        self.rules, self.rng, self.tries, self.topics = rules, rng, tries, topics
        self.decks, self.seen = {}, set()

    def pick(self, name):
        """Draw an alternative, going through all of them before any returns."""
        deck = self.decks.get(name)
        if not deck:
            deck = self.decks[name] = list(self.rules[name])
            self.rng.shuffle(deck)
        return deck.pop()

    def number(self, match):
        low, high = match.group(1), match.group(2)
        places = len(low.partition(".")[2])
        scale = 10**places
        ends = [round(float(end.replace(",", "")) * scale) for end in (low, high)]
        value = self.rng.randint(*ends)
        comma = "," if "," in high else ""
        return f"{value / scale:{comma}.{places}f}"

    def fill(self, text, env):
        """Expand one alternative."""
        out, i = [], 0
        while i < len(text):
            ch = text[i]
            if ch == "{":
                end = closing(text, i)
                out.append(self.fill(self.rng.choice(split_choices(text[i + 1 : end])), env))
                i = end + 1
            elif ch == "[":
                end = text.index("]", i)
                out.append(self.refer(text[i + 1 : end], env))
                i = end + 1
            elif ch == "\\" and text[i + 1 : i + 2] in ("n", "p"):
                out.append("\n" if text[i + 1] == "n" else "\n\n")
                i += 2
            elif ch == "<" and (match := NUMBER.match(text, i)):
                out.append(self.number(match))
                i = match.end()
            else:
                end = PLAIN.match(text, i + 1).end()
                out.append(text[i:end])
                i = end
        return "".join(out)

    def refer(self, name, env):
        key, colon, rule = name.partition(":")
        if key in env:
            return str(env[key])
        if not colon and key in self.topics:
            return self.topical(key, env)
        value = self.fill(self.pick(rule if colon else key), env)
        if colon:
            env[key] = value
        return value

    def topical(self, key, env):
        """Draw from the few values that a document keeps for this rule."""
        pool = env.setdefault("topic " + key, tuple(self.fill(self.pick(key), env) for _ in "abc"))
        return self.rng.choice(pool)

    def pieces(self, text):
        size = self.PIECE
        return {text[i : i + size] for i in range(len(text) - size + 1)}

    def say(self, text, env):
        """Expand ``text`` several ways and keep the one with the newest wording."""
        return self.best(lambda: text, env)

    def best(self, choose, env):
        best = None
        for _ in range(self.tries):
            trial, text = dict(env), choose()
            words = tidy(self.fill(text, trial))
            pieces = self.pieces(words)
            stale = len(pieces & self.seen) / max(1, len(pieces))
            if best is None or stale < best[0]:
                best = (stale, words, pieces, trial, text)
        _, words, pieces, trial, text = best
        self.seen |= pieces
        env.update(trial)
        env["used"] = env.get("used", frozenset()) | {text}
        return words

    def lines(self, names, env):
        """One sentence for each rule name, not worded twice alike in a document."""
        said = []
        for name in names:
            used = env.get("used", ())
            left = [text for text in self.rules[name] if text not in used] or self.rules[name]
            said.append(self.best(lambda: self.rng.choice(left), env))  # noqa: B023
        return " ".join(s if s[-1] in ".?!:\"" else s + "." for s in said)


def fresh_documents(make, rng, written=(), share=0.02, every=6):
    """Yield what ``make()`` returns, with the written passages among it.

    A document of the wrong length is dropped, and so is one that repeats more
    than ``share`` of its 50-byte pieces from the documents before it.
    """
    waiting, seen, count = list(written), set(), 0
    rng.shuffle(waiting)
    while True:
        text = waiting.pop() if waiting and count % every == 0 else make()
        pieces = {hash(text[i : i + 50]) for i in range(len(text) - 49)}
        if not 400 <= len(text) <= 3000 or len(pieces & seen) > share * len(pieces):
            count += 1
            continue
        seen |= pieces
        count += 1
        yield text


def stream(domain, rng, forms, topics=(), every=6):
    """The documents of a domain whose ``forms`` are functions of a grammar."""
    grammar = Grammar(load_rules("common", domain), rng, topics)
    deck = []

    def make():
        if not deck:
            deck.extend(forms)
            rng.shuffle(deck)
        return deck.pop()(grammar, rng)

    return fresh_documents(make, rng, passages(domain), every=every)
