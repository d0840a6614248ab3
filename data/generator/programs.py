"""Programs for the code domain: filled shapes from ``programs/`` and generated structures.

A shape is source text with ``<<key=a|b>>`` (choose and remember), ``<<key>>`` (recall),
``<<key=#3-90>>`` (a number), ``<<key=@5,1,99>>`` (a list of numbers), ``<<a|b>>``
(choose) and ``<<!expression>>`` (a value computed in Python from the remembered ones).
"""

import functools
import math
import re
from pathlib import Path

HERE = Path(__file__).resolve().parent
SLOT = re.compile(r"<<(?!<)(.*?)>>")
NOUNS = """abacus acorn almanac amber anvil apricot arcade atlas axle badge bamboo barge basin
basket bellows biscuit blanket blossom bonnet boulder bracelet bramble brewery brick bucket buoy
cabin cactus candle canyon caravan carpet castle cedar chimney cinder clover cobalt comet cork
cottage crayon cricket crystal cushion dagger dolphin dynamo easel ember falcon fiddle flute
fountain furnace gallery garnet gazelle goblet granite guitar hammock hazel helmet heron hollow
inkwell jasmine jigsaw kayak kestrel lagoon lattice lemon magnet mango marble mason meteor mosaic
nectar nettle nutmeg oasis oboe onyx otter paddle parrot pepper piano pigeon pillow plaza plum
anchor beacon bearing bottle canal cargo cellar channel cloud compass copper
current desk docket drone engine fabric ferry filter garden gauge glacier harbour hinge island
kettle ladder lantern ledger lever locker meadow mirror module monitor needle orchard packet
panel parcel pebble pipeline planet probe pulley quarry radio relay ribbon river rocket rotor
sample satellite sensor shelf signal spindle station stencil summit switch tanker thermostat
ticket timber tower tractor tunnel turbine valve vessel voucher wagon walnut weather willow""".split()
FIELDS = """age balance bonus breadth capacity charge code count credits damage debt delay demand
dose draft drift duration energy fare fee flow force fuel gain grade height hits hours humidity
income interval items kilos latency layers length level limit litres load margin mass minutes
misses mileage offset orders pages payload points power pressure price quota radius range rank
rate rent score seats shift slack slope speed stock supply tariff taxes tension torque units
visits voltage volume wages weight width yield_rate""".split()
VERBS = """adjust assess balance blend build cast choose collect compute derive draft estimate
fold gauge grade infer judge measure plan price rank rate reckon reduce resolve score settle
shape size solve survey total trace tune value weigh""".split()
STATES = [
    "Idle Queued Running Paused Finished".split(),
    "Closed Opening Open Closing".split(),
    "Draft Review Signed Filed Expired".split(),
    "Red Amber Green Flashing".split(),
    "Empty Filling Full Draining".split(),
    "Parked Taxiing Airborne Landing".split(),
    "Seed Sprout Leaf Flower Fruit".split(),
    "Ordered Packed Shipped Delivered Returned".split(),
    "Locked Armed Alarm Silent".split(),
    "Cold Warming Hot Cooling".split(),
    "Dawn Noon Dusk Night".split(),
    "Docked Loading Sailing Moored".split(),
]


def shapes(name):
    """The (source, remark) pairs of one file of shapes."""
    text = (HERE / "programs" / (name + ".txt")).read_text()
    pairs = [part.partition("%%") for part in re.split(r"(?m)^---\n", text)]
    return [(source.strip(), remark.strip()) for source, _, remark in pairs]


