"""Physics: worked problems with units, and reports of measurements."""
from __future__ import annotations

import math
import random
import re
from typing import Iterator

from grammar import capital, expand, listing, mixed, pick, some, tidy
from scenes import REWORD, aside, scene
from physics_words import BODIES, INDICES, LIQUIDS, MATERIALS, METALS, NUCLEI, RULES, THINGS

G, C, H, QE, KB, GRAV = 9.81, 2.998e8, 6.626e-34, 1.602e-19, 1.381e-23, 6.674e-11


def say(rng: random.Random, template: str, **slots) -> str:
    return tidy(expand(rng, RULES, template, **slots))


def sig(x: float, digits: int = 4) -> str:
    """A number to so many significant figures; powers of ten where that is shorter."""
    if x == 0:
        return "0"
    e = math.floor(math.log10(abs(x)))
    if e >= 5 or e <= -4:
        m = f"{x / 10 ** e:.{digits - 1}f}"
        return f"{m}e{e}" if not m.startswith("10") else f"1.00e{e + 1}"
    return f"{x:.{max(0, digits - 1 - e)}f}"


def uni(rng, low: float, high: float, digits: int = 2) -> float:
    return float(f"{rng.uniform(low, high):.{digits}g}")


def thing(rng, key: str) -> str:
    return pick(rng, THINGS[key])


def falling(rng):
    h = rng.randint(4, 180)
    t, v = math.sqrt(2 * h / G), math.sqrt(2 * G * h)
    m = uni(rng, 0.05, 4)
    up = uni(rng, 3, 28)
    return say(rng, "[A|An unlucky worker drops a|{Name} lets go of a|Somebody drops a] {odd} {w} [falls [off|from]|from] a {p}[, ]{h} m [above the ground|up]. {Neglect}, the [time of fall|fall lasts a time] t = sqrt(2h/g) = sqrt(2*{h}/9.81), {about} {t} s, and the [impact|landing|final] speed [is|reaches] "
               "gt = {v} m/s[, or {k} km/h]. [{Check}: mgh|by {energy}, the potential energy m g h] for {m} kg is {e} J, [the same as|equal to] half of {m}*{v}^2. [Thrown upward|Sent straight up] at {u} m/s from the [ground|floor] instead, it would [rise|climb] u^2/2g = {r} m.]",
               odd=pick(rng, RULES["odd"]), w=thing(rng, "thrown"), p=thing(rng, "heights"), h=h, t=sig(t), v=sig(v), k=sig(v * 3.6), m=m, e=sig(m * G * h), u=up, r=sig(up * up / 2 / G))


def projectile(rng):
    v, a = rng.randint(6, 75), rng.randint(18, 72)
    vx, vy = v * math.cos(math.radians(a)), v * math.sin(math.radians(a))
    t = 2 * vy / G
    best = v * v / G
    return say(rng, "A {w} is [thrown|fired|launched|hurled|catapulted] at {v} m/s, {a} degrees above the [horizontal|level ground]. [Resolve|Split] the velocity: {v} cos {a} = {vx} m/s [along|forwards], {v} sin {a} = {vy} m/s [up|upwards]. [The vertical part|Gravity] [is used up|takes the rise to zero] after {vy}/9.81 = {half} s, "
               "so the [whole flight|flight] [lasts|takes] {t} s[ on level ground]. [The range is|It lands at] {vx}*{t} = {r} m, [and|while] the [summit|highest point] is {vy}^2/(2*9.81) = {top} m [high|up]. [At 45 degrees the same [launch|speed] would [carry it|reach] {b} m.|{Neglect}, of course.]", w=thing(rng, "thrown"), v=v, a=a,
               vx=sig(vx), vy=sig(vy), half=sig(t / 2), t=sig(t), r=sig(vx * t), top=sig(vy * vy / 2 / G), b=sig(best))


