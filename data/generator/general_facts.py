"""Tables of true facts behind the general domain."""

# word, source language, source word, literal sense, present sense
WORDS = [row.split("|") for row in """
umbrella|Italian|ombrella|little shade|a shelter from rain
muscle|Latin|musculus|little mouse|flesh that contracts
salary|Latin|salarium|a payment linked with salt|regular pay
sabotage|French|saboter|to walk noisily or bungle|deliberate damage
algebra|Arabic|al-jabr|the setting of broken parts|a branch of mathematics
robot|Czech|robota|forced labour|an automatic machine
alphabet|Greek|alpha and beta|the first two letters|a set of letters
bungalow|Hindi|bangla|a house of the Bengal kind|a one-storey house
ketchup|Hokkien Chinese|ke-tsiap|a brine of pickled fish|a tomato sauce
tulip|Turkish|tulbend|muslin or turban|a spring flower
disaster|Italian|disastro|an ill-starred event|a calamity
hazard|Arabic|az-zahr|the die, by one account|a danger
candidate|Latin|candidatus|dressed in white|somebody seeking office
quarantine|Italian|quarantina|forty days|isolation against disease
avocado|Nahuatl|ahuacatl|the name of the fruit|a green fruit
chocolate|Nahuatl|chocolatl|a drink of cacao|a sweet food
kayak|Inuit|qajaq|a hunter's boat|a narrow canoe
boomerang|Dharug|a word near bumarin|a throwing stick|a curved throwing stick
tattoo|Polynesian|tatau|to mark or strike|ink under the skin
shampoo|Hindi|champo|press or knead|a soap for hair
pyjamas|Persian|pay jama|leg garment|night clothes
caravan|Persian|karvan|a company of travellers|a house on wheels
slogan|Scottish Gaelic|sluagh-ghairm|a war cry|a short catchphrase
whisky|Gaelic|uisge beatha|water of life|a spirit
penguin|perhaps Welsh|pen gwyn|white head|a flightless bird
berserk|Old Norse|berserkr|a wild warrior|out of control
egg|Old Norse|egg|the same thing|what a hen lays
husband|Old Norse|husbondi|master of a house|a married man
knife|Old Norse|knifr|a blade|a cutting tool
sky|Old Norse|sky|a cloud|the heavens
easel|Dutch|ezel|a donkey|a painter's stand
landscape|Dutch|landschap|a region|scenery
yacht|Dutch|jacht|a fast chasing ship|a pleasure boat
coleslaw|Dutch|koolsla|cabbage salad|shredded cabbage in dressing
cookie|Dutch|koekje|little cake|a sweet biscuit
kindergarten|German|Kindergarten|children's garden|a nursery school
noodle|German|Nudel|a strip of dough|a kind of pasta
hamster|German|Hamster|a hoarder|a small rodent
poodle|German|Pudelhund|a splashing dog|a curly dog
quartz|German|Quarz|a mining word|a hard mineral
curfew|Old French|cuevrefeu|cover the fire|an evening limit
denim|French|serge de Nimes|cloth of Nimes|a tough cotton
dandelion|Old French|dent de lion|lion's tooth|a yellow weed
biscuit|Old French|bescuit|twice cooked|a crisp cake
mortgage|Old French|mort gage|dead pledge|a loan on a house
parachute|French|parachute|guard against a fall|a falling canopy
restaurant|French|restaurant|restoring|a place to eat
avalanche|Alpine French|avalanche|a descent|a slide of snow
volcano|Italian|vulcano|the god Vulcan|a fiery mountain
piano|Italian|piano e forte|soft and loud|a keyboard instrument
bank|Italian|banco|a bench|a money house
ballot|Italian|ballotta|a little ball|a vote
influenza|Italian|influenza|influence|a feverish illness
malaria|Italian|mal aria|bad air|a disease spread by mosquitoes
mosquito|Spanish|mosquito|little fly|a biting insect
tornado|Spanish|tronada|thunderstorm|a whirling wind
hurricane|Taino|hurakan|a great storm|a tropical storm
hammock|Taino|hamaca|a fish-net bed|a hanging bed
barbecue|Taino|barbacoa|a frame of sticks|an outdoor meal
canoe|Carib|kanawa|a dugout boat|a light boat
marmalade|Portuguese|marmelada|quince jam|an orange preserve
albatross|Portuguese|alcatraz|a large seabird|an ocean bird
geography|Greek|geographia|earth writing|the study of places
hippopotamus|Greek|hippopotamos|river horse|a river mammal
planet|Greek|planetes|a wanderer|a body circling a star
telephone|Greek|tele and phone|far voice|a speaking device
rhinoceros|Greek|rhinokeros|nose horn|a horned mammal
dinosaur|Greek|deinos and sauros|fearful lizard|an extinct reptile
octopus|Greek|oktopous|eight feet|an armed sea creature
galaxy|Greek|galaxias|milky|a system of stars
clock|Medieval Latin|clocca|a bell|a timepiece
calendar|Latin|kalendae|the first days of months|a table of days
pencil|Latin|penicillus|a little brush|a writing stick
lettuce|Latin|lactuca|from its milky juice|a salad leaf
tandem|Latin|tandem|at length|a bicycle for two
vaccine|Latin|vaccinus|of a cow|a protective dose
nightmare|Old English|maere|a spirit that sits on sleepers|a bad dream
gossip|Old English|godsibb|a godparent|idle talk
lord|Old English|hlafweard|keeper of the loaf|a nobleman
lady|Old English|hlaefdige|kneader of loaves|a noblewoman
silly|Old English|saelig|blessed|foolish
nice|Latin|nescius|ignorant|pleasant
orange|Sanskrit|naranga|the orange tree|a fruit
sugar|Sanskrit|sharkara|grit|a sweet substance
shawl|Persian|shal|a length of woven wool|a wrap
magazine|Arabic|makhazin|storehouses|a periodical
sofa|Arabic|suffa|a bench|a couch
coffee|Arabic|qahwa|a dark drink|a roasted drink
admiral|Arabic|amir|commander|a naval officer
zero|Arabic|sifr|empty|nothing
tycoon|Japanese|taikun|great lord|a rich trader
typhoon|Chinese|tai fung|big wind|a Pacific storm
tea|Min Chinese|te|the leaf|a hot drink
safari|Swahili|safari|a journey|a tour to see animals
zombie|Kongo|nzumbi|a spirit or fetish|a walking corpse
geyser|Icelandic|Geysir|the gusher|a spouting spring
fjord|Norwegian|fjord|a passage of the sea|a sea inlet
ombudsman|Swedish|ombudsman|representative|a public watchdog
sauna|Finnish|sauna|a steam bath|a hot bath house
paprika|Hungarian|paprika|pepper|a red spice
coach|Hungarian|kocsi|a cart of Kocs|a carriage
""".strip().splitlines()]

