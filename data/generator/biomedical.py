"""Biomedical domain: case notes, pharmacology, physiology, studies, laboratory and ward work."""

import math
import random
from typing import Iterator

from biomedical_facts import (CONDITIONS, DOSES, DRUGS, FOODS, HORMONES, MICROBES, MUSCLES)
from biomedical_terms import ENZYMES, TERMS
from phrasebook import Phrasebook, assemble, capital, stream

MOSTLY_FEVERISH = {"community-acquired pneumonia", "appendicitis", "cellulitis"}


def pronouns(female):
    sub, poss = ("she", "her") if female else ("he", "his")
    return {"sub": sub, "poss": poss, "Sub": sub.capitalize(), "Poss": poss.capitalize(),
            "sexw": "woman" if female else "man"}


def case(book):
    rng = book.rng
    name, ages, symptoms, signs, tests, treatment, warn = rng.choice(CONDITIONS)
    low, high = map(int, ages.split("-"))
    female = rng.random() < 0.5
    height = rng.randint(152, 172) if female else rng.randint(164, 188)
    body = rng.uniform(20, 33)
    weight = round(body * (height / 100) ** 2)
    fever = name in MOSTLY_FEVERISH
    breathless = name in {"community-acquired pneumonia", "acute asthma", "heart failure"}
    anaemic = name == "iron deficiency anaemia"
    ctx = pronouns(female)
    ctx.update(
        age=rng.randint(max(low, 18), high), dx=name, warn=warn, weight=weight, height=height,
        bmi=f"{weight / (height / 100) ** 2:.1f}",
        temp=f"{rng.uniform(37.9, 39.2) if fever else rng.uniform(36.2, 37.3):.1f}",
        pulse=rng.randint(92, 118) if fever or breathless else rng.randint(62, 88),
        rr=rng.randint(21, 28) if breathless else rng.randint(12, 18),
        sat=rng.randint(89, 93) if breathless else rng.randint(95, 99),
        sys=rng.randint(108, 158), dia=rng.randint(62, 94),
        hb=rng.randint(72, 98) if anaemic else rng.randint(122, 152))
    for prefix, field, count in (("s", symptoms, 3), ("g", signs, 3), ("x", tests, 2),
                                 ("p", treatment, 3)):
        chosen = rng.sample(field.split(";"), count)
        ctx.update({f"{prefix}{i}": value for i, value in enumerate(chosen, 1)})
    return book.document("case", ctx)


def doses(book):
    rng = book.rng
    lines = []
    for drug, per, times, strength, cap, use in rng.sample(DOSES, rng.randint(2, 4)):
        highest = min(40, int(cap) / float(per))
        weight = round(rng.uniform(min(9, 0.6 * highest), highest), 1)
        dose = weight * float(per)
        years = round((weight - 8) / 2 if weight < 18 else (weight - 7) / 3)
        child = f"a child of {years} years" if weight >= 12 else "an infant"
        if weight < 10:
            child = "a baby"
        lines.append(("dose_line", {
            "drug": drug, "use": use, "per": per, "times": ["once", "twice", "three times",
            "four times", "", "six times"][int(times) - 1], "w": weight, "mg": f"{dose:.4g}",
            "daily": f"{dose * int(times):.4g}", "strength": strength, "cap": cap,
            "ml": f"{dose / float(strength) * 5:.1f}", "child": capital(child),
            "child_l": child}))
    return assemble(book, "dose_open", lines, "dose_close")


def table(opening, line, closing, rows, keys, low, high, extra=()):
    """A maker of documents from rows of a fact table and some free sentences."""
    def make(book):
        rng = book.rng
        lines = []
        for row in rng.sample(rows, rng.randint(low, high)):
            ctx = dict(zip(keys, row))
            ctx[keys[0] + "!"] = capital(row[0])
            ctx[keys[-1].capitalize()] = capital(row[-1])
            lines.append((line, ctx))
        lines += [(rule, {}) for rule in extra for _ in range(rng.randint(0, 2))]
        rng.shuffle(lines)
        return assemble(book, opening, lines, closing)
    return make


