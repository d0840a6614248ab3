"""Physics, second part: more problems, and reports of measurements with their data."""
from __future__ import annotations

import math

from grammar import capital, listing, pick, some
from physics_words import BODIES, LIQUIDS, MATERIALS, METALS, NUCLEI, RULES, THINGS
import physics as base

G, C, H, QE, KB, GRAV = 9.81, 2.998e8, 6.626e-34, 1.602e-19, 1.381e-23, 6.674e-11


def say(rng, template, **slots):
    return base.say(rng, template, **slots)


def sig(x, digits=4):
    return base.sig(x, digits)


def orbit(rng):
    name = pick(rng, list(BODIES))
    m, r = BODIES[name]
    h = uni(rng, 0.02, 3) * r
    a = r + h
    v = math.sqrt(GRAV * m / a)
    t = 2 * math.pi * a / v
    g = GRAV * m / r ** 2
    kg = rng.randint(40, 900)
    craft = pick(rng, ["probe", "satellite", "capsule", "station", "telescope", "lander", "relay", "orbiter", "spacecraft"])
    return say(rng, "A {c} [circles|orbits|goes round] {n} at a height of {h} km. [Its distance from the centre|The orbit's radius] is {a} m. [Gravity [provides|supplies] the centripetal force|Set GMm/r^2 equal to mv^2/r], so v = sqrt(GM/r) = {v} m/s, [with|taking] M = {m} kg, [and|so that] one [turn|revolution|lap] [takes|lasts] {t} s, {about} {hr} hours. [At the surface|Down on {n}] "
               "g is {g} m/s^2, [so|where] a [mass|load] of {kg} kg [weighs|would weigh] {w} N. [To escape [altogether|for good]|The escape speed] [one needs|is] sqrt(2GM/R) = {e} km/s. [Moving [the {c}|it] to twice that radius would [stretch|lengthen] the period by 2.83, to {t2} h[, as Kepler's third law says].]", c=craft, n=name, h=sig(h / 1000), a=sig(a), v=sig(v), m=sig(m, 4),
               t=sig(t), hr=sig(t / 3600), g=sig(g), kg=kg, w=sig(kg * g), e=sig(math.sqrt(2 * GRAV * m / r) / 1000), t2=sig(t / 3600 * 2 ** 1.5))


def uni(rng, low, high, digits=2):
    return float(f"{rng.uniform(low, high):.{digits}g}")


def decay(rng):
    name, a, z, half, unit, kind, child = pick(rng, NUCLEI)
    mass = uni(rng, 0.1, 50)
    frac = rng.randint(2, 90)
    k = uni(rng, 0.3, 6)
    t = k * half
    seconds = {"years": 3.156e7, "days": 86400, "hours": 3600, "minutes": 60}[unit] * half
    n = mass * 1e-6 / a * 6.022e23
    new = (a - 4, z - 2) if kind == "alpha" else (a, z + 1)
    return say(rng, "[A source|A sample|A speck] [contains|holds] {m} micrograms of {n}, [whose half-life is|with a half-life of] {h} {u}. [Each decay|A nucleus that decays] [emits|throws out] [an ]{k} particle[, turning it into|and leaves] {c} [with|of] mass number {a2} and atomic number {z2}. The sample [has|counts] {N} nuclei; [the decay constant|lambda] is ln 2 / {s} s = {l} per second, so its activity "
               "[starts|begins] at {A} becquerel. After {t} {u}[, or {x} half-lives,] a fraction {left} is left, {rem} micrograms[, and the activity is {A2}]. [To [fall|drop] to {f} percent [takes|needs] {tf} {u}.|It [takes|will be] {tf} {u} [until|before] {f} percent remain.]".replace("[an ]", "an " if kind == "alpha" else "a "), m=mass, n=name, h=sig(half, 4), u=unit, k=kind, c=child, a2=new[0], z2=new[1], N=sig(n),
               s=sig(seconds), l=sig(math.log(2) / seconds), A=sig(n * math.log(2) / seconds), t=sig(t), x=k, left=sig(2 ** -k), rem=sig(mass * 2 ** -k), A2=sig(n * math.log(2) / seconds * 2 ** -k), f=frac, tf=sig(half * math.log2(100 / frac)))


