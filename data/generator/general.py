"""General domain: encyclopaedic and everyday text."""

import random
from typing import Iterator

from general_facts import ANIMALS, CAPITALS, PEAKS, PLANETS, PLANTS, RECIPES, STARS, WORDS
from phrasebook import Phrasebook, assemble, capital, stream

MONTH_MEAN = {"January": 6, "February": 7, "March": 10, "April": 13, "May": 17, "June": 20,
              "July": 22, "August": 22, "September": 19, "October": 14, "November": 10,
              "December": 7}
SWEET = {"oat biscuits", "apple crumble", "ginger cake", "plum tart"}
FEMALE = {"sub": "she", "obj": "her", "poss": "her", "childw": "daughter", "personw": "woman"}
MALE = {"sub": "he", "obj": "him", "poss": "his", "childw": "son", "personw": "man"}


def with_capitals(ctx):
    """Adds `Sub`, `Poss` and the like beside `sub`, `poss`."""
    for key in ("sub", "obj", "poss"):
        if key in ctx:
            ctx[key.capitalize()] = ctx[key].capitalize()
    return ctx


def biography(book):
    rng = book.rng
    female = rng.random() < 0.5
    ctx = with_capitals(dict(FEMALE if female else MALE))
    born = rng.randint(1690, 1905)
    age = rng.randint(58, 93)
    died = born + age
    ctx.update(
        first=book.expand("{woman}" if female else "{man}", {}),
        last=book.expand("{surname}", {}),
        spouse=book.expand("{man}" if female else "{woman}", {}),
        born=born, died=died, age=age,
        y_school=born + rng.randint(6, 11), y_first=born + rng.randint(19, 25),
        y_marry=born + rng.randint(22, 34), y_mid=born + rng.randint(31, 43),
        y_late=born + rng.randint(48, 57),
    )
    job = rng.choice(["naturalist", "antiquary", "engraver", "collector", "surveyor",
                      "botanist", "lexicographer", "musician", "writer"])
    ctx["job"] = job
    ctx["job_pl"] = "antiquaries" if job == "antiquary" else job + "s"
    return book.document("bio", ctx)


def weather(book):
    rng = book.rng
    month = rng.choice(book.entries["month"])
    mean = MONTH_MEAN[month]
    high = mean + rng.randint(-4, 4)
    season = "_cold" if mean < 9 else "_warm" if mean > 18 else ""
    return book.document("weather", {
        "t_hi": high, "t_mid": high - rng.randint(2, 5), "t_lo": high - rng.randint(6, 11),
        "month": month, "river": book.expand("{river}", {}),
        "_alias": {"wx_noun": "wx_noun" + season, "wx_adj": "wx_adj" + season}})


def simple(plan):
    """A document that is all in the forms file; it has a single river."""
    return lambda book: book.document(plan, {"river": book.expand("{river}", {})})


def words(book):
    chosen = book.rng.sample(WORDS, book.rng.randint(5, 8))
    keys = ("w", "lang", "src", "lit", "sense")
    return assemble(book, "word_open", [("word_line", dict(zip(keys, row))) for row in chosen],
                    "word_close")


def sky(book):
    rng = book.rng
    lines = []
    for row in rng.sample(PLANETS, rng.randint(1, 3)):
        name, diameter, distance, year, day, moons, remark = row
        share = int(diameter) / 12742
        seconds = float(distance) * 1e6 / 299792.458
        light = f"{seconds / 60:.0f} minutes" if seconds < 5400 else f"{seconds / 3600:.1f} hours"
        span, unit = year.split()
        days = float(span) * (365.25 if unit == "years" else 1)
        years = rng.randint(20, 80)
        lines.append(("sky_planet", {
            "p": name, "dia": f"{int(diameter):,}", "dist": distance, "year": year, "day": day,
            "moons": moons, "remark": remark, "light": light, "h": rng.randint(50, 90),
            "ratio": f"{share:.1f}" if share > 1 else f"{100 * share:.0f} per cent",
            "yrs": years, "pyrs": f"{years * 365.25 / days:.1f}"}))
    for star, home, years, colour, remark in rng.sample(STARS, rng.randint(2, 5)):
        lines.append(("sky_star", {"s": star, "con": home, "ly": years, "col": colour,
                                   "srem": remark, "ly2": f"{2 * float(years):g}"}))
    rng.shuffle(lines)
    return assemble(book, "sky_open", lines, "sky_close")


def atlas(book):
    rng = book.rng
    lines = []
    for city, country, water, continent in rng.sample(CAPITALS, rng.randint(2, 5)):
        lines.append(("geo_cap", {"city": city, "country": country, "country!": capital(country),
                                  "water": water, "continent": continent}))
    for _ in range(rng.randint(1, 3)):
        (peak, height, chain, land), (other, height2, *_rest) = rng.sample(PEAKS, 2)
        gap = int(height) - int(height2)
        lines.append(("geo_peak", {
            "peak": peak, "peak!": capital(peak), "height": height, "range": chain, "land": land,
            "other": other, "diff": abs(gap), "cmp": "higher than" if gap > 0 else "lower than",
            "taller": peak if gap > 0 else other, "chill": round(6.5 * int(height) / 1000)}))
    return assemble(book, "geo_open", lines, "geo_close")


