"""Settings and asides for worked problems, and a pass that varies common wording."""
from __future__ import annotations

import random
import re

from grammar import article, expand, pick, tidy

ADJECTIVES = """ancient brittle broad bulky careful cheerful chipped clumsy coarse cramped crooked curious damp dented dim dusty elegant
faded fickle flimsy fragile frayed generous gloomy greasy grey handsome hasty heavy humble idle immaculate improvised impatient jagged
knotted lean lively lopsided makeshift mellow modest muddy narrow nervous noisy oblong obstinate odd ornate pale patched patient plain
polished portable precious prudent quaint quiet ragged rare rigid rough rounded rusty scratched secondhand shabby shallow sharp shiny silent
simple sleek slender sloping smooth solemn spare spotless squat stained steep stiff stout stubborn sturdy supple tall tarnished temporary
thorough thrifty tidy timid tiny tired trusty unfinished unlabelled unusual upright varnished vast warped weathered wide wiry wobbly
worn yellowed zealous""".split()

ROLES = """apprentice archivist astronomer baker barber beekeeper blacksmith boatbuilder bookbinder brewer bricklayer caretaker carpenter
cartographer chemist clockmaker cobbler confectioner cooper courier curator diver draughtsman electrician examiner farmer ferryman fisherman
forester gardener geologist glazier goldsmith grocer guide inspector instructor janitor joiner lecturer librarian locksmith mason mechanic
midwife miller miner navigator nurse optician organist painter pharmacist photographer pilot plumber porter potter printer roofer saddler
sailor sculptor shepherd signalman stonecutter surveyor tailor teacher technician tinsmith translator upholsterer watchman weaver welder
winegrower""".split()

TOWNS = """Aalborg Agen Alkmaar Annecy Antwerp Arles Aveiro Bamberg Bergen Bilbao Bologna Bratislava Bruges Burgos Cadiz Cagliari Celle Coimbra
Cork Delft Dijon Dresden Dundee Durham Erfurt Evora Exeter Faro Ferrara Galway Gdansk Ghent Girona Graz Groningen Haarlem Halle Heidelberg
Innsbruck Jena Kassel Kaunas Kiel Krakow Lausanne Leiden Leuven Lincoln Linz Ljubljana Lucca Lund Maribor Metz Modena Mons Namur Nantes
Odense Olomouc Oporto Orleans Oulu Padua Parma Pecs Perth Pisa Plovdiv Poznan Ravenna Rennes Riga Rostock Rouen Salamanca Siena Sintra
Split Stavanger Szeged Tallinn Tampere Tartu Toledo Torun Trento Trieste Turku Ulm Uppsala Utrecht Varna Vigo Vilnius Weimar York Zadar
Zurich""".split()

PLACES = """attic,bakery,balcony,barn,basement,boathouse,canteen,chapel,cloister,corridor,courtyard,depot,dining hall,dockyard,ferry landing,
foundry,gallery,garage,garret,greenhouse,guardroom,gymnasium,harbour office,hayloft,kitchen,laundry,lecture theatre,lighthouse,loading bay,lobby,
mill,museum,observatory,orchard,parlour,pavilion,post office,print shop,quarry,reading room,rectory,sawmill,schoolroom,smithy,stable,station buffet,
storehouse,studio,study,tavern,town hall,treasury,vestry,village hall,waiting room,warehouse,wheelhouse,woodshed,workshop""".replace("\n", "").split(",")

