"""Word lists and phrases for the mathematics generator."""
from __future__ import annotations

NAMES = """Ada Amir Anouk Arjun Beatriz Bram Carmen Chidi Clara Dario Dilek Edwin Elif Emeka Esther Farid Fiona Gita Goran Greta Hana
Hugo Ines Irfan Ivo Jana Jonas Kaito Karim Kirsten Laszlo Leila Lorenzo Lucia Magnus Marisol Mei Mikael Milo Nadia Naveen Nils Noor
Olga Omar Oskar Paola Pavel Priya Quentin Rafael Rashid Renata Rosa Rufus Sanna Selim Sigrid Tamar Tariq Teresa Tobias Ulla Umberto
Vera Viktor Wanda Wei Xenia Yara Yusuf Zoltan Zora""".split()

WORDS = """banana cottage pepper lettuce tomato balloon rabbit saddle butter kitchen window harbour triangle rectangle parallel
segment number algebra formula quarter sixteen eleven letter address committee success balance village puzzle lantern marble
pattern feather hammock cinnamon mammoth giraffe squirrel octopus penguin pelican tunnel basket pillow blanket meadow willow
acorn almond apricot avocado barley biscuit cabbage caramel carrot celery cherry coconut coffee cucumber custard dessert
anagram theorem lemma corollary integer divisor product minimum maximum sequence series vector matrix tensor radius
cathedral carousel kangaroo alligator terrace orchestra trumpet violin cello piano banjo tambourine""".split()

THINGS = {
    "small": """marbles beads balls counters buttons tokens pebbles cubes sweets tickets cards chips discs ribbons stamps pencils
    socks tiles coins balloons badges""".split(),
    "colours": """red blue green yellow white black orange purple brown silver golden pink grey turquoise violet crimson""".split(),
    "bags": "bag box jar basket drawer hat sack tin bowl bucket pouch crate barrel pot case".split(),
    "people": """teachers pupils nurses engineers painters sailors farmers lawyers singers drummers runners swimmers gardeners bakers
    tailors miners judges clerks poets physicists chemists historians juniors seniors veterans rookies visitors residents""".split(),
    "measured": [("midday temperature", "degrees"), ("number of letters delivered", ""), ("length of a bean plant", "cm"),
                 ("time taken for a mile walk", "minutes"), ("weight of a sack", "kg"), ("score in a quiz", "points"),
                 ("number of cars at a crossing", ""), ("height of the tide", "cm"), ("number of eggs collected", ""),
                 ("waiting time at a counter", "minutes"), ("number of pages read", ""), ("depth of the snow", "cm"),
                 ("price of a kilo of plums", "pence"), ("number of birds at the feeder", ""), ("length of a phone call", "seconds"),
                 ("number of goals in a season", ""), ("mass of a trout", "grams"), ("number of loaves sold", ""),
                 ("age of the choir members", "years"), ("width of a plank", "mm")],
    "goods": """apples pears notebooks lamps chairs bricks loaves candles bottles tickets novels shirts roses kettles mugs umbrellas
    melons lemons pumpkins spoons plates towels hammers brushes envelopes bulbs seedlings jars""".split(),
    "vehicles": """train cyclist ferry lorry runner coach barge tram walker skater glider scooter van canoe rider""".split(),
    "places": """Ashford Belmont Carrow Dunmore Elston Fairholm Garth Hexley Inverby Jarrow Kelso Lindal Marsden Norham Oakley Penrith
    Quarley Rothbury Selby Thornby Ulverton Wexcombe Yarrow""".split(),
    "solids": ["tank", "pipe", "silo", "tin", "column", "drum", "vase", "well", "bucket", "candle", "cake", "log"],
    "plots": ["garden", "field", "courtyard", "carpet", "poster", "lawn", "window pane", "floor", "vineyard", "car park", "tray", "flag",
              "orchard", "paddock", "stage", "swimming pool", "tile", "blackboard"],
}

RULES = {
    "name": NAMES,
    "find": ["find", "compute", "work out", "calculate", "determine", "evaluate", "we want", "let us find", "we look for"],
    "task": ["task", "problem", "exercise", "question", "example", "a worked example", "for practice", "try this", "by hand", "drill"],
    "solve": ["solve", "let us solve", "consider", "we solve", "take the equation", "find all solutions of", "what satisfies", "look at"],
    "split": ["split", "break up", "decompose", "take apart", "expand", "separate"],
    "is": ["is", "equals", "comes to", "makes", "gives"],
    "reads": ["reads", "is", "shows", "comes out as"],
    "make": ["make", "are", "come to", "give"],
    "a": ["a"],
    "which": ["which", "and that", "and this"],
    "adding": ["adding", "summing", "adding up", "totalling"],
    "since": ["since", "because", "as", "seeing that"],
    "hence": ["hence", "so", "therefore", "thus", "it follows that", "consequently", "we conclude that", "this means that", "accordingly",
              "in other words,"],
    "check": ["check", "as a check", "a quick check", "test", "verify", "to be safe", "proof of the result", "looking back", "for control",
              "a second look"],
    "bring": ["bring down the digits one by one", "work from the left", "start with the leading digits", "digit by digit", "the steps are",
              "proceed from left to right", "the working runs", "step by step", "we go down the dividend"],
    "collect": ["collect", "gather", "put", "group", "keep"],
    "agree": ["both sides agree.", "the two match.", "they are equal.", "so the answer stands.", "that is correct.", "it works.", "",
              "the check succeeds.", "all is well.", "good."],
    "remove": ["remove", "eliminate", "get rid of", "cancel"],
    "multiply": ["multiply", "scale", "take"],
    "subtracting": ["subtracting", "taking away", "on subtracting", "if we subtract"],
    "look": ["look", "search", "hunt", "try"],
    "square": ["completing the square", "in completed form", "write it as a square", "rearranging", "in vertex form"],
    "dividing": ["dividing", "after division", "dividing through", "when we divide"],
    "choosing": ["choosing", "selecting", "picking", "taking"],
    "sort": ["sort", "split the cases", "count", "classify them", "arrange the cases", "tabulate"],
    "asit": ["as they must", "as expected", "which confirms the count", "a useful check", "so nothing was missed"],
    "note": ["note that", "observe that", "recall that", "remember that", "notice that", "we use that", "it helps that", "clearly"],
    "suppose": ["suppose", "assume", "imagine", "let us say", "say", "pretend for a moment"],
    "claim": ["claim", "statement", "proposition", "lemma", "theorem", "assertion", "fact", "to show", "we prove"],
    "proof": ["proof", "argument", "reasoning", "why it is true", "demonstration", "here is a proof"],
    "done": ["this completes the proof.", "which was to be shown.", "the claim follows.", "and the proof is complete.", "QED.",
             "that is what we wanted.", "nothing more is needed.", "so the statement holds.", "we are done."],
    "about": ["about", "roughly", "approximately", "nearly", "close to", "to the given places"],
    "let": ["take", "consider", "we are given", "suppose we have", "start from"],
}