def animals(book):
    keys = ("a", "cls", "wt", "food", "home", "rem")
    chosen = book.rng.sample(ANIMALS, book.rng.randint(3, 6))
    return assemble(book, "ani_open", [("ani_line", dict(zip(keys, row))) for row in chosen],
                    "ani_close")


def garden(book):
    rng = book.rng
    lines = []
    for plant, family, first, last, depth, space, weeks in rng.sample(PLANTS, rng.randint(2, 4)):
        row = rng.randint(2, 9)
        lines.append(("gar_line", {
            "pl": plant, "pl!": capital(plant), "month": first, "fam": family, "s1": first, "s2": last,
            "depth": depth, "sp": space, "wk": weeks, "row": row,
            "n": 100 * row // int(space) + 1}))
    lines += [("gar_tip", {}) for _ in range(rng.randint(1, 4))]
    rng.shuffle(lines)
    return assemble(book, "gar_open", lines, "gar_close")


def recipe(book):
    rng = book.rng
    dish, method, *items = rng.choice(RECIPES)
    people, bigger = rng.sample([2, 3, 4, 5, 6, 8, 10, 12], 2)

    def amount(item, heads):
        number, unit, name = item.split(" ", 2)
        return f"{int(number) * heads / 4:g} {unit} {name}"

    sweet = "_sweet" if dish in SWEET else ""
    ctx = {"_alias": {"side": "side" + sweet, "spice": "spice" + sweet}, "dishname": dish, "dishname!": capital(dish), "people": people, "people2": bigger,
           "i1b": amount(items[0], bigger), "i2b": amount(items[1], bigger),
           "m1": rng.randint(5, 11), "m2": rng.randint(25, 45), "m3": rng.randint(20, 55),
           "oven": rng.randrange(170, 211, 10)}
    solids = 0.0
    for i, item in enumerate(items, 1):
        number, unit, name = item.split(" ", 2)
        ctx[f"i{i}"], ctx[f"n{i}"] = amount(item, people), name
        solids += int(number) * people / 4 if unit == "g" else 0
    ctx["total"], ctx["each"] = f"{solids:g}", f"{solids / people:.0f}"
    parts = ["{rec_need}", "{rec_%s}" % method, "{rec_total}", "{rec_tip}", "{rec_tip}"]
    title = book.part("{rec_title}", ctx)
    return title + "\n\n" + " ".join(book.part(p, ctx) for p in parts)


def ordinal(n):
    tail = "th" if n % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(n % 10, "th")
    return f"{n}{tail}"


def football(book):
    rng = book.rng
    fans = rng.sample(["Town", "Rovers", "United", "Albion", "Wanderers", "Athletic", "Rangers",
                       "Harriers", "City", "Thistle", "Swifts", "Villa"], 2)
    win, lose = (book.expand("{place} ", {}) + f for f in fans)
    high = rng.randint(1, 4)
    low = rng.randint(0, high - 1)
    played = rng.randint(8, 34)
    won = rng.randint(2, played - 4)
    drawn = rng.randint(0, played - won - 1)
    ctx = {"win": win, "lose": lose, "sw": high, "sl": low, "crowd": rng.randint(140, 9800),
           "ground_n": book.expand("{pl_a} [Road|Park|Lane|Meadow]", {}),
           "pts": 3 * won + drawn, "played": played, "wn": won, "dn": drawn,
           "ln": played - won - drawn, "tab1": ordinal(rng.randint(1, 18))}
    order = [win] * high + [lose] * low
    rng.shuffle(order)
    minutes = sorted(rng.sample(range(2, 90), len(order)))
    parts, tally = [book.part("{sp_open}", ctx)], {win: 0, lose: 0}
    for team, minute in zip(order, minutes):
        tally[team] += 1
        goal = dict(ctx, team=team, minute=ordinal(minute), minute_n=minute,
                    scorer=book.expand("{surname}", {}), score=f"{tally[win]}-{tally[lose]}")
        parts.append(book.part("{sp_goal}", goal))
    for _ in range(rng.randint(1, 3)):
        parts.insert(rng.randint(2, len(parts)), book.part("{sp_mid}", ctx))
    parts.append(book.part("{sp_end}", ctx))
    return " ".join(parts)


def clock(seconds):
    return f"{seconds // 60} minutes {seconds % 60} seconds"


def racing(book):
    rng = book.rng
    ctx, out = {}, []
    for _ in range(rng.randint(2, 4)):
        first = rng.randint(260, 5200)
        gap, more = rng.randint(2, 40), rng.randint(2, 40)
        times = {"t1": clock(first), "gap": gap, "t2": clock(first + gap), "gap2": more,
                 "t3": clock(first + gap + more)}
        out.append(book.part("{sp_race}", dict(ctx, **times)))
    return " ".join(out)


KINDS = [(3.0, simple("town")), (3.0, biography), (2.2, weather), (3.0, simple("letter")),
         (2.6, simple("travel")), (1.2, simple("howto")), (1.0, simple("faq")), (1.6, words),
         (1.1, sky), (1.0, atlas), (1.1, animals), (1.1, garden), (1.6, recipe),
         (1.6, football), (0.9, racing)]


def documents(rng: random.Random) -> Iterator[str]:
    book = Phrasebook(rng, "general", "general_tables")
    return stream(rng, "general", book, KINDS)
