"""Logic: truth tables, proofs, syllogisms, puzzles, sets; every verdict is computed."""
from __future__ import annotations

import itertools
import random
import re
from typing import Iterator

import scenes
from grammar import article, capital, count, expand, in_words, listing, mixed, pick, some, tidy, weighted
from logic_words import ADJECTIVES, NAMES, OBJECTS, PREDICATES, RULES, SUBJECTS, TERMS

scenes.OBJECTS["logic"] = OBJECTS


def say(rng: random.Random, template: str, **slots) -> str:
    return tidy(expand(rng, RULES, template, **slots))


# Formulas are tuples: ("p",), ("not", f), ("and", f, g), ("or", f, g), ("if", f, g), ("iff", f, g).

def holds(f, row: dict) -> bool:
    if len(f) == 1:
        return row[f[0]]
    if f[0] == "not":
        return not holds(f[1], row)
    a, b = holds(f[1], row), holds(f[2], row)
    return {"and": a and b, "or": a or b, "if": not a or b, "iff": a == b, "xor": a != b}[f[0]]


STYLES = [{"not": "~", "and": " & ", "or": " v ", "if": " -> ", "iff": " <-> "}, {"not": "not ", "and": " and ", "or": " or ", "if": " implies ", "iff": " iff "},
          {"not": "-", "and": " /\\ ", "or": " \\/ ", "if": " => ", "iff": " <=> "}, {"not": "no ", "and": " and ", "or": " or ", "if": " only if ", "iff": " just when "}]


def show(f, style, outer=True) -> str:
    if len(f) == 1:
        return f[0]
    if f[0] == "not":
        return style["not"] + show(f[1], style, False)
    text = show(f[1], style, False) + style[f[0]] + show(f[2], style, False)
    return text if outer else f"({text})"


def letters_of(f) -> set[str]:
    return {f[0]} if len(f) == 1 else set().union(*(letters_of(g) for g in f[1:]))


def rows_of(letters):
    return [dict(zip(letters, values)) for values in itertools.product([True, False], repeat=len(letters))]


def random_formula(rng, letters, depth):
    if depth == 0 or rng.random() < 0.1:
        atom = (pick(rng, letters),)
        return ("not", atom) if rng.random() < 0.3 else atom
    if rng.random() < 0.15:
        return ("not", random_formula(rng, letters, depth - 1))
    return (pick(rng, ["and", "or", "if", "if", "iff"]), random_formula(rng, letters, depth - 1), random_formula(rng, letters, depth - 1))


def entails(premises, conclusion, letters) -> bool:
    return all(holds(conclusion, row) for row in rows_of(letters) if all(holds(p, row) for p in premises))


PLACED = """above,behind,below,beside,close to,covered by,facing,far from,guarded by,hidden behind,inside,mentioned by,near,next to,older than,opposite,outside,
owned by,painted by,part of,reserved for,seen from,similar to,sold with,stored with,tied to,under,watched by,worth less than""".replace("\n", "").split(",")
COMPARED = """brighter cheaper colder darker dearer drier heavier larger lighter longer louder newer odder older paler plainer quieter rarer safer sharper shorter
slower smaller stranger taller thicker thinner warmer wetter wider""".split()


def atom_text(rng) -> str:
    subject, kind = pick(rng, SUBJECTS), rng.randrange(6)
    if kind < 2:
        return f"{subject} is {pick(rng, ADJECTIVES)}"
    if kind < 4:
        return f"{subject} {pick(rng, PREDICATES)}"
    other = pick(rng, SUBJECTS + [f"{name}'s {thing}" for name in NAMES[:20] for thing in OBJECTS[:20]])
    if kind == 4:
        return f"{subject} is {pick(rng, PLACED)} {other}"
    return f"{subject} is {pick(rng, COMPARED)} than {other}"


def negated(text: str) -> str:
    if " is " in text:
        return text.replace(" is ", " is not ", 1)
    noun = next(s for s in sorted(SUBJECTS, key=len, reverse=True) if text.startswith(s + " "))
    verb, _, rest = text[len(noun) + 1:].partition(" ")
    base = {"goes": "go", "passes": "pass", "misses": "miss", "crosses": "cross", "lies": "lie", "carries": "carry", "does": "do"}.get(verb, verb[:-1])
    return f"{noun} does not {base} {rest}".strip()