def physiology(book):
    rng = book.rng
    lines = []
    for row in rng.sample(HORMONES, rng.randint(1, 3)):
        ctx = dict(zip(("h", "src", "stim", "eff", "dis"), row))
        lines.append(("hor_line", dict(ctx, **{"h!": capital(row[0])})))
    for _ in range(rng.randint(3, 6)):
        stroke, rate = rng.randint(55, 95), rng.randint(52, 120)
        systolic, diastolic = rng.randint(104, 170), rng.randint(60, 98)
        tidal, dead, breaths = rng.randrange(380, 620, 10), rng.randrange(120, 180, 5), \
            rng.randint(10, 20)
        urine, flow, plasma = rng.randint(4, 12), rng.uniform(0.7, 1.6), rng.randint(60, 120)
        lines.append(("phys_line", {
            "sv": stroke, "hr": rate, "co": f"{stroke * rate / 1000:.2f}", "bs": systolic,
            "bd": diastolic, "map": round(diastolic + (systolic - diastolic) / 3), "tv": tidal,
            "ds": dead, "br": breaths, "av": f"{(tidal - dead) * breaths / 1000:.2f}",
            "cu": urine, "cf": f"{flow:.1f}", "cp": plasma,
            "cc": f"{urine * 1000 * round(flow, 1) / plasma:.0f}"}))
    rng.shuffle(lines)
    return assemble(book, "phys_open", lines, "phys_close")


def trial(rng):
    """A two-arm trial with its risk ratio, odds ratio and interval."""
    while True:
        n1, n0 = rng.randint(90, 900), rng.randint(90, 900)
        base = rng.uniform(0.08, 0.35)
        e1, e0 = round(n1 * base * rng.uniform(0.5, 0.95)), round(n0 * base)
        r1, r0 = e1 / n1, e0 / n0
        if e1 >= 5 and r0 - r1 > 0.005:
            break
    ratio = r1 / r0
    spread = 1.96 * math.sqrt(1 / e1 - 1 / n1 + 1 / e0 - 1 / n0)
    low, high = ratio * math.exp(-spread), ratio * math.exp(spread)
    crosses = high >= 1
    return {"n1": n1, "n0": n0, "total": n1 + n0, "e1": e1, "e0": e0, "s1": n1 - e1,
            "s0": n0 - e0, "r1": f"{100 * r1:.1f}", "r0": f"{100 * r0:.1f}",
            "rr": f"{ratio:.2f}", "lo": f"{low:.2f}", "hi": f"{high:.2f}",
            "orr": f"{e1 * (n0 - e0) / (e0 * (n1 - e1)):.2f}",
            "ard": f"{100 * (r0 - r1):.1f}", "nnt": math.ceil(1 / (r0 - r1)),
            "cross": "includes" if crosses else "excludes",
            "signif": "not significant" if crosses else "significant"}


def diagnostic(rng):
    """The figures of a test against a reference standard."""
    ill, well = rng.randint(40, 320), rng.randint(80, 900)
    tp, tn = round(ill * rng.uniform(0.7, 0.98)), round(well * rng.uniform(0.75, 0.985))
    fn, fp = ill - tp, well - tn
    return {"dn": ill + well, "dis": ill, "well": well, "tp": tp, "fp": fp, "fn": fn, "tn": tn,
            "se": f"{100 * tp / ill:.1f}", "sp": f"{100 * tn / well:.1f}",
            "ppv": f"{100 * tp / (tp + fp):.1f}", "npv": f"{100 * tn / (tn + fn):.1f}",
            "lr": f"{(tp / ill) / (fp / well):.1f}" if fp else "very large", "pos": tp + fp,
            "neg_n": tn + fn, "prev": f"{100 * ill / (ill + well):.1f}"}


def outbreak(rng):
    """Attack rates of an outbreak and the incidence in a register."""
    ate, other = rng.randint(24, 120), rng.randint(20, 110)
    ill, ill0 = round(ate * rng.uniform(0.4, 0.85)), max(2, round(other * rng.uniform(0.04, 0.2)))
    cases, people = rng.randint(14, 480), rng.randrange(42_000, 900_000, 700)
    return {"ate": ate, "not": other, "ill": ill, "ill0": ill0, "cases": cases,
            "popn": f"{people:,}", "ar1": f"{100 * ill / ate:.1f}",
            "ar0": f"{100 * ill0 / other:.1f}", "arr": f"{(ill / ate) / (ill0 / other):.1f}",
            "inc": f"{100_000 * cases / people:.1f}"}


