"""Legal documents: judgments, contracts, statutes, wills, letters and opinions, all fictional."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parent))
from expand import stream  # noqa: E402


def repeat(rng, name, low, high):
    return [name] * rng.randint(low, high)


def case_note(grammar, rng):
    env = {}
    parts = [grammar.say("[case_head]", env)]
    parts.append(grammar.lines(["facts"] + repeat(rng, "facts2", 1, 3), env))
    parts.append(grammar.lines(["issue", "holding"], env))
    parts.append(grammar.lines(repeat(rng, "reason", 2, 4), env))
    if rng.random() < 0.6:
        parts.append(grammar.lines(["dissent"], env))
    return "\n\n".join(parts)


def contract(grammar, rng):
    env = {}
    parts = [grammar.say("[deed_head]", env)]
    for i in range(1, rng.randint(6, 9)):
        parts.append(f"{i}. " + grammar.lines(["clause"], env))
        if rng.random() < 0.25:
            parts[-1] += f"\n({i}.1) " + grammar.lines(["clause"], env)
    parts.append(grammar.lines(["witness"], env))
    return "\n".join(parts)


def statute(grammar, rng):
    env = {}
    parts = [grammar.say("[st_head]", env)]
    number = rng.randint(1, 90)
    for _ in range(rng.randint(3, 5)):
        parts.append(f"{number}. (1) " + grammar.lines(["st_sec"], env))
        for letter in range(2, 2 + rng.randint(0, 2)):
            parts.append(f"({letter}) " + grammar.lines(["st_sec"], env))
        number += 1
    return "\n".join(parts)


def will(grammar, rng):
    env = {}
    parts = [grammar.say("[will_head]", env)]
    for i in range(rng.randint(5, 8)):
        parts.append(f"{i + 1}. " + grammar.lines(["will_clause"], env))
    return "\n".join(parts)


def letter(grammar, rng):
    env = {}
    parts = [grammar.say("[let_head]", env)]
    for _ in range(rng.randint(2, 3)):
        parts.append(grammar.lines(repeat(rng, "let_body", 1, 3), env))
    parts.append(grammar.say("[let_close]", env))
    return "\n\n".join(parts)


def opinion(grammar, rng):
    env = {"jj": "the judge"}
    parts = [grammar.lines(["op_open"] + repeat(rng, "op_body", 1, 2), env)]
    for i in range(rng.randint(1, 2)):
        body = repeat(rng, "op_body", 1, 2) + repeat(rng, "reason", 0, 2)
        rng.shuffle(body)
        parts.append(grammar.lines(body, env))
    parts.append(grammar.lines(["definition"], env))
    return "\n\n".join(parts)


def procedure(grammar, rng):
    env = {}
    parts = [grammar.lines(["proc_open"], env)]
    for i in range(rng.randint(4, 7)):
        parts.append(f"({'abcdefgh'[i]}) " + grammar.lines(["proc_step"], env))
    return "\n".join(parts)


def glossary(grammar, rng):
    env = {"jj": "the court", "pa": "the claimant", "pb": "the defendant"}
    paragraphs = []
    for _ in range(rng.randint(2, 3)):
        rules = ["definition", rng.choice(["reason", "definition", "issue"])]
        paragraphs.append(grammar.lines(rules, env))
    return "\n\n".join(paragraphs)


def judgment_sum(grammar, rng):
    """An award whose interest, reductions and total are worked out."""
    loss = rng.randint(40, 9800) * 100 + rng.randint(0, 99)
    rate = rng.randint(3, 10)
    days = rng.randint(90, 1400)
    fault = rng.choice([0, 10, 15, 20, 25, 30, 40, 50])
    net = round(loss * (100 - fault) / 100, 2)
    interest = round(net * rate / 100 * days / 365, 2)
    env = {
        "loss": f"${loss:,}",
        "rate": rate,
        "days": f"{days:,}",
        "fault": fault,
        "net": f"${net:,.2f}",
        "interest": f"${interest:,.2f}",
        "total": f"${net + interest:,.2f}",
    }
    parts = [grammar.say("[case_head]", env), grammar.lines(["facts", "facts2"], env)]
    award = ["aw_loss", "aw_fault" if fault else "aw_whole", "aw_interest", "aw_total"]
    parts.append(grammar.lines(award, env))
    parts.append(grammar.lines(repeat(rng, "reason", 2, 3), env))
    return "\n\n".join(parts)


FORMS = [
    *(case_note, case_note, case_note, contract, contract, statute, statute, will),
    *(letter, letter, opinion, opinion, procedure, glossary, judgment_sum, judgment_sum),
]
# A document keeps to a few values of each of these rules.
TOPICS = ("wrong", "chattel", "land", "instrument")


def documents(rng):
    """An endless stream of legal documents."""
    return stream("legal", rng, FORMS, TOPICS)