# name, diameter km, mean distance million km, year, day, moons, a remark
PLANETS = [row.split("|") for row in """
Mercury|4879|57.9|88 days|59 days|none|a cratered, airless rock
Venus|12104|108.2|225 days|243 days|none|a furnace under sulphuric clouds
Mars|6779|227.9|687 days|24.6 hours|two|a cold desert with polar caps
Jupiter|139820|778.5|11.9 years|9.9 hours|more than ninety|a banded giant with a long-lived storm
Saturn|116460|1432|29.4 years|10.7 hours|well over a hundred|a pale giant with bright rings of ice
Uranus|50724|2867|84 years|17.2 hours|more than two dozen|a tilted ice giant rolling on its side
Neptune|49244|4515|165 years|16.1 hours|more than a dozen|a blue world of very fast winds
""".strip().splitlines()]

# star, constellation, light years (rounded), colour, remark
STARS = [row.split("|") for row in """
Sirius|Canis Major|8.6|white|the brightest star of the night sky
Vega|Lyra|25|bluish white|a corner of the Summer Triangle
Altair|Aquila|17|white|a fast spinner, flattened at the poles
Arcturus|Bootes|37|orange|found by following the handle of the Plough
Capella|Auriga|43|yellow|really a close pair of giants with two faint companions
Pollux|Gemini|34|orange|brighter than its neighbour Castor
Aldebaran|Taurus|65|orange|the eye of the bull
Regulus|Leo|79|blue-white|at the foot of the Sickle
Spica|Virgo|250|blue|a tight pair that circles in four days
Rigel|Orion|860|blue-white|the foot of the hunter
Betelgeuse|Orion|550|red|a supergiant whose light varies
Antares|Scorpius|550|red|the rival of Mars in colour
Deneb|Cygnus|2600|white|a distant beacon in the tail of the Swan
Fomalhaut|Piscis Austrinus|25|white|lonely in the autumn south
Procyon|Canis Minor|11.5|yellow-white|attended by a white dwarf
Polaris|Ursa Minor|430|yellow|close to the pole of the sky
Canopus|Carina|310|yellowish white|second only to Sirius in brightness
Achernar|Eridanus|139|blue|noticeably flattened by its spin
Mira|Cetus|300|red|fading and brightening over eleven months
Algol|Perseus|90|white|dimming every 2.9 days as a partner crosses it
""".strip().splitlines()]