OBJECTS = {
    "physics": """ammeter,anemometer,balance,barometer,battery,beaker,bell jar,bellows,bobbin,boiler,bunsen burner,cable drum,caliper,candle stub,
capacitor,cloud chamber,coil,compass needle,copper sheet,crucible,crystal,dynamo,electromagnet,electroscope,eyepiece,flywheel,fuse box,galvanometer,
gauge,gear train,Geiger counter,glass prism,gyroscope,heat shield,hydrometer,hygrometer,inclined plane,induction coil,iron filings tray,laser pointer,lead block,
light gate,loudspeaker,magnet,magnifying glass,manometer,metronome,micrometer,microscope,mirror,monochord,neon tube,ohmmeter,optical bench,oscilloscope,
pendulum,photocell,piston,plumb line,polariser,potentiometer,pressure valve,pulley block,radiometer,relay,resistor box,rheostat,ripple tank,sextant,slide
projector,solenoid,soldering iron,spectrometer,spirit level,spring balance,steam whistle,stop-clock,strobe lamp,telescope,test lead,thermocouple,thermometer,
torsion wire,transformer,tripod,tuning fork,turbine,vacuum pump,vernier scale,voltmeter,weather vane,wind tunnel model,X-ray plate""",
    "mathematics": """abacus,account book,almanac,answer sheet,blackboard,calculating machine,calendar,card index,cash box,chalk drawing,chessboard,compass,counting frame,
crossword grid,deck of cards,diagram,divider,draughtboard,exam paper,exercise book,flip chart,folding rule,form,game token,geometry set,graph,hourglass,
invoice,ledger,list,log table,lottery ticket,map,measuring tape,mosaic,notebook,number line,pair of scales,paper strip,pattern,pencil sketch,pie chart,pocket
calculator,postcard,price list,problem sheet,protractor,puzzle,quadrant,receipt,ruler,score card,set square,slate,slide rule,spinner,spreadsheet,staircase
model,star chart,sundial,surveyor's chain,table of squares,tally stick,tangram,tide table,timetable,till roll,wall chart,wallpaper pattern,weighing machine,
wooden cube,workbook,yardstick""",
}
OBJECTS = {k: [w.strip() for w in v.replace("\n", " ").split(",")] for k, v in OBJECTS.items()}

SCENE = {
    "adj": ADJECTIVES,
    "role": ROLES,
    "town": TOWNS,
    "place": PLACES,
    "month": "January February March April May June July August September October November December".split(),
    "weekday": "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split(),
    "weather": """fog sleet hail drizzle thunder bright sunshine,a light frost,a gale,heavy rain,a heatwave,a thaw,low cloud,steady wind,fresh snow,mist""".replace(" hail", ",hail")
    .replace(" drizzle", ",drizzle").replace(" thunder", ",thunder").replace(" bright", ",bright").replace("fog sleet", "fog,sleet").split(","),
    "when": ["On a {adj2} {weekday}", "One {weekday} in {month}", "Late in {month}", "During {weather}", "Before breakfast", "After the {event}", "At noon", "In the winter of {year}", "Early in {year}",
             "Toward evening", "Shortly before the {event}", "While waiting for the {event}", "In spite of {weather}", "In the {nth} year of trying", "Since {month}", "Every {weekday}", "On {month} {day}"],
    "adj2": "rainy foggy quiet hectic sunny frosty windy dull humid chilly sultry stormy hot mild grey".split(),
    "event": """fair harvest inventory concert inspection regatta auction match strike lecture flood parade exam eclipse reunion rehearsal election ferry census festival
    audit race funeral banquet lesson wedding move storm tournament""".split(),
    "nth": "first second third fourth fifth final".split(),
    "trade": """rope salt lace tin brick cider cheese silk clock glove organ barrel cork paper lamp brush linen umbrella chair kite pottery soap button saddle""".split(),
    "gone": """borrowed bought built carried cleaned collected copied covered dismantled dropped emptied exchanged fetched filled found shelved hung inherited inspected labelled
    lent locked lost mended moved opened ordered packed painted photographed pinned polished praised rejected repaired replaced rescued sealed sketched sold sorted stacked
    stored tested traded unpacked unwrapped weighed wiped wrapped""".split(),
    "manner": """briskly calmly carefully cheerfully deftly eagerly firmly gently grudgingly hastily idly loudly methodically neatly patiently politely proudly quietly rapidly
    reluctantly silently slowly solemnly stubbornly warily wearily""".split(),
    "who": ["{name}", "{name}, {a_role} from {town},", "the {role} {name}", "{name} and {name}", "{a_role}", "{a_role} in {town}", "the {adj} {role}", "{name} of {town}", "the {trade} maker's {kin}",
            "a visitor from {town}"],
    "kin": "son daughter nephew niece cousin partner clerk widow rival pupil".split(),
    "where": ["in the {place}", "at {town}", "behind the {place}", "near the {place} in {town}", "beside the {object}", "outside the {adj} {place}", "in the {trade} works", "under the {place} stairs", "on the road to {town}",
              "by the {place} door"],
    "thing": ["the {adj} {object}", "{an_adj} {object}", "{an_object}", "the {role}'s {object}", "the {object} from {town}", "the {adj}, {adj} {object}", "every {object}", "the {object} and the {object}"],
    "scene": ["{When}, {who} {gone} {thing} {where}.", "{Who} {gone} {thing} {where}[, {manner}].", "{When} {who} [{manner} ]{gone} {thing} and [then ]asked {name} [for a figure|what follows|how it would come out|to work this out].",
              "{Thing} [stood|lay] {where}, {gone} by {who0}.", "{Where}, {one} was [{manner} ]{gone}; {who} [kept|took] notes.", "{Who0} [told|reminded|warned|assured] {name}[, over {thing},] that [guesses|rough ideas|estimates|round numbers|half answers] [won't|would not|could not] do [here|this time|for {thing2}].",
              "The following [came up|arose|was settled] {where}, [while|when] {who} {gone} {thing}.", "{Name} [disputed|doubted|defended|questioned|repeated] [a|the] figure that {who0} had written on {one}.",
              "[From|Out of] the papers of {a_role} in {town}[, dated {month} {year}]:", "{One} [cost|had cost] {n} [crowns|florins|francs|marks|guilders], and {who} [wondered|asked] whether it was {gone} {manner} enough."],
    "aside": ["{Name} [wrote|copied|entered] {value} on {thing}.", "[Later|Afterwards|By {weekday}] {who} had {gone} {thing} and {gone} {thing2}.", "{Who} [got|found|obtained] {value} [too|as well], by a [longer|shorter|different] [way|route].",
              "The {role} [accepted|believed|doubted] {value} [at once|at first|{manner}].", "[That|This] was [enough|good news|no surprise] for {who0}, who {gone} {thing}.", "\"{Value}?\" [asked|said] {name}, and {gone} {thing}.",
              "{Name} [underlined|circled|framed] {value} and {gone} {thing}.", "[At {town}|In {town}] the same [sum|reckoning] was done {manner} by {who0}.", "{Value}, {manner} [checked|read back] by {who0}, was [entered in|copied to|chalked on|read out over] {thing}."],
    "thing2": ["{thing}"],
    "one": ["the {adj} {object}", "{an_adj} {object}", "{an_object}", "the {role}'s {object}", "the {object} from {town}", "the {adj}, {adj} {object}", "the {object}, {an_adj} thing,"],
}