def braking(rng):
    k, a = rng.randint(18, 140), uni(rng, 1.2, 8.5)
    v = k / 3.6
    d = float(f"{v * v / 2 / a:.3g}")
    a = v * v / 2 / d
    m = rng.randint(2, 90) * (50 if rng.random() < .7 else 100)
    tr = uni(rng, 0.5, 1.4)
    return say(rng, "A {w} of mass {m} kg [travels|is going|moves] at {k} km/h, [that is|or] {v} m/s, [when the driver brakes|and has to stop]. It [halts|comes to rest] [within|after] {d} m. [From|By] v^2 = 2as the deceleration is {v}^2/(2*{d}) = {a} m/s^2, {f} times g; [the braking force|the force needed] is {m}*{a} = {F} N[, acting for {t} s]. The "
               "kinetic energy[, half of m v^2,| lost] is {e} kJ[, all of which [warms|heats] the brakes]. [During|In] a reaction time of {tr} s the {w} [already ]covers [another|a further] {x} m.", w=thing(rng, "vehicles"), m=m, k=k, v=sig(v), d=d, a=sig(a), f=sig(a / G, 2), F=sig(m * a), t=sig(v / a), e=sig(m * v * v / 2000), tr=tr,
               x=sig(v * tr))


def collision(rng):
    m, n = uni(rng, 0.1, 9), uni(rng, 0.1, 9)
    u = uni(rng, 0.4, 8)
    w = -uni(rng, 0.1, 5) if rng.random() < 0.5 else 0
    v = (m * u + n * w) / (m + n)
    e0, e1 = (m * u * u + n * w * w) / 2, (m + n) * v * v / 2
    a, b = ((m - n) * u + 2 * n * w) / (m + n), ((n - m) * w + 2 * m * u) / (m + n)
    second = f"meets {pick(rng, ['one', 'another', 'a second'])} of {n} kg " + (f"coming the other way at {-w} m/s" if w else pick(rng, ["at rest", "standing still", "that is waiting"]))
    return say(rng, "On a {smooth} [track|rail|bench|sheet of ice|floor] a {t} of {m} kg [moving|gliding|rolling] at {u} m/s {s}. [If they [stick together|couple]|Suppose they lock together]: [the momentum|momentum is conserved,] {p} kg m/s, [is shared by|is carried by] {M} kg, so they [go on|move] at {v} m/s. [The kinetic energy|Their energy] [drops|falls] from {e0} J to {e1} J; "
               "{l} percent [goes|turns] into [heat and sound|deformation|warmth]. [In an elastic [collision|impact]|If they bounce [off|apart] [without loss|perfectly]], the [first|former] [leaves|goes off|moves on] at {a} m/s and the other at {b} m/s[, and no kinetic energy is lost].", t=thing(rng, "carts"), m=m, u=u, s=second, p=sig(m * u + n * w), M=sig(m + n), v=sig(v),
               e0=sig(e0), e1=sig(e1), l=sig(100 * (1 - e1 / e0), 2), a=sig(a), b=sig(b))


def incline(rng):
    a, m, mu = rng.randint(8, 50), uni(rng, 2, 300), rng.randint(5, 48) / 100
    s, c = math.sin(math.radians(a)), math.cos(math.radians(a))
    pull, fr = m * G * s, mu * m * G * c
    length = uni(rng, 1.5, 30)
    if pull > fr:
        acc = (pull - fr) / m
        end = say(rng, "[The difference|What is left], {d} N, [accelerates|speeds] it [down the slope |]at {x} m/s^2, [and after|so after] {L} m it [moves|slides] at {v} m/s.", d=sig(pull - fr), x=sig(acc), L=length, v=sig(math.sqrt(2 * acc * length)))
    else:
        end = say(rng, "[Friction wins|The grip is enough]: the {w} stays put, [held|kept in place] by {f} N of static friction[, until the slope exceeds {deg} degrees].", w="load", f=sig(pull), deg=sig(math.degrees(math.atan(mu))))
    return say(rng, "A {l} of {m} kg [rests|lies|is placed] on a [ramp|slope|plank|chute] [tilted|inclined] at {a} degrees; the friction coefficient is {mu}. Along the [slope|ramp] gravity pulls with m g sin {a} = {p} N, [and|while] the [normal|supporting] force is {n} N, so friction can [supply|offer] up to {mu}*{n} = {f} N. {end} [To [haul|push] it up[ slowly] "
               "[takes|needs] {up} N, [an efficiency|a useful share] of {eff} percent.]", l=thing(rng, "loads"), m=m, a=a, mu=mu, p=sig(pull), n=sig(m * G * c), f=sig(fr), end=end, up=sig(pull + fr), eff=sig(100 * pull / (pull + fr)))


