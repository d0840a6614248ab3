"""Logic, second part: puzzles, sets, relations, quantifiers, clauses, conditions."""
from __future__ import annotations

import itertools
import math

from grammar import article, capital, in_words, listing, pick, some
from logic_words import ADJECTIVES, NAMES, SUBJECTS, TERMS
import logic as base


def say(rng, template, **slots):
    return base.say(rng, template, **slots)


def knights(rng):
    """Knights tell the truth, knaves lie; the statements leave one possibility."""
    while True:
        people = some(rng, NAMES, rng.choice([2, 3, 3]))
        n = len(people)

        def statement(speaker):
            others = [k for k in range(n) if k != speaker]
            k = pick(rng, others)
            kinds = ["is", "is", "same", "count", "both"]
            if n == 3:
                kinds += ["pair", "iff"]
            kind = pick(rng, kinds)
            v = rng.random() < 0.5
            word = "knight" if v else "knave"
            if kind == "is":
                return say(rng, "[{x} is a {w}|{x} is one of the {w}s|you may call {x} a {w}]", x=people[k], w=word), lambda t: t[k] == v
            if kind == "same":
                return (say(rng, "[{x} and I are of the same kind|{x} is what I am]" if v else "[{x} and I are of different kinds|{x} and I differ]", x=people[k]), lambda t: (t[k] == t[speaker]) == v)
            if kind == "count":
                c = rng.randint(0, n)
                return say(rng, "[exactly {c} of us {is} {w}|the number of {w0} among us is {c}]", c=in_words(c), w="a knight" if c == 1 else "knights", w0="knights", **{"is": "is" if c == 1 else "are"}), lambda t: sum(t) == c
            if kind == "both":
                return say(rng, "[I am a knave or {x} is a {w}|either {x} is a {w} or I am a knave]", x=people[k], w=word), lambda t: (not t[speaker]) or t[k] == v
            a, b = others
            if kind == "pair":
                return (say(rng, "[{x} and {y} are both {w}s|{x} is a {w}, and {y} too]" , x=people[a], y=people[b], w=word), lambda t: t[a] == v and t[b] == v)
            return (say(rng, "[if {x} is a knight, so is {y}|{x} is not a knight unless {y} is one]", x=people[a], y=people[b]), lambda t: (not t[a]) or t[b])

        said = [statement(k) for k in range(n)]
        worlds = list(itertools.product([True, False], repeat=n))
        fits = [w for w in worlds if all(said[k][1](w) == w[k] for k in range(n))]
        if len(fits) == 1:
            break
    answer = fits[0]
    role = lambda v: "knight" if v else "knave"
    lines = []
    for w in worlds:
        if w == answer:
            continue
        k = next(k for k in range(n) if said[k][1](w) != w[k])
        case = say(rng, "[if {x}|{x} cannot be, since then|take {x}:|in the case {x},|{suppose} {x}:]", x=listing([f"{p} {role(v)}" for p, v in zip(people, w)]).replace(" and ", ", ") if rng.random() < .5 else "/".join(role(v) for v in w))
        case += " " + say(rng, "[{p}, a {r},|the {r} {p}] [would have|has] [said something|spoken what is|uttered a statement that is] {tf}", p=people[k], r=role(w[k]), tf="false" if w[k] else "true")
        lines.append(case)
    rng.shuffle(lines)
    keep = lines[:rng.randint(2, len(lines))]
    saying = [say(rng, "[{p} {claims}: \"{S}.\"|\"{S},\" {claims} {p}.]", p=p, S=capital(t[0])) if not rng.randrange(2) else say(rng, "{p} {claims} that {s}.", p=p, s=t[0].replace(" and I ", " and the speaker ").replace("I am a", "the speaker is a").replace("what I am", "of the speaker's kind").replace("of us", "of them").replace("among us", "among them").replace("you may call", "one may call")) for p, t in zip(people, said)]
    return say(rng, "[On [an|the] island|In a town|In a valley] of knights, who [always tell the truth|never lie], and knaves, who [always lie|never tell the truth], we [meet|come upon] {who}. {said} [Who is what?|What are they?|Which is which?] [There are {n} cases|{N} combinations are possible]. {lines}. {gap}[Only one case survives|What remains|The sole consistent case]: {ans}. {Done}", who=listing(people), said=" ".join(saying),
               n=in_words(len(worlds)), lines=capital("; ".join(keep)), gap="" if len(keep) == len(lines) else say(rng, "The other {k} [wrong |]{case} [fail likewise|fall in the same manner]. ", k=in_words(len(lines) - len(keep)) if len(lines) - len(keep) > 1 else "", case="cases" if len(lines) - len(keep) > 1 else "case") if len(lines) - len(keep) > 1 else "One other case fails likewise. ",
               ans=listing([say(rng, "{p} is a {r}", p=p, r=role(v)) for p, v in zip(people, answer)]))