A_ROLES = [article(role) for role in ROLES]
AN_ADJECTIVES = [article(word) for word in ADJECTIVES]


def scene_rules(rng: random.Random, domain: str, names: list[str]) -> dict:
    """The scene grammar with the words of a domain."""
    rules = dict(SCENE, object=OBJECTS[domain], name=names)
    rules["a_role"], rules["an_adj"] = A_ROLES, AN_ADJECTIVES
    rules["an_object"] = [article(word) for word in OBJECTS[domain]]
    rules["year"] = [str(rng.randint(1870, 2015))]
    rules["day"] = [str(rng.randint(1, 28))]
    rules["n"] = [str(rng.randint(11, 980))]
    rules["who0"] = ["{name}", "{a_role}", "the {role} {name}", "the {adj} {role}", "a visitor from {town}", "{a_role} in {town}"]
    return rules


def scene(rng: random.Random, domain: str, names: list[str]) -> str:
    text = tidy(expand(rng, scene_rules(rng, domain, names), "{scene}"))
    return text.replace(",,", ",").replace(",.", ".").replace(",;", ";")


def aside(rng: random.Random, domain: str, names: list[str], value: str) -> str:
    text = tidy(expand(rng, scene_rules(rng, domain, names), "{aside}", value=value))
    return text.replace(",,", ",").replace(",.", ".").replace(",;", ";").replace(', asked', '').strip()