def circuit(rng):
    v, r = pick(rng, [1.5, 3, 4.5, 6, 9, 12, 18, 24, 36, 48, 230]), [rng.randint(2, 99) * pick(rng, [1, 1, 10]) for _ in range(3)]
    par = r[1] * r[2] / (r[1] + r[2])
    total = r[0] + par
    i = v / total
    vp = i * par
    t = rng.randint(2, 50)
    return say(rng, "A {v} V [battery|supply|source|cell stack] [feeds|drives] a {a} ohm resistor in series with {b} ohm and {c} ohm [connected |wired |]in parallel. [The pair|The parallel part] [acts|counts] as {b}*{c}/({b} + {c}) = {p} ohm, so the [circuit|whole chain] [has|offers] {t} ohm and draws {v}/{t} = {i} A. "
               "[Across|Over] the {a} ohm [resistor |]we find {va} V, leaving {vp} V [for|across] the pair, whose [branches|arms] carry {ib} A and {ic} A[ (sum {i} A)]. The [total |]power is {v}*{i} = {P} W; in {m} minutes [that is|this makes] {e} J[, mostly heat]. [Opening the {c} ohm branch [would change|changes] the current to {i2} A.]", v=v, a=r[0], b=r[1],
               c=r[2], p=sig(par), t=sig(total), i=sig(i), va=sig(i * r[0]), vp=sig(vp), ib=sig(vp / r[1]), ic=sig(vp / r[2]), P=sig(v * i), m=t, e=sig(v * i * t * 60), i2=sig(v / (r[0] + r[1])))


def capacitor(rng):
    c, v, r = uni(rng, 1, 990), rng.randint(3, 400), uni(rng, 1, 470)
    tau = r * 1e3 * c * 1e-6
    t = tau * rng.randint(5, 30) / 10
    return say(rng, "A capacitor of {c} microfarads is charged to {v} V. It [holds|stores] Q = CV = {q} C [of charge |]and [the energy|an energy of] CV^2/2 = {e} J. [Discharged|Let it discharge] through {r} kilohm[s|], the time constant [RC|is RC, or] {tau} s[ sets the pace]: after {t} s the [voltage|reading] is {v} exp(-{x}) = {u} V, [and|while] the current [has fallen|is down] "
               "from {i0} mA to {i} mA. [Half the voltage is gone|It halves] every {half} s. [A second one of [equal size|the same value] in series would [halve|reduce] the capacitance to {c2} microfarads.]", c=c, v=v, q=sig(c * 1e-6 * v), e=sig(c * 1e-6 * v * v / 2), r=r, tau=sig(tau), t=sig(t), x=sig(t / tau), u=sig(v * math.exp(-t / tau)),
               i0=sig(v / r), i=sig(v * math.exp(-t / tau) / r), half=sig(tau * math.log(2)), c2=sig(c / 2))


def heating(rng):
    m, dt, p = uni(rng, 0.2, 6), rng.randint(12, 75), rng.randint(4, 60) * 50
    liquid = pick(rng, list(LIQUIDS))
    cap = LIQUIDS[liquid][1]
    q = m * cap * dt
    eff = rng.randint(55, 95)
    cost = rng.randint(9, 42)
    t0 = rng.randint(4, 22)
    return say(rng, "How long does a {d} [rated at|of] {p} W need to [warm|heat] {m} kg of {l} from {a} to {b} degrees? [The heat required|What is needed] is m c dT = {m}*{cap}*{dt} = {q} J, [that is|or] {k} kWh. [At {eff} percent efficiency|If only {eff} percent arrives], the supply [must give|delivers] {s} J, which takes {s}/{p} = {t} s, {about} {min} minutes. "
               "[At {cost} cents per kWh [this|it] costs {money} cents.] [The {l} would [cool|lose heat] at first by {u} K per minute if it [lost|gave off] {loss} W.]", d=thing(rng, "devices"), p=p, m=m, l=liquid, a=t0, b=t0 + dt, cap=cap, dt=dt, q=sig(q), k=sig(q / 3.6e6), eff=eff, s=sig(q * 100 / eff), t=sig(q * 100 / eff / p),
               min=sig(q * 100 / eff / p / 60), cost=cost, money=sig(q * 100 / eff / 3.6e6 * cost), u=sig(60 * 40 / (m * cap)), loss=40)