def photoelectric(rng):
    metal = pick(rng, list(METALS))
    w, wl = METALS[metal], rng.randint(180, 700)
    e = H * C / (wl * 1e-9) / QE
    limit = H * C / (w * QE) * 1e9
    if e > w:
        k = e - w
        end = say(rng, "[That exceeds|This is more than] the {w} eV needed, so electrons [leave|escape] with up to {k} eV, {v} m/s; a [stopping voltage|counter-voltage] of {k} V [holds them back|stops the current].", w=w, k=sig(k), v=sig(math.sqrt(2 * k * QE / 9.109e-31)))
    else:
        end = say(rng, "[That falls short of|It is below] the {w} eV needed[; no electron [comes out|is freed]|, so the current stays zero], however [bright|strong] the [lamp|beam].", w=w)
    p = uni(rng, 0.5, 20)
    return say(rng, "[Light|Radiation] of {l} nm [shines|falls] on a [clean |fresh ]{m} [plate|surface|cathode]. A [single ]photon [brings|carries] hc/lambda = {e} eV. {end} The [threshold|limiting] wavelength for {m} is {t} nm. [A beam of {p} mW [delivers|contains] {n} photons [per|each] second.] [Each photon has the momentum {mom} kg m/s.]", l=wl, m=metal, e=sig(e), end=end, t=sig(limit), p=p,
               n=sig(p * 1e-3 / (e * QE)), mom=sig(H / (wl * 1e-9)))


def floating(rng):
    liquid = pick(rng, [k for k in LIQUIDS])
    rho = LIQUIDS[liquid][0]
    what, d = pick(rng, [("pine", 510), ("oak", 720), ("cork", 220), ("ice", 917), ("beech", 690), ("balsa", 150), ("wax", 900), ("poplar", 420), ("ebony", 1180), ("teak", 650), ("polythene", 940), ("aluminium", 2700), ("granite", 2650), ("brass", 8500)])
    v = uni(rng, 0.05, 40)
    m = v * d / 1000
    if d < rho:
        end = say(rng, "[It floats|So it swims] with {f} percent [of its volume ]under the surface, [displacing|pushing aside] {x} litres. [To [sink|submerge] it [wholly|completely] takes|One must press with] {p} N [more|from above].", f=sig(100 * d / rho), x=sig(v * d / rho), p=sig(v / 1000 * (rho - d) * G))
    else:
        end = say(rng, "[It sinks|Down it goes]: the upthrust, {b} N, is [smaller|less] than the weight, and a [spring balance|thread] [would show|holds] {x} N.", b=sig(v / 1000 * rho * G), x=sig(v / 1000 * (d - rho) * G))
    h = uni(rng, 0.2, 30)
    return say(rng, "A [block|lump|piece|cube] of {w} with a volume of {v} litres is [put|placed|lowered] into {l}. [Its mass|At {d} kg/m^3 its mass] is {m} kg and its weight {W} N; [the liquid's density|{l}] is {r} kg/m^3. {end} At a depth of {h} m the [{l}|liquid] presses with {r}*9.81*{h} = {p} Pa [on top of|above] the [air's|atmospheric] pressure[, {at} atmospheres].".replace("[{l}|liquid]", "liquid"), w=what, v=v, l=liquid, d=d, m=sig(m), W=sig(m * G), r=rho,
               end=end, h=h, p=sig(rho * G * h), at=sig(rho * G * h / 101325))


def rotation(rng):
    r, rpm, m = uni(rng, 0.03, 6), rng.randint(12, 3600), uni(rng, 0.05, 90)
    w = rpm * 2 * math.pi / 60
    what, shape = pick(rng, [("flywheel", .5), ("turntable", .5), ("grindstone", .5), ("bicycle wheel", 1), ("carousel", .5), ("hoop", 1), ("rotor", .5), ("drum", 1), ("millstone", .5), ("pulley", .5), ("ring", 1), ("potter's wheel", .5)])
    i = shape * m * r * r
    t = uni(rng, 2, 90)
    return say(rng, "A {x} of radius {r} m and mass {m} kg [turns|spins|rotates] at {n} revolutions per minute. [Its angular speed|That] is {w} rad/s, [so the rim|the rim] [moves|runs] at {v} m/s and [feels|needs] an acceleration of {a} m/s^2, {g} g. [Treated as|As] a {s}, it has [a|the] moment of inertia [of|equal to]  {i} kg m^2[, an energy of {e} J] and [the |]angular momentum {L} J s. [Stopping it|To stop] in {t} s "
               "[takes|calls for] a torque of {q} N m[, [during|in] which it makes {turns} turns].", x=what, r=r, m=m, n=rpm, w=sig(w), v=sig(w * r), a=sig(w * w * r), g=sig(w * w * r / G, 2), s="solid disc" if shape == .5 else "thin ring", i=sig(i), e=sig(i * w * w / 2), L=sig(i * w), t=t, q=sig(i * w / t), turns=sig(w * t / 4 / math.pi))