class Rewording:
    """Replaces common phrases by one of several that fit the same places."""

    def __init__(self, table: str):
        self.options: dict[str, list[str]] = {}
        for line in table.strip().splitlines():
            choices = [c.strip() for c in line.split("|")]
            self.options[choices[0]] = choices
        keys = sorted(self.options, key=len, reverse=True)
        self.pattern = re.compile(r"(?<![\w/^*'-])(" + "|".join(re.escape(k) for k in keys) + r")(?![\w/^*'(-])", re.IGNORECASE)

    def __call__(self, rng: random.Random, text: str) -> str:
        def change(match):
            old = match.group(1)
            new = pick(rng, self.options.get(old) or self.options.get(old[:1].lower() + old[1:]) or [old])
            return new[:1].upper() + new[1:] if old[:1].isupper() else new
        return self.pattern.sub(change, text)


COMMON = """
and so on | and so forth
by then | by that time
the time constant | the decay time | the characteristic time
so | hence | thus | therefore | and so
about | roughly | nearly | around | approximately | close to
gives | yields | produces | leads to
since | because | as | seeing that
because of | owing to | on account of
because | since | for the reason that
the answer | the result | the outcome | the solution
is negative | lies below zero | falls under zero
is zero | vanishes | equals zero
find | determine | obtain | work out
compute | calculate | evaluate | work out
smallest | least | lowest
largest | greatest | biggest
chosen | selected | picked
the others | the rest | the remaining ones
in this way | like this | by these steps
by hand | on paper | without a machine
for instance | for example | say
for example | for instance | to take one case
suppose | assume | imagine | let us say
impossible | out of the question | absurd | excluded
also called | known as | otherwise called
the total | the whole | the sum total | the grand total
adding | summing | totalling
multiply | scale | take the product
moreover | besides | in addition | what is more
in terms of | expressed through | measured in
"""

REWORD = {
    "mathematics": Rewording(COMMON + """
the remainder | the rest | what is left over
the quotient | the whole part | the integer part
the product | the result of multiplying
the sum | the total | the combined amount
probability | chance | likelihood
possibilities | choices | options | combinations
vertex | turning point | apex
in lowest terms | fully reduced | cancelled down
the mean | the average | the arithmetic mean
divides | is a divisor of | goes exactly into
perfect square | square number
the system | the two equations | this pair
the slope | the gradient | the steepness
the tangent | the tangent line | the touching line
the diagonal | the long diagonal | the corner-to-corner line
the perimeter | the distance round | the boundary length
the area | the surface | the region's area
the volume | the capacity | the space inside
the discriminant | the number under the root
the imaginary part | the coefficient of i
converges to | tends to | approaches
diverges | has no limit | fails to settle
no real roots | no real solutions | no roots on the number line
the value | the figure | the number obtained
the denominator | the bottom
numerator | top
percent | per cent | %
wants | would like | needs
"""),
    "physics": Rewording(COMMON + """
the time | the duration | the interval
the speed | the velocity | the rate of motion
the current | the flow of charge | the ammeter reading
the voltage | the potential difference | the tension across it
the force | the pull | the push
travels | moves | advances | proceeds
carries | bears | conveys | holds
the wavelength | the length of one wave | the distance between crests
the frequency | the pitch | the number of cycles per second
the period | the time of one cycle | the cycle time
at rest | motionless | standing still | stationary
the kinetic energy | the energy of motion
the potential energy | the energy of position | the stored energy
the momentum | the quantity of motion
the distance | the path | the way covered
the image | the picture formed | what is seen
the pressure | the force per area
acceleration | rate of change of speed
deceleration | slowing | loss of speed per second
heat and sound | warmth and noise
warms | heats up | raises the temperature of
the half-life | the halving time
a fraction | a share | a proportion
the activity | the rate of decay | the count rate
radiates | gives off radiation | sends out heat
black body | perfect emitter
each photon | every quantum | one light quantum
photon | light quantum | quantum of light
energy balance | energy account
on board | in the ship | aboard
the peak | the maximum | the top of the curve
in parallel | side by side | in two branches
"""),
    "logic": Rewording(COMMON + """
premises | assumptions | starting points | data
the conclusion | the last statement | what is inferred
the argument | the reasoning | the inference
the formula | the expression | the compound statement
entails | implies | has as a consequence
tautology | logical truth | law of logic
contradiction | clash
counterexample | refuting case | counter-instance
the puzzle | the riddle | the problem
knight | truth-teller
knave | liar
the clue | the hint
holds | is true | is the case
fails | is false | breaks down
transitive | chain-closed (transitive)
"""),
}
