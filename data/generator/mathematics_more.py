"""Mathematics, second part: helpers for formulas, and the longer kinds of document."""
from __future__ import annotations

import math
import random
from fractions import Fraction

from grammar import expand, in_words, listing, number, pick, some, tidy
from mathematics_words import RULES, THINGS


def say(rng: random.Random, template: str, **slots) -> str:
    return tidy(expand(rng, RULES, template, **slots))


def frac(x) -> str:
    x = Fraction(x)
    return str(x.numerator) if x.denominator == 1 else f"{x.numerator}/{x.denominator}"


def signed(x) -> str:
    """`+ 5` or `- 5`."""
    return f"{'-' if x < 0 else '+'} {frac(abs(Fraction(x)))}"


def terms(pairs) -> str:
    """A sum of coefficient-symbol pairs: 3x - y + 2."""
    out = ""
    for coefficient, symbol in pairs:
        c = Fraction(coefficient)
        if c == 0:
            continue
        size = abs(c)
        body = symbol if symbol and size == 1 else (frac(size) if size.denominator == 1 or not symbol else f"({frac(size)})") + symbol
        if out:
            out += f" {'-' if c < 0 else '+'} {body}"
        else:
            out = ("-" if c < 0 else "") + body
    return out or "0"


def poly(coefficients, v: str = "x") -> str:
    """A polynomial from its coefficients, constant term first."""
    names = ["", v] + [f"{v}^{k}" for k in range(2, len(coefficients))]
    return terms([(c, names[k]) for k, c in reversed(list(enumerate(coefficients)))])


def value(coefficients, x):
    return sum(c * x ** k for k, c in enumerate(coefficients))


def factor(root: int) -> str:
    return "x" if root == 0 else f"(x {signed(-root)})"


def is_prime(n: int) -> bool:
    return n > 1 and all(n % p for p in range(2, math.isqrt(n) + 1))


def prime_powers(n: int) -> list[tuple[int, int]]:
    out, p = [], 2
    while n > 1:
        k = 0
        while n % p == 0:
            n, k = n // p, k + 1
        if k:
            out.append((p, k))
        p += 1
    return out


def factorization(n: int) -> str:
    return " x ".join(f"{p}^{k}" if k > 1 else str(p) for p, k in prime_powers(n))


def derivative(c):
    return [k * a for k, a in enumerate(c)][1:]


def random_poly(rng, degree, low=-9, high=9):
    c = [rng.randint(low, high) for _ in range(degree)]
    return c + [pick(rng, [k for k in range(low, high + 1) if k])]


def integer_facts(rng):
    n = rng.randint(24, 9999)
    f = prime_powers(n)
    divisors = [d for d in range(1, n + 1) if n % d == 0]
    phi = n
    for p, _ in f:
        phi = phi // p * (p - 1)
    facts = [
        say(rng, "[in binary|written with base two] it [is|reads] {b}", b=f"{n:b}"),
        say(rng, "[its digits add up to|the digit sum is] {s}[, leaving {r} on division by 9]", s=sum(map(int, str(n))), r=n % 9),
        say(rng, "[its square is|squared, it gives] {q}", q=number(n * n)),
        say(rng, "it [lies|falls] between the squares {a}^2 = {aa} and {b}^2 = {bb}", a=math.isqrt(n), aa=math.isqrt(n) ** 2,
            b=math.isqrt(n) + 1, bb=(math.isqrt(n) + 1) ** 2),
        say(rng, "[Euler's function|phi({n})] [counts|gives] {p} [smaller ]numbers [coprime|prime] to it", n=n, p=phi),
        say(rng, "[in base|to base] {b} it is [written|spelled] {d}", b=(base := rng.randint(3, 9)), d=in_base(n, base)),
        say(rng, "its [natural logarithm|logarithm to base e] is [about|close to] {x}", x=f"{math.log(n):.5f}"),
        say(rng, "[the reciprocal is|one divided by it {is}] [about|roughly] {x}", x=f"{1 / n:.7f}"),
        say(rng, "[reversing|turning round] the digits [gives|yields] {x}", x=int(str(n)[::-1])),
        say(rng, "its cube root is [near|about] {x}", x=f"{n ** (1 / 3):.4f}"),
    ]
    shape = (say(rng, "The number {n} is prime: [nothing|no number] from 2 to {r} divides it.", n=n, r=math.isqrt(n)) if len(divisors) == 2 else
             say(rng, "The number {n} [factors as|is the product] {f}. [Its [divisors|factors] number|The count of divisors is] {k} = {prod}[, namely {ds}]; "
                 "[they add up to|their sum is] {s}, [so it is|which makes it] {kind}.", n=n, f=factorization(n), k=len(divisors),
                 prod=" x ".join(f"({k} + 1)" for _, k in f), ds=listing([str(d) for d in divisors]) if len(divisors) < 17 else "too many to list here",
                 s=sum(divisors), kind="abundant" if sum(divisors) > 2 * n else "perfect" if sum(divisors) == 2 * n else "deficient"))
    chosen = some(rng, facts, rng.randint(3, 5))
    text = ""
    while chosen:
        text += say(rng, "[{A}, and {b}. |{A}; {b}. |{A}. {B}. |{A}, while {b}. ]" if len(chosen) > 1 else "{A}.",
                    a=chosen[0], b=chosen[1] if len(chosen) > 1 else "")  + " "
        chosen = chosen[2:]
    return f"{shape} {text.strip()}"


