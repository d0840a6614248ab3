"""More tables of true facts for the biomedical domain: terms and enzymes."""

# term | parts of the word | what it denotes
TERMS = [row.split("|") for row in """
tachycardia|swift heart|a resting pulse above a hundred
bradycardia|slow heart|a resting pulse below sixty
dyspnoea|bad breathing|an uncomfortable awareness of breathing
orthopnoea|upright breathing|breathlessness that comes on lying flat
haemoptysis|blood spitting|coughing up blood from the lungs or airways
haematemesis|blood vomiting|bringing up blood from the upper gut
melaena|black|tarry stool stained by digested blood
dysphagia|bad swallowing|difficulty in passing food to the stomach
odynophagia|pain and swallowing|pain as food goes down
aphasia|without speech|loss of language from brain injury
dysarthria|bad articulation|slurred speech with language intact
ataxia|without order|clumsiness from poor coordination
apraxia|without action|loss of skilled movement despite normal strength
agnosia|not knowing|failure to recognise what is sensed
nystagmus|nodding|rhythmic involuntary eye movement
ptosis|falling|a drooping upper eyelid
miosis|lessening|a small pupil
mydriasis|an old Greek word of doubtful origin|a wide pupil
anisocoria|unequal pupils|pupils of different sizes
diplopia|double sight|seeing two images of one object
photophobia|fear of light|discomfort in ordinary light
otalgia|ear pain|an aching ear
tinnitus|ringing|sound heard without an outside source
epistaxis|dripping upon|bleeding from the nose
rhinorrhoea|nose flow|a running nose
anosmia|without smell|loss of the sense of smell
xerostomia|dry mouth|too little saliva
halitosis|breath condition|unpleasant breath
gingivitis|gum inflammation|red gums that bleed on brushing
cheilitis|lip inflammation|sore, cracked lips
pruritus|itching|an urge to scratch
urticaria|nettle|raised itching weals that come and go
erythema|redness|reddening that blanches on pressure
petechia|a spot|a pinhead bleed within the skin
ecchymosis|pouring out of juice|a flat bruise
alopecia|fox mange|loss of hair
hirsutism|hairy|male-pattern hair growth in a woman
vitiligo|perhaps a blemish|white patches that lack melanocytes
onycholysis|nail loosening|a nail lifting from its bed
paronychia|beside the nail|infection of a nail fold
cyanosis|dark blue|blueness from deoxygenated haemoglobin
jaundice|yellow|yellow skin and eyes from bilirubin
icterus|a yellow bird|another name for jaundice
ascites|wineskin|fluid in the peritoneal cavity
hepatomegaly|large liver|a liver felt well below the ribs
splenomegaly|large spleen|a spleen that can be felt
cholestasis|bile standing still|blocked flow of bile
cholecystitis|gallbladder inflammation|a tender, inflamed gallbladder
pancreatitis|inflamed sweetbread|an inflamed pancreas
steatorrhoea|fat flow|pale, floating, greasy stools
diverticulum|a byway|a pouch in the wall of a hollow organ
volvulus|rolled|a twisted loop of bowel
intussusception|taking within|one length of gut telescoped into the next
ileus|rolling up|a bowel that has stopped moving
haematuria|blood in urine|red cells in the urine
proteinuria|protein in urine|a leaky glomerular filter
oliguria|little urine|less than about 400 ml of urine a day
anuria|no urine|almost complete absence of urine
polyuria|much urine|more than three litres of urine a day
dysuria|bad urination|pain on passing water
nocturia|night urine|waking to pass urine
enuresis|making water within|bed wetting
hydronephrosis|water kidney|a kidney swollen by obstruction
amenorrhoea|no monthly flow|absent periods
menorrhagia|bursting monthly flow|heavy periods
dysmenorrhoea|bad monthly flow|painful periods
eclampsia|a flashing forth|fits in pregnancy with high blood pressure
primigravida|first heavy|a woman in her first pregnancy
arthralgia|joint pain|aching joints without swelling
myalgia|muscle pain|aching muscles
sciatica|of the hip|pain along the sciatic nerve
kyphosis|humpback|forward curving of the spine
scoliosis|crooked|sideways curving of the spine
lordosis|bent backward|inward curving of the lower back
osteoporosis|porous bone|thin bone that breaks easily
osteomalacia|soft bone|bone with too little mineral
bursitis|purse inflammation|a swollen bursa
ankylosis|stiffening|a joint fused by bone or scar
gangrene|a gnawing sore|death of tissue from lack of blood
necrosis|dying|death of cells within a living body
apoptosis|falling off, as leaves do|orderly programmed cell death
thrombosis|curdling|clotting inside a vessel
embolism|a throwing in|a plug carried by the bloodstream
aneurysm|a widening|a ballooning artery
stenosis|narrowing|a narrowed valve or vessel
ischaemia|holding back blood|blood supply below need
infarction|stuffing in|tissue death from lost blood supply
anaemia|without blood|too little haemoglobin
leukaemia|white blood|cancer of blood-forming cells
thrombocytopenia|poverty of clot cells|a low platelet count
polycythaemia|many cells in blood|too many red cells
haemolysis|blood loosening|breakdown of red cells
metastasis|a change of place|spread of a tumour to a distant site
carcinoma|crab growth|cancer of a lining or gland
sarcoma|fleshy growth|cancer of connective tissue
benign|kindly|not invading or spreading
biopsy|viewing life|tissue taken for the microscope
prognosis|knowing before|the likely course of an illness
prodrome|running before|early signs ahead of the main illness
syndrome|running together|a set of features found in company
idiopathic|a disease of its own|of unknown cause
iatrogenic|born of the physician|caused by treatment
nosocomial|of hospital tending|acquired in hospital
zoonosis|animal disease|infection passed from animals
fomite|tinder|an object that carries infection
vector|a carrier|a creature that transmits infection
rigor|stiffness|a violent shiver with rising fever
pyrexia|fever|a raised temperature
syncope|a cutting short|a brief faint from low blood flow to the brain
vertigo|turning|a false sense of spinning
narcolepsy|seizure of numbness|sudden daytime sleep
insomnia|no sleep|trouble falling or staying asleep
bruxism|gnashing|grinding of the teeth
catatonia|stretching down|a state of immobility and mutism
delirium|out of the furrow|sudden confusion with poor attention
placebo|I shall please|an inert treatment
trachea|the rough artery|the windpipe
coccyx|cuckoo|the tail bone, shaped like a beak
cochlea|snail|the coiled organ of hearing
hippocampus|sea horse|a curved part of the brain that stores events
amygdala|almond|a nucleus concerned with fear
thalamus|inner chamber|the relay of the senses
patella|small dish|the kneecap
clavicle|little key|the collar bone
fibula|brooch pin|the slender bone of the calf
acetabulum|vinegar cup|the socket of the hip
duodenum|twelve each|the first part of the small bowel, twelve fingers long
pylorus|gatekeeper|the outlet of the stomach
atrium|entrance hall|a receiving chamber of the heart
alveolus|little hollow|an air sac of the lung
glomerulus|little ball of yarn|a filtering tuft of the kidney
cornea|horny|the clear window of the eye
iris|rainbow|the coloured ring of the eye
tibia|flute|the shin bone
vomer|ploughshare|a thin bone of the nasal septum
uvula|little grape|the tag at the back of the palate
""".strip().splitlines()]