def expansion(rng):
    mat = pick(rng, list(MATERIALS))
    a = MATERIALS[mat][2]
    L, t1, dt = uni(rng, 0.4, 300), rng.randint(-15, 25), rng.randint(10, 120)
    dl = a * 1e-6 * L * dt
    what = pick(rng, ["rail", "rod", "bridge deck", "pipe", "cable", "beam", "wire", "mast", "strip", "tape", "girder", "tube", "track"])
    return say(rng, "A {m} {w} measures {L} m at {a} degrees. [Warmed|Heated] to {b} degrees it [lengthens|grows|stretches] by {al}e-6*{L}*{dt} = {x} m, [that is|or] {mm} mm. [A hole|A square cut] in the {m} [widens|grows] in the same [ratio|proportion], {p} percent. [Left|If left] no room, the strain {s} [would cause|leads to] [large|great] [stress|forces]. "
               "[A clock with a {m} pendulum [loses|falls behind] {c} s per day for the same [warming|rise].]", m=mat, w=what, L=L, a=t1, b=t1 + dt, al=a, dt=dt, x=sig(dl), mm=sig(dl * 1000), p=sig(a * 1e-4 * dt), s=sig(a * 1e-6 * dt), c=sig(86400 * a * 1e-6 * dt / 2))


def coil(rng):
    n, L, i, r = rng.randint(40, 2400), uni(rng, 5, 60), uni(rng, 0.1, 9), uni(rng, 0.5, 6)
    b = 4e-7 * math.pi * n / (L / 100) * i
    area = math.pi * (r / 100) ** 2
    t = uni(rng, 2, 80)
    v = uni(rng, 0.3, 9)
    return say(rng, "A [long |]coil has {n} turns on {L} cm and [carries|takes] {i} A. Inside, the field is mu0 n i / L = {b} T. [Through|The flux through] one turn of radius {r} cm [passes|is] {f} Wb; [if the current [is cut|dies] in|switching off within] {t} ms, the coil [induces|gives] {e} V[, by Faraday's law]. [Its inductance is|It has] {H} henry, [storing|and holds] {E} J. [An electron [moving|flying] across that field at {v}e6 m/s "
               "[bends|turns] in a circle of radius {rad} m.]", n=n, L=L, i=i, b=sig(b), r=r, f=sig(b * area), t=t, e=sig(n * b * area / (t / 1000)), H=sig(n * b * area / i), E=sig(n * b * area * i / 2), v=v, rad=sig(9.109e-31 * v * 1e6 / QE / b))


def doppler(rng):
    f, k = rng.randint(200, 1500), rng.randint(30, 250)
    v = k / 3.6
    d, db = rng.randint(2, 30), rng.randint(70, 115)
    far = rng.randint(2, 20)
    who = pick(rng, ["ambulance", "train", "motorcycle", "racing car", "express", "fire engine", "speedboat", "coach", "police car", "tram"])
    return say(rng, "[The [horn|whistle|siren]|A siren] of a[n] {w} [gives|sounds at] {f} Hz. [Approaching|As it comes] at {k} km/h ({v} m/s), it is heard at {f}*343/(343 - {v}) = {a} Hz, [and|but] [going away|after passing] at {b} Hz: [a drop|an interval] in the ratio {r}. [At {d} m [its level is|a meter shows] {db} dB; at {D} m, [{n} times as far|farther off], spreading alone [leaves|gives] {db2} dB.] "
               "[The echo from|An echo off] a [wall|cliff|hangar] {far} hundred metres [off|away] [returns|comes back] after {t} s.".replace("a[n]", "an" if who[0] in "aeiou" else "a"), w=who, f=f, k=k, v=sig(v), a=sig(f * 343 / (343 - v), 4), b=sig(f * 343 / (343 + v), 4), r=sig((343 + v) / (343 - v), 4), d=d, db=db, D=d * far, n=far, db2=sig(db - 20 * math.log10(far)), far=far, t=sig(200 * far / 343))


