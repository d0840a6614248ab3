"""Word lists and phrases for the logic generator."""
from __future__ import annotations

NAMES = """Abelard Agatha Alcuin Avicenna Barnaby Beatrix Boris Casimir Celeste Chandra Cyril Delphine Demeter Edmund Elodie Erasmus Felix
Flora Galen Gideon Gwen Hector Helga Horace Imogen Iris Isidore Jasper Jocasta Julian Katrin Lambert Leander Livia Lucian Mabel Magda
Marcel Maud Minerva Mortimer Nestor Nora Octavia Olaf Orson Pascal Penelope Perdita Quincy Rhoda Roland Rupert Sabine Septimus Sibyl
Simeon Thaddeus Thea Theo Ulric Urania Verity Virgil Winifred Xavier Zelda Zeno""".split()

# plural nouns that can serve as terms of a syllogism
TERMS = """acrobats actors admirals alchemists amateurs ambassadors anglers antiquarians architects artists athletes authors aviators
bankers barons bishops bookworms botanists brokers bureaucrats butlers cartoonists cellists chemists cobblers collectors comedians composers
conjurers cooks critics cyclists dancers daydreamers debaters dentists detectives diplomats doctors dreamers duellists economists editors
engineers envoys explorers falconers fencers firefighters florists fiddlers gamblers geographers grammarians hermits historians hoarders
hunters idealists illusionists inventors islanders janitors jewellers jockeys jurors kings knitters lecturers linguists logicians
magicians magistrates mariners mathematicians merchants mimes monks mountaineers musicians mystics neighbours novelists nurses
opera-goers optimists orators orphans painters patriots pedants pessimists philosophers pianists pilgrims pirates playwrights poets
postmen prophets publishers puritans quibblers rebels recluses refugees rivals romantics sailors scholars scribes sculptors senators sentries
shepherds singers skaters sleepwalkers smugglers sophists spies stoics strategists students surgeons swimmers tailors tenants theologians
thieves tourists traders trumpeters tutors twins vegetarians veterans villagers vintners wanderers watchmakers weavers widowers wizards
wrestlers writers zoologists amphibians antelopes badgers bats beetles birds bluebells bulldogs butterflies cacti carnivores cats centaurs
crickets crocodiles deer dolphins dragons ducks eels elms emeralds ferns finches foxes frogs fungi gems geese giraffes goats grasses hawks
hedgehogs herons herbs insects ivies jaguars lizards lobsters mammals maples metals minerals moles mosses moths newts orchids otters owls oysters
palms parrots pearls pigeons planets poplars predators primes pythons rabbits reptiles rodents roses rubies salmon sapphires shrubs spiders
squares stars swans thistles toads trees triangles tulips turtles unicorns vipers wasps weeds whales willows wolves""".split()

ADJECTIVES = """absent amber anxious asleep awake bankrupt blue bored brave broken calm certain clean closed cold complete crowded cursed damp dark
deserted dry empty enchanted expired famous fictional finished flooded free frozen full genuine golden green guilty haunted hollow honest hungry
idle illegal innocent invisible late leaking locked lonely lost loud magnetic married muddy noisy numbered occupied open overdue painted perfect
poisonous private proud punctual quiet rare ready red reliable rented restored ripe round sacred safe salty sealed secret silent sleepy sold solvent
square stale sticky stolen stranded sunny sweet switched-on thirsty tired torn transparent triangular true unfinished unique unpaid upright urgent
vacant valid visible warm wet white wicked wise wooden wrong yellow""".split()

SUBJECTS = """the alarm,the alibi,the anchor,the argument,the atlas,the aunt,the axiom,the barge,the bell,the bottle,the bridge,the butler,the cabinet,the candle,
the captain,the caravan,the carpet,the cellar,the chandelier,the chapel,the cheese,the cipher,the circuit,the clock,the coffer,the conjecture,the contract,the cook,
the corridor,the cottage,the council,the courier,the cradle,the crown,the cupboard,the curtain,the deed,the diamond,the door,the dragon,the drawbridge,the duke,the engine,
the envelope,the falcon,the ferry,the fire,the flag,the fountain,the fuse,the garden,the gate,the ghost,the goblet,the guard,the harbour,the heir,the hotel,the hypothesis,the inn,
the inspector,the island,the jar,the judge,the jury,the kettle,the key,the kitchen,the ladder,the lantern,the ledger,the letter,the library,the lock,the lodger,the machine,
the manuscript,the map,the market,the mayor,the meeting,the mill,the mirror,the monk,the museum,the necklace,the oracle,the orchard,the oven,the painting,the parcel,the parrot,
the password,the path,the piano,the pilot,the platform,the porter,the pump,the puzzle,the queen,the raft,the receipt,the river,the road,the roof,the safe,the seal,the secretary,the shop,
the signal,the sphinx,the stable,the statue,the stranger,the switch,the tavern,the theorem,the thief,the throne,the tower,the train,the treasure,the tunnel,the umbrella,the valve,the vault,
the verdict,the wagon,the wall,the watchman,the well,the widow,the window,the witness,the wizard""".replace("\n", "").split(",")