# enzyme or protein | task | place | clinical link
ENZYMES = [row.split("|") for row in """
pepsin|cuts proteins at acid pH|the stomach|reflux injury of the larynx
salivary amylase|splits starch into shorter sugars|the mouth|a raised serum level in mumps
lactase|splits lactose into glucose and galactose|the intestinal brush border|bloating after milk
pancreatic lipase|frees fatty acids from fat|the duodenum|greasy stools in cystic fibrosis
enteropeptidase|activates trypsinogen|the duodenal wall|failure to thrive when absent
carbonic anhydrase|joins carbon dioxide and water|red cells and renal tubules|acetazolamide for altitude sickness
alcohol dehydrogenase|turns ethanol into acetaldehyde|the liver|fomepizole in methanol poisoning
aldehyde dehydrogenase|clears acetaldehyde|mitochondria|facial flushing after wine
glucose-6-phosphate dehydrogenase|makes NADPH for red cells|the pentose pathway|haemolysis after fava beans
phenylalanine hydroxylase|makes tyrosine|the liver|phenylketonuria found by newborn screening
hexosaminidase A|breaks down a ganglioside|lysosomes of neurons|Tay-Sachs disease
glucocerebrosidase|breaks down glucocerebroside|macrophage lysosomes|Gaucher disease
alpha-galactosidase A|removes galactose from lipids|lysosomes|Fabry disease
acid maltase|digests glycogen|lysosomes of muscle|Pompe disease
muscle phosphorylase|releases glucose units from glycogen|skeletal muscle|cramp on exercise in McArdle disease
xanthine oxidase|makes urate|the liver|gout treated with allopurinol
adenosine deaminase|clears purine waste|lymphocytes|severe combined immune deficiency
ornithine transcarbamylase|takes part in the urea cycle|liver mitochondria|high ammonia in boys
tyrosinase|begins the making of melanin|melanocytes|albinism
21-hydroxylase|makes cortisol precursors|the adrenal cortex|congenital adrenal hyperplasia
5-alpha reductase|makes dihydrotestosterone|prostate and skin|finasteride for an enlarged prostate
aromatase|turns androgens into oestrogens|ovary and fat|anastrozole in breast cancer
thyroid peroxidase|attaches iodine to tyrosine|thyroid follicles|antibodies in Hashimoto disease
acetylcholinesterase|breaks down acetylcholine|the neuromuscular junction|organophosphate poisoning
monoamine oxidase|degrades noradrenaline and serotonin|nerve endings|pressure crises after aged cheese
catechol-O-methyltransferase|methylates dopamine|gut, liver and brain|entacapone in Parkinson disease
cyclo-oxygenase|starts prostaglandin synthesis|most tissues|the action of aspirin
thrombin|turns fibrinogen into fibrin|plasma|the action of dabigatran
plasmin|dissolves fibrin|the surface of clots|alteplase, which forms it
factor VIII|speeds activation of factor X|plasma|haemophilia A
von Willebrand factor|ties platelets to collagen|vessel walls and plasma|heavy periods and nosebleeds
antithrombin|neutralises thrombin|plasma|familial clotting
ceruloplasmin|carries copper|plasma|a low level in Wilson disease
transferrin|carries iron|plasma|low saturation in iron deficiency
ferritin|stores iron|liver and marrow|a very high level in haemochromatosis
hepcidin|closes the iron gate ferroportin|gut and macrophages|anaemia of chronic disease
haptoglobin|binds free haemoglobin|plasma|a low level in haemolysis
alpha-1 antitrypsin|restrains neutrophil elastase|lung|early emphysema
dystrophin|anchors muscle fibres to the membrane|skeletal muscle|Duchenne muscular dystrophy
fibrillin-1|builds elastic microfibrils|connective tissue|Marfan syndrome
CFTR|lets chloride through the membrane|airways, sweat glands and gut|cystic fibrosis
rhodopsin|catches photons|rod cells|night blindness without vitamin A
myosin|pulls on actin|muscle|inherited thick heart muscle
aquaporin-2|passes water|the collecting duct|nephrogenic diabetes insipidus
telomerase|lengthens chromosome ends|germ and stem cells|dyskeratosis congenita when deficient
DNA ligase|seals nicks in the backbone|the nucleus|sensitivity to radiation when faulty
angiotensin-converting enzyme|makes angiotensin II|lung endothelium|a raised level in sarcoidosis
creatine kinase|recharges ATP|muscle and brain|a rise after muscle injury
alkaline phosphatase|frees phosphate|bile ducts and bone|a high level in Paget disease
troponin|senses calcium|heart and skeletal muscle|its cardiac form as a marker of infarction
""".strip().splitlines()]