def calorimetry(rng):
    metal = pick(rng, list(MATERIALS))
    c = MATERIALS[metal][1]
    m, hot, w, cold = rng.randint(30, 900), rng.randint(70, 180), rng.randint(100, 950), rng.randint(6, 24)
    tf = (m * c * hot + w * 4186 * cold) / (m * c + w * 4186)
    return say(rng, "{Name} [drops|lowers|plunges] {m} g of {x} at {h} degrees [into|in] {w} g of water at {k}. [Heat lost|What the {x} loses] equals [heat gained|the water's gain]: {m}*{c}*({h} - T) = {w}*4186*(T - {k}), in [units|terms] of g and J/(kg K). [Solving|This {gives}] T = {t} degrees. The {x} [gives up|hands over] {q} J[, and warms the water by {d} K]. "
               "[The same mass of water [instead|at {h} degrees] would [reach|settle at] {t2} degrees, because its [heat capacity|specific heat] is {f} times as [large|great].]", m=m, x=metal, h=hot, w=w, k=cold, c=c, t=sig(tf), q=sig(m / 1000 * c * (hot - tf)), d=sig(tf - cold), t2=sig((m * min(hot, 100) + w * cold) / (m + w)) if hot <= 100
               else sig((m * 95 + w * cold) / (m + w)) + " (starting from 95)", f=sig(4186 / c))


def gas(rng):
    n, v, t = uni(rng, 0.05, 8), uni(rng, 0.6, 90), rng.randint(-30, 140)
    tk = t + 273.15
    p = n * 8.314 * tk / (v / 1000)
    f = rng.randint(30, 180) / 100
    if abs(f - 1) < 0.1:
        f = 1.6
    t2 = rng.randint(150, 400)
    mass = {"helium": 4.003, "nitrogen": 28.01, "oxygen": 32.0, "argon": 39.95, "neon": 20.18, "hydrogen": 2.016, "methane": 16.04, "krypton": 83.8, "air": 28.97, "xenon": 131.3}
    g = thing(rng, "gases")
    rms = math.sqrt(3 * 8.314 * tk / (mass[g] / 1000))
    return say(rng, "A {w} [of|with a volume of] {v} litres [contains|holds] {n} mol of {g} at {t} degrees. [By|From] the [ideal gas law|equation pV = nRT], p = {n}*8.314*{tk}/{vm} = {p} Pa, [or|that is] {kp} [kPa|kilopascals]. [Changing|Bringing] the volume to {v2} litres at [the same|constant|a fixed] temperature [makes|takes] the pressure {p2} kPa; "
               "[heating|warming] the [closed|original] {w} to {t2} degrees [instead |]raises it to {p3}. [The gas weighs|The filling has a mass of] {gm} g. [A typical [molecule|particle]|Its root mean square speed], sqrt(3RT/M), [moves at|is] {rms} m/s, [and|with] the mean kinetic energy [of each is|] {ek} J.", w=thing(rng, "vessels"), v=v, n=n, g=g, t=t, tk=sig(tk, 4), vm=sig(v / 1000), p=sig(p),
               kp=sig(p / 1000), v2=sig(v * f), p2=sig(p / f / 1000), t2=t2, p3=sig(p * (t2 + 273.15) / tk / 1000) + " kPa", gm=sig(n * mass[g]), rms=sig(rms), ek=sig(1.5 * KB * tk))