def in_base(n: int, base: int) -> str:
    digits = ""
    while n:
        digits, n = "0123456789ABCDEF"[n % base] + digits, n // base
    return digits or "0"


def bases(rng):
    n, base = rng.randint(90, 6000), rng.randint(2, 9)
    m, steps = n, []
    while m:
        steps.append(f"{m} = {base}*{m // base} + {m % base}")
        m //= base
    digits = in_base(n, base)
    back = " + ".join(f"{d}*{base ** k}" for k, d in reversed(list(enumerate(reversed(digits)))) if d != "0")
    return say(rng, "[Write|Express|Convert|{Task}: write] {n} [in|to] base {b}. [Divide|Keep dividing] by {b}[ again and again| over and over] and [keep|note|collect] the "
               "remainders: {s}. [Read [upwards|from last to first]|From the bottom up], [they|the remainders] [spell|give] {d}. {Check}: {back} = {n}.",
               n=n, b=base, s="; ".join(steps), d=digits, back=back)


def power_mod(rng):
    a, e, m = rng.randint(2, 40), rng.randint(17, 400), rng.randint(11, 211)
    rows, power, k, parts, result = [], a % m, 1, [], 1
    while k <= e:
        rows.append(f"{a}^{k} = {power}")
        if e & k:
            parts.append((k, power))
            result = result * power % m
        power, k = power * power % m, 2 * k
    return say(rng, "[{Find} the remainder of {a}^{e} [on division by|modulo]|What does {a}^{e} leave when divided by|{Task}: {a}^{e} mod] {m}[?|.] [Square|By squaring] "
               "[repeatedly|again and again][, modulo {m}]: {rows}. [The exponent is|In powers of two,] {e} = {bits}, so [multiply|we need the product] {prod}. "
               "[Modulo {m} this|The result] [is|comes out as] {r}. {Hence} {a}^{e} leaves {r}.", a=a, e=e, m=m, rows=", ".join(rows),
               bits=" + ".join(str(k) for k, _ in parts), prod=" * ".join(str(p) for _, p in parts), r=result)


