"""Word lists and phrases for the physics generator."""
from __future__ import annotations

NAMES = """Anselm Bertha Cosima Dmitri Elspeth Fergus Gudrun Hendrik Ilse Joaquin Katya Ludwig Mireille Nikolai Odette Piotr Ragnhild
Stefan Tomasz Ursula Vikram Willem Yolanda Zdenek Aiko Babak Chiara Duarte Eszter Fatima Goro Hilda Ismail Johanna Kenji Lotte Marek
Nanami Otto Parisa Ramon Sofie Takumi Valentin Xiang""".split()

MATERIALS = {  # density in kg/m^3, specific heat in J/(kg K), linear expansion in 1e-6/K
    "copper": (8960, 385, 17), "aluminium": (2700, 897, 23), "iron": (7870, 449, 12), "lead": (11340, 129, 29), "brass": (8500, 380, 19),
    "silver": (10490, 235, 19), "gold": (19300, 129, 14), "zinc": (7140, 388, 30), "tin": (7290, 228, 22), "nickel": (8900, 444, 13),
    "titanium": (4510, 523, 9), "glass": (2500, 840, 9), "granite": (2700, 790, 8), "steel": (7850, 490, 12),
}

LIQUIDS = {  # density, specific heat
    "water": (1000, 4186), "ethanol": (789, 2440), "glycerine": (1260, 2430), "olive oil": (915, 1970), "mercury": (13550, 140),
    "sea water": (1025, 3990), "paraffin": (800, 2130), "turpentine": (870, 1720),
}

INDICES = {"water": 1.333, "crown glass": 1.52, "flint glass": 1.62, "diamond": 2.42, "quartz": 1.46, "ice": 1.31, "acrylic": 1.49,
           "sapphire": 1.77, "glycerine": 1.47, "ethanol": 1.36, "amber": 1.55, "fluorite": 1.43}

NUCLEI = [  # symbol, mass number, atomic number, half-life, unit, alpha or beta, daughter
    ("radium-226", 226, 88, 1600, "years", "alpha", "radon"), ("polonium-210", 210, 84, 138.4, "days", "alpha", "lead"),
    ("iodine-131", 131, 53, 8.02, "days", "beta", "xenon"), ("strontium-90", 90, 38, 28.8, "years", "beta", "yttrium"),
    ("carbon-14", 14, 6, 5730, "years", "beta", "nitrogen"), ("caesium-137", 137, 55, 30.1, "years", "beta", "barium"),
    ("cobalt-60", 60, 27, 5.27, "years", "beta", "nickel"), ("tritium", 3, 1, 12.3, "years", "beta", "helium"),
    ("radon-222", 222, 86, 3.82, "days", "alpha", "polonium"), ("phosphorus-32", 32, 15, 14.3, "days", "beta", "sulphur"),
    ("plutonium-238", 238, 94, 87.7, "years", "alpha", "uranium"), ("americium-241", 241, 95, 432, "years", "alpha", "neptunium"),
    ("sodium-24", 24, 11, 15.0, "hours", "beta", "magnesium"), ("bismuth-214", 214, 83, 19.9, "minutes", "beta", "polonium"),
    ("thorium-232", 232, 90, 1.405e10, "years", "alpha", "radium"), ("actinium-225", 225, 89, 9.92, "days", "alpha", "francium"),
]

METALS = {  # work function in eV
    "caesium": 2.14, "potassium": 2.30, "sodium": 2.36, "lithium": 2.93, "calcium": 2.87, "barium": 2.52, "zinc": 3.63, "magnesium": 3.66,
}

BODIES = {  # mass in kg, radius in m
    "the Earth": (5.972e24, 6.371e6), "the Moon": (7.342e22, 1.737e6), "Mars": (6.417e23, 3.390e6), "Venus": (4.867e24, 6.052e6),
    "Mercury": (3.301e23, 2.440e6), "Jupiter": (1.898e27, 6.991e7), "Saturn": (5.683e26, 5.823e7), "Titan": (1.345e23, 2.575e6),
    "Ganymede": (1.482e23, 2.634e6), "Ceres": (9.39e20, 4.70e5), "Pluto": (1.303e22, 1.188e6), "Uranus": (8.681e25, 2.536e7),
}