def coins(amount):
    out = []
    for coin in (50, 20, 10, 5, 2, 1):
        out += [coin] * (amount // coin)
        amount %= coin
    return out


def collatz(n):
    steps = 0
    while n > 1:
        n = n // 2 if n % 2 == 0 else 3 * n + 1
        steps += 1
    return steps


def fibonacci(n):
    a, b = 0, 1
    for _ in range(n):
        a, b = b, a + b
    return a


def fill(source, rng):
    """A shape with its slots chosen; the same names in all its parts."""
    known = {}

    def draw(spec):
        if re.match(r"#\d", spec):
            low, high = spec[1:].split("-")
            return str(rng.randint(int(low), int(high)))
        if spec.startswith("@"):
            count, low, high = map(int, spec[1:].split(","))
            return ", ".join(str(rng.randint(low, high)) for _ in range(count))
        return rng.choice(spec.split("|"))

    def recall(key):
        name, colon, spec = key.partition(":")
        if colon and name not in known:
            known[name] = draw(spec)
        return known[name]

    tools = {
        "S": recall,
        "I": lambda key: int(recall(key)),
        "L": lambda key: [int(x) for x in recall(key).split(",")],
        "J": lambda xs: ", ".join(map(str, xs)),
        "P": lambda n: n > 1 and all(n % d for d in range(2, math.isqrt(n) + 1)),
        "C": lambda s, k: "".join(chr((ord(c) - 97 + k) % 26 + 97) for c in s),
        "H": lambda s: f"{s // 3600:02}:{s % 3600 // 60:02}:{s % 60:02}",
        "G": coins,
        "K": collatz,
        "F": fibonacci,
        "math": math,
        "functools": functools,
    }

    def slot(match):
        body = match.group(1)
        if body.startswith("!"):
            return str(eval(body[1:], tools))
        key, equals, spec = body.partition("=")
        if equals:
            known[key] = draw(spec)
            return known[key]
        return known[body] if body in known else rng.choice(body.split("|"))

    return SLOT.sub(slot, source)


def title(words):
    return "".join(word.capitalize() for word in words)


def expression(rng, names, depth=2):
    """A random integer expression over ``names``: its source, and its value as i64."""
    if depth == 0 or rng.random() < 0.15:
        name = rng.choice(list(names))
        return name, names[name]
    left, a = expression(rng, names, depth - 1)
    if abs(a) > 10**8:  # far from overflow, whatever follows
        return left, a
    kind = rng.choice(["+", "-", "*", "max", "min", "%", "abs", "n"])
    if kind == "%":
        n = rng.randint(3, 60)
        return f"{left}.rem_euclid({n})", a % n
    if kind == "n":
        n, op = rng.randint(2, 90), rng.choice("+-*")
        return f"({left} {op} {n})", {"+": a + n, "-": a - n, "*": a * n}[op]
    right, b = expression(rng, names, depth - 1)
    if abs(b) > 10**8:
        return right, b
    if kind == "abs":
        return f"({left} - {right}).abs()", abs(a - b)
    if kind in ("max", "min"):
        return f"{left}.{kind}({right})", (max if kind == "max" else min)(a, b)
    return f"({left} {kind} {right})", {"+": a + b, "-": a - b, "*": a * b}[kind]


def bare(text):
    """Without the outer brackets, if one pair encloses everything."""
    if not (text.startswith("(") and text.endswith(")")):
        return text
    depth = 0
    for i, ch in enumerate(text):
        depth += (ch == "(") - (ch == ")")
        if depth == 0 and i < len(text) - 1:
            return text
    return text[1:-1]


def formula(rng):
    """A function made of several arithmetic steps, with a computed test."""
    names = rng.sample(FIELDS, rng.randint(2, 4))
    values = {name: rng.randint(-400, 900) for name in names}
    func = f"{rng.choice(VERBS)}_{rng.choice(NOUNS)}"
    args = ", ".join(f"{name}: i64" for name in names)
    call = ", ".join(str(values[name]) for name in names)
    body = []
    for step in rng.sample([f for f in FIELDS if f not in names], rng.randint(1, 3)):
        text, value = expression(rng, values)
        body.append(f"    let {step} = {bare(text)};")
        values = {**values, step: value}
    text, value = expression(rng, values, 2)
    lines = [f"pub fn {func}({args}) -> i64 {{", *body, f"    {bare(text)}", "}", ""]
    test = f"{rng.choice(NOUNS)}_{rng.choice(VERBS)}s"
    lines += ["#[test]", f"fn {test}() {{", f"    assert_eq!({func}({call}), {value});", "}"]
    return "\n".join(lines)


def record(rng):
    """A struct with a constructor, a derived quantity, a setter and a test."""
    name = title(rng.sample(NOUNS, rng.randint(1, 2)))
    fields = rng.sample(FIELDS, rng.randint(2, 4))
    values = {f"self.{field}": rng.randint(1, 999) for field in fields}
    text, value = expression(rng, values)
    verb = rng.choice(VERBS)
    derive = ", ".join(rng.sample(["Debug", "Clone", "PartialEq", "Default"], rng.randint(1, 3)))
    lines = [f"#[derive({derive})]", f"pub struct {name} {{"]
    for field in fields:
        if rng.random() < 0.4:
            lines.append(f"    /// The {field} of the {rng.choice(NOUNS)}.")
        lines.append(f"    pub {field}: i64,")
    lines += ["}", "", f"impl {name} {{"]
    if rng.random() < 0.6:
        field = rng.choice(fields)
        lines += [
            f"    pub fn with_{field}(mut self, {field}: i64) -> Self {{",
            f"        self.{field} = {field};",
            "        self",
            "    }",
            "",
        ]
    lines += [f"    pub fn {verb}(&self) -> i64 {{", f"        {bare(text)}", "    }", "}", ""]
    made = ", ".join(f"{field}: {values['self.' + field]}" for field in fields)
    it = rng.choice(NOUNS)
    lines += ["#[test]", f"fn {verb}s_{it}() {{", f"    let {it} = {name} {{ {made} }};"]
    return "\n".join([*lines, f"    assert_eq!({it}.{verb}(), {value});", "}"])


def machine(rng):
    """An enum with transitions on a number, and a test that walks through them."""
    states = list(rng.choice(STATES))
    rng.shuffle(states)
    name = title(rng.sample(NOUNS, 1)) + rng.choice(["State", "Mode", "Phase", "Stage"])
    go, arg = rng.choice(VERBS), rng.choice(FIELDS)
    lines = ["#[derive(Clone, Copy, Debug, PartialEq)]", f"pub enum {name} {{"]
    lines += [f"    {state}," for state in states]
    lines += ["}", "", f"impl {name} {{", f"    pub fn {go}(self, {arg}: u32) -> Self {{"]
    lines.append("        match self {")
    rules = {}
    for i, state in enumerate(states):
        rules[state] = (rng.randint(3, 90), states[(i + 1) % len(states)])
        bound, after = rules[state]
        lines.append(f"            Self::{state} if {arg} > {bound} => Self::{after},")
    lines += ["            same => same,", "        }", "    }", "}", ""]
    inputs = [rng.randint(0, 99) for _ in range(rng.randint(6, 14))]
    first = state = rng.choice(states)
    for value in inputs:
        bound, after = rules[state]
        state = after if value > bound else state
    var = rng.choice(NOUNS)
    listed = ", ".join(map(str, inputs))
    lines += [
        "#[test]",
        f"fn {go}s_through() {{",
        f"    let {var} = [{listed}].into_iter().fold({name}::{first}, {name}::{go});",
        f"    assert_eq!({var}, {name}::{state});",
        "}",
    ]
    return "\n".join(lines)


def lookup(rng):
    """A table of names and numbers behind a match."""
    keys = rng.sample(NOUNS, rng.randint(5, 11))
    table = {key: rng.randint(2, 9900) for key in keys}
    func, arg = f"{rng.choice(FIELDS)}_of", rng.choice(["name", "key", "label", "kind", "tag"])
    lines = [f"/// The {func[:-3].replace('_', ' ')} on record for a {arg}.".replace("  ", " ")]
    lines += [f"pub fn {func}({arg}: &str) -> Option<u16> {{", f"    Some(match {arg} {{"]
    lines += [f'        "{key}" => {value},' for key, value in table.items()]
    lines += ["        _ => return None,", "    })", "}", "", "#[test]"]
    picked = rng.sample(keys, 2)
    total = sum(table[key] for key in picked)
    lines += [
        f"fn {rng.choice(VERBS)}s_{rng.choice(NOUNS)}() {{",
        f'    let {picked[0]} = {func}("{picked[0]}").unwrap();',
        f'    assert_eq!({picked[0]} + {func}("{picked[1]}").unwrap(), {total});',
        f'    assert!({func}("{rng.choice(VERBS)}ing").is_none());',
        "}",
    ]
    return "\n".join(lines)


def pipeline(rng):
    """A chain of iterator adaptors whose result is computed here as well."""
    data = [rng.randint(-999, 999) for _ in range(rng.randint(8, 16))]
    given, x = list(data), rng.choice(["x", "n", "v", "item", "y", "k"])
    func, arg = f"{rng.choice(VERBS)}_{rng.choice(FIELDS)}s", rng.choice(NOUNS) + "s"
    steps = []
    kinds = rng.sample(["odd", "map", "skip", "take", "above", "rev", "square"], 3)
    kinds.sort(key=lambda kind: kind != "rev")  # a filtered or skipped iterator has no exact size
    for kind in kinds:
        n = rng.randint(2, 12)
        if kind == "odd":
            n = rng.randint(2, 4)
            steps.append(f".filter(|{x}| {x}.rem_euclid({n}) != 0)")
            data = [v for v in data if v % n]
        elif kind == "map":
            m = rng.randint(1, 60)
            steps.append(f".map(|{x}| {x} * {n} + {m})")
            data = [v * n + m for v in data]
        elif kind == "square":
            steps.append(f".map(|{x}| {x} * {x})")
            data = [v * v for v in data]
        elif kind == "above":
            n = rng.randint(-40, 50)
            steps.append(f".filter(|{x}| *{x} > {n})")
            data = [v for v in data if v > n]
        elif kind == "rev":
            steps.append(".rev()")
            data.reverse()
        else:
            n = rng.randint(1, 4)
            steps.append(f".{kind}({n})")
            data = data[n:] if kind == "skip" else data[:n]
    steps.append(".sum()")
    lines = [f"pub fn {func}({arg}: &[i64]) -> i64 {{", f"    {arg}.iter()", "        .copied()"]
    lines += [f"        {step}" for step in steps] + ["}", "", "#[test]"]
    lines += [f"fn {rng.choice(NOUNS)}_case() {{", f"    let {x} = {given};"]
    return "\n".join([*lines, f"    assert_eq!({func}(&{x}), {sum(data)});", "}"])


def validator(rng):
    """A function that refuses values outside their bounds, with a message for each."""
    fields = rng.sample(FIELDS, rng.randint(2, 4))
    func = f"{rng.choice(['check', 'admit', 'vet', 'accept', 'screen'])}_{rng.choice(NOUNS)}"
    args = ", ".join(f"{field}: u32" for field in fields)
    lines = [f"pub fn {func}({args}) -> Result<u32, String> {{"]
    good = []
    for field in fields:
        low = rng.randint(2, 60)
        high = low + rng.randint(5, 9000)
        good.append(rng.randint(low, high))
        shown = field.replace("_", " ")
        wording = rng.choice(["{} of {{{}}} is out of bounds", "bad {}: {{{}}}", "{} cannot be {{{}}}", "refused {}: {{{}}}", "no such {} as {{{}}}"])
        message = wording.format(shown, field)
        if rng.random() < 0.5:
            lines.append(f"    if !({low}..={high}).contains(&{field}) {{")
        else:
            lines.append(f"    if {field} < {low} || {field} > {high} {{")
        lines += [f'        return Err(format!("{message}"));', "    }"]
    lines += [f"    Ok({' + '.join(fields)})", "}", "", "#[test]"]
    call = ", ".join(map(str, good))
    zeros = ", ".join("0" for _ in fields)
    lines += [
        f"fn {rng.choice(NOUNS)}_passes() {{",
        f"    assert_eq!({func}({call}), Ok({sum(good)}));",
        f"    assert!({func}({zeros}).is_err());",
        "}",
    ]
    return "\n".join(lines)


GENERATED = [formula, record, machine, lookup, pipeline, validator]
