"""Creative domain: scenes, plays, fables, folk tales, letters, diaries, poems, places."""

import random
from typing import Iterator

from phrasebook import Phrasebook, polish, stream

SHE = {"s": "she", "o": "her", "p": "her"}
HE = {"s": "he", "o": "him", "p": "his"}


def cast(book):
    """Two named people with their pronouns, a home town, and a friend to write to."""
    rng = book.rng
    ctx, used = {}, {}
    for key, prefix in (("n", ""), ("m", "m")):
        female = rng.random() < 0.5
        ctx[key] = book.expand("{woman}" if female else "{man}", {"_used": used})
        for short, word in (SHE if female else HE).items():
            ctx[prefix + short] = word
            ctx[(prefix + short).upper()] = word.capitalize()
    ctx["q"] = book.expand("{anyname}", {"_used": used})
    for key in ("thing", "other", "prize"):
        ctx[key] = book.expand("{obj}", {"_used": used})
    ctx["helper"] = book.expand("{beast}", {})
    ctx["home"] = book.expand("{place}", {})
    return ctx


def sentence(book, rule):
    """An expansion of `rule` as a whole sentence, to stand inside a larger part."""
    text = book.expand("{%s}" % rule, {})
    return text[0].upper() + text[1:] + "."


def told(plan):
    def make(book):
        ctx = cast(book)
        if plan == "place_doc":
            ctx["place"] = ctx["home"]
        ctx["sky!"] = sentence(book, "sky")
        if plan in ("scene", "mono"):
            ctx["room"] = book.expand("{room}", {})
        return book.document(plan, ctx)
    return make


def fable(book):
    first, second = book.rng.sample(book.entries["beast"], 2)
    return book.document("fable", dict(cast(book), a=first, b=second, ap="its"))


def tale(book):
    ctx = cast(book)
    ctx["place"] = ctx["home"]
    ctx["p2"] = "your"
    return book.document("tale", ctx)


def diary(book):
    ctx = cast(book)
    day = book.rng.randint(1, 20)
    ctx.update(d1=day, d2=day + book.rng.randint(1, 4), d3=day + book.rng.randint(5, 8))
    ctx["sky!"] = sentence(book, "sky")
    return book.document("diary", ctx)


def poem(book):
    """Quatrains or couplets in which the marked line ends rhyme."""
    rng = book.rng
    groups = sorted(name for name in book.entries if name.startswith("r_"))
    rng.shuffle(groups)
    couplets = rng.random() < 0.5
    ctx, verses = {}, []
    for _ in range(rng.randint(3, 5)):
        first, second = groups.pop(), groups.pop()
        order = [first, first, second, second] if couplets else [first, second, first, second]
        stops = [",", ";", ",", "."]
        lines = [book.part("{po_start} {%s}" % rhyme, ctx) + stop
                 for rhyme, stop in zip(order, stops)]
        verses.append("\n".join(lines))
        if len(groups) < 2:
            break
    title = book.expand("{po_head}", {}) + rng.choice([
        "", book.expand(": {place}", {}), book.expand(", {month}", {}),
        book.expand(" for {anyname}", {}), book.expand(" with a {mood} {beast}", {}),
        book.expand(" in {place}", {})])
    form = "rhymed couplets" if couplets else "alternate rhymes"
    heading = polish(rng.choice([title, f"{title} ({form})"]))
    return heading + "\n\n" + "\n\n".join(verses)


def play(book):
    rng = book.rng
    ctx = cast(book)
    ctx["nu"], ctx["mu"] = ctx["n"].upper(), ctx["m"].upper()
    ctx["room"] = book.expand("{room}", {})
    parts = [book.part("{dl_set}", ctx)]
    speaker = rng.random() < 0.5
    for _ in range(rng.randint(7, 12)):
        if rng.random() < 0.2:
            ctx["skynow!"] = sentence(book, "sky_now")
            parts.append(book.part("{dl_dir}", ctx))
        ctx["proverb!"] = sentence(book, "proverb")
        parts.append((ctx["nu"] if speaker else ctx["mu"]) + ": " + book.part("{dl_line}", ctx))
        speaker = not speaker
    parts.append(book.part("{dl_end}", ctx))
    return "\n".join(parts)


KINDS = [(4.0, told("scene")), (2.2, fable), (2.4, tale), (2.2, diary), (1.8, told("mono")),
         (2.0, told("cletter")), (1.8, told("place_doc")), (1.8, poem), (2.2, play)]


def documents(rng: random.Random) -> Iterator[str]:
    book = Phrasebook(rng, "creative")
    return stream(rng, "creative", book, KINDS)
