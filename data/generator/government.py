"""Government documents: minutes, notices, regulations, guidance, budgets and census notes."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parent))
from expand import stream  # noqa: E402


def several(rng, name, low, high):
    return [name] * rng.randint(low, high)


def paragraphs(grammar, rng, env, first, rest):
    """An opening paragraph of the rules ``first`` and then one for each list in ``rest``."""
    return "\n\n".join(grammar.lines(names, env) for names in [first, *rest])


def numbered(grammar, names, env, style="{}. "):
    return "\n".join(style.format(i) + grammar.lines([name], env) for i, name in enumerate(names, 1))


def facts(rng):
    return several(rng, "fact", 2, 4)


def council(grammar, rng):
    env = {name: grammar.say("[last]", {}) for name in ("c1", "c2", "c3")}
    head = grammar.say("[cm_head]", env)
    items = several(rng, "cm_item", 4, 7)
    if rng.random() < 0.5:
        items.insert(rng.randrange(len(items)), "fact")
    return "\n".join([head, numbered(grammar, items, env), grammar.lines(["cm_end"], env)])


def notice(grammar, rng):
    env = {}
    head = grammar.say("[no_head]", env)
    body = ["no_body"] * rng.randint(3, 4)
    return head + "\n" + paragraphs(grammar, rng, env, body, [facts(rng)])


def permit(grammar, rng):
    env = {}
    first = ["pe_open"] + several(rng, "pe_why", 2, 3)
    return paragraphs(grammar, rng, env, first, [facts(rng)[:2] + ["pe_why"]])


def regulation(grammar, rng):
    env = {}
    head = grammar.say("[rg_head]", env)
    return head + "\n" + numbered(grammar, several(rng, "rg_sec", 4, 6) + ["fact"], env)


def guidance(grammar, rng):
    env = {}
    first = ["gu_open"] + several(rng, "fact", 1, 1)
    steps = numbered(grammar, several(rng, "gu_step", 3, 4), env, "Step {}: ")
    return grammar.lines(first, env) + "\n" + steps + "\n" + grammar.lines(facts(rng), env)


def election(grammar, rng):
    env = {}
    rest = [several(rng, "el_body", 1, 2) + ["fact"], facts(rng)[:2]]
    return paragraphs(grammar, rng, env, several(rng, "el_body", 2, 3), rest)


def diplomacy(grammar, rng):
    env = {name: grammar.say("[nation]", {}) for name in ("na", "nb")}
    if env["na"] == env["nb"]:
        return ""
    rest = [several(rng, "di_body", 1, 2)]
    return paragraphs(grammar, rng, env, ["di_open"] + several(rng, "di_body", 1, 2), rest)


def explainer(grammar, rng):
    env = {}
    return paragraphs(grammar, rng, env, facts(rng), [facts(rng) for _ in range(rng.randint(1, 3))])


def budget(grammar, rng):
    """A budget with shares and a change that agree with its figures."""
    heads = []
    while len(heads) < rng.randint(4, 7):
        head = grammar.say("[fund]", {})
        if head not in heads:
            heads.append(head)
    sums = [rng.randint(60, 9900) * 1000 + rng.randint(0, 999) for _ in heads]
    total = sum(sums)
    last = round(total / (1 + rng.uniform(-0.09, 0.14)))
    homes = rng.randint(2100, 88000)
    ranked = sorted(zip(sums, heads))
    env = {
        "yr": rng.randint(1999, 2024),
        "total": f"${total:,}",
        "last": f"${last:,}",
        "chg": f"{100 * (total - last) / last:.1f}",
        "top": ranked[-1][1],
        "tops": f"{100 * ranked[-1][0] / total:.1f}",
        "low": ranked[0][1],
        "lows": f"{100 * ranked[0][0] / total:.1f}",
        "homes": f"{homes:,}",
        "each": f"${total / homes:,.2f}",
    }
    rows = [f"{head}: ${part:,} ({100 * part / total:.1f}%)" for part, head in zip(sums, heads)]
    parts = [grammar.lines(["bu_open"], env), "\n".join(rows)]
    parts.append(grammar.lines(["bu_share", "bu_tax"] + facts(rng)[:3], env))
    return "\n\n".join(parts)


def census(grammar, rng):
    """A population note with age bands that add up."""
    cuts = sorted(rng.sample(range(9, 94), 4))
    shares = [b - a for a, b in zip([0] + cuts, cuts + [100])]
    pop = rng.randint(1900, 240000)
    bands = [pop * share // 100 for share in shares]
    bands[2] += pop - sum(bands)
    homes = round(pop / rng.uniform(2.0, 3.3))
    old = round(pop / rng.uniform(0.85, 1.3))
    env = {
        "yr": rng.choice([1961, 1971, 1981, 1991, 2001, 2011, 2021]),
        "pop": f"{pop:,}",
        "homes": f"{homes:,}",
        "mean": f"{pop / homes:.2f}",
        "old": f"{old:,}",
        "chg": f"{100 * (pop - old) / old:.1f}",
    }
    ages = ["0 to 14", "15 to 29", "30 to 49", "50 to 69", "70 and over"]
    rows = [f"{age}: {n:,} ({100 * n / pop:.1f}%)" for age, n in zip(ages, bands)]
    parts = [grammar.lines(["ce_open", "ce_growth"], env)]
    parts.append("\n".join([grammar.say("[ce_band]", env)] + rows))
    parts.append(grammar.lines(facts(rng), env))
    return "\n\n".join(parts)


FORMS = [
    *(council, council, notice, notice, permit, regulation, regulation, guidance),
    *(election, diplomacy, explainer, explainer, budget, budget, census),
]
# A document keeps to a few values of each of these rules.
TOPICS = ("service", "town", "who")


def documents(rng):
    """An endless stream of government documents."""
    return stream("government", rng, FORMS, TOPICS)