# city, country, river or water, continent
CAPITALS = [row.split("|") for row in """
Lisbon|Portugal|the Tagus|Europe
Vienna|Austria|the Danube|Europe
Budapest|Hungary|the Danube|Europe
Belgrade|Serbia|the Danube|Europe
Bratislava|Slovakia|the Danube|Europe
Prague|the Czech Republic|the Vltava|Europe
Warsaw|Poland|the Vistula|Europe
Berlin|Germany|the Spree|Europe
Paris|France|the Seine|Europe
London|the United Kingdom|the Thames|Europe
Dublin|Ireland|the Liffey|Europe
Rome|Italy|the Tiber|Europe
Riga|Latvia|the Daugava|Europe
Vilnius|Lithuania|the Neris|Europe
Kyiv|Ukraine|the Dnipro|Europe
Minsk|Belarus|the Svislach|Europe
Zagreb|Croatia|the Sava|Europe
Skopje|North Macedonia|the Vardar|Europe
Helsinki|Finland|the Gulf of Finland|Europe
Tallinn|Estonia|the Gulf of Finland|Europe
Stockholm|Sweden|Lake Malaren|Europe
Cairo|Egypt|the Nile|Africa
Khartoum|Sudan|the Nile|Africa
Bamako|Mali|the Niger|Africa
Niamey|Niger|the Niger|Africa
Kinshasa|the Democratic Republic of the Congo|the Congo|Africa
Brazzaville|the Republic of the Congo|the Congo|Africa
Dakar|Senegal|the Atlantic|Africa
Accra|Ghana|the Gulf of Guinea|Africa
Luanda|Angola|the Atlantic|Africa
Maputo|Mozambique|Maputo Bay|Africa
Baghdad|Iraq|the Tigris|Asia
Hanoi|Vietnam|the Red River|Asia
Bangkok|Thailand|the Chao Phraya|Asia
Vientiane|Laos|the Mekong|Asia
Phnom Penh|Cambodia|the Mekong|Asia
Delhi|India|the Yamuna|Asia
Dhaka|Bangladesh|the Buriganga|Asia
Seoul|South Korea|the Han|Asia
Tbilisi|Georgia|the Kura|Asia
Kabul|Afghanistan|the Kabul River|Asia
Manila|the Philippines|Manila Bay|Asia
Colombo|Sri Lanka|the Indian Ocean|Asia
Ottawa|Canada|the Ottawa River|North America
Havana|Cuba|the Straits of Florida|North America
Asuncion|Paraguay|the Paraguay|South America
Buenos Aires|Argentina|the Plate|South America
Montevideo|Uruguay|the Plate|South America
Santiago|Chile|the Mapocho|South America
Lima|Peru|the Rimac|South America
Canberra|Australia|Lake Burley Griffin|Oceania
Wellington|New Zealand|Cook Strait|Oceania
Suva|Fiji|the Pacific|Oceania
""".strip().splitlines()]