def english(rng, f, meaning) -> str:
    if len(f) == 1:
        return meaning[f[0]]
    if f[0] == "not":
        return negated(meaning[f[1][0]]) if len(f[1]) == 1 else "it is not the case that " + english(rng, f[1], meaning)
    a, b = english(rng, f[1], meaning), english(rng, f[2], meaning)
    return say(rng, {"and": "[{a} and {b}|both {a} and {b}|{a}, and moreover {b}|{a}, while {b}]", "or": "[{a} or {b}|either {a} or {b}|{a}, unless {b}|at least one holds: {a}, or {b}]",
                     "if": "[if {a}, then {b}|{b} if {a}|whenever {a}, {b}|{a} only if {b}|{b}, provided that {a}|supposing that {a}, {b}|should it be that {a}, {b}]", "iff": "[{a} if and only if {b}|{a} exactly when {b}|{a} just in case {b}]"}[f[0]], a=a, b=b)


def truth_table(rng):
    letters = sorted(some(rng, pick(rng, ["pqrs", "ABCD", "xyzw", "PQRS", "abc"]), rng.randint(2, 3)))
    style = pick(rng, STYLES)
    while True:
        f = random_formula(rng, letters, 2)
        if letters_of(f) == set(letters) and len(f) == 3:
            break
    rows = rows_of(letters)
    good = [row for row in rows if holds(f, row)]
    mark = pick(rng, ["TF", "10", ("true", "false"), "TF"])
    word = lambda v: mark[0] if v else mark[1]
    lines = [", ".join(f"{k} {word(v)}" for k, v in row.items()) + say(rng, "[:| gives| makes it| yields] ") + word(holds(f, row)) for row in rows]
    if pick(rng, [True, False]):
        lines = ["".join(word(v)[0].upper() for v in row.values()) + " " + word(holds(f, row))[0].upper() for row in rows]
    if len(good) == len(rows):
        verdict = say(rng, "[It|The formula] is a tautology: [no row makes it false|true in every row].")
    elif not good:
        verdict = say(rng, "[It|The formula] is a contradiction: [no row makes it true|false in every row].")
    else:
        cell = pick(rng, good)
        bad = pick(rng, [row for row in rows if row not in good])
        verdict = say(rng, "It is contingent: {t} of {n} rows [make it true|are true], [for example|such as] {a}, and {b} [refutes it|makes it false].", t=len(good), n=len(rows), a=", ".join(f"{k} = {word(v)}" for k, v in cell.items()),
                      b=", ".join(f"{k} = {word(v)}" for k, v in bad.items()))
    dnf = " or ".join("(" + " and ".join(k if v else f"not {k}" for k, v in row.items()) + ")" for row in good[:4])
    others = [random_formula(rng, letters, 2) for _ in range(3)]
    compare = []
    for g in others:
        if letters_of(g) <= set(letters):
            a, b = entails([f], g, letters), entails([g], f, letters)
            compare.append(say(rng, "{g} [is equivalent to it|has the same table]" if a and b else "it [entails|implies] {g}[, not conversely]" if a else "{g} [entails|implies] it[, but not the other way round]" if b else "{g} [neither entails it nor follows from it|is logically independent of it]", g=show(g, style)))
    meaning = {k: atom_text(rng) for k in letters}
    read = say(rng, "[Reading|With] {m}, it [says|states]: {e}.", m=listing([f"{k} [as]".replace("[as]", "as") + f' "{v}"' for k, v in meaning.items()]), e=english(rng, f, meaning))
    return say(rng, "[{Consider}|Make a truth table for|Tabulate|Evaluate] the formula {f}. [The rows are|Row by row|Listing the values of {ls}, then of the whole|Truth values in order {ls}]: {lines}. {v} {dnf} {cmp} {read}", f=show(f, style), ls=", ".join(letters), lines="; ".join(lines), v=verdict,
               dnf=say(rng, "[Its disjunctive normal form is|As a disjunction of its true rows it is] {d}.", d=dnf) if 0 < len(good) <= 4 else "", cmp=capital("; ".join(compare[:rng.randint(1, 3)])) + ".", read=read)


RULE_NAMES = {"mp": ["modus ponens", "MP", "detachment"], "mt": ["modus tollens", "MT", "denying the consequent"], "hs": ["hypothetical syllogism", "HS", "chaining"], "ds": ["disjunctive syllogism", "DS", "elimination"],
              "conj": ["conjunction", "joining", "and-introduction"], "simp": ["simplification", "and-elimination", "splitting"], "cp": ["contraposition", "transposition"], "dm": ["De Morgan", "De Morgan's law"],
              "add": ["addition", "or-introduction", "weakening"]}


def neg(f):
    return f[1] if f[0] == "not" else ("not", f)