def relativity(rng):
    b = rng.randint(15, 995) / 1000
    g = 1 / math.sqrt(1 - b * b)
    ly = uni(rng, 1, 90)
    m = rng.randint(1, 900)
    return say(rng, "A [ship|probe|traveller|rocket] [moves|flies|cruises] at {b} c. [The Lorentz factor|Gamma] is 1/sqrt(1 - {b}^2) = {g}. [A journey|A trip] of {l} light years [takes|lasts] {t} years [on Earth's clocks|as seen from home], but only {p} [on board|for the crew], [for whom|to whom] the distance [shrinks|is] {c} light years. A metre rule [aboard|carried along] [looks|measures] {r} m long [to us|from outside]. "
               "[The kinetic energy|To reach this speed], (gamma - 1)mc^2, [of|for] {m} kg is {e} J. [A light flashed forward still [travels|moves] at c.]", b=b, g=sig(g, 4), l=ly, t=sig(ly / b), p=sig(ly / b / g), c=sig(ly / g), r=sig(1 / g), m=m, e=sig((g - 1) * m * C * C))


def radiation(rng):
    t = pick(rng, [rng.randint(250, 420), rng.randint(700, 3200), rng.randint(3200, 14000)])
    wl = 2.898e-3 / t
    p = 5.670e-8 * t ** 4
    band = "the infrared" if wl > 700e-9 else "the ultraviolet" if wl < 400e-9 else "the visible range"
    what = pick(rng, ["furnace wall", "stove", "brick"]) if 420 < t <= 1500 else pick(rng, ["star", "plasma", "flare"]) if t > 3200 else pick(rng, ["filament", "melt", "lamp wire"]) if t > 1500 else pick(rng, ["hot plate", "roof", "forehead", "desert rock", "teapot"])
    a = uni(rng, 0.02, 5)
    t2 = int(t * rng.randint(105, 160) / 100)
    return say(rng, "A {w} at {t} K [radiates|glows], [taken as|nearly as] a black body. [Wien's law|The displacement law] puts the [peak|maximum] at {l} nm, in {b}. [Each|A] square metre [emits|sends out|loses], as sigma T^4 = {p} W[, so {a} square metres give {A} W]. [Raise|Raising] the temperature to {t2} K [and|means that] the output [grows|rises] {f} times, [while|and] the peak [moves|shifts] to {l2} nm. "
               "[A body at 293 K [beside it|nearby] [sends back|emits] only 418 W from each.]", w=what, t=t, l=sig(wl * 1e9), b=band, p=sig(p), a=a, A=sig(p * a), t2=t2, f=sig((t2 / t) ** 4), l2=sig(2.898e6 / t2))


# Reports of measurements: the readings scatter around a law, and the fit is computed from them.

def fit(xs, ys):
    """Slope and intercept of the least squares line."""
    n, mx, my = len(xs), sum(xs) / len(xs), sum(ys) / len(ys)
    slope = sum((x - mx) * (y - my) for x, y in zip(xs, ys)) / sum((x - mx) ** 2 for x in xs)
    return slope, my - slope * mx


