"""Mathematics: worked arithmetic, algebra, number theory, geometry, chance, proofs."""
from __future__ import annotations

import math
import random
import re
from fractions import Fraction
from typing import Iterator

from grammar import count, expand, in_words, listing, mixed, number, pick, some, tidy, weighted
from mathematics_words import RULES, THINGS, WORDS
import mathematics_more as more
from scenes import REWORD, aside, scene
from mathematics_more import poly, signed, frac


def say(rng: random.Random, template: str, **slots) -> str:
    return tidy(expand(rng, RULES, template, **slots))


def nonzero(rng: random.Random, low: int, high: int) -> int:
    return pick(rng, [n for n in range(low, high + 1) if n])


def multiplication(rng):
    a, b = rng.randint(103, 9899), rng.randint(23, 989)
    rows, total, shift = [], 0, 1
    for digit in reversed(str(b)):
        part = a * int(digit) * shift
        if int(digit):
            rows.append(say(rng, "[{a} times {d} {is} {p}|{a} x {d} = {p}|the row for {d} {reads} {p}|"
                            "{d} lots of {a} {make} {p}]", a=a, d=int(digit) * shift, p=number(part)))
            total += part
        shift *= 10
    near_a, near_b = round(a, -len(str(a)) + 1), round(b, -len(str(b)) + 1)
    return say(rng, "[{Find}|{Name} wants|{Task}:] the product {a} x {b}. [{Split} the [second factor|multiplier] "
               "by [place value|its digits]|Work one digit [of {b} ]at a time|The digits of {b} give {n} "
               "[partial products|rows]]: {rows}. [{Adding} [these|the rows|the parts]|The sum of the [rows|parts]] "
               "[gives|is|comes to] {t}. [{Check}: {na} x {nb} = {est}, [which is [near|close to] {t}|the right size|"
               "of the same order].|Casting out nines: the [digit roots|remainders mod 9] of the factors are {ra} and {rb}, "
               "their product leaves {rr}, and {t} leaves {rr} [as well|too].] {Hence} {a} x {b} = {t}.",
               a=a, b=b, n=in_words(len(rows)), rows="; ".join(rows), t=number(total), na=number(near_a),
               nb=near_b, est=number(near_a * near_b), ra=a % 9, rb=b % 9, rr=a * b % 9)


def division(rng):
    d, n = rng.randint(6, 97), rng.randint(1200, 98000)
    rest, steps, quotient = 0, [], ""
    for digit in str(n):
        old = rest * 10 + int(digit)
        q, rest = divmod(old, d)
        quotient += str(q)
        if q:
            steps.append(say(rng, "[{d} goes into {o} {q} times, [leaving|with remainder] {r}|{o} = {d} x {q} + {r}|"
                             "from {o} take {p}, {which} leaves {r}|{o} less {p} is {r}, so write {q}]",
                             d=d, o=old, q=q, p=q * d, r=rest))
        elif quotient.strip("0"):
            steps.append(say(rng, "[{o} is [less than|below] {d}, so write 0|{d} does not fit into {o}; put down a zero]",
                             o=old, d=d))
    q = n // d
    return say(rng, "[{Task}:|{Find}] {n} divided by {d}[, by long division]. {Bring}: {steps}. "
               "The quotient is {q} and [the remainder [is]|what remains is] {r}. {Check}: {d} x {q} = {p}, and "
               "{p} + {r} = {n}. [As a [decimal|fraction], the [value|ratio] is about {dec}.|{Hence} {n} {even} "
               "by {d}.]", n=n, d=d, steps="; ".join(steps), q=q, r=rest, p=d * q, dec=f"{n / d:.4f}",
               even="is divisible" if rest == 0 else "is not divisible")