def lens(rng):
    f, o = rng.randint(4, 60), rng.randint(3, 200)
    if o == f:
        o += 7
    i = 1 / (1 / f - 1 / o)
    kind = "real and inverted" if i > 0 else "virtual and upright"
    s = uni(rng, 0.5, 12)
    name = pick(rng, ["candle", "arrow", "pin", "lamp", "coin", "slide", "ruler", "beetle", "letter", "leaf", "key", "stamp", "fly", "filament"])
    return say(rng, "A [converging|convex|thin] lens [of focal length|with f =] {f} cm [looks at|faces|is held {o} cm from] a {n} {s} cm [tall|high][, placed {o} cm away|, at {o} cm]. [From 1/f = 1/o + 1/i we get|The lens equation reads|By 1/f = 1/o + 1/i,] 1/i = 1/{f} - 1/{o} = {inv} per cm, so i = {i} cm: the image is {kind}. The magnification [is|-i/o is] {m}, [so|hence] it [measures|stands] "
               "{h} cm. [The power of the lens is {d} dioptres.] [{ext}]", f=f, o=o, n=name, s=s, inv=sig(1 / i), i=sig(i), kind=kind, m=sig(-i / o), h=sig(abs(s * i / o)), d=sig(100 / f),
               ext=say(rng, "[Held|Placed] at {k} cm the {n} would be imaged at its own size.", k=2 * f, n=name))


def refraction(rng):
    a = pick(rng, list(INDICES))
    n = INDICES[a]
    deg = rng.randint(9, 82)
    r = math.degrees(math.asin(math.sin(math.radians(deg)) / n))
    crit = math.degrees(math.asin(1 / n))
    d = uni(rng, 1, 30)
    wl = rng.randint(400, 700)
    shift = d * math.sin(math.radians(deg - r)) / math.cos(math.radians(r))
    return say(rng, "A [ray|beam|narrow beam|pencil of light] [strikes|meets|falls on] a {d} cm [slab|layer|block|plate] of {m} (index {n}) [at|under] {a} degrees to the normal. [By Snell's law|Refraction gives|Inside,] sin r = sin({a})/{n} = {s}, so r = {r} degrees[ inside]. [On leaving|Emerging], it [runs|is] [parallel to|along] [its old direction|the incoming ray], [shifted|moved|set off] [sideways|aside] [by |]{x} cm. "
               "[From inside|Going the other way], [total reflection [sets in|begins]|light is trapped|none escapes] [beyond|above] {c} degrees. Light [travels|moves] at {v} m/s [there|in {m}], and {w} nm [in vacuum |][becomes|shrinks to] {w2} nm. [The Brewster angle is {b} degrees.]", d=d, m=a, n=n, a=deg, s=sig(math.sin(math.radians(deg)) / n), r=sig(r), x=sig(shift), c=sig(crit), v=sig(C / n),
               w=wl, w2=sig(wl / n), b=sig(math.degrees(math.atan(n))))


def grating(rng):
    lines, wl, dist = rng.randint(80, 900), rng.randint(405, 690), uni(rng, 0.5, 4)
    d = 1e-3 / lines
    order = int(d / (wl * 1e-9))
    th = math.degrees(math.asin(wl * 1e-9 / d))
    colour = "violet" if wl < 430 else "blue" if wl < 490 else "green" if wl < 565 else "yellow" if wl < 590 else "orange" if wl < 620 else "red"
    gap = uni(rng, 0.1, 0.8)
    return say(rng, "{C} light of {w} nm [falls|shines] on a grating [with|of|ruled with] {l} lines per mm. [The spacing is {d} m|Neighbouring slits lie {d} m apart|The grating constant is {d} m]; [the first maximum|in first order, the bright line] [appears|stands] where sin a = {s}, a = {a} degrees[, {x} m off axis on a screen {D} m away]. [Orders up to {k} exist|The highest order is {k}], "
               "[since|for] the sine [cannot exceed|must stay below] 1. [Two slits|A double slit] {g} mm apart would [give|show] fringes {f} mm apart [on [that|the] screen|at {D} m]. A photon [of this light ]carries {e} eV.", C=capital(colour), w=wl, l=lines, d=sig(d), s=sig(wl * 1e-9 / d), a=sig(th), x=sig(dist * math.tan(math.radians(th))), D=dist, k=order, g=gap,
               f=sig(wl * 1e-9 * dist / (gap * 1e-3) * 1000), e=sig(H * C / (wl * 1e-9) / QE))