def report(rng, aim, method, xs, ys, xname, yname, xunit, yunit, conclude):
    slope, cut = fit(xs, ys)
    data = [say(rng, "[{x}: {y}|{y} at {x}|{x} gave {y}|{y} for {x}]", x=sig(x), y=sig(y)) for x, y in zip(xs, ys)]
    worst = max(range(len(xs)), key=lambda i: abs(ys[i] - slope * xs[i] - cut))
    return say(rng, "[Aim|Purpose|Object]: {aim}. [Method|Procedure|Apparatus]: in {lab} {name} {setup} {method}; {care}[, and {care}]. [Readings|Results|Observations] ({yn} in {yu} [against|versus] {xn} in {xu}): {data}. [The best line|A straight line [through|along] the points|The least squares line|A fitted line] [has|shows|takes] slope {s} {yu}/{xu} and [cuts the axis|meets the vertical] at {c} {yu}. "
               "The [largest deviation|worst misfit], {w} {yu}, [occurs|is found] at {xw} {xu}. {con} [The main [doubt|source of error] [is|was] {error}[, followed by {error}].|[Chief|Likely] errors: {error} and {error}.] [[Repeating|A repeat of] the [run|series] [with finer steps |on [a cooler|another|a calmer] day |at half the speed |with a new scale ][would|may] [show|settle|tell] [whether|if] {err2} [matters|is to blame].]", aim=aim, method=method, data="; ".join(data), yn=yname, xn=xname,
               yu=yunit, xu=xunit, s=sig(slope), c=sig(cut), w=sig(abs(ys[worst] - slope * xs[worst] - cut), 2), xw=sig(xs[worst]), con=conclude(slope, cut), err2=pick(rng, THINGS["errors"]))


def noisy(rng, y, share=0.015):
    return y * (1 + rng.gauss(0, share))


def spring_report(rng):
    k = uni(rng, 8, 120)
    xs = [uni(rng, 0.2, 0.5) * (i + 1) for i in range(rng.randint(5, 8))]
    ys = [noisy(rng, x * 1000 / k * 1.0) for x in xs]
    mat = pick(rng, ["steel", "brass", "bronze", "phosphor-bronze", "piano-wire", "nickel-silver"])
    return report(rng, say(rng, "to [test|check|try] Hooke's law for a {m} spring", m=mat), say(rng, "[the spring|it] [hanging|hung] from a [clamp|stand|beam|nail] beside a [scale|ruler|metre rule]"), xs, ys, "load", "stretch", "N", "mm",
                  lambda s, c: say(rng, "{Hence} the [spring constant|stiffness] is 1000/{s} = {k} N/m, and a mass of {m} kg [on it ][should|would] [oscillate|bob] with a period of {t} s.", s=sig(s), k=sig(1000 / s), m=(m := uni(rng, 0.1, 0.9)), t=sig(2 * math.pi * math.sqrt(m * s / 1000))))


def pendulum_report(rng):
    xs = sorted(uni(rng, 0.2, 2.4) for _ in range(rng.randint(5, 8)))
    ys = [noisy(rng, 4 * math.pi ** 2 * x / G, 0.008) for x in xs]
    bob = pick(rng, ["lead", "brass", "steel", "wooden", "iron", "glass", "stone"])
    return report(rng, say(rng, "to [find|measure|determine] g [from|with] a pendulum"), say(rng, "a {b} bob on a [thread|fishing line|fine wire|silk cord] and timed {n} swings [for each length|each time]", b=bob, n=rng.randint(10, 50)), xs, ys, "length", "period squared", "m", "s^2",
                  lambda s, c: say(rng, "{Since2} T^2 = 4 pi^2 L/g, g = 4 pi^2/{s} = {g} m/s^2, which {agrees} 9.81[ within {p} percent].", Since2=pick(rng, ["Since", "As", "Because"]), s=sig(s), g=sig(4 * math.pi ** 2 / s), p=f"{abs(4 * math.pi ** 2 / s / G - 1) * 100 + .05:.1f}"))


def ohm_report(rng):
    r = uni(rng, 4, 900)
    xs = [uni(rng, 0.7, 1.3) * (i + 1) for i in range(rng.randint(5, 8))]
    ys = [noisy(rng, 1000 * x / r, 0.012) for x in xs]
    d, L = uni(rng, 0.1, 0.6), uni(rng, 0.5, 9)
    wire = pick(rng, ["constantan", "manganin", "nichrome", "graphite", "tungsten", "German silver", "platinum"])
    return report(rng, say(rng, "to [see|learn] whether a {w} [wire|resistor|track] obeys Ohm's law", w=wire), say(rng, "[a battery|a supply], a [rheostat|slide resistor] and two meters[ in the usual circuit]"), xs, ys, "voltage", "current", "V", "mA",
                  lambda s, c: say(rng, "The [graph|plot] is straight [within the errors|as far as can be seen], so the resistance is 1000/{s} = {r} ohm[; for a piece {L} m long and {d} mm thick the resistivity [is|would be] {rho} ohm m].", s=sig(s), r=sig(1000 / s), L=L, d=d, rho=sig(1000 / s * math.pi * (d / 2000) ** 2 / L)))


