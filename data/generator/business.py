"""Business documents: reports and cases with computed figures, memos, minutes and letters."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parent))
from expand import stream  # noqa: E402


def money(value, unit=""):
    return f"${value:,.0f}{unit}" if abs(value) >= 1000 else f"${value:,.2f}{unit}"


def names(rng, *pairs):
    """Rule names, each repeated up to its limit, in a mixed order after the first."""
    out = [name for name, most in pairs for _ in range(rng.randint(0, most))]
    rng.shuffle(out)
    return out


def prose(grammar, rng, env, count):
    """A paragraph of ``count`` sentences on the state of the firm."""
    rules = ["trend", "reason", "plan", "effect", "opinion"]
    order = [rng.choice(rules) for _ in range(count)]
    return grammar.lines(order, env)


def report(grammar, rng):
    prior = rng.randint(310, 98000) * 1000 + rng.randint(0, 999)
    growth = rng.uniform(-0.17, 0.34)
    revenue = round(prior * (1 + growth))
    cogs = round(revenue * rng.uniform(0.35, 0.74))
    gross = revenue - cogs
    opex = round(gross * rng.uniform(0.42, 0.93))
    oper = gross - opex
    env = {
        "rev": money(revenue),
        "prev": money(prior),
        "growth": f"{100 * (revenue - prior) / prior:.1f}",
        "cogs": money(cogs),
        "gross": money(gross),
        "gm": f"{100 * gross / revenue:.1f}",
        "opex": money(opex),
        "oper": money(oper),
        "om": f"{100 * oper / revenue:.1f}",
        "yr": rng.randint(2004, 2024),
    }
    say = grammar.say
    parts = [
        say("[rep_title]", env),
        grammar.lines(["rep_open", "rep_growth", "rep_margin", "rep_oper"], env),
    ]
    if rng.random() < 0.6:
        cuts = sorted(rng.sample(range(8, 93), rng.randint(2, 4)))
        shares = [b - a for a, b in zip([0] + cuts, cuts + [100])]
        sums = [revenue * share // 100 for share in shares]
        sums[0] += revenue - sum(sums)
        kind = rng.choice(["[area]", "[product]", "[buyer]"])
        rows = [
            f"{say(kind, dict(env))}: {money(part)} ({100 * part / revenue:.1f}%)" for part in sums
        ]
        parts.append("\n".join([say("[rep_seg]", env)] + rows + [f"Total: {money(revenue)}"]))
    for _ in range(rng.randint(1, 2)):
        parts.append(prose(grammar, rng, env, rng.randint(2, 4)))
    return "\n\n".join(parts)


def decision(grammar, rng):
    """An appraisal with a worked net present value."""
    outlay = rng.randint(40, 960) * 1000
    life = rng.randint(3, 5)
    rate = rng.randint(5, 14)
    level = outlay / life * rng.uniform(0.9, 1.6)
    flows = [round(level * rng.uniform(0.7, 1.3)) for _ in range(life)]
    present = [round(flow / (1 + rate / 100) ** (i + 1)) for i, flow in enumerate(flows)]
    npv = sum(present) - outlay
    env = {
        "outlay": money(outlay),
        "rate": rate,
        "npv": money(abs(npv)),
        "sum": money(sum(present)),
        "life": life,
        "sign": "positive" if npv >= 0 else "negative",
        "flows": ", ".join(money(flow) for flow in flows[:-1]) + " and " + money(flows[-1]),
        "verdict": "worth" if npv >= 0 else "not worth",
    }
    parts = [grammar.lines(["npv_open", "npv_flows"], env)]
    if rng.random() < 0.5:
        rows = [
            f"Year {i}: {money(flow)} / {(1 + rate / 100) ** i:.4f} = {money(value)}"
            for i, (flow, value) in enumerate(zip(flows, present), 1)
        ]
        parts.append("\n".join(rows))
    parts.append(grammar.lines(["npv_sum", "npv_verdict", "reason", "effect"], env))
    parts.append(prose(grammar, rng, env, rng.randint(1, 3)))
    return "\n\n".join(parts)


def break_even(grammar, rng):
    """Fixed costs, contribution and the volume at which they meet."""
    price = rng.randint(600, 24000) / 100
    variable = round(price * rng.uniform(0.3, 0.8), 2)
    margin = round(price - variable, 2)
    fixed = rng.randint(18, 900) * 1000
    units = -(-fixed * 100 // round(margin * 100))
    sold = round(units * rng.uniform(0.7, 1.7))
    profit = sold * margin - fixed
    env = {
        "price": f"${price:.2f}",
        "var": f"${variable:.2f}",
        "cm": f"${margin:.2f}",
        "cmr": f"{100 * margin / price:.1f}",
        "fixed": money(fixed),
        "units": f"{units:,}",
        "sold": f"{sold:,}",
        "result": ("a profit of " if profit >= 0 else "a loss of ") + money(abs(profit)),
        "safety": f"{abs(100 * (sold - units) / sold):.1f}",
        "side": "above" if sold >= units else "below",
    }
    parts = [
        grammar.lines(["be_open", "be_cm", "be_units"], env),
        grammar.lines(["be_result", "reason", "plan"], env),
        prose(grammar, rng, env, rng.randint(1, 3)),
    ]
    return "\n\n".join(parts)


def depreciation(grammar, rng):
    """A straight-line or reducing-balance schedule for one asset."""
    cost = rng.randint(9, 640) * 1000 + rng.randint(0, 9) * 100
    life = rng.randint(3, 6)
    env = {"paid": money(cost), "life": life}
    if rng.random() < 0.5:
        salvage = round(cost * rng.uniform(0.05, 0.2), -2)
        yearly = (cost - salvage) / life
        values = [cost - yearly * i for i in range(1, life + 1)]
        env.update(salvage=money(salvage), yearly=money(yearly))
        head = ["dep_open", "dep_line"]
    else:
        rate = rng.randint(18, 45)
        values = [cost * (1 - rate / 100) ** i for i in range(1, life + 1)]
        env.update(rate=rate, year1=money(cost * rate / 100))
        head = ["dep_open", "dep_reduce"]
    rows = [f"End of year {i}: {money(value)}" for i, value in enumerate(values, 1)]
    tail = grammar.lines(["dep_why", "plan", "effect"], env)
    return "\n\n".join([grammar.lines(head, env), "\n".join(rows), tail])


def unit_economics(grammar, rng):
    """Acquisition cost against the margin that a customer brings over time."""
    monthly = rng.randint(700, 16000) / 100
    margin = rng.randint(28, 86)
    churn = rng.randint(12, 90) / 10
    months = 100 / churn
    value = monthly * margin / 100 * months
    cac = round(value / rng.uniform(0.8, 5.5), 2)
    env = {
        "monthly": f"${monthly:.2f}",
        "margin": margin,
        "churn": f"{churn:.1f}",
        "months": f"{months:.1f}",
        "value": f"${value:,.2f}",
        "cac": f"${cac:,.2f}",
        "times": f"{value / cac:.1f}",
        "payback": f"{cac / (monthly * margin / 100):.1f}",
    }
    parts = [
        grammar.lines(["ue_open", "ue_life", "ue_value", "ue_ratio"], env),
        prose(grammar, rng, env, rng.randint(2, 4)),
    ]
    return "\n\n".join(parts)


def memo(grammar, rng):
    env = {}
    parts = [grammar.say("[memo_head]", env), grammar.lines(["memo_open", "reason"], env)]
    for _ in range(rng.randint(1, 3)):
        parts.append(prose(grammar, rng, env, rng.randint(2, 4)))
    parts.append(grammar.lines(["plan", "memo_close"], env))
    return "\n\n".join(parts)


def email(grammar, rng):
    env = {"from": grammar.say("[person]", {})}
    head = grammar.say("[mail_head]", env)
    body = ["mail_body"] * rng.randint(2, 4) + names(rng, ("plan", 1), ("reason", 1))
    more = grammar.lines(["mail_body", "effect"] + names(rng, ("trend", 1)), env)
    return "\n\n".join([head, grammar.lines(body, env), more, grammar.say("[mail_close]", env)])


def minutes(grammar, rng):
    env = {}
    parts = [grammar.say("[min_head]", env)]
    for i in range(rng.randint(3, 6)):
        item = ["min_item"] + names(rng, ("min_item", 1), ("trend", 1), ("effect", 1))
        parts.append(f"{i + 1}. " + grammar.lines(item, env))
    parts.append(grammar.say("[min_close]", env))
    return "\n".join(parts)


def launch(grammar, rng):
    env = {}
    parts = [grammar.lines(["launch_open", "launch_body", "launch_body"], env)]
    parts.append(grammar.lines(["launch_body", "opinion", "trend"], env))
    if rng.random() < 0.5:
        parts.append(grammar.lines(["launch_body", "plan"], env))
    return "\n\n".join(parts)


def supply(grammar, rng):
    env = {}
    first = ["supply_open"] + ["supply_body"] * rng.randint(2, 3)
    rest = names(rng, ("supply_body", 2), ("effect", 1), ("reason", 1)) + ["plan"]
    return "\n\n".join([grammar.lines(first, env), grammar.lines(rest, env)])


def interview(grammar, rng):
    env = {}
    parts = [grammar.say("[int_open]", env)]
    for question, answer in rng.sample(QUESTIONS, rng.randint(3, 5)):
        more = names(rng, ("trend", 1), ("opinion", 1), ("reason", 1))
        words = grammar.lines([answer] + more, env)
        parts.append("Q: " + grammar.say(f"[{question}]", env) + "\nA: " + words)
    return "\n\n".join(parts)


QUESTIONS = [(f"int_q{i}", f"int_a{i}") for i in range(1, 9)]


def case(grammar, rng):
    env = {}
    parts = [grammar.lines(["case_open", "trend", "reason"], env)]
    parts.append(prose(grammar, rng, env, rng.randint(2, 5)))
    parts.append(grammar.lines(["plan", "effect", "case_ask"], env))
    return "\n\n".join(parts)


FORMS = [
    *(report, report, decision, break_even, depreciation, unit_economics),
    *(memo, memo, email, email, minutes, minutes, launch, launch),
    *(supply, supply, interview, interview, case, case),
]


# A document keeps to a few values of each of these rules.
TOPICS = ("metric", "area", "product", "buyer", "material", "team", "problem", "company", "town")


def documents(rng):
    """An endless stream of business documents."""
    return stream("business", rng, FORMS, TOPICS)