def remainders(rng):
    while True:
        m, n = rng.randint(4, 31), rng.randint(4, 31)
        if math.gcd(m, n) == 1 and m != n:
            break
    x = rng.randrange(m * n)
    a, b = x % m, x % n
    inv = pow(m, -1, n)
    t = (b - a) * inv % n
    return say(rng, "[Which|{Find} the smallest] [natural numbers leave|number that leaves] {a} [on division by|modulo] {m} and {b} [on division by|modulo] {n}[?|.] "
               "[Write x =|Put x =|Such a number has the form] {a} + {m}t; [we need|the second condition {is}] {m}t = {d} modulo {n}. [The inverse of {m} [mod {n} ]is {i}, "
               "as {m}*{i} = {mi} = {q}*{n} + 1|Multiply by {i}, the inverse of {m}: {m}*{i} = {mi}]. {Hence} t = {t}, and x = {a} + {m}*{t} = {x}. {Check}: {x} = {q1}*{m} + {a} "
               "and {x} = {q2}*{n} + {b}. [All others differ by multiples of|The general solution is x = {x} plus any multiple of] {mn}.", a=a, b=b, m=m, n=n,
               d=(b - a) % n, i=inv, mi=m * inv, q=m * inv // n, t=t, x=x, q1=x // m, q2=x // n, mn=m * n)


def progression(rng):
    if rng.random() < 0.5:
        a, d, n = rng.randint(-20, 60), pick(rng, [k for k in range(-9, 15) if k]), rng.randint(8, 60)
        last = a + (n - 1) * d
        return say(rng, "An arithmetic [sequence|progression] [starts|begins] {s}, [with common difference|each step being] {d}. [What is|{Find}] the sum of [its|the] first {n} "
                   "terms? The [last of them|{n}th term] is {a} + {k}*({d}) = {l}. [Pair|Pairing] first and last, [the average|the mean term] is ({a} + {l})/2 = {avg}, "
                   "[so|{hence}] the sum is {n}*({avg}) = {t}. [The next term [would be|is] {nx}, [bringing|taking] the [sum|total] to {t2}.]",
                   s=", ".join(str(a + i * d) for i in range(rng.randint(3, 5))), d=d, n=n, a=a, k=n - 1, l=last, avg=frac(Fraction(a + last, 2)),
                   t=number((a + last) * n // 2), nx=last + d, t2=number((a + last) * n // 2 + last + d))
    a, n = rng.randint(1, 30), rng.randint(4, 9)
    r = Fraction(pick(rng, [k for k in range(-4, 6) if k not in (0, 1)]), pick(rng, [1, 1, 2, 3, 5]))
    if r in (1, -1, 0):
        r = Fraction(3, 2)
    total = a * (r ** n - 1) / (r - 1)
    infinite = say(rng, "[Since|As] the ratio is [smaller|less] than 1 in size, [the [whole |infinite ]series|the sum of all terms] [converges to|tends to] {a}/(1 - ({r})) = {s}.",
                   a=a, r=frac(r), s=frac(a / (1 - r))) if abs(r) < 1 else say(rng, "[The terms grow [without bound|in size]|Here the ratio exceeds 1 in size], so [the series|the "
                   "infinite sum] [diverges|has no finite value].")
    return say(rng, "[Add|{Find} the sum of] [the first ]{n} terms of the geometric [series|progression] {s}, ... [Its ratio|Each term divided by the one before] is {r}. [The formula|"
               "We use] a(r^n - 1)/(r - 1) [gives|with] a = {a}, r = {r}, n = {n}: the [power|term] r^{n} is {p}, [and|so] the sum is {t}{dec}. {inf}",
               n=n, s=", ".join(frac(a * r ** i) for i in range(4)), r=frac(r), a=a, p=frac(r ** n), t=frac(total),
               dec="" if total.denominator == 1 else f", about {float(total):.4f}", inf=infinite)


def plane_figure(rng):
    p, q = sorted(some(rng, range(1, 9), 2))
    k = rng.randint(1, 6)
    a, b, c = k * (q * q - p * p), k * 2 * p * q, k * (q * q + p * p)
    what, unit = pick(rng, THINGS["plots"]), pick(rng, ["m", "cm", "feet", "units", "metres", "yards"])
    r = Fraction(a * b, a + b + c)
    return say(rng, "A [rectangular|flat|level|square-cornered] {what} measures {a} by {b} {u}[, with four right angles]. [How long is|{Find}] its diagonal[?|.] By Pythagoras, {a}^2 + {b}^2 = {aa} + {bb} = {cc}, and "
               "{root} = {c}, so [it is|the diagonal measures] {c} {u}. [The area is|It covers] {a}*{b} = {ar} square {u2}, [and|while] the perimeter is 2*({a} + {b}) = {pe} {u}. "
               "[Each half is a right triangle|Cut along the diagonal it gives two right triangles] of area {h}; [the circle inscribed|its incircle] [there ]has radius {h}*2/({a} + {b} + {c}) = {r}. "
               "[The [sharper|smallest] angle has tangent {s}/{l}, [about|roughly] {deg} degrees.]", what=what, a=a, b=b, u=unit, aa=a * a, bb=b * b, cc=c * c, root=f"sqrt({c * c})",
               c=c, ar=a * b, u2=unit, pe=2 * (a + b), h=frac(Fraction(a * b, 2)), r=frac(r), s=min(a, b), l=max(a, b),
               deg=f"{math.degrees(math.atan(min(a, b) / max(a, b))):.2f}")


def solid(rng):
    what, r, h = pick(rng, THINGS["solids"]), rng.randint(2, 30), rng.randint(3, 80)
    vol, side = r * r * h, 2 * r * h
    kind = rng.randrange(3)
    if kind == 0:
        return say(rng, "A cylindrical {w} has radius {r} cm and height {h} cm. [Its volume is|It holds] pi*{r}^2*{h} = {v} pi, [about|or nearly] {vd} cubic [cm|centimetres]. The [curved surface|side], "
                   "unrolled, is a rectangle of area 2*pi*{r}*{h} = {s} pi, [{about}] {sd} [square cm|sq cm]; [adding|with] both [ends|circles], the total is {t} pi, {about} {td}. [A cone "
                   "[of the same base and height|that just fits inside] has a third of the volume, {c}.|The sphere of radius {r} [takes up|has volume] {sp} pi.]", w=what, r=r, h=h, v=vol,
                   vd=f"{math.pi * vol:.1f}", s=side, sd=f"{math.pi * side:.1f}", t=side + 2 * r * r, td=f"{math.pi * (side + 2 * r * r):.1f}",
                   c=f"{math.pi * vol / 3:.1f}", sp=frac(Fraction(4 * r ** 3, 3)))
    if kind == 1:
        a, b, c = (rng.randint(2, 40) for _ in range(3))
        d = a * a + b * b + c * c
        return say(rng, "A [box|crate|block|brick|carton|parcel] is {a} cm long, {b} cm wide and {c} cm [high|deep]. The volume is {a}*{b}*{c} = {v} [cubic cm|cm^3]. [Opposite faces [match|are equal], so|"
                   "Counting each face twice,] the surface is 2*({ab} + {bc} + {ca}) = {s} square cm. [Its|The] [space |long ]diagonal is sqrt({aa} + {bb} + {cc}) = sqrt({d}), {about} {dd} cm. "
                   "[Edges [add up|come] to 4*({a} + {b} + {c}) = {e} cm.] [Doubling every [edge|side] [multiplies|would multiply] the volume by 8, to {v8}.]", a=a, b=b, c=c, v=number(a * b * c), ab=a * b,
                   bc=b * c, ca=c * a, s=number(2 * (a * b + b * c + c * a)), aa=a * a, bb=b * b, cc=c * c, d=d, dd=f"{math.sqrt(d):.2f}", e=4 * (a + b + c), v8=number(8 * a * b * c))
    deg = rng.randint(15, 165)
    return say(rng, "A [circular {p}|circle] has radius {r} m. [Its circumference is|Round the edge it measures] 2*pi*{r}, {about} {c} m, [and|while] the area is {rr} pi, {about} {a} square metres. A "
               "sector [of|with angle] {d} degrees is {d}/360 = {f} of [the whole|it]: [its|the] arc is {about} {arc} m and its area {sec}. [The chord [of|across] that [sector|angle] is 2*{r}*sin({hd}), "
               "[or|{about}] {ch} m.]", p=pick(rng, ["pond", "lawn", "arena", "tent", "tower", "plaza", "rug", "island"]), r=r, c=f"{2 * math.pi * r:.2f}", rr=r * r, a=f"{math.pi * r * r:.2f}", d=deg,
               f=frac(Fraction(deg, 360)), arc=f"{math.pi * r * deg / 180:.2f}", sec=f"{math.pi * r * r * deg / 360:.2f}", hd=frac(Fraction(deg, 2)) + " deg",
               ch=f"{2 * r * math.sin(math.radians(deg / 2)):.2f}")


def line_through(rng):
    while True:
        a, b, c, d = (rng.randint(-15, 15) for _ in range(4))
        if a != c and b != d:
            break
    m = Fraction(d - b, c - a)
    k = b - m * a
    e = rng.randint(-9, 20)
    return say(rng, "[{Let}|A line [joins|passes through]] the points P({a}, {b}) and Q({c}, {d}). [Its slope|The gradient] is ({d} - ({b}))/({c} - ({a})) = {m}, so the [equation|line] is y = {line}. "
               "[It [meets|cuts] the y axis at {k} and the x axis at {z}.] The midpoint is ({mx}, {my}), [and|while] the [distance PQ|length of PQ] is sqrt({s}), {about} {len}. [A perpendicular "
               "[line ]has slope {n}|At right angles the slope is {n}]. [At|For] x = {e} [we have|the line gives] y = {ye}.", a=a, b=b, c=c, d=d, m=frac(m), line=poly([k, m]), k=frac(k), z=frac(-k / m),
               mx=frac(Fraction(a + c, 2)), my=frac(Fraction(b + d, 2)), s=(a - c) ** 2 + (b - d) ** 2, len=f"{math.hypot(a - c, b - d):.3f}", n=frac(-1 / m), e=e, ye=frac(m * e + k))


def calculus(rng):
    c = random_poly(rng, rng.randint(2, 4))
    x0, v = rng.randint(-4, 5), pick(rng, "xxxt")
    d, dd = derivative(c), derivative(derivative(c))
    f0, d0 = value(c, x0), value(d, x0)
    a, b = sorted(some(rng, range(-4, 6), 2))
    anti = [0] + [Fraction(k, i + 1) for i, k in enumerate(c)]
    fa, fb = value(anti, a), value(anti, b)
    bend = "convex" if value(dd, x0) > 0 else "concave" if value(dd, x0) < 0 else "neither convex nor concave"
    return say(rng, "{Let} f({v}) = {f}. [Term by term|By the power rule|Differentiating], f'({v}) = {d}[ and f''({v}) = {dd}]. At {v} = {x0} the value is {f0} and the slope {d0}, so [the|its] tangent [there ]is "
               "y = {t}. [{Since} f''({x0}) = {s}, the curve is {bend} [there|at that point].] [{Next}|An antiderivative|To integrate, note that one primitive] is F({v}) = {anti}; [from {a} to {b}|between {a} and {b}] "
               "the integral [of f ]is F({b}) - F({a}) = {fb} - ({fa}) = {i}{dec}. [The [mean|average] value [on that interval|there] is {mean}.]", v=v, f=poly(c, v), d=poly(d, v), dd=poly(dd, v), x0=x0, f0=f0,
               d0=d0, t=poly([f0 - d0 * x0, d0], v), s=value(dd, x0), bend=bend, next="a primitive", anti=poly(anti, v), a=a, b=b, fb=frac(fb), fa=frac(fa), i=frac(fb - fa),
               dec="" if (fb - fa).denominator == 1 else f", about {float(fb - fa):.3f}", mean=frac((fb - fa) / (b - a)))


def synthetic(rng):
    c, r = random_poly(rng, rng.randint(3, 4), -12, 12), pick(rng, [k for k in range(-6, 7) if k])
    rows, out, carry = [], [], 0
    for k in reversed(c):
        new = k + carry * r
        rows.append(f"{k}" if not out else f"{k} + ({r})*({carry}) = {new}")
        out.append(new)
        carry = new
    q, rest = list(reversed(out[:-1])), out[-1]
    return say(rng, "[Divide|{Task}: divide] {p} by x {s}. [Horner's scheme|Synthetic division][ with {r}] [brings down|starts from] the leading coefficient[:| and goes on:] {rows}. The quotient is {q} and the "
               "remainder {rest}. [By the remainder theorem|{Note}] p({r}) = {rest}[, the same number]. {Concl}", p=poly(c), s=signed(-r), r=r, rows="; ".join(rows), q=poly(q), rest=rest,
               note="indeed", concl=say(rng, "[{Hence} x {s} is a factor.|So {r} is a root of the polynomial.]" if rest == 0 else "[{Hence} {r} is not a root.|So x {s} does not divide it.|The division is not exact.]",
                                        s=signed(-r), r=r))


def newton(rng):
    n = pick(rng, [k for k in range(5, 400) if math.isqrt(k) ** 2 != k])
    x, rows = float(math.isqrt(n) + rng.randint(0, 2)), []
    for _ in range(rng.randint(3, 4)):
        new = (x + n / x) / 2
        rows.append(say(rng, "[{x} leads to|from {x} we get|after {x} comes|({x} + {q})/2 =] {new}", x=f"{x:.6f}".rstrip("0").rstrip("."), q=f"{n / x:.6f}", new=f"{new:.6f}"))
        x = new
    return say(rng, "[How can one approximate|{Find} an approximation to|{Task}: estimate] the square root of {n}. [Heron's rule|Newton's method] [replaces|turns] a guess x [by|into] the [mean|average] of x and {n}/x: {rows}. "
               "[The square of the last [value|number] is {sq}|Squaring gives {sq}], [very close|near enough] to {n}. [{Since} {a}^2 = {aa} < {n} < {bb} = {b}^2, the root [had to lie|lies] between {a} and {b}.]", n=n,
               rows="; ".join(rows), sq=f"{x * x:.5f}", a=math.isqrt(n), aa=math.isqrt(n) ** 2, b=math.isqrt(n) + 1, bb=(math.isqrt(n) + 1) ** 2)


def continued(rng):
    a, b = rng.randint(30, 999), rng.randint(20, 700)
    x, y, q, steps = a, b, [], []
    while y:
        q.append(x // y)
        steps.append(f"{x}/{y} = {x // y} + {x % y}/{y}")
        x, y = y, x % y
    h, k, rows = [0, 1], [1, 0], []
    for t in q:
        h.append(t * h[-1] + h[-2])
        k.append(t * k[-1] + k[-2])
        rows.append(f"{h[-1]}/{k[-1]}")
    return say(rng, "[Expand|Write|Develop] {a}/{b} as a continued fraction. [Split off|Take out] the whole part [each time|at every step] and [turn over|invert] the rest: {s}. So {a}/{b} = {q}. The convergents are {c}, "
               "and [each is|they are] [nearer|closer] [to the value {d} ]than the one before.", a=a, b=b, s="; ".join(steps), q=f"[{'; '.join(map(str, q))}]", c=listing(rows), d=f"{a / b:.6f}") if len(q) > 2 else newton(rng)


def matrices(rng):
    a = [[rng.randint(-7, 9) for _ in range(2)] for _ in range(2)]
    b = [[rng.randint(-7, 9) for _ in range(2)] for _ in range(2)]
    mul = [[sum(a[i][k] * b[k][j] for k in range(2)) for j in range(2)] for i in range(2)]
    det = lambda m: m[0][0] * m[1][1] - m[0][1] * m[1][0]
    show = lambda m: "[" + "; ".join(" ".join(frac(x) for x in row) for row in m) + "]"
    da = det(a)
    inverse = say(rng, "[{Since} its determinant is zero, A has no inverse|A is singular, [so it|and] cannot be inverted].") if da == 0 else say(
        rng, "[The inverse of A|A^-1] [is|equals] {i}[, from swapping the diagonal and dividing by {d}].", i=show([[Fraction(a[1][1], da), Fraction(-a[0][1], da)],
                                                                                                          [Fraction(-a[1][0], da), Fraction(a[0][0], da)]]), d=da)
    return say(rng, "{Let} [the matrices ]A = {a} and B = {b}[, rows separated by semicolons]. [The top left|The first] entry of AB is ({p})*({q}) + ({r})*({s}) = {e}, and [the others follow likewise|in the same way the rest]: AB = {m}. "
               "[Determinants:|For the determinants,] det A = {da}, det B = {db}, and det AB = {dm} = ({da})*({db}), [as the product rule [says|demands]|in keeping with the rule]. {inv} [The trace of A is {t}, so its characteristic polynomial "
               "is {cp}.]", a=show(a), b=show(b), p=a[0][0], q=b[0][0], r=a[0][1], s=b[1][0], e=mul[0][0], m=show(mul), da=da, db=det(b), dm=det(mul), inv=inverse, t=a[0][0] + a[1][1],
               cp=poly([da, -(a[0][0] + a[1][1]), 1], "t"))


def vectors(rng):
    u, v = ([rng.randint(-9, 9) or 1 for _ in range(3)] for _ in range(2))
    dot = sum(x * y for x, y in zip(u, v))
    cross = [u[1] * v[2] - u[2] * v[1], u[2] * v[0] - u[0] * v[2], u[0] * v[1] - u[1] * v[0]]
    lu, lv = sum(x * x for x in u), sum(x * x for x in v)
    angle = math.degrees(math.acos(max(-1, min(1, dot / math.sqrt(lu * lv)))))
    show = lambda w: f"({', '.join(map(str, w))})"
    return say(rng, "{Let} u = {u} and v = {v}. [Their dot product|The scalar product] is {s} = {d}. [The lengths are|In length they are] sqrt({lu}) and sqrt({lv}), so the cosine of the angle [between them ]is {c} and the "
               "angle {about} {g} degrees{kind}. The cross product u x v is {x}; [dotted with u it gives|its product with u is] {z} = 0, [as it should|so it is perpendicular]. [The parallelogram [they span|on u and v] has area sqrt({a2}), "
               "{about} {ar}.] [Also|Moreover], u + v = {sum}.", u=show(u), v=show(v), s=" + ".join(f"({a})({b})" for a, b in zip(u, v)), d=dot, lu=lu, lv=lv, c=f"{dot / math.sqrt(lu * lv):.4f}",
               g=f"{angle:.1f}", kind=", a right angle" if dot == 0 else "", x=show(cross), z=" + ".join(f"({a})({b})" for a, b in zip(u, cross)), a2=sum(x * x for x in cross),
               ar=f"{math.sqrt(sum(x * x for x in cross)):.3f}", sum=show([a + b for a, b in zip(u, v)]))


def complex_numbers(rng):
    a, b, c, d = (rng.randint(-9, 12) or 2 for _ in range(4))
    z = lambda x, y: terms([(x, ""), (y, "i")])
    n = c * c + d * d
    return say(rng, "{Let} z = {z} and w = {w}. [Expanding|Multiplying out], zw = {p} [with|since] i^2 = -1: the real part is ({a})({c}) - ({b})({d}) = {re}, the imaginary part {im}. [For the quotient|To divide], multiply [top and bottom |]by the "
               "conjugate {cw}; [the bottom becomes|below we get] {cc} + {dd} = {n}, so z/w = {q}. [The modulus of z is sqrt({m}), {about} {mm}|z lies {mm} from the origin], [and|while] its argument is {arg} degrees.", z=z(a, b), w=z(c, d),
               p=z(a * c - b * d, a * d + b * c), a=a, b=b, c=c, d=d, re=a * c - b * d, im=a * d + b * c, cw=z(c, -d), cc=c * c, dd=d * d, n=n, q=z(Fraction(a * c + b * d, n), Fraction(b * c - a * d, n)),
               m=a * a + b * b, mm=f"{math.hypot(a, b):.3f}", arg=f"{math.degrees(math.atan2(b, a)):.2f}")


from mathematics_proofs import LONG, STORIES  # noqa: E402  (uses the helpers above)

SHORT = [integer_facts, bases, power_mod, remainders, progression, plane_figure, solid, line_through, calculus, synthetic, newton, continued, matrices,
         vectors, complex_numbers] + STORIES