def consequences(lines):
    """All one-step consequences of the formulas derived so far."""
    for (i, f), (j, g) in itertools.permutations(enumerate(lines), 2):
        if f[0] == "if":
            if g == f[1]:
                yield f[2], "mp", (i, j)
            if g == neg(f[2]):
                yield neg(f[1]), "mt", (i, j)
            if g[0] == "if" and f[2] == g[1] and f[1] != g[2]:
                yield ("if", f[1], g[2]), "hs", (i, j)
        if f[0] == "or":
            if g == neg(f[1]):
                yield f[2], "ds", (i, j)
            if g == neg(f[2]):
                yield f[1], "ds", (i, j)
    for i, f in enumerate(lines):
        if f[0] == "and":
            yield f[1], "simp", (i,)
            yield f[2], "simp", (i,)
        if f[0] == "not" and f[1][0] == "or":
            yield ("and", neg(f[1][1]), neg(f[1][2])), "dm", (i,)
        if f[0] == "not" and f[1][0] == "and":
            yield ("or", neg(f[1][1]), neg(f[1][2])), "dm", (i,)


def deduction(rng):
    while True:
        letters = some(rng, pick(rng, ["pqrstu", "ABCDEF", "KLMNPQ", "FGHJRS"]), rng.randint(4, 5))
        lits = lambda: ("not", (pick(rng, letters),)) if rng.random() < 0.3 else (pick(rng, letters),)
        premises = []
        while len(premises) < 4:
            kind = pick(rng, ["if", "if", "if", "or", "lit", "and", "nor"])
            a, b = lits(), lits()
            if letters_of(a) == letters_of(b):
                continue
            f = a if kind == "lit" else ("not", (pick(rng, ["or", "and"]), a, b)) if kind == "nor" else (kind, a, b)
            if f not in premises:
                premises.append(f)
        if not any(all(holds(p, row) for p in premises) for row in rows_of(letters)):
            continue
        lines, steps = list(premises), []
        while len(steps) < 6:
            new = [c for c in consequences(lines) if c[0] not in lines]
            if not new:
                break
            f, rule, from_ = pick(rng, new)
            lines.append(f)
            steps.append((rule, from_))
        used, todo = set(), [len(lines) - 1]
        while todo:
            k = todo.pop()
            used.add(k)
            if k >= 4:
                todo += steps[k - 4][1]
        if len(steps) >= 3 and len([k for k in used if k >= 4]) >= 3 and set(range(4)) <= used | {pick(rng, range(4))}:
            break
    order = sorted(used)
    goal = lines[order[-1]]
    assert entails(premises, goal, letters)
    style, meaning = pick(rng, STYLES[:3]), {k: atom_text(rng) for k in letters}
    place = {k: n + 1 for n, k in enumerate(order)}
    out = []
    for k in order:
        if k < 4:
            why = pick(rng, ["premise", "given", "assumption"])
        else:
            rule, from_ = steps[k - 4]
            why = say(rng, "[from {n} by {r}|{r}, {n}|by {r} on {n}|{n}, {r}]", n=listing([str(place[i]) for i in from_]), r=pick(rng, RULE_NAMES[rule]))
        out.append(f"{place[k]}. {show(lines[k], style)} ({why})")
    prem = [capital(english(rng, lines[k], meaning)) + "." for k in order if k < 4]
    key = listing([f'{k}: {meaning[k]}' for k in sorted(set().union(*(letters_of(lines[k]) for k in order)))])
    return say(rng, "[Show that \"{goal}\" follows|Prove: {goal}|Derive \"{goal}\"|From the premises below we want \"{goal}\"|The goal is \"{goal}\"]. [Premises|We are told|Given|The facts]: {prem} [Abbreviate|Key|Write|Dictionary] {key}.\n{lines}\n[Line {n}|The last line] [is what was wanted|says: {goal}|completes the derivation]. [{Check}: of the {rows} rows [of the truth table, |]{t} make all premises true, and "
               "[in each of them|there] the conclusion is {true}.]", goal=english(rng, goal, meaning), prem=" ".join(prem), key=key, lines="\n".join(out), n=len(order), rows=2 ** len(letters),
               t=sum(all(holds(lines[k], row) for k in order if k < 4) for row in rows_of(letters)))