THINGS = {
    "thrown": """stone ball wrench acorn coin hammer marble bolt chestnut pebble brick snowball bottle spanner apple keyring shell nut helmet cork dart
    flowerpot crate sandbag icicle pine-cone""".split(),
    "heights": """roof bridge cliff balcony tower mast crane window scaffold viaduct lighthouse belfry gantry cable-car chimney ridge platform gallery dam quarry-edge""".split(),
    "vehicles": """car lorry tram bus van train bicycle motorcycle sledge trolley scooter wagon taxi tractor go-kart locomotive skateboard minibus""".split(),
    "carts": """cart glider truck puck wagon trolley carriage curling-stone sled bogie barge raft buggy block""".split(),
    "loads": """crate piano safe sack trunk beam engine anvil barrel boulder bale statue girder generator bell bookcase bucket pallet""".split(),
    "devices": """kettle heater iron lamp toaster motor pump oven fan drill soldering-iron projector hob grill freezer radiator amplifier""".split(),
    "strings": """violin guitar cello harp zither banjo piano lute sitar mandolin bass lyre viola ukulele dulcimer""".split(),
    "vessels": """flask cylinder balloon canister bottle tank syringe bulb drum chamber vessel""".split(),
    "gases": "helium nitrogen oxygen argon neon hydrogen methane krypton air xenon".split(),
    "labs": """the basement laboratory,the teaching room,a darkened cellar,the workshop,the third-floor lab,a draughty shed,the school gymnasium,
    the conservatory,the optics room,a quiet corridor,the cold store,a borrowed classroom,the stairwell,the old boiler house,the library annex""".replace("\n    ", "").split(","),
    "care": """a second observer read the scale,the zero was checked before each run,the apparatus had been levelled,draughts were kept out with a screen,nobody leaned on the bench,
    the scale was read at eye level,parallax was avoided with a mirror behind the needle,a partner copied out the figures,each reading was taken three times and averaged,
    the room was held at a steady temperature,the readings were taken going up and then coming down,the instruments were left to settle for an hour,
    a spare specimen was measured for comparison,the clamp was tightened after every change,the window was kept shut,the order of the readings was shuffled""".replace("\n    ", "").split(","),
    "errors": """the spread of repeated readings,the reaction time of the observer,a draught from the door,an unsteady hand,the vibration of the floor,the drift of the meter,
    the calibration of the instrument,the warming of the room,an uneven bench,the shortness of the run,the age of the meter,the rounding of the scale,the coarse scale,
    the drift of the zero,the tilt of the bench,a slip of the pen""".replace("\n    ", "").split(","),
}

RULES = {
    "name": NAMES,
    "find": ["find", "what is", "we want", "determine", "estimate", "how large is", "let us compute", "the question is"],
    "hence": ["hence", "so", "therefore", "thus", "consequently", "it follows that", "from this,", "which means that", "accordingly"],
    "about": ["about", "roughly", "close to", "nearly", "approximately", "some", "just about"],
    "gives": ["gives", "yields", "leads to", "makes it", "comes to", "works out at", "amounts to"],
    "neglect": ["neglecting air resistance", "with drag ignored", "leaving the air out of account", "if the air is no hindrance", "in still air, drag being small", "ignoring friction with the air"],
    "using": ["using", "taking", "with", "assuming", "putting in", "given"],
    "energy": ["conservation of energy", "the energy balance", "equating energies", "the energy principle", "book-keeping of energy"],
    "note": ["note that", "observe that", "it is worth noting that", "remarkably,", "as a matter of interest,", "bear in mind that", "incidentally,"],
    "check": ["as a check", "to check", "a rough check", "for comparison", "checking the order of magnitude", "a sanity check"],
    "small": ["small", "modest", "tiny", "slight", "short", "stubby"],
    "smooth": ["smooth", "frictionless", "polished", "level", "horizontal", "well-oiled", "straight"],
    "starts": ["starts", "begins", "sets out", "moves off"],
    "steady": ["steady", "constant", "uniform", "even", "unvarying"],
    "law": ["law", "rule", "relation", "formula", "principle"],
    "measured": ["measured", "recorded", "noted", "read off", "logged", "observed"],
    "setup": ["set up", "assembled", "put together", "built", "arranged", "rigged up"],
    "agrees": ["agrees with", "is consistent with", "lies close to", "fits", "matches", "stands near"],
    "lab": THINGS["labs"],
    "care": THINGS["care"],
    "error": THINGS["errors"],
    "odd": ["old", "new", "dented", "heavy", "light", "rusty", "wet", "painted", "wooden", "metal", "smooth", "round", "loose", "large", "small", "battered", "shiny", "sturdy", "borrowed", "hollow"],
}