# mountain, height m, range, where
PEAKS = [row.split("|") for row in """
Mont Blanc|4806|the Alps|France and Italy
the Matterhorn|4478|the Alps|Switzerland and Italy
Kilimanjaro|5895|a volcanic massif of its own|Tanzania
Mount Kenya|5199|a volcanic massif of its own|Kenya
Aconcagua|6961|the Andes|Argentina
Chimborazo|6263|the Andes|Ecuador
Cotopaxi|5897|the Andes|Ecuador
Denali|6190|the Alaska Range|the United States
Mount Logan|5959|the Saint Elias Mountains|Canada
Elbrus|5642|the Caucasus|Russia
Toubkal|4167|the High Atlas|Morocco
Everest|8849|the Himalaya|Nepal and China
Kangchenjunga|8586|the Himalaya|Nepal and India
Fuji|3776|a volcanic massif of its own|Japan
Ben Nevis|1345|the Grampians|Scotland
Aneto|3404|the Pyrenees|Spain
Etna|3400|a volcanic massif of its own|Sicily
Olympus|2918|the Olympus massif|Greece
Kosciuszko|2228|the Snowy Mountains|Australia
Aoraki|3724|the Southern Alps|New Zealand
Musala|2925|the Rila|Bulgaria
Rysy|2499|the Tatras|Poland
""".strip().splitlines()]

# animal, class, weight, food, home, remark
ANIMALS = [row.split("|") for row in """
hedgehog|mammal|a kilogram|beetles, slugs and worms|hedges and gardens|it carries several thousand spines and sleeps through the winter
badger|mammal|ten to twelve kilograms|earthworms, bulbs and grubs|setts dug in wooded banks|it changes its bedding of dry grass and bracken
barn owl|bird|three hundred grams|voles and mice|barns and hollow trees|its wings have soft fringes that silence its flight
swift|bird|forty grams|flying insects|roofs and the open air|it can sleep on the wing and lands only to nest
common frog|amphibian|twenty to thirty grams|slugs and flies|ponds and damp grass|it breathes partly through its skin
grass snake|reptile|two hundred grams|frogs and newts|ponds and compost heaps|it may feign death when it is caught
mole|mammal|a hundred grams|earthworms|tunnels in moist soil|it stores live worms for lean days
red fox|mammal|six or seven kilograms|rabbits, voles, fruit and scraps|woods, farms and cities|it hears a vole under snow
grey heron|bird|one and a half kilograms|fish, frogs and voles|rivers and marshes|it flies with its neck drawn in
emperor penguin|bird|thirty kilograms|fish, krill and squid|Antarctic ice|the male holds the single egg on his feet through the polar night
giraffe|mammal|about a ton|acacia leaves|African savanna|it has seven neck bones, like most mammals
camel|mammal|five hundred kilograms|thorny plants|deserts of Africa and Asia|its hump stores fat rather than water
beaver|mammal|twenty kilograms|bark and water plants|rivers with wooded banks|its front teeth contain iron and keep growing
otter|mammal|eight kilograms|fish and crayfish|rivers and coasts|it closes its ears and nostrils under water
octopus|mollusc|a few kilograms|crabs and shellfish|rocky sea beds|it has three hearts and blue blood
honey bee|insect|a tenth of a gram|nectar and pollen|hollow trees and hives|a dance tells nestmates where the flowers are
earthworm|annelid|a few grams|dead leaves|soil|it draws leaves down into its burrow by night
cuckoo|bird|a hundred grams|hairy caterpillars|open country with small birds|it lays in the nests of other species
kingfisher|bird|forty grams|minnows and sticklebacks|slow streams|it nests at the end of a tunnel in a bank
salmon|fish|four kilograms|shrimps and small fish|northern rivers and seas|it finds its home river partly by smell
eel|fish|a kilogram or less|worms, insects and fish|rivers and lakes|it breeds far off in the Sargasso Sea
seahorse|fish|a few grams|tiny shrimps|sea grass|the male carries the young in a pouch
koala|mammal|eight kilograms|eucalyptus leaves|Australian woodland|it sleeps for most of the day
kangaroo|mammal|fifty kilograms|grass|Australian plains|tendons in its legs store energy between hops
llama|mammal|a hundred and thirty kilograms|grass and shrubs|the Andes|it hums to its young
ostrich|bird|a hundred kilograms|plants and seeds|dry African plains|it has only two toes on each foot
polar bear|mammal|four hundred kilograms|seals|Arctic sea ice|its skin is black beneath the fur
wolf|mammal|forty kilograms|deer and elk|forest and tundra|it lives in family packs led by the parents
blue whale|mammal|a hundred tons or more|krill|every great ocean|it is the largest animal known
bat|mammal|five grams in the smallest British kind|midges and moths|roofs and caves|it steers by echoes of its own calls
toad|amphibian|fifty grams|ants, beetles and slugs|gardens and woods|it walks rather than hops
robin|bird|eighteen grams|insects and berries|gardens and hedges|both sexes sing and hold winter territories
crow|bird|half a kilogram|almost anything|fields and towns|it remembers human faces
elephant|mammal|four to six tons|grass, bark and fruit|savanna and forest|it greets relatives with rumbles too low for human ears
red squirrel|mammal|three hundred grams|seeds of pine and hazel|conifer woods|it hides cones in many small stores
dragonfly|insect|less than a gram|gnats and flies|ponds and ditches|its young live under water for a year or more
""".strip().splitlines()]

