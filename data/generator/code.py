"""Code documents: Rust and Python programs with remarks, reviews, commits and bug notes."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parent))
from expand import stream  # noqa: E402
from programs import FIELDS, GENERATED, NOUNS, VERBS, fill, shapes  # noqa: E402

RUST, PYTHON = shapes("rust"), shapes("python")
DECKS = {}


def from_deck(name, items, rng):
    """Draw without replacement, so that every shape has its turn."""
    deck = DECKS.setdefault((name, id(rng)), [])
    if not deck:
        deck.extend(items)
        rng.shuffle(deck)
    return deck.pop()


def env_of(rng):
    """Names that the sentences of one document share."""
    return {
        "fn": f"{rng.choice(VERBS)}_{rng.choice(NOUNS)}",
        "mod": rng.choice(NOUNS),
        "field": rng.choice(FIELDS),
        "ty": rng.choice(NOUNS).capitalize() + rng.choice(NOUNS).capitalize(),
    }


def freshest(grammar, make):
    """The one of several programs whose text repeats the least of what came before."""
    tried = [make() for _ in range(10)]
    best = max(tried, key=lambda text: len(grammar.pieces(text) - grammar.seen) / len(text))
    grammar.seen |= grammar.pieces(best)
    return best


def shaped(grammar, rng, items, fence):
    source, remark = from_deck(fence, items, rng)
    talk = grammar.lines(["lead"], env_of(rng))
    after = grammar.lines(["remark"], env_of(rng))
    program = freshest(grammar, lambda: fill(source, rng))
    return f"{talk}\n\n```{fence}\n{program}\n```\n\n{remark} {after}"


def rust_program(grammar, rng):
    return shaped(grammar, rng, RUST, "rust")


def python_program(grammar, rng):
    return shaped(grammar, rng, PYTHON, "python")


def generated_program(grammar, rng):
    make = from_deck("generated", GENERATED, rng)
    source = freshest(grammar, lambda: make(rng))
    after = grammar.lines(["remark"], env_of(rng))
    return f"{grammar.lines(['lead'], env_of(rng))}\n\n```rust\n{source}\n```\n\n{after}"


def talk(heads, body):
    """A form of document that is prose about code."""

    def form(grammar, rng):
        env = env_of(rng)
        parts = [grammar.lines([head], env) for head in heads]
        for _ in range(rng.randint(2, 3)):
            parts.append(grammar.lines([rng.choice(body) for _ in range(rng.randint(2, 3))], env))
        return "\n\n".join(parts)

    return form


FORMS = [
    *[rust_program] * 4,
    *[python_program],
    *[generated_program] * 12,
    talk(["review_head"], ["review", "remark", "advice"]),
    talk(["commit_head"], ["commit", "bug"]),
    talk(["bug_head"], ["bug", "advice"]),
    talk(["api_head"], ["api", "remark"]),
    talk(["lead"], ["remark", "advice", "api"]),
]


def documents(rng):
    """An endless stream of documents about programs."""
    DECKS.clear()
    return stream("code", rng, FORMS)