def column_sum(rng):
    size = rng.randint(3, 6)
    numbers = [rng.randint(10 ** (size - 1), 10 ** size - 1) for _ in range(rng.randint(2, 4))]
    carry, rows, places = 0, [], ["units", "tens", "hundreds", "thousands", "ten thousands", "hundred thousands"]
    for k in range(size):
        digits = [n // 10 ** k % 10 for n in numbers]
        total = sum(digits) + carry
        extra = f" + {carry}" if carry else ""
        rows.append(say(rng, "[in the {pl}|{pl}:|the {pl} [give|column gives]] {s} = {t}, [write|put|set down] {u}{c}",
                        pl=places[k], s=" + ".join(map(str, digits)) + extra, t=total, u=total % 10,
                        c=f" {pick(rng, ['and carry', 'carrying', 'carry'])} {total // 10}" if total > 9 else ""))
        carry = total // 10
    return say(rng, "[{Adding}|To add|{Task}:] {ns}[, column by column]. {Rows}. [So|{Hence}] the [sum|total] is {t}[, "
               "or {w} in words]. [{Check}: the largest [of them|term] is {m}, and the others [add|make up] {o}, "
               "since {t} - {m} = {o}.|The {mean} of these {n} numbers is {avg}.]", ns=listing([number(n) for n in numbers]),
               rows="; ".join(rows), t=number(sum(numbers)), w=in_words(sum(numbers)) if sum(numbers) < 10 ** 6 else "over a million",
               m=number(max(numbers)), o=number(sum(numbers) - max(numbers)), n=len(numbers),
               mean="mean", avg=frac(Fraction(sum(numbers), len(numbers))))


def fractions(rng):
    a, b = (Fraction(rng.randint(1, 29), rng.randint(3, 36)) for _ in range(2))
    kind = rng.randrange(4)
    if kind < 2:
        common = math.lcm(a.denominator, b.denominator)
        p, q = a.numerator * (common // a.denominator), b.numerator * (common // b.denominator)
        sign = "+-"[kind]
        result = a + b if kind == 0 else a - b
        raw = p + q if kind == 0 else p - q
        work = say(rng, "The [least|smallest] common denominator of {da} and {db} is {c}. [Written|Put] over {c}, [the fractions|they] "
                   "[become|are] {p}/{c} and {q}/{c}. {Hence} the [numerator|top] is {p} {s} {q} = {raw}, [and we have|giving] "
                   "{raw}/{c}", da=a.denominator, db=b.denominator, c=common, p=p, q=q, s=sign, raw=raw)
        simpler = abs(raw) != abs(result.numerator)
    elif kind == 2:
        sign, result = "x", a * b
        top, bottom = a.numerator * b.numerator, a.denominator * b.denominator
        work = say(rng, "[Multiply|Take] the tops, {na} x {nb} = {t}, and [then ]the bottoms, {da} x {db} = {u}; [this gives|we get] "
                   "{t}/{u}", na=a.numerator, nb=b.numerator, t=top, da=a.denominator, db=b.denominator, u=bottom)
        simpler = top != result.numerator
    else:
        sign, result = "/", a / b
        top, bottom = a.numerator * b.denominator, a.denominator * b.numerator
        work = say(rng, "To divide by {b}, multiply by its [reciprocal|inverse], {inv}: [that is|so we have] {t}/{u}",
                   b=frac(b), inv=frac(1 / b), t=top, u=bottom)
        simpler = top != result.numerator
    return say(rng, "{Task}: {a} {s} {b}. {w}{red} {Hence} {a} {s} {b} = {r}, [about|roughly|or nearly] {dec}. {Check} "
               "[in|with] decimals: {x} {s} {y} [is about|comes to] {dec}.", a=frac(a), b=frac(b), s=sign, w=work, r=frac(result),
               red=say(rng, "[, which [reduces|simplifies] to|; cancelling leaves|, or in lowest terms] {r}.", r=frac(result)) if simpler
               else say(rng, "[, already in lowest terms.|; nothing cancels.|, and that is as simple as it gets.]"),
               dec=f"{float(result):.4f}", x=f"{float(a):.4f}", y=f"{float(b):.4f}")


def linear(rng):
    x, v = rng.randint(-25, 40), pick(rng, "xyztnkwmp")
    a, c = rng.sample([n for n in range(-12, 20) if n], 2)
    b = rng.randint(-60, 60)
    d = (a - c) * x + b
    left, right = poly([b, a], v), poly([d, c], v)
    return say(rng, "[{Solve}|{Task}: solve] {l} = {r}[ for {v}]. [{Collect} the {v} terms on the left[ side]|Bring {cv} over|"
               "Subtract {cv} from [both|each] side[s]]: {m} = {d}. [Then|Next] [move the constant|take {b} away on both sides|"
               "collect the numbers]: {k} = {e}. [Dividing|Divide] by {ac}[, we [get|find]|;] {v} = {x}. {Check}: the left side is "
               "{a}*({x}) {sb} = {val}, [and|while] the right side is {c}*({x}) {sd} = {val}. {Agree}", l=left, r=right, v=v,
               cv=poly([0, c], v) if c > 0 else f"({poly([0, c], v)})", m=poly([b, a - c], v), d=d, b=b if b >= 0 else f"({b})",
               k=poly([0, a - c], v), e=d - b, ac=a - c, x=x, a=a, sb=signed(b), val=a * x + b, c=c, sd=signed(d))


def system(rng):
    x, y = rng.randint(-12, 15), rng.randint(-12, 15)
    while True:
        a, b, c, d = (nonzero(rng, -9, 9) for _ in range(4))
        det = a * d - b * c
        if det:
            break
    e, f = a * x + b * y, c * x + d * y
    line = lambda p, q, r: f"{more.terms([(p, 'x'), (q, 'y')])} = {r}"
    return say(rng, "{Solve} the [system|pair of equations|simultaneous equations] {one} and {two}. [To {remove} y, multiply|{Multiply}] "
               "the first by {d} and the second by {b}: {m1}, {m2}. {Subtracting} [the second from the first|one from the other], "
               "{det}x = {rhs}, so x = {x}. [Put|Substitute] this [back ]into the first[ equation]: {a}*({x}) {sb}y = {e}, {hence} "
               "{by} = {rest} and y = {y}. {Check} in the [second|other]: {c}*({x}) {sd}*({y}) = {f}. {Agree} [The determinant "
               "{a}*({d}) - ({b})*({c}) = {det} is not zero, so [no other pair works|the solution is unique|the lines meet once].]",
               one=line(a, b, e), two=line(c, d, f), d=d, b=b, m1=line(a * d, b * d, e * d), m2=line(c * b, d * b, f * b), det=det,
               rhs=e * d - f * b, x=x, a=a, sb=signed(b), e=e, by=poly([0, b], "y"), rest=e - a * x, y=y, c=c, sd=signed(d), f=f)


def quadratic(rng):
    if rng.random() < 0.55:
        p, q = nonzero(rng, -14, 14), nonzero(rng, -14, 14)
        b, c = -(p + q), p * q
        roots = say(rng, "[the roots are|x is either|the solutions are] {p} [and|or] {q}" if p != q else "{p} is a double root",
                    p=max(p, q), q=min(p, q))
        body = say(rng, "[{Look} for two numbers with|We want numbers with] product {c} and sum {b}: [they are|take] {m} and {n}. "
                   "[So|{Hence}] the [left side|polynomial|expression] [factors|splits] as {f}, and {roots}. "
                   "{Check} x = {p}: {pp} {sb}*({p}) {sc} = 0.", c=c, b=b, m=-p, n=-q, f=more.factor(p) + more.factor(q), roots=roots,
                   p=p, pp=p * p, sb=signed(b), sc=signed(c))
        lead = 1
    else:
        lead, b, c = nonzero(rng, 1, 6), rng.randint(-15, 15), rng.randint(-20, 20)
        disc = b * b - 4 * lead * c
        body = say(rng, "[The discriminant is|Here the discriminant, b^2 - 4ac, {is}] {bb} - 4*{a}*({c}) = {d}. ", bb=b * b, a=lead, c=c, d=disc)
        if disc < 0:
            body += say(rng, "[It|This] is negative, [so|{hence}] [there are no real roots|the curve [never meets|stays clear of] the x axis]; "
                        "the complex roots are ({mb} +/- i sqrt({d}))/{aa}[, a conjugate pair].", mb=-b, d=-disc, aa=2 * lead)
        elif math.isqrt(disc) ** 2 == disc:
            r = math.isqrt(disc)
            body += say(rng, "Its square root is {r}, [so|{hence}] x = ({mb} + {r})/{aa} = {u} [or|and] x = ({mb} - {r})/{aa} = {w}.",
                        r=r, mb=-b, aa=2 * lead, u=frac(Fraction(-b + r, 2 * lead)), w=frac(Fraction(-b - r, 2 * lead)))
        else:
            r = math.sqrt(disc)
            body += say(rng, "[That|This] is not a perfect square, so the roots are irrational: ({mb} +/- sqrt({d}))/{aa}, [about|or roughly] "
                        "{u} and {w}. [Their sum is {s}, as {it} should be.]", mb=-b, d=disc, aa=2 * lead, u=f"{(-b + r) / 2 / lead:.3f}",
                        w=f"{(-b - r) / 2 / lead:.3f}", s=frac(Fraction(-b, lead)), it="-b/a")
    h = Fraction(-b, 2 * lead)
    return say(rng, "{Solve} {p} = 0. {body} [{Square}: {p} = {sq}, so the [vertex|turning point|lowest point] [of the parabola ]is "
               "at ({h}, {k}).|The [axis of symmetry|parabola's axis] is x = {h}, and the [least|smallest] value, [there|taken there], is {k}.]",
               p=poly([c, b, lead]), body=body, h=frac(h), k=frac(c - lead * h * h),
               sq=f"{'' if lead == 1 else lead}(x {signed(-h)})^2 {signed(c - lead * h * h)}")


def prime_test(rng):
    n = rng.randrange(201, 4999, 2)
    root, tries = math.isqrt(n), []
    found = next((p for p in range(2, root + 1) if n % p == 0), None)
    for p in [p for p in range(3, root + 1) if more.is_prime(p)]:
        if found and p > found:
            break
        tries.append(say(rng, "[{p} x {q} = {m}, [remainder|leaving] {r}|{p}: {m} + {r}|{n} mod {p} = {r}|{p} leaves {r}]", p=p, q=n // p,
                         m=n // p * p, r=n % p, n=n))
    tail = say(rng, "[Since|Because] none [of these ]divides it, {n} is prime." if not found else
               "So {n} = {p} x {q}, [which settles the matter|and it is composite|not a prime]. [In full,|The complete factorization is] {f}.",
               n=n, p=found, q=n // (found or 1), f=more.factorization(n))
    later = next(m for m in range(n + 1, n + 200) if more.is_prime(m))
    return say(rng, "Is {n} [prime|a prime number]? [Its square root [lies|is] between {r} and {s}|{r}^2 = {rr} and {s}^2 = {ss}], so [only|it is enough "
               "to try] [primes|prime divisors] up to {r}[ matter]. [It is odd. |{n} is odd, so skip 2. ]{Tries}. {tail} [The next prime [after it|above {n}] "
               "is {later}.]", n=n, r=root, s=root + 1, rr=root ** 2, ss=(root + 1) ** 2, tries="; ".join(tries), tail=tail, later=later)


def euclid(rng):
    g = rng.randint(1, 40)
    a, b = g * rng.randint(15, 240), g * rng.randint(7, 150)
    a, b = max(a, b), min(a, b)
    x, y, steps, rows = a, b, [], [(1, 0), (0, 1)]
    while y:
        q, r = divmod(x, y)
        steps.append(f"{x} = {q}*{y} + {r}")
        rows.append((rows[-2][0] - q * rows[-1][0], rows[-2][1] - q * rows[-1][1]))
        x, y = y, r
    s, t = rows[-2]
    return say(rng, "[{Find}|{Task}: compute] [gcd({a}, {b})|the greatest common divisor of {a} and {b}|the largest number dividing both {a} and {b}]. "
               "[Euclid's algorithm|Repeated division|The division algorithm] [gives|runs]: {steps}. [The last non-zero remainder is {g}|{Since} the "
               "remainder is now 0, we stop at {g}], so the gcd is {g}. [Working back|Reading the steps backwards|By back substitution], "
               "{g} = ({s})*{a} + ({t})*{b}; {check}: {sa} {tb} = {g}. [The least common multiple is {a}*{b}/{g} = {l}.|{Dividing} by it, "
               "{a}/{b} [reduces to|in lowest terms is] {f}.]", a=a, b=b, steps="; ".join(steps), g=x, s=s, t=t, sa=s * a, tb=signed(t * b),
               l=number(math.lcm(a, b)), f=frac(Fraction(a, b)))


def urn(rng):
    things, colours = pick(rng, THINGS["small"]), some(rng, THINGS["colours"], rng.randint(2, 3))
    counts = [rng.randint(2, 14) for _ in colours]
    n, draws = sum(counts), rng.randint(2, 3)
    if counts[0] < draws:
        counts[0] += draws
        n += draws
    good, ways = math.comb(counts[0], draws), math.comb(n, draws)
    none = math.comb(n - counts[0], draws)
    return say(rng, "[{A} {bag} [holds|contains]|In {a} {bag} there are|{Name} [fills|has] a {bag} with] {list} {things}. [{Name} [takes|draws]|We draw|"
               "Someone [pulls out|picks]] {k} [at random|blindly|without looking][ and without replacement]. [How [likely|probable] is it that|"
               "What is the [chance|probability] that] all are {c}? [There are|Altogether there are] C({n}, {k}) = {ways} [equally likely ][selections|draws|hands], "
               "and C({m}, {k}) = {good} [of them ][are all {c}|use only {c} {things}]. The [probability|chance] is {good}/{ways} = {p}, "
               "[about|roughly] {dec}. [The chance of no {c} [one|{things}] at all|That none is {c}] [has probability|is] {none}/{ways} = {q}, so [at "
               "least one is {c}|one or more {c} ones appear] with probability {r}.", a=pick(rng, ["a"]), bag=pick(rng, THINGS["bags"]),
               list=listing([f"{k} {c}" for k, c in zip(counts, colours)]), things=things, k=draws, c=colours[0], n=n, m=counts[0],
               ways=ways, good=good, p=frac(Fraction(good, ways)), dec=f"{good / ways:.4f}", none=none, q=frac(Fraction(none, ways)),
               r=frac(1 - Fraction(none, ways)))


def arrangement(rng):
    word = pick(rng, WORDS)
    letters = {c: word.count(c) for c in sorted(set(word))}
    many = [f"{c.upper()} {in_words(k)} times" if k > 2 else f"{c.upper()} twice" for c, k in letters.items() if k > 1]
    total = math.factorial(len(word))
    for k in letters.values():
        total //= math.factorial(k)
    bottom = "*".join(f"{k}!" for k in letters.values() if k > 1)
    first = word[0]
    starts = total * letters[first] // len(word)
    rep = say(rng, "[It contains|There we see|The word has] {m}. [Swapping|Exchanging] equal letters [changes nothing|gives the same word], so "
              "[divide|we divide] {n}! = {f} by {b}: the [answer|count] is {t}.", m=listing(many), n=len(word), b=bottom, f=number(math.factorial(len(word))),
              t=number(total)) if many else say(rng, "All {n} letters [differ|are distinct], so [there are|the number is] {n}! = {t}[ orders].",
                                                n=in_words(len(word)), t=number(total))
    k = rng.randint(2, 4)
    distinct = len(letters)
    return say(rng, "In how many [ways|orders] can the letters of {w} be [arranged|written in a row|shuffled]? {rep} [Of these, {s} [begin|start] with "
               "{c}[, because {l} of the {n} places in turn are equally likely to hold it].|Arrangements [beginning|that begin] with {c} number {s}.] "
               "[{Choosing} {k} of its {d} different letters, [regardless of order|as a set], [can be done|is possible] in C({d}, {k}) = {ch} ways; in order, there are {pm}.]",
               w=word.upper(), rep=rep, s=number(starts), c=first.upper(), l=letters[first], n=len(word), k=k, d=distinct, ch=math.comb(distinct, k),
               pm=math.perm(distinct, k))


def committee(rng):
    a, b = rng.randint(4, 13), rng.randint(4, 13)
    one, two = some(rng, THINGS["people"], 2)
    k = rng.randint(3, 5)
    total, rows = math.comb(a + b, k), []
    for i in range(k + 1):
        ways = math.comb(a, i) * math.comb(b, k - i)
        rows.append(say(rng, "[with {i} {one}|{i} {one} and {j} {two}|for i = {i}]: {x}*{y} = {w}", i=i, j=k - i, one=one, two=two,
                        x=math.comb(a, i), y=math.comb(b, k - i), w=ways))
    least = rng.randint(1, 2)
    good = sum(math.comb(a, i) * math.comb(b, k - i) for i in range(least, k + 1))
    return say(rng, "[From|Out of] {a} {one} and {b} {two} a [committee|team|panel|jury|delegation|working group] of {k} is [chosen|formed|picked|to be elected]. "
               "[In all|Without [restriction|any rule]] [there are|we have] C({n}, {k}) = {t} [possibilities|choices]. {Sort} by the number of {one}: {rows}. "
               "[These|The lines] add [up ]to {t}, {asit}. {Hence} [at least {l}|{l} or more] {one} [serve|are included] in {g} cases, a [share|fraction] of {p}. "
               "[If {name} [must|has to] be on it, C({m}, {j}) = {inc} choices [remain|are left].]", a=a, b=b, one=one, two=two, k=k, n=a + b, t=number(total),
               rows="; ".join(rows), l=least, g=number(good), p=frac(Fraction(good, total)), m=a + b - 1, j=k - 1, inc=number(math.comb(a + b - 1, k - 1)))


def statistics(rng):
    size = rng.randint(5, 9)
    what, unit = pick(rng, THINGS["measured"])
    base = rng.randint(8, 90)
    data = [base + rng.randint(-7, 16) for _ in range(size)]
    order, total = sorted(data), sum(data)
    mean = Fraction(total, size)
    median = Fraction(order[size // 2] + order[(size - 1) // 2], 2)
    squares = sum((x - mean) ** 2 for x in data)
    modes = [x for x in sorted(set(data)) if data.count(x) == max(map(data.count, data))]
    mode = say(rng, "the mode is {m}", m=modes[0]) if len(modes) == 1 else pick(rng, ["there is no single mode", "no value stands out as the mode"])
    out = base + rng.randint(40, 90)
    return say(rng, "{Name} [recorded|wrote down|measured] the {what} [on {n} [days|occasions]|{n} times|in {n} cases]: {data}{unit}. [The sum is|They add up to|"
               "Together they make] {t}, so the mean is {t}/{n} = {mean}{dec}. In [increasing ]order: {order}; [the median|the middle value] is {med}, the range "
               "{hi} - {lo} = {rg}, and {mode}. The [squared deviations|squares of the distances] from the mean add up to {sq}; [dividing by {n}, |]the variance is "
               "{var} and the standard deviation [about|roughly] {sd}. [A further [reading|value] of {o} would [lift|raise|pull] the mean to {nm}, but the median "
               "only to {nmed}.]", what=what, n=size, data=listing([str(x) for x in data]), unit=f" {unit}" if unit else "", t=total, mean=frac(mean),
               dec="" if mean.denominator == 1 else f", about {float(mean):.2f}", order=", ".join(map(str, order)), med=frac(median), hi=order[-1],
               lo=order[0], rg=order[-1] - order[0], mode=mode, sq=frac(squares), var=f"{float(squares / size):.3f}", sd=f"{math.sqrt(squares / size):.3f}",
               o=out, nm=f"{(total + out) / (size + 1):.2f}", nmed=frac(Fraction(sorted(data + [out])[(size + 1) // 2] + sorted(data + [out])[size // 2], 2)))


def dressed(rng, maker) -> str:
    """An exercise, perhaps with a setting before it and a remark after it."""
    text = REWORD["mathematics"](rng, maker(rng))
    if rng.random() < 0.75:
        text = scene(rng, "mathematics", RULES["name"]) + " " + text
    if rng.random() < 0.5:
        figures = re.findall(r"(?<![\w^.-])\d[\d,.]*(?:/\d+)?(?![\w^*])", text)
        text += " " + aside(rng, "mathematics", RULES["name"], pick(rng, figures[-4:] or ["the answer"]).rstrip(".,"))
    return text


def joined(rng):
    """A sheet of two or three short exercises."""
    parts = [dressed(rng, weighted(rng, SHORT)) for _ in range(rng.randint(1, 3))]
    if len(parts) == 1:
        return parts[0]
    mark = pick(rng, ["({}) ", "{}. ", "Problem {}. ", "Exercise {}. ", "Question {}. ", "Part {}. "])
    first = rng.randint(1, 40)
    return "\n".join(mark.format(first + i) + part for i, part in enumerate(parts))


def proof(rng):
    return dressed(rng, pick(rng, more.LONG))


SHORT = [(m, 3) for m in (multiplication, division, column_sum, fractions, linear, quadratic, prime_test, euclid, committee)]
SHORT += [(m, 2) for m in (system, urn, statistics)] + [(arrangement, 1)]
SHORT += [(m, 1 if m.__name__ in ("dice", "percent", "complex_numbers") else 2) for m in more.SHORT]


def documents(rng: random.Random) -> Iterator[str]:
    return mixed(rng, "mathematics", [(joined, 10), (proof, 1)], every=4)