def syllogism(rng):
    s, m, p = some(rng, TERMS, 3)
    figure = rng.randint(1, 4)
    pairs = {1: ((m, p), (s, m)), 2: ((p, m), (s, m)), 3: ((m, p), (m, s)), 4: ((p, m), (m, s))}[figure]
    kinds = "".join(pick(rng, "AEIO") for _ in range(3))
    wording = {"A": "[all {x} are {y}|every one of the {x} is among the {y}|{x} are, without exception, {y}|only {y} are {x}|whoever belongs to the {x} belongs to the {y}]", "E": "[no {x} are {y}|none of the {x} are {y}|{x} are never {y}|nothing is both among the {x} and the {y}]",
               "I": "[some {x} are {y}|there are {x} that are {y}|at least a few {x} are {y}|{y} can be found among the {x}]", "O": "[some {x} are not {y}|not all {x} are {y}|there are {x} outside the {y}|at least a few {x} are not {y}]"}
    def test(kind, i, j, model):
        both = any(r[i] and r[j] for r in model)
        only = any(r[i] and not r[j] for r in model)
        return {"A": not only, "E": not both, "I": both, "O": only}[kind]
    place = {s: 0, m: 1, p: 2}
    regions = list(itertools.product([0, 1], repeat=3))
    counter = None
    models = [[r for k, r in enumerate(regions) if bits >> k & 1] for bits in range(256)]
    models.sort(key=len)
    for model in models:
        if test(kinds[0], place[pairs[0][0]], place[pairs[0][1]], model) and test(kinds[1], place[pairs[1][0]], place[pairs[1][1]], model) and not test(kinds[2], 0, 2, model):
            counter = model
            break
    one, two = (say(rng, wording[kinds[i]], x=pairs[i][0], y=pairs[i][1]) for i in (0, 1))
    concl = say(rng, wording[kinds[2]], x=s, y=p)
    if counter is None:
        why = say(rng, "[The argument|This] is {valid}: [among all ways to fill|of the 256 ways of filling] the eight regions of the diagram, [not one|none] makes both premises {true} and the conclusion {false}.")
        why += say(rng, " [{M} link the {s} to the {p}|The middle term is {m}|Through the {m}, the {s} are tied to the {p}].", m=m, s=s, p=p)
    else:
        if counter:
            who = listing([say(rng, "one being that is {x}", x=listing([(w if v else f"not {w}") for w, v in zip([f"among the {t}" for t in (s, m, p)], r)])) for r in counter])
            why = say(rng, "[It|The argument|This] is {invalid}. [Picture|Imagine|A counterexample is] a world with just {w}: [there|in it] both premises are {true} [but|yet|while|and] the conclusion is {false}.", w=who)
        else:
            why = say(rng, "[It|The argument|This] is {invalid} [once empty terms are allowed|when the classes may be empty]: in an empty world both premises hold [and|while] the conclusion[, which claims existence,] fails.")
    other = pick(rng, "AEIO")
    x, y = some(rng, (s, m, p), 2)
    conv = {"A": "does not allow simple conversion", "E": "converts simply", "I": "converts simply", "O": "has no converse that follows"}[other]
    return say(rng, "{Consider}: {one}; {two}; {hence} {c}. [The mood is {k} in figure {f}|Mood {k}, figure {f}|In the old notation this is {k}-{f}], with {m} as [the |]middle term. {why} [{side}]", one=one, two=two, c=concl, k=kinds, f=figure, m=m, why=why,
               side=say(rng, "By the way, \"{t}\" {conv}[: {y} and {x} may not be exchanged freely|].", t=say(rng, wording[other], x=x, y=y), conv=conv, x=x, y=y) if other in "AO" else say(rng, "By the way, \"{t}\" {conv}, so \"{u}\" says [no more and no less|the same].",
               t=say(rng, wording[other], x=x, y=y), conv=conv, u=say(rng, wording[other], x=y, y=x)))


from logic_more import LONG, MORE  # noqa: E402  (uses the helpers above)

SHORT = [(truth_table, 4), (deduction, 6), (syllogism, 3)] + MORE


def dressed(rng, maker) -> str:
    """A piece, perhaps with a setting before it and a remark after it."""
    text = maker(rng)
    for _ in range(pick(rng, [0, 1, 1, 2])):
        opening = scenes.scene(rng, "logic", NAMES)
        if not text.startswith(("Out of", "From the")):
            text = opening + " " + text
    if rng.random() < 0.4:
        text += " " + scenes.aside(rng, "logic", NAMES, pick(rng, ["the result", "the verdict", "this answer", "the last line", "the whole of it"]))
    return scenes.REWORD["logic"](rng, text)


def sheet(rng):
    parts = [dressed(rng, weighted(rng, SHORT)) for _ in range(rng.randint(1, 2))]
    if len(parts) == 1:
        return parts[0]
    mark = pick(rng, ["{}. ", "Puzzle {}. ", "Case {}. ", "({}) ", "Argument {}. ", ""])
    first = rng.randint(1, 60)
    return "\n".join(mark.format(first + i) + part for i, part in enumerate(parts))


def documents(rng: random.Random) -> Iterator[str]:
    return mixed(rng, "logic", [sheet], every=4)