def study(book):
    rng = book.rng
    ctx = trial(rng)
    for key in ("interv", "outc", "pop"):
        ctx[key] = book.expand("{%s}" % key, {})
    parts = ["{st_open}", "{st_result}", "{st_more}", "{st_lim}"]
    if rng.random() < 0.4:
        parts.append("{st_lim}")
    return " ".join(book.part(part, ctx) for part in parts)


def statistics(book):
    rng = book.rng
    plan = [("st_diag", diagnostic), ("st_epi", outbreak), ("st_diag", diagnostic),
            ("st_epi", outbreak)]
    rng.shuffle(plan)
    parts, used = [], {}
    for rule, figures in plan[:rng.randint(2, 3)]:
        ctx = dict(figures(rng), _used=used)
        parts.append(book.part("{%s}" % rule, ctx))
        used = ctx["_used"]
    return "\n\n".join(parts)


def nutrition(book):
    rng = book.rng
    female = rng.random() < 0.5
    age, height = rng.randint(19, 82), rng.randint(150, 190)
    weight = rng.randint(46, 112)
    basal = 10 * weight + 6.25 * height - 5 * age + (-161 if female else 5)
    factor = rng.choice([1.2, 1.375, 1.55, 1.725])
    per = rng.choice([0.8, 1.0, 1.2, 1.5])
    ctx = {"nage": f"{'woman' if female else 'man'} aged {age}", "nw": weight, "nh": height,
           "nbmi": f"{weight / (height / 100) ** 2:.1f}", "bmr": round(basal), "af": factor,
           "tee": round(basal * factor), "ppk": per, "ptot": f"{per * weight:.0f}",
           "anyperson": book.expand("{woman} {surname}" if female else "{man} {surname}", {})}
    parts = [book.part("{nut_open}", ctx)]
    for food, kcal, protein, iron, fibre in rng.sample(FOODS, rng.randint(2, 4)):
        grams = rng.randrange(40, 250, 10)

        def scaled(value, digits):
            return f"{float(value) * grams / 100:.{digits}f}"

        portion = {"food": food, "food!": capital(food), "g": grams, "kcal": scaled(kcal, 0),
                   "prot": scaled(protein, 1), "iron": scaled(iron, 1), "fib": scaled(fibre, 1)}
        parts.append(book.part("{nut_line}", portion))
    parts += [book.part("{nut_mid}", ctx) for _ in range(rng.randint(1, 3))]
    tail = parts[1:]
    rng.shuffle(tail)
    return " ".join([parts[0]] + tail + [book.part("{nut_close}", ctx)])


def simple(plan):
    return lambda book: book.document(plan, {})


KINDS = [
    (3.4, case), (0.9, doses), (0.9, physiology), (1.0, study), (0.7, statistics),
    (1.3, simple("nurse")), (1.2, simple("lab")), (1.0, nutrition),
    (1.8, table("ph_open", "ph_line", "ph_close", DRUGS,
                ("drug", "cls", "mech", "use", "se", "watch"), 3, 6)),
    (0.9, table("ana_open", "ana_line", "ana_close", MUSCLES, ("m", "o", "i", "n", "act"), 3, 5)),
    (1.3, table("mic_open", "mic_line", "mic_close", MICROBES,
                ("b", "kind", "dis", "route", "ctl"), 2, 4, extra=("mic_lab",))),
    (2.2, table("term_open", "term_line", "term_close", TERMS, ("t", "l", "d"), 5, 10)),
    (1.8, table("enz_open", "enz_line", "enz_close", ENZYMES,
                ("e", "task", "at", "link"), 4, 7))]


def documents(rng: random.Random) -> Iterator[str]:
    book = Phrasebook(rng, "biomedical")
    return stream(rng, "biomedical", book, KINDS)