# plant, family, sow first month, sow last month, depth mm, spacing cm, weeks to crop
PLANTS = [row.split("|") for row in """
broad bean|pea|February|April|50|20|14
runner bean|pea|May|June|50|15|13
garden pea|pea|March|June|40|7|13
carrot|carrot|April|July|10|5|14
parsnip|carrot|March|May|15|15|30
beetroot|amaranth|April|July|25|10|12
spinach|amaranth|March|May|20|10|9
chard|amaranth|April|July|20|25|10
lettuce|daisy|March|July|10|25|11
radish|cabbage|March|August|10|3|5
turnip|cabbage|March|July|15|15|9
kale|cabbage|April|June|15|45|24
swede|cabbage|May|June|15|25|24
leek|onion|March|April|15|15|32
spring onion|onion|March|July|10|2|10
courgette|gourd|April|June|25|90|11
pumpkin|gourd|April|May|25|150|20
cucumber|gourd|April|May|20|60|13
sweet corn|grass|April|May|30|40|16
tomato|nightshade|February|April|10|50|19
nasturtium|nasturtium|April|May|15|25|11
sunflower|daisy|April|May|15|45|13
marigold|daisy|April|May|10|20|10
sweet pea|pea|March|April|15|20|14
coriander|carrot|April|July|10|10|8
parsley|carrot|March|June|10|15|13
""".strip().splitlines()]

# dish, method key, ingredients as "amount unit name" for four people
RECIPES = [row.split("|") for row in """
vegetable soup|simmer|300 g carrots|200 g leeks|400 g potatoes|1000 ml stock|20 g butter
lentil stew|simmer|240 g brown lentils|150 g onions|200 g celery|900 ml water|30 ml olive oil
bean chilli|simmer|480 g cooked kidney beans|400 g chopped tomatoes|160 g peppers|250 ml water|20 ml oil
barley broth|simmer|160 g pearl barley|300 g turnips|150 g onions|1200 ml stock|20 g dripping
mushroom sauce|simmer|400 g mushrooms|100 g shallots|200 ml cream|150 ml stock|30 g butter
fish stew|simmer|600 g white fish|300 g fennel|400 g tomatoes|600 ml stock|40 ml olive oil
chickpea curry|simmer|480 g cooked chickpeas|200 g onions|400 ml coconut milk|200 g spinach|20 ml oil
oat biscuits|bake|200 g oats|120 g flour|120 g butter|80 g sugar|40 ml milk
apple crumble|bake|800 g cooking apples|200 g flour|100 g butter|100 g sugar|60 g oats
cheese scones|bake|240 g flour|60 g butter|100 g hard cheese|140 ml milk|8 g baking powder
seed loaf|bake|500 g wholemeal flour|340 ml water|60 g sunflower seeds|8 g salt|6 g dried yeast
ginger cake|bake|220 g flour|120 g treacle|100 g butter|140 ml milk|8 g ground ginger
potato gratin|bake|900 g potatoes|300 ml cream|200 ml milk|80 g hard cheese|20 g butter
root bake|bake|400 g parsnips|400 g carrots|300 g beetroot|40 ml oil|60 g walnuts
plum tart|bake|600 g plums|200 g flour|100 g butter|60 g sugar|40 ml cold water
rice salad|mix|280 g cooked rice|160 g cucumber|120 g radishes|60 g raisins|40 ml dressing
bean salad|mix|360 g cooked white beans|200 g tomatoes|80 g red onions|40 ml olive oil|20 ml vinegar
coleslaw|mix|400 g white cabbage|200 g carrots|80 g yoghurt|60 g mayonnaise|10 ml vinegar
""".strip().splitlines()]