def string_wave(rng):
    f, L, mu = rng.randint(60, 880), rng.randint(30, 110), uni(rng, 0.3, 9)
    v = 2 * L / 100 * f
    other = f + rng.randint(1, 7)
    return say(rng, "A {s} string {L} cm long [sounds|vibrates at|is tuned to] {f} Hz. [The fundamental|Its lowest mode] [fits|has] half a wave on the string, so the wavelength is {w} m and [waves travel|a pulse runs] at {v} m/s. With {mu} g per metre, the tension [must be|is|has to be] [v^2 times that|that times v^2], {T} N. [Overtones [lie|come] at|The next modes are] {o2} and {o3} Hz. [In air, at 343 m/s,|At 343 m/s in air] the sound [has|makes] "
               "a wavelength of {la} m. [Beside|Together with] a [fork|neighbour] at {o} Hz one hears {b} per second. [Tightening by|Raising the tension by] {p} percent [lifts|brings] it to {f2} Hz.", s=thing(rng, "strings"), L=L, f=f, w=sig(2 * L / 100), v=sig(v), mu=mu, T=sig(mu / 1000 * v * v), o2=2 * f, o3=3 * f, la=sig(343 / f), o=other, b=f"{other - f} beat{'s' if other - f > 1 else ''}",
               p=(p := rng.randint(2, 30)), f2=sig(f * math.sqrt(1 + p / 100), 4))


from physics_more import LONG, MORE  # noqa: E402  (uses the helpers above)

SHORT = [falling, projectile, braking, collision, incline, circuit, capacitor, heating, calorimetry, gas, lens, refraction, grating, string_wave] + MORE


UNITS = {"m/s": ["m/s", "metres per second", "metres a second"], "N": ["N", "newtons", "newton"], "J": ["J", "joules", "joule"],
         "kg": ["kg", "kilograms", "kilos"], "W": ["W", "watts", "watt"], "V": ["V", "volts", "volt"], "A": ["A", "amperes", "amps"],
         "Hz": ["Hz", "hertz", "cycles per second"], "cm": ["cm", "centimetres"], "mm": ["mm", "millimetres"], "nm": ["nm", "nanometres"],
         "Pa": ["Pa", "pascals"], "K": ["K", "kelvin", "kelvins"], "ohm": ["ohm", "ohms"], "km": ["km", "kilometres"]}


def units(rng, text: str) -> str:
    """Spell out some of the units."""
    names = "|".join(sorted(UNITS, key=len, reverse=True))
    return re.sub(rf"(?<=\d )({names})(?![\w/^*])", lambda m: pick(rng, UNITS[m.group(1)]), text)


VOWELS = "aluminium|oven|iron|amplifier|acorn|apple|icicle|engine|anvil|arrow|express|ambulance|old|elastic|oak|organ|orbiter"


def dressed(rng, maker) -> str:
    """A problem, perhaps with a setting before it and a remark after it."""
    text = units(rng, REWORD["physics"](rng, maker(rng)))
    text = re.sub(rf"\b([Aa]) (?=({VOWELS})\b)", r"\1n ", text)
    if rng.random() < 0.8:
        text = scene(rng, "physics", RULES["name"]) + " " + text
    if rng.random() < 0.6:
        figures = re.findall(r"(?<![\w^.-])\d[\d.]*(?:e-?\d+)? [A-Za-z/]+", text)
        text += " " + aside(rng, "physics", RULES["name"], pick(rng, figures[-4:] or ["the figure"]))
    return text


def sheet(rng):
    """One to three problems, with or without numbers."""
    parts = [dressed(rng, pick(rng, SHORT)) for _ in range(rng.randint(1, 3))]
    if len(parts) == 1:
        return parts[0]
    mark = pick(rng, ["{}. ", "Problem {}. ", "Case {}. ", "({}) ", "Example {}. ", ""])
    first = rng.randint(1, 60)
    return "\n".join(mark.format(first + i) + part for i, part in enumerate(parts))


def written_up(rng):
    return units(rng, REWORD["physics"](rng, pick(rng, LONG)(rng))).replace(" a iron", " an iron")


def documents(rng: random.Random) -> Iterator[str]:
    return mixed(rng, "physics", [(sheet, 5), (written_up, 2)], every=4)