def ordering(rng):
    """Who stands where: clues are added until one order is left."""
    n = rng.choice([4, 5, 5])
    people = some(rng, NAMES, n)
    what = pick(rng, [("finished the race", "place"), ("sat in the row", "seat"), ("spoke at the debate", "turn"), ("live in the street", "house"), ("arrived at the inn", "arrival"), ("queue at the counter", "position"), ("sang in the contest", "slot"),
                      ("wait on the ladder", "rung"), ("were born in the family", "birth"), ("crossed the bridge", "crossing"), ("rank in the class", "rank"), ("share the shelf of portraits", "hook")])
    order = list(people)
    rng.shuffle(order)
    pos = {p: i for i, p in enumerate(order)}
    left = [dict(zip(people, perm)) for perm in itertools.permutations(range(n))]
    clues, counts = [], []
    ordinals = ["first", "second", "third", "fourth", "fifth"]
    for _ in range(60):
        a, b, c = some(rng, people, 3)
        kind = rng.randrange(6)
        d = pos[a] - pos[b]
        if kind == 0:
            if d > 0:
                a, b = b, a
            text, test = say(rng, "{a} [came|was|is] [somewhere ]before {b}", a=a, b=b), lambda w, a=a, b=b: w[a] < w[b]
        elif kind == 1 and abs(d) == 1:
            text, test = say(rng, "[{a} and {b} are neighbours in the order|nobody separates {a} from {b}|{a} is next to {b}]", a=a, b=b), lambda w, a=a, b=b: abs(w[a] - w[b]) == 1
        elif kind == 2:
            k = pick(rng, [k for k in range(n) if k != pos[a]])
            text, test = say(rng, "{a} is not [in the {k} place|number {m}|the {k}]", a=a, k=ordinals[k], m=k + 1), lambda w, a=a, k=k: w[a] != k
        elif kind == 3 and abs(d) > 1:
            text, test = say(rng, "[{a} and {b} are not adjacent|at least one stands between {a} and {b}|{a} is not beside {b}]", a=a, b=b), lambda w, a=a, b=b: abs(w[a] - w[b]) > 1
        elif kind == 4 and min(pos[b], pos[c]) < pos[a] < max(pos[b], pos[c]):
            text, test = say(rng, "{a} is [somewhere ]between {b} and {c}", a=a, b=b, c=c), lambda w, a=a, b=b, c=c: min(w[b], w[c]) < w[a] < max(w[b], w[c])
        elif kind == 5 and d > 1:
            text, test = say(rng, "[exactly ]{k} {v} between {b} and {a}, who comes later", k=in_words(d - 1), v="stands" if d == 2 else "stand", a=a, b=b), lambda w, a=a, b=b, d=d: w[a] - w[b] == d
        else:
            continue
        fewer = [w for w in left if test(w)]
        if len(fewer) < len(left):
            left = fewer
            clues.append(text)
            counts.append(len(left))
        if len(left) == 1:
            break
    cut = [say(rng, "[clue {i} leaves {c}|{c} {rem} after clue {i}|with clue {i}, {c}|clue {i}: {c} left]", i=i + 1, c=c, rem="remain" if c > 1 else "remains") for i, c in enumerate(counts)]
    return say(rng, "{Who} {what}, one [to each|per] {slot}. {clues}. [{Find}|Work out|Determine] the order. {Num} people [can stand in|have] {n}! = {f} orders; {cut}. [The order is|So we have|From first to last]: {ans}. [{Check}: {c} [holds|is satisfied], [for|since] {x} is {kx}.]", Who=listing(people), what=what[0], slot=what[1], Find="find",
               clues=" ".join(f"({i + 1}) {capital(c)}{';' if i < len(clues) - 1 else ''}" for i, c in enumerate(clues)), Num=capital(in_words(n)), n=n, f=len(list(itertools.permutations(range(n)))), cut="; ".join(cut), ans=", ".join(order), c=f"clue {len(clues)}", x=(x := pick(rng, people)), kx=ordinals[pos[x]])


