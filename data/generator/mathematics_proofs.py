"""Mathematics, third part: word problems and proofs."""
from __future__ import annotations

import math
from fractions import Fraction

from grammar import capital, expand, listing, number, pick, some, tidy
from mathematics_words import NAMES, RULES, THINGS


def say(rng, template: str, **slots) -> str:
    return tidy(expand(rng, RULES, template, **slots))


def helpers():
    import mathematics_more
    return mathematics_more


def shopping(rng):
    goods = some(rng, THINGS["goods"], 3)
    counts = [rng.randint(2, 24) for _ in goods]
    cents = [rng.randint(15, 980) for _ in goods]
    parts = [n * c for n, c in zip(counts, cents)]
    total = sum(parts)
    note = -(-total // 2000) * 2000 if total % 2000 else total + 2000
    money = lambda c: f"${c / 100:.2f}"
    rows = [say(rng, "[the {g} cost|for the {g}:|{g}:] {n} x {c} = {p}", g=g, n=n, c=money(c), p=money(p)) for g, n, c, p in zip(goods, counts, cents, parts)]
    off = rng.choice([5, 10, 15, 20, 25])
    return say(rng, "{name} [buys|orders|picks up|pays for] {list} at {prices} [each|apiece][ respectively]. [How much is that|What is the bill|What does it all cost]? {Rows}. [Together|In all|The sum is] {t}. "
               "[From {note}, the change is {ch}.|{A} discount of {o} percent [takes off|saves] {s}, leaving {l}.|The average price per [piece|item] is {t} / {n} = {avg}.]",
               list=listing([f"{n} {g}" for n, g in zip(counts, goods)]), prices=listing([money(c) for c in cents]), rows="; ".join(rows), t=money(total), note=money(note), ch=money(note - total),
               o=off, s=money(round(total * off / 100)), l=money(total - round(total * off / 100)), n=sum(counts), avg=money(round(total / sum(counts))))


def journey(rng):
    v, w = some(rng, range(9, 95), 2)
    one, two = some(rng, THINGS["vehicles"], 2)
    a, b = some(rng, THINGS["places"], 2)
    if rng.random() < 0.5:
        d = rng.randint(30, 480)
        t = Fraction(d, v + w)
        return say(rng, "{A} and {B} are {d} km apart. A {one} leaves {A} at {v} km/h [just as|while] a {two} [sets out|starts] from {B} at {w} km/h[, coming the other way]. [When do they meet|After how long do they pass]? "
                   "[The gap closes|They approach] at {v} + {w} = {s} km/h, so after {d}/{s} = {t} hours, {about} {min} minutes. [By then|In that time] the {one} has [gone|covered] {v}*{t} = {x} km and the {two} {y} km; {check}: "
                   "{x} + {y} = {d}.", A=a, B=b, d=d, one=one, two=two, v=v, w=w, s=v + w, t=frac(t), min=f"{float(t) * 60:.1f}", x=frac(v * t), y=frac(w * t))
    v, w = min(v, w), max(v, w)
    lead = rng.randint(1, 5)
    t = Fraction(v * lead, w - v)
    return say(rng, "A {one} [leaves|sets off from] {A} at {v} km/h. [{L} later|After {L}], a {two} follows [along the same road |]at {w} km/h. [The lead is|Ahead by then:] {v}*{n} = {g} km, and [it shrinks|the gap shrinks] by "
               "{w} - {v} = {s} km [each|every] hour. [So the {two} catches up|They are level] after {g}/{s} = {t} hours, {x} km from {A}. [{Check}: {v}*({n} + {t}) = {x}.]", one=one, two=two, A=a, v=v, w=w,
               L=f"{lead} hour{'s' if lead > 1 else ''}", n=lead, g=v * lead, s=w - v, t=frac(t), x=frac(w * t))


def together(rng):
    p, q = some(rng, range(2, 31), 2)
    a, b = some(rng, NAMES, 2)
    job = pick(rng, ["paint a fence", "dig a ditch", "mow a meadow", "type a report", "fill a cistern", "sort the post", "plaster a wall", "pick an orchard", "clean the hall", "stack the logs", "lay a path",
                     "copy the ledger", "wash the coaches", "weed the beds", "bind the books", "polish the silver"])
    t = Fraction(p * q, p + q)
    return say(rng, "{A} can {job} in {p} hours, {B} in {q}. [How long do they need together|Working side by side, how long will it take]? In [one|an] hour {A} does 1/{p} [of it|of the work] and {B} 1/{q}, together {r}. "
               "{Hence} they [need|take] {t} hours, {about} {h} h {m} min. [After {k} [hour|h] of joint work {left} [of the job ]is left.]", A=a, B=b, job=job, p=p, q=q, r=frac(1 / t), t=frac(t), h=int(t),
               m=int((t - int(t)) * 60), k=1, left=frac(1 - 1 / t))


def mixture(rng):
    what = pick(rng, ["salt", "acid", "sugar", "alcohol", "juice", "dye", "vinegar", "bleach", "syrup", "antifreeze"])
    low, high = rng.randint(4, 35), rng.randint(45, 95)
    mid, total = rng.randint(low + 3, high - 3), rng.randint(3, 90)
    x = Fraction(total * (mid - low), high - low)
    return say(rng, "[A chemist|{Name}|A workshop|The kitchen] [needs|wants to make] {t} litres of {m} percent {w} [solution|mix] from [stocks|bottles] of {l} and {h} percent. [Let|Call] x [be ]the litres of the stronger[ one]: "
               "{h}x + {l}({t} - x) = {m}*{t}, so {d}x = {r} and x = {x}, {about} {dx} litres. [The rest|Of the weaker one], {t} - {x} = {y}[ litres], {about} {dy}. {Check}: {h}*{dx} + {l}*{dy} [comes to|is about] {sum} = {m}*{t}.",
               t=total, m=mid, w=what, l=low, h=high, d=high - low, r=total * (mid - low), x=frac(x), dx=f"{float(x):.3f}", y=frac(total - x), dy=f"{float(total - x):.3f}", sum=mid * total)


def interest(rng):
    p, r, n = rng.randint(2, 95) * 100, rng.randint(11, 90) / 10, rng.randint(3, 6)
    rows, x = [], float(p)
    for k in range(1, n + 1):
        x *= 1 + r / 100
        rows.append(say(rng, "[year {k}: {x}|after {k} {x}|{x} [at the end of|in] year {k}]", k=k, x=f"{x:,.2f}"))
    double = math.log(2) / math.log(1 + r / 100)
    return say(rng, "{Name} [puts|invests|deposits|sets aside] {p} at {r} percent [a year|per annum], compounded [yearly|annually]. [Each year|Every year] the [balance|sum|amount] is multiplied by {f}: {rows}. [The gain is|That is a gain of] {g}, "
               "[against|compared with] {s} [under|with] simple interest. [To double|Doubling] [takes|would take] log 2 / log {f}, {about} {d} years.", p=number(p), r=r, f=f"{1 + r / 100:.3f}", rows="; ".join(rows),
               g=f"{x - p:,.2f}", s=f"{p * r * n / 100:,.2f}", d=f"{double:.1f}")


def survey(rng):
    a, b = some(rng, ["tea", "coffee", "chess", "rowing", "Latin", "Greek", "football", "hockey", "jazz", "opera", "cycling", "swimming", "physics", "drawing", "history", "poetry", "baking", "fishing", "tennis", "judo"], 2)
    both = rng.randint(3, 30)
    x, y, none = both + rng.randint(4, 60), both + rng.randint(4, 60), rng.randint(2, 30)
    n = x + y - both + none
    return say(rng, "[Of|Among] {n} {people}, {x} like {a}, {y} like {b}, and {c} like both. [How many like neither|What remains]? [Adding {x} and {y} counts the {c} twice|By inclusion and exclusion], so [at least one|one or the other] "
               "[pleases|appeals to] {x} + {y} - {c} = {u}, [leaving|and] {n} - {u} = {z} [with neither|for neither]. [Only {a}: {xa}; only {b}: {yb}.] [A random one who likes {a} likes {b} with probability {c}/{x} = {p}.|The events "
               "are {ind}, since {x}*{y} = {xy} and {c}*{n} = {cn}.]", n=n, people=pick(rng, THINGS["people"]), x=x, y=y, a=a, b=b, c=both, u=x + y - both, z=none, xa=x - both, yb=y - both, p=frac(Fraction(both, x)),
               ind="independent" if x * y == both * n else "not independent", xy=x * y, cn=both * n)


def ages(rng):
    a, b = some(rng, NAMES, 2)
    young, k, back = rng.randint(5, 30), rng.randint(2, 5), rng.randint(2, 12)
    old = k * young
    later = Fraction(old - 2 * young) if k > 2 else Fraction(0)
    tail = say(rng, "[In|After] {n} years {A} will be [just ]twice as old: {x} [against|and] {y}.", n=later, A=a, x=old + later, y=young + later) if k > 2 else ""
    return say(rng, "{A} is {k} times as old as {B}; [in {n} years [their ages|the two ages] [will ]sum to|{n} years from now the total will be] {t}. [How old are they|{Find} the ages]? [Let {B} be|Write] x[ for {B}]: then x + {k}x + 2*{n} = {t}, "
               "so {k1}x = {r} and x = {x}. {Hence} {B} is {x} and {A} {y}. {tail}", A=a, B=b, k=k, n=back, t=young + old + 2 * back, k1=k + 1, r=young + old, x=young, y=old, tail=tail)


def dice(rng):
    sides, n = pick(rng, [4, 6, 6, 8, 10, 12, 20]), 2
    target = rng.randint(4, 2 * sides - 1)
    ways = sum(1 for i in range(1, sides + 1) for j in range(1, sides + 1) if i + j == target)
    over = sum(1 for i in range(1, sides + 1) for j in range(1, sides + 1) if i + j > target)
    k = rng.randint(3, 9)
    miss = Fraction(sides - 1, sides) ** k
    pairs = [f"{i}+{target - i}" for i in range(1, sides + 1) if 1 <= target - i <= sides]
    return say(rng, "[Roll|Throw] two [fair ]dice with {s} faces. [There are|We count] {t} [outcomes|ordered pairs]; the [sum|total] {x} [arises|comes] from {pairs}, {w} in all, so its probability is {p}. [A larger sum|More than {x}] has "
               "probability {o}/{t} = {po}. [One die shows {m} on average|The mean of one is {m}], hence two give {mm}. In {k} [throws|rolls] of one die, [the top face fails to appear|{s} never shows] with probability ({s1}/{s})^{k}, "
               "{about} {miss}[, so it shows up at least once with {hit}].", s=sides, t=sides * sides, x=target, pairs=listing(pairs[:8]) + (" and so on" if len(pairs) > 8 else ""), w=ways, p=frac(Fraction(ways, sides * sides)),
               o=over, po=frac(Fraction(over, sides * sides)), m=frac(Fraction(sides + 1, 2)), mm=sides + 1, k=k, s1=sides - 1, miss=f"{float(miss):.4f}", hit=f"{1 - float(miss):.4f}")


def ratio_share(rng):
    a, b, c = (rng.randint(1, 9) for _ in range(3))
    unit = rng.randint(7, 160)
    x, y, z = some(rng, NAMES, 3)
    s = a + b + c
    return say(rng, "{X}, {Y} and {Z} [share|divide|split] {t} [coins|acres|points|dollars|kilos of flour|shells] in the ratio {a}:{b}:{c}. [There are|That makes] {a} + {b} + {c} = {s} [parts|equal parts], each [worth|of] {t}/{s} = {u}. [So|{Hence}] {X} gets "
               "{ax}, {Y} {by} and {Z} {cz}; {check}: {ax} + {by} + {cz} = {t}. [As a percentage {X} holds {p}.|{Y}'s share is {f} of {X}'s.]", X=x, Y=y, Z=z, t=s * unit, a=a, b=b, c=c, s=s, u=unit, ax=a * unit, by=b * unit,
               cz=c * unit, p=f"{100 * a / s:.2f}", f=frac(Fraction(b, a)))


def percent(rng):
    what = pick(rng, ["a coat", "the rent", "a ticket", "the population of a town", "a share", "the fee", "a house", "the harvest", "a herd", "the budget", "the fare", "a salary", "the membership", "the output"])
    p, up, down = rng.randint(40, 9900), rng.randint(3, 60), rng.randint(3, 60)
    x = p * (100 + up) / 100
    y = x * (100 - down) / 100
    net = (100 + up) * (100 - down) / 100 - 100
    return say(rng, "{What}, [first|once] {p}, [rises|goes up|grows] by {u} percent and [later|then] [falls|drops|goes down] by {d} percent. [First|After the rise]: {p} x {fu} = {x}. [Then|After the fall]: {x} x {fd} = {y}. [The net change|Altogether it] "
               "is {n} percent, [not|rather than] {wrong}, [since|because] the [second|later] percentage is taken of [the new|a different] [value|amount]. [To undo the rise alone, a [cut|fall] of {un} percent is needed.]", what=what, p=p, u=up,
               d=down, fu=f"{1 + up / 100:.2f}", x=f"{x:.2f}", fd=f"{1 - down / 100:.2f}", y=f"{y:.3f}", n=f"{net:.2f}", wrong=up - down, un=f"{100 * up / (100 + up):.2f}")


def frac(x):
    return helpers().frac(x)


def induction(rng):
    """The sum of the values of a random polynomial, proved by induction."""
    more = helpers()
    degree = rng.randint(1, 2)
    c = [rng.randint(-5, 9) for _ in range(degree)] + [rng.randint(1, 9)]
    # coefficients of the closed form, from sum k = n(n+1)/2 and sum k^2 = n(n+1)(2n+1)/6
    c3 = c + [0] * (3 - len(c))
    closed = [Fraction(0), c3[0] + Fraction(c3[1], 2) + Fraction(c3[2], 6), Fraction(c3[1], 2) + Fraction(c3[2], 2), Fraction(c3[2], 3)]
    while not closed[-1]:
        closed.pop()
    den = math.lcm(*(f.denominator for f in closed))
    top = [f * den for f in closed]
    form = f"({more.poly(top, 'n')})/{den}" if den > 1 else more.poly(top, "n")
    nextform = [sum(closed[j] * math.comb(j, i) for j in range(i, len(closed))) for i in range(len(closed))]
    nexttop = [f * den for f in nextform]
    term = lambda k: sum(a * k ** i for i, a in enumerate(c))
    sums = [sum(term(k) for k in range(1, n + 1)) for n in range(1, 6)]
    step = [sum(a * math.comb(j, i) for j, a in enumerate(c) if j >= i) for i in range(len(c))]
    big = rng.randint(10, 60)
    return say(rng, "{Claim}: [for every [positive integer|natural number]|for all] n, {first} + ... + ({t}) = {f}. {Proof}, by induction on n. [For n = 1|The case n = 1]: the left side is {a}, [and|while] the right side [gives|is] {a}. [Now {suppose}|{Suppose}] the formula "
               "[holds|is true] for [some|a certain] n. [Passing to n + 1|The next sum] adds the term {g}, [obtained|found] by putting n + 1 for n [in|into] {t}. [Over the denominator {den}|Collecting powers], the [new sum|right side] [becomes|is] {h}, [and this|which] is [exactly|just] the "
               "claimed [formula|expression] with n + 1 [in place of|for] n[; [expand|expanding] (n + 1)^2 to see it]. {Done} [The first [sums|values] are|Numerically, it gives] {sums}; [for|at] n = {big} the sum is {v}.",
               first=" + ".join(str(term(k)) for k in range(1, 4)).replace("+ -", "- "), t=more.poly(c, "n"), f=form, a=sums[0], g=more.poly(step, "n"), den=den, h=f"({more.poly(nexttop, 'n')})/{den}" if den > 1
               else more.poly(nexttop, "n"), sums=listing([str(s) for s in sums]), big=big, v=number(sum(term(k) for k in range(1, big + 1))))


def divides_induction(rng):
    d = rng.randint(3, 19)
    b = rng.randint(2, 12)
    a = b + d
    k = rng.randint(3, 4)
    return say(rng, "{Claim}: {d} divides {a}^n - {b}^n for every n[ >= 1]. {Proof}. [The case n = 1 is clear|For n = 1 there is nothing to do], as {a} - {b} = {d}. [{Suppose}|Let] {a}^n - {b}^n = {d}m [for some integer m|with m whole]. Then {a}^(n+1) - {b}^(n+1) = {a}*{a}^n - {b}*{b}^n; "
               "[add and subtract {a}*{b}^n|put {a}*{b}^n between] to get {a}({a}^n - {b}^n) + ({a} - {b}){b}^n = {d}({a}m + {b}^n), [again|which is] a multiple of {d}. {Done} [For instance|{Check} n = {k}]: {ak} - {bk} = {diff} = {d}*{q}. [Modulo {d} the claim is [obvious|plain], "
               "for {a} and {b} leave the same remainder.]", d=d, a=a, b=b, k=k, ak=a ** k, bk=b ** k, diff=number(a ** k - b ** k), q=number((a ** k - b ** k) // d))


def irrational(rng):
    more = helpers()
    p = pick(rng, [k for k in range(2, 150) if more.is_prime(k)])
    k = rng.randint(2, 4)
    name = f"sqrt({p})" if k == 2 else f"the {'cube' if k == 3 else 'fourth'} root of {p}"
    u, v, w = rng.randint(2, 40), rng.randint(2, 30), p
    lo = int(p ** (1 / k) + 1e-9)
    return say(rng, "{Claim}: {r} is irrational. {Proof}. {Suppose} it [equals|were] a/b [in lowest terms|with a and b coprime]. [Then|Raising to the power {k}], a^{k} = {p}b^{k}, so {p} divides a^{k}; [being prime|as {p} is prime], it divides a[ itself]. [Write|Put] a = {p}c. [Now|Then] {pk}c^{k} = {p}b^{k}, "
               "[that is|or] {q}c^{k} = b^{k}, [whence|so] {p} divides b [too|as well], [against the choice of a and b|a contradiction]. {Done} [The value is {about} {x}, [between|somewhere between] {lo} and {hi}.] [It follows that {u} + {v}*{r} is irrational [too|as well]: [if it were|were it] a rational t, "
               "then {r} = (t - {u})/{v} would be rational.]", r=name, k=k, p=p, pk=p ** k, q=p ** (k - 1), x=f"{p ** (1 / k):.6f}", lo=lo, hi=lo + 1, u=u, v=v)


def parity(rng):
    m = rng.randint(3, 13)
    squares = sorted({x * x % m for x in range(m)})
    missing = [r for r in range(m) if r not in squares]
    r = pick(rng, missing)
    table = ", ".join(f"{x}^2 = {x * x % m}" for x in range(m // 2 + 1))
    a, n = rng.randint(1, 9), rng.randint(2, 90)
    example = m * n + r
    return say(rng, "{Claim}: no [square|perfect square] [is|has the form] {m}k + {r}. {Proof}. [An integer leaves|Modulo {m} an integer is] one of 0 to {l}, and x and {m} - x have the same square[, so half of them are enough]. [Modulo {m}|The squares are]: {table}. [Only|We meet only] {sq} [occur|appear], "
               "never {r}. {Done} [{Hence} {e} = {m}*{n} + {r} is not a square[; indeed it lies between {f}^2 = {ff} and {g}^2 = {gg}].] [In the same way|Likewise], x^2 - {m}y^2 = {r} has no solution in integers, [for|since] x^2 would leave {r} [on division by|modulo] {m}.", m=m, r=r, l=m - 1, table=table,
               sq=listing([str(s) for s in squares]), e=example, n=n, f=math.isqrt(example), ff=math.isqrt(example) ** 2, g=math.isqrt(example) + 1, gg=(math.isqrt(example) + 1) ** 2)


def pigeonhole(rng):
    m = rng.randint(5, 40)
    k = rng.randint(2, 6)
    what = pick(rng, THINGS["people"])
    box = pick(rng, ["months of birth", "rooms", "tables", "boats", "shelves", "committees", "towns", "buses", "classes", "shifts", "days"])
    n = m * (k - 1) + 1
    nums = sorted(some(rng, range(1, 300), 4 if m < 30 else 5))
    return say(rng, "{Claim}: if {n} {w} are [spread over|assigned to|divided among] {m} {b}, some [one|single one] of them gets at least {k}. {Proof}. {Suppose} [every one|each] got at most {j}. Then [there would be|the total would be] at most {m}*{j} = {t}, [fewer than|less than] {n}; [impossible|a contradiction]. {Done} "
               "[With {t} {w} it can fail|The number cannot be lowered]: put {j} in each. [A similar|The same] [count|idea] shows that among {m1} integers two differ by a multiple of {m}, [since|because] only {m} remainders exist[; {list} leave {rem} when divided by {m}].", n=n, w=what, m=m, b=box, k=k, j=k - 1, t=m * (k - 1),
               m1=m + 1, list=listing([str(x) for x in nums]), rem=listing([str(x % m) for x in nums]))


def inequality(rng):
    a, b = some(rng, range(2, 90), 2)
    k = rng.randint(2, 9)
    g = math.sqrt(a * b)
    return say(rng, "{Claim}: for [positive|non-negative] x and y, {mean} at least {k}*sqrt(xy). {Proof}. [A square is never negative|Squares are not negative], so (sqrt(x) - sqrt(y))^2 >= 0; [expand|multiplying out], x + y >= 2*sqrt(xy), [and|then] {scale}. [Equality [needs|holds only for] x = y.] {Done} [Take|With] x = {a}, y = {b}: [the left side is|on the left] "
               "{l}, [the right|on the right] {about} {r}. [{Hence}|As a corollary], among rectangles of area {ar} the square, of side sqrt({ar}), has the [least|smallest] perimeter, {about} {per}[; {a} by {b} needs {p2}].", mean=f"{frac(Fraction(k, 2))}(x + y) is" if k % 2 == 0 else f"{k}(x + y)/2 is", k=k,
               scale=say(rng, "[multiplying|multiply] by {h} [gives the claim|finishes it]", h=frac(Fraction(k, 2))), a=a, b=b, l=frac(Fraction(k * (a + b), 2)), r=f"{k * g:.3f}", ar=a * b, per=f"{4 * g:.3f}", p2=2 * (a + b))


def primes_many(rng):
    more = helpers()
    start = some(rng, [p for p in range(2, 60) if more.is_prime(p)], rng.randint(3, 5))
    start.sort()
    n = math.prod(start) + 1
    small = next(p for p in range(2, n + 1) if n % p == 0)
    return say(rng, "{Claim}: [the primes never end|there is no last prime|any finite list of primes misses one]. {Proof}. [Given|From] a list of primes, multiply them [all |]and add 1. [The result|This number] leaves 1 [on division by|when divided by] each [prime|number] [on the list|listed], so its [prime factors|smallest prime factor] must be new. {Done} [For [example|instance]|To see it at work], "
               "[start with|take] {l}: the product is {p}, and {p} + 1 = {n} {is} {what}. [So {s} [joins|is added to] the list.|None of {l} divides it.]", l=listing([str(p) for p in start]), p=number(n - 1), n=number(n), is_="", s=number(small),
               what="itself prime" if small == n else f"= {more.factorization(n)}" if n < 10 ** 9 else f"divisible by {small}", **{"is": "is" if small == n or n >= 10 ** 9 else ""})


LONG = [induction, divides_induction, irrational, parity, pigeonhole, inequality, primes_many]
STORIES = [shopping, journey, together, mixture, interest, survey, ages, dice, ratio_share, percent]