def cooling_report(rng):
    room, hot, tau = rng.randint(14, 24), rng.randint(60, 95), uni(rng, 8, 60)
    xs = [float(i * pick(rng, [2, 3, 4, 5])) for i in range(7)]
    xs = sorted(set(xs))
    ys = [noisy(rng, math.log((hot - room)) - x / tau, 0.004) for x in xs]
    cup = pick(rng, ["tin mug", "china cup", "glass beaker", "thermos without its lid", "paper cup", "copper can", "clay pot", "enamel bowl"])
    return report(rng, say(rng, "to [follow|study] the cooling of [tea|water|soup|coffee|cocoa] in a {c}", c=cup), say(rng, "a thermometer [in|inside] the {c} and took readings for {n} minutes[ in a room at {r} degrees]", c=cup, n=int(xs[-1]), r=room), xs, ys, "time", "log of the excess", "min", "units",
                  lambda s, c: say(rng, "[Newton's law of cooling|An exponential decay] [fits|describes it] with a time constant of {t} minutes: the excess [over|above] the [room|air] [halves|is halved|drops to half] [every|in] {h} minutes[, and started near {e} degrees].", t=sig(-1 / s), h=sig(-math.log(2) / s), e=sig(math.exp(c))))


def track_report(rng):
    a = uni(rng, 0.1, 1.9)
    xs = sorted({uni(rng, 0.3, 3.2) for _ in range(rng.randint(5, 8))})
    ys = [noisy(rng, a * t, 0.015) + 0.02 for t in xs]
    cart = pick(rng, THINGS["carts"])
    m = uni(rng, 0.2, 3)
    return report(rng, say(rng, "to measure the acceleration of a {c} [pulled by|drawn by] a falling weight", c=cart), say(rng, "a track with [light gates|a ticker timer|a motion sensor|a video camera]"), xs, ys, "time", "speed", "s", "m/s",
                  lambda s, c: say(rng, "The slope [is|gives] the acceleration, {a} m/s^2; on {m} kg [that takes|this means] {f} N. In the first {t} s it [covers|travels] {d} m.", a=sig(s), m=m, f=sig(m * s), t=(t := uni(rng, 1, 4)), d=sig(s * t * t / 2 + max(c, 0) * t)))


def absorb_report(rng):
    mu = uni(rng, 0.04, 0.9)
    n0 = rng.randint(900, 9000)
    mat = pick(rng, ["lead", "aluminium", "concrete", "water", "iron", "glass", "copper", "perspex"])
    xs = [i * uni(rng, 0.4, 1.6) for i in range(rng.randint(5, 8))]
    xs = sorted(set(xs))
    ys = [math.log(max(5, n0 * math.exp(-mu * x) + rng.gauss(0, math.sqrt(n0 * math.exp(-mu * x))))) for x in xs]
    src = pick(rng, [n[0] for n in NUCLEI if n[5] == "beta" and n[0] in ("caesium-137", "cobalt-60", "iodine-131")])
    return report(rng, say(rng, "to [see|learn] how gamma rays [from|of] {s} are [absorbed|weakened] by {m}", s=src, m=mat), say(rng, "a Geiger counter [facing|in front of] the source and [slid|placed] sheets of {m} between", m=mat), xs, ys, "thickness", "log of the counts", "cm", "units",
                  lambda s, c: say(rng, "The [counts fall|rate falls] [exponentially|as an exponential], [with a coefficient of|losing a share] {m} per cm: {h} cm [halve|are enough to halve] them, and {t} cm [let through|would pass] one percent. [Without an absorber|Bare,] {n} counts [per run ][are|were] expected.", m=sig(-s), h=sig(-math.log(2) / s), t=sig(-math.log(100) / s), n=sig(math.exp(c))))


MORE = [orbit, decay, photoelectric, floating, rotation, expansion, coil, doppler, relativity, radiation]
LONG = [spring_report, pendulum_report, ohm_report, cooling_report, track_report, absorb_report]