PREDICATES = """arrives late,barks at strangers,belongs to the estate,blocks the road,burns,carries a lantern,casts a shadow,collapses,collects stamps,comes from Crete,complains,
costs a fortune,crosses the border,dances,deserves praise,disappears,drinks tea,earns a living,faces north,fails the test,falls asleep,floats,follows the rules,forgets the date,
gives the signal,glows in the dark,goes by sea,grows in the shade,hides the key,hums,ignores the warning,keeps a diary,keeps the secret,knows the answer,laughs,leaks,leaves a trace,lies,
likes cheese,lives abroad,lives alone,loses its colour,makes a noise,melts,misses the boat,moves,needs oil,obeys the king,owes money,pays the toll,plays chess,proves the lemma,rattles,reads Greek,
remembers the war,returns at dawn,rings twice,rolls downhill,rusts,saves money,sees the stage,sells well,shines,sings,sinks,sleeps by day,smells of smoke,smokes a pipe,snores,solves riddles,
speaks Latin,spins,stands on the hill,stays at home,stops at noon,survives the winter,swims,takes the train,tells the truth,travels light,trusts the guide,turns left,votes,waits outside,wakes early,
wants a pardon,wears a hat,wears spectacles,wins the prize,works at night,writes letters""".replace("\n", "").split(",")

OBJECTS = """argument map,brass key,card file,chalked table,chess clock,cipher wheel,coded letter,contract,court record,crossword,debating bell,deck of cards,diagram,dictionary,diary,
dilemma,draft treatise,footnote,game board,glossary,hourglass,index,jury list,labyrinth plan,lecture note,lens,letter of complaint,lexicon,locked box,logbook,maze,memorandum,minute book,
mirror,notebook,oath,oracle bone,padlock,page of proofs,pamphlet,parchment,petition,pocket grammar,portrait,proof sheet,puzzle book,question paper,quill,register,riddle,rule book,scroll,seating plan,
sealed envelope,set of dominoes,signed statement,slate,speaking trumpet,spectacle case,switchboard,table of contents,testimony,textbook,timetable,token,treatise,truth table,tuning fork,verdict,
visiting card,volume of essays,witness list,writing desk""".replace("\n", "").split(",")

RULES = {
    "name": NAMES,
    "hence": ["hence", "so", "therefore", "thus", "it follows that", "consequently", "from this we infer that", "we may conclude that", "accordingly", "this forces the conclusion that"],
    "for": ["for", "because", "since", "the reason being that", "as"],
    "suppose": ["suppose", "assume", "let us suppose", "imagine", "say", "grant for a moment", "take it that", "put the case that"],
    "but": ["but", "yet", "however,", "still,", "on the other hand,"],
    "check": ["a check", "to confirm this", "as a test", "the table shows it", "going through all cases", "counting the cases", "by exhaustion"],
    "contradiction": ["a contradiction", "which cannot be", "an absurdity", "against the assumption", "and that is impossible", "which clashes with the statement", "so this case drops out"],
    "true": ["true", "correct", "right"],
    "false": ["false", "incorrect", "wrong", "untrue"],
    "claims": ["claims", "says", "declares", "states", "announces", "asserts", "tells us", "insists", "maintains", "remarks"],
    "consider": ["consider", "take", "examine", "look at", "here is", "let us test", "we examine", "what should we make of", "weigh"],
    "valid": ["valid", "sound in form", "a valid form", "deductively valid", "in good order"],
    "invalid": ["invalid", "not valid", "faulty in form", "a fallacy", "defective", "formally unsound"],
    "every": ["all", "each and every one of the", "without exception, all"],
    "done": ["that settles it.", "nothing else fits.", "and the puzzle is solved.", "this is the only way.", "QED.", "which was the question.", "and no other case is left."],
}