def sets(rng):
    names = some(rng, "ABCDEFGHKLMSTUVXY", 3)
    kind = pick(rng, ["n", "n", "word"])
    universe = list(range(1, rng.randint(12, 30))) if kind == "n" else some(rng, ADJECTIVES, 12)
    sets_ = [sorted(some(rng, universe, rng.randint(3, 7))) for _ in names]
    a, b, c = map(set, sets_)
    fmt = lambda s: "{" + ", ".join(map(str, sorted(s))) + "}" if s else "the empty set"
    rel = lambda x, y, s, t: say(rng, "{s} is a subset of {t}", s=s, t=t) if x <= y else say(rng, "{s} is not [a subset of|included in|contained in] {t}, [for|because|since] {w} [lies in|belongs to|is in] {s} only", s=s, t=t, w=pick(rng, sorted(x - y)))
    facts = [say(rng, "[the union of {x} and {y}|{x} together with {y}] is {v}, [with|of] {n} elements", x=names[0], y=names[1], v=fmt(a | b), n=len(a | b)), say(rng, "[the intersection of {x} and {y}|what {x} and {y} share] is {v}", x=names[0], y=names[1], v=fmt(a & b)),
             say(rng, "[{x} minus {y}|the difference of {x} and {y}] is {v}", x=names[0], y=names[2], v=fmt(a - c)), rel(a, b, names[0], names[1]), rel(b, c, names[1], names[2]), say(rng, "[the symmetric difference of {x} and {y}|what lies in just one of {x} and {y}] is {v}", x=names[1], y=names[2], v=fmt(b ^ c)),
             say(rng, "{x} has 2^{n} = {m} subsets[, {k} of them with two elements]", x=names[2], n=len(c), m=2 ** len(c), k=len(c) * (len(c) - 1) // 2), say(rng, "[there are|we can form] {p} pairs with [the |]first member in {x} and [the |]second in {y}", p=len(a) * len(c), x=names[0], y=names[2]),
             say(rng, "[distribution|the distributive law] {x} meet ({y} join {z}) [can be checked|holds here]: both sides are {v}", x=names[0], y=names[1], z=names[2], v=fmt(a & (b | c))), say(rng, "[all three|the three sets] [have in common|share] {v}", v=fmt(a & b & c))]
    chosen = some(rng, facts, rng.randint(4, 6))
    return say(rng, "[Let|Take|Given are the sets|Write] {x} = {A}, {y} = {B} and {z} = {C}. ", x=names[0], y=names[1], z=names[2], A=fmt(a), B=fmt(b), C=fmt(c)) + " " + ". ".join(capital(f) for f in chosen) + "."


def relation(rng):
    points = some(rng, NAMES, rng.choice([3, 4]))
    verb = pick(rng, "admires trusts envies fears follows teaches hears likes recommends avoids greets owes imitates quotes salutes visits".split())
    pairs = {(a, b) for a in points for b in points if rng.random() < 0.45}
    if rng.random() < 0.4:
        pairs |= {(b, a) for a, b in pairs}
    if rng.random() < 0.3:
        pairs |= {(a, a) for a in points}
    for _ in range(3 if rng.random() < 0.4 else 0):
        pairs |= {(a, d) for a, b in pairs for c, d in pairs if b == c}
    lists = [say(rng, "{a} {v} {l}", a=a, v=verb, l=listing([b if b != a else (f"{a} too" if False else "himself or herself") for b in points if (a, b) in pairs]) or "nobody") for a in points]
    out = []
    miss = [a for a in points if (a, a) not in pairs]
    out.append(say(rng, "[it is reflexive|reflexivity holds]" if not miss else "[it is not reflexive: {a} is missing from {a}'s own list|reflexivity fails at {a}]", a=miss[0] if miss else ""))
    asym = [(a, b) for a, b in sorted(pairs) if (b, a) not in pairs]
    out.append(say(rng, "it is symmetric[, every pair being returned]" if not asym else "[it is not symmetric|symmetry fails], since {a} {v} {b} but not the reverse", a=asym[0][0] if asym else "", b=asym[0][1] if asym else "", v=verb))
    bad = [(a, b, d) for a, b in sorted(pairs) for c, d in sorted(pairs) if b == c and (a, d) not in pairs]
    out.append(say(rng, "it is transitive" if not bad else "[transitivity fails|it is not transitive]: {a} {v} {b}, {b} {v} {c}, [but|yet] not {a} {c}", a=bad[0][0] if bad else "", b=bad[0][1] if bad else "", c=bad[0][2] if bad else "", v=verb))
    every = all(any((a, b) in pairs for b in points) for a in points)
    some_all = [b for b in points if all((a, b) in pairs for a in points)]
    out.append(say(rng, "\"everyone {v} someone\" is {t}", v=verb, t="true" if every else "false, because of " + next(a for a in points if not any((a, b) in pairs for b in points))))
    out.append(say(rng, "\"there is one whom everyone {v}\" is {t}", v=verb, t="true of " + some_all[0] if some_all else "false"))
    out.append(say(rng, "[counted as pairs|in all], {n} of {m} possible ones [belong to it|occur]", n=len(pairs), m=len(points) ** 2))
    rng.shuffle(out)
    return say(rng, "[In a circle of {n}|Among {n} friends|On a committee of {n}], {l}. [Regard|Take|Consider] this as a relation [on|over] the {n} people. {o}.", n=in_words(len(points)), l="; ".join(lists), o=". ".join(capital(x) for x in out[:rng.randint(4, 6)]))


def translation(rng):
    letters = sorted(some(rng, "ABCDEFGHJKLMNPQRSTUVW", rng.randint(2, 3)))
    style = pick(rng, base.STYLES[:3])
    meaning = {k: base.atom_text(rng) for k in letters}
    parts = []
    for _ in range(rng.randint(3, 5)):
        f = base.random_formula(rng, letters, rng.choice([1, 1, 2]))
        if len(f) == 3 and len(base.letters_of(f)) > 1:
            parts.append(say(rng, "[\"{E}\" becomes {f}|\"{E}\": {f}|{f} renders \"{E}\"|we write {f} for \"{E}\"]", E=capital(base.english(rng, f, meaning)), f=base.show(f, style)))
    a, b = letters[:2]
    end = say(rng, "[The contrapositive of|Turning round and denying both parts of] {x} is {y}: {e}. [Its converse|The converse], {z}, says something else.", x=base.show(("if", (a,), (b,)), style), y=base.show(("if", ("not", (b,)), ("not", (a,))), style), e=base.english(rng, ("if", ("not", (b,)), ("not", (a,))), meaning), z=base.show(("if", (b,), (a,)), style))
    return say(rng, "[Symbols|Vocabulary|Key|Let]: {k}. {parts}. [{end}]", k=listing([f"{k} for \"{v}\"" for k, v in meaning.items()]), parts=capital("; ".join(parts) or "nothing compound is needed"), end=end)


def predicate(rng):
    s, p, q = some(rng, TERMS, 3)
    S, P, Q = s[0].upper(), p[0].upper(), q[0].upper()
    if len({S, P, Q}) < 3:
        S, P, Q = "F", "G", "H"
    adj, name = pick(rng, ADJECTIVES), pick(rng, NAMES)
    rows = [("all " + s + " are " + p, f"for all x: {S}x -> {P}x", f"some {s} are not {p}, or: for some x, {S}x and not {P}x"), ("no " + q + " are " + s, f"for all x: {Q}x -> not {S}x", f"some {q} are {s}, or: for some x, {Q}x and {S}x"),
            (f"some {p} are {adj}", f"for some x: {P}x and A(x)", f"no {p} are {adj}, or: for all x, {P}x -> not A(x)"), (f"only {s} are {adj}", f"for all x: A(x) -> {S}x", f"something {adj} is not among the {s}"), (f"{name} is one of the {q} and not {adj}", f"{Q}n and not A(n)", f"{name} is not one of the {q}, or is {adj}"),
            (f"every {adj} thing among the {p} is one of the {q}", f"for all x: ({P}x and A(x)) -> {Q}x", f"some {adj} member of the {p} is not one of the {q}"), (f"not all {q} are {adj}", f"not for all x: {Q}x -> A(x)", f"all {q} are {adj}")]
    lines = [say(rng, "[\"{t}\" is written {f}|{f} says that {t}|the sentence \"{t}\" goes over into {f}][; its denial is: {d}|. Deny it, and you get: {d}]", t=t, f=f, d=d) for t, f, d in some(rng, rows, rng.randint(3, 4))]
    return say(rng, "[Let {S}x mean|Write {S}x for|We use {S}x to say|{S}x stands for] \"x is one of the {s}\", {P}x [likewise |]for the {p} and {Q}x for the {q}; A(x) [means|says] that x is {adj}[, and n names {name}]. ", S=S, P=P, Q=Q, s=s, p=p, q=q, adj=adj, name=name) + " " + ". ".join(capital(x) for x in lines) + "."


def clauses(rng):
    """A resolution refutation over a few letters, found by search."""
    while True:
        letters = some(rng, "abcdefghk", 3)
        start = []
        while len(start) < 5:
            size = rng.choice([1, 2, 2, 3])
            c = frozenset((k, rng.random() < 0.5) for k in some(rng, letters, size))
            if c not in start:
                start.append(c)
        known, origin = list(start), {}
        found = False
        for _ in range(40):
            new = None
            for x, y in itertools.combinations(known, 2):
                for k, v in sorted(x):
                    if (k, not v) in y:
                        r = (x - {(k, v)}) | (y - {(k, not v)})
                        if not any((l, not w) in r for l, w in r) and r not in known and (new is None or len(r) < len(new[0])):
                            new = (r, x, y, k)
            if not new:
                break
            known.append(new[0])
            origin[new[0]] = new[1:]
            if not new[0]:
                found = True
                break
        if found:
            break
    used, todo = [], [frozenset()]
    while todo:
        c = todo.pop()
        if c not in used:
            used.append(c)
            if c in origin:
                todo += origin[c][:2]
    order = [c for c in known if c in used]
    num = {c: i + 1 for i, c in enumerate(order)}
    fmt = lambda c: " or ".join(("" if v else "not ") + k for k, v in sorted(c)) or "the empty clause"
    steps = [f"({num[c]}) {fmt(c)}" + ("" if c in start else say(rng, ", [from {i} and {j}|out of {i}, {j}|{i} with {j}][, cutting {k}|, resolving on {k}]", i=num[origin[c][0]], j=num[origin[c][1]], k=origin[c][2])) for c in order]
    return say(rng, "[Show by resolution that the clauses {cl} [are inconsistent|cannot all hold|clash]|Refute the clauses {cl}|Derive the empty clause from {cl}]. [Number|List] the clauses [needed|used]: {s}. [{Hence} no assignment of {l} satisfies them all|With the empty clause the refutation is complete][; indeed all {n} rows fail|].", cl=listing([f"\"{fmt(c)}\"" for c in start]), s="; ".join(steps), l=", ".join(sorted(letters)), n=2 ** len(letters))


FALLACIES = [
    ("affirming the consequent", "[from|because of] \"if {a}, then {b}\" and \"{b}\" [he|someone] [infers|concludes] that {a}", "[other causes may bring it about|the second may be so for a different reason]: it could be that {c}"),
    ("denying the antecedent", "\"if {a}, then {b}; {na}; so {nb}\"", "[nothing was said of other cases|the conditional is silent here]: perhaps {c}, and that is enough"),
    ("a false dilemma", "\"either {a} or {b}; {na}; so {b}\" [is offered|is put forward]", "[the list|that choice] is not complete, for [a third case is open|it may also be]: {c}"),
    ("begging the question", "[asked|pressed] why {a}, the [speaker|advocate] [answers|replies] that {b}, and that {b} because {a}", "[the support runs in a circle|each leans on the other], and neither stands on its own; {c} would be independent evidence"),
    ("post hoc reasoning", "{a}, and [soon|a day] afterwards {b}; [so|hence] the first [caused|brought about] the second", "[order in time is not a cause|what comes after need not come from]; it may be that {c} and that this explains both"),
    ("composition", "[each part of|every piece in] {s} is {adj}, so the whole [of it ]is {adj}", "[what holds of parts|a property of the members] need not [pass to|hold of] the whole"),
    ("hasty generalization", "[two|three|four] {t} were {adj}, so all {t} are", "[so small a sample|a handful of cases] [proves little|carries hardly any weight] about the many others"),
    ("the appeal to ignorance", "nobody has [shown|proved] that {na}; so {a}", "[lack of proof|an open question] is not evidence[ either way]; we might [simply ]not have looked, [or|and] {c}"),
    ("equivocation on quantifiers", "each of the {t} admires someone; so there is one whom all the {t} admire", "[the order of the quantifiers matters|each may admire a different one]; \"for every x some y\" is weaker than \"one y for every x\""),
]


def fallacy(rng):
    name, pattern, remedy = pick(rng, FALLACIES)
    a, b, c = (base.atom_text(rng) for _ in range(3))
    slots = dict(a=a, b=b, c=c, na=base.negated(a), nb=base.negated(b), s=pick(rng, SUBJECTS), adj=pick(rng, ADJECTIVES), t=pick(rng, TERMS))
    return say(rng, "[{Name} argues|In a letter we read|Overheard|A pamphlet says|At the debate {name} [urged|said]|The advocate reasons]: {p}. [This|The step] is {f}. [Why does it fail?|The trouble is this.|What is wrong?|] {r}. [A repaired version|To mend it one] [would add|needs] a premise: {extra}.", p=say(rng, pattern, **slots), f=name,
               r=capital(say(rng, remedy, **slots)), extra=say(rng, "[nothing but {x} ever explains {y}|that {b} only if {a}|a survey of all the cases]", x="the one", y="the other", a=a, b=b) if "{a}" in pattern else "how the cases were chosen")


def conditions(rng):
    n, m = rng.randint(2, 12), rng.randint(2, 9)
    k, mult = n * m, rng.randint(2, 9)
    facts = [(f"x is divisible by {k}", f"x is divisible by {n}", True, k == n), (f"x > {k + mult}", f"x > {k}", True, False), (f"x^2 = {n * n}", f"x = {n}", False, True), (f"x + {m} = {k}", f"x = {k - m}", True, True), (f"x is a multiple of {n} and of {m}", f"x is a multiple of {k}", math.gcd(n, m) == 1, True),
             (f"x < {n}", f"x < {n + mult}", True, False), (f"x ends in {pick(rng, '02468')}", "x is even", True, False), (f"{n}x = {n * mult}", f"x = {mult}", True, True), (f"x*y = 0", "x = 0", False, True), (f"x leaves {n - 1} on division by {n}", f"x + 1 is a multiple of {n}", True, True)]
    rows = []
    for p, q, suf, nec in some(rng, facts, rng.randint(3, 5)):
        kind = "necessary and sufficient" if suf and nec else "sufficient but not necessary" if suf else "necessary but not sufficient" if nec else "neither necessary nor sufficient"
        rows.append(say(rng, "[\"{p}\" is {k} for \"{q}\"|for \"{q}\" the condition \"{p}\" is {k}|{k}: \"{p}\", in regard to \"{q}\"]", p=p, q=q, k=kind))
    a, b = base.atom_text(rng), base.atom_text(rng)
    return say(rng, "[With whole numbers x and y|Let x and y be integers|For integers x, y]: {r}. [Outside mathematics|In daily speech|Likewise], \"{a} only if {b}\" makes the second [part|clause] necessary[ for the first], [so that|whence], if {nb}, {na}; \"{a} if {b}\" [makes it sufficient|is the converse].", r="; ".join(rows), a=a, b=b, nb=base.negated(b), na=base.negated(a))


def circuit(rng):
    ins = some(rng, "abcdwxyz", 3)
    gates, names = [], []
    pool = list(ins)
    for k in range(rng.randint(3, 5)):
        op = pick(rng, ["AND", "OR", "XOR", "NAND", "NOR", "NOT"])
        args = some(rng, pool, 1 if op == "NOT" else 2)
        name = f"g{k + 1}"
        gates.append((name, op, args))
        pool.append(name)
    fn = {"AND": lambda a, b: a & b, "OR": lambda a, b: a | b, "XOR": lambda a, b: a ^ b, "NAND": lambda a, b: 1 - (a & b), "NOR": lambda a, b: 1 - (a | b), "NOT": lambda a: 1 - a}

    def run(bits):
        v = dict(zip(ins, bits))
        for name, op, args in gates:
            v[name] = fn[op](*(v[x] for x in args))
        return v
    last = gates[-1][0]
    table = ["".join(map(str, bits)) + "->" + str(run(bits)[last]) for bits in itertools.product([0, 1], repeat=3)]
    ones = sum(t[-1] == "1" for t in table)
    bits = [rng.randint(0, 1) for _ in ins]
    v = run(bits)
    trace = [say(rng, "[{n} = {x}|{n} [gives|puts out|shows] {x}|at {n} we read {x}]", n=n, x=v[n]) for n, _, _ in gates]
    return say(rng, "A [switching |logic |]circuit has inputs {i}: {g}. [Feed in|Apply|With] {b}: {t}. [Over all inputs {i}, the output|For every input the last gate] reads {table}, [high|1] in {o} of 8 cases[, so it is constant].".replace("[, so it is constant]", ", so it is constant" if ones in (0, 8) else ""), i=", ".join(ins), g="; ".join(say(rng, "[{n} is {op} of {a}|{n} = {op}({c})|{n} takes {a} through {op}]", n=n, op=op, a=listing(args), c=", ".join(args)) for n, op, args in gates),
               b=", ".join(f"{k} = {x}" for k, x in zip(ins, bits)), t=", ".join(trace), table=", ".join(table), o=ones)


MORE = [(knights, 2), (ordering, 4), (sets, 5), (relation, 1), (translation, 6), (predicate, 2), (clauses, 1), (fallacy, 3), (conditions, 1), (circuit, 1)]
LONG = []
