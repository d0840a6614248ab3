"""Tables of true facts behind the biomedical domain (lists inside a field use ';')."""

# diagnosis | ages | symptoms | signs | tests | treatment | safety advice
CONDITIONS = [row.split("|") for row in """
community-acquired pneumonia|35-88|productive cough;fever with rigors;pleuritic chest pain;breathlessness on exertion;rusty sputum|coarse crackles at the right base;bronchial breathing;a dull percussion note;increased vocal resonance|a chest radiograph showing lobar consolidation;a raised C-reactive protein;a neutrophil leucocytosis|oral amoxicillin;oxygen to keep saturation above 94 per cent;fluids;early mobilisation|confusion, blue lips or worsening breathlessness
acute asthma|18-60|wheeze;night-time cough;chest tightness;poor sleep;use of a reliever many times a day|widespread expiratory wheeze;a prolonged expiratory phase;use of accessory muscles;speech in short phrases|a peak flow well below the patient's best;clear lung fields on the radiograph;normal carbon dioxide tension|salbutamol by spacer;oral prednisolone for five days;review of inhaler technique;a written action plan|exhaustion or a silent chest
heart failure|60-92|ankle swelling;breathlessness lying flat;waking at night gasping;fatigue;weight gain over a fortnight|a raised jugular venous pressure;bibasal crackles;a third heart sound;pitting oedema to the knee|a raised natriuretic peptide;cardiomegaly on the radiograph;a reduced ejection fraction on echocardiography|furosemide;an angiotensin-converting enzyme inhibitor;a beta blocker once stable;daily weighing|a gain of two kilograms within three days
iron deficiency anaemia|20-82|tiredness;breathlessness on stairs;palpitations;a craving for ice;hair thinning|pale conjunctivae;koilonychia;angular stomatitis;a soft flow murmur|a low ferritin;microcytic, hypochromic red cells;a low transferrin saturation|oral ferrous sulfate;a search for the source of blood loss;repeat counts in four weeks;dietary advice|black stools before treatment or fainting
type 2 diabetes|38-80|thirst;passing urine at night;blurred vision;recurrent thrush;weight loss|central obesity;reduced vibration sense in the toes;acanthosis nigricans;absent ankle jerks|a glycated haemoglobin of 64 mmol/mol;glucose in the urine;a fasting glucose above 7 mmol/l|metformin with meals;structured education;retinal screening;a foot check|vomiting with drowsiness
urinary tract infection|19-84|dysuria;frequency;lower abdominal ache;cloudy urine;urgency|suprapubic tenderness;no loin tenderness;a soft abdomen;a temperature just above normal|nitrites and leucocytes on the dipstick;a pure growth of Escherichia coli;a normal creatinine|nitrofurantoin for three days;more fluids;simple analgesia;a repeat sample if symptoms persist|flank pain or shaking chills
gout|40-84|sudden pain in the great toe;pain woken by the bedsheet;a similar attack last year;inability to wear a shoe|a hot, red first metatarsophalangeal joint;exquisite tenderness;a tophus on the ear;limited movement|needle-shaped crystals with negative birefringence;a raised serum urate;no organisms on Gram stain|colchicine;rest and ice;review of the thiazide;allopurinol once the attack has settled|fever with a spreading swelling
migraine|17-52|throbbing one-sided headache;nausea;zigzag lights before the pain;dislike of noise;relief in a dark room|a normal fundus;no neck stiffness;full power and sensation;symmetrical reflexes|no imaging, since the pattern was typical;a normal blood pressure;a headache diary with three attacks a month|sumatriptan at the onset of pain;an antiemetic;regular meals and sleep;propranolol for prevention|a sudden worst-ever headache
appendicitis|9-44|pain that moved from the navel to the right iliac fossa;loss of appetite;nausea;pain on coughing|tenderness at McBurney's point;guarding;rebound tenderness;a positive Rovsing sign|a raised white cell count;a thickened, non-compressible tube on ultrasound;a negative pregnancy test or no need of one|nil by mouth;intravenous fluids;antibiotics at induction;laparoscopic appendicectomy|increasing pain after discharge
osteoarthritis of the knee|52-86|pain on stairs;stiffness after sitting;a creaking joint;aching at the end of the day|bony enlargement;crepitus;a small effusion;a fixed flexion of five degrees|narrowing of the medial joint space;osteophytes;normal inflammatory markers|quadriceps exercises;weight loss;topical anti-inflammatory gel;a stick in the opposite hand|locking or a hot joint
hypothyroidism|25-78|weight gain;feeling cold;constipation;dry skin;slow thinking|a slow pulse;slowly relaxing ankle jerks;puffy eyelids;coarse hair|a high thyrotropin with low free thyroxine;antibodies to thyroid peroxidase;a raised cholesterol|levothyroxine before breakfast;a repeat thyrotropin in six weeks;spacing of iron tablets by four hours|chest pain after a dose increase
deep vein thrombosis|30-84|calf pain;swelling since a long flight;a heavy leg;warmth below the knee|a calf circumference 4 cm greater than the other;dilated superficial veins;tenderness along the deep veins|a raised D-dimer;a non-compressible popliteal vein on ultrasound;normal renal function|apixaban for three months;early walking;a search for provoking factors;a card for the wallet|sudden breathlessness or coughing blood
gastro-oesophageal reflux|28-75|burning behind the breastbone;acid in the mouth on bending;a morning cough;discomfort after late meals|a soft abdomen;mild epigastric tenderness;no palpable mass;a stable weight|a normal blood count;no alarm features;a negative stool antigen for Helicobacter|omeprazole for four weeks;a raised bed head;smaller evening meals;fewer late coffees|difficulty in swallowing or black stools
cellulitis|30-85|a spreading red patch;a hot, sore shin;shivering;a scratch from gardening|a tender, warm area with a clear edge;enlarged groin nodes;a crack between the toes;no crepitus|a raised C-reactive protein;a marked border checked daily;negative blood cultures|flucloxacillin;elevation of the leg;treatment of athlete's foot;emollients|blistering or pain out of proportion
atrial fibrillation|58-90|a fluttering chest;reduced stamina;light-headedness;an uneven pulse noticed at home|an irregularly irregular pulse;a variable first heart sound;an apex rate above the radial rate;clear lungs|absent P waves on the electrocardiogram;normal thyroid function;a mildly dilated left atrium|bisoprolol for rate control;apixaban after a stroke risk score;less alcohol;a sleep study|weakness of a limb or loss of speech
bacterial conjunctivitis|5-60|a sticky eye on waking;grittiness;redness that began on one side;a child at home with the same|yellow discharge on the lashes;a normal pupil;a clear cornea;normal acuity|no stain with fluorescein;no swab unless it lasts;normal lids when everted|bathing with cooled boiled water;chloramphenicol drops if not settling;separate towels|pain, dislike of light or blurred sight
acute gastroenteritis|16-70|watery diarrhoea;cramps;vomiting after a shared meal;poor appetite|dry lips;mild diffuse tenderness;active bowel sounds;a slightly fast pulse|a stool sample sent for culture;normal sodium and potassium;a mildly raised urea|oral rehydration solution;rest from work until 48 hours clear;hand washing;light meals when hungry|blood in the stool or no urine for half a day
benign positional vertigo|40-82|spinning on rolling in bed;nausea lasting under a minute;unsteadiness;fear of looking up|torsional nystagmus on the Dix-Hallpike test;a normal gait;intact hearing;no limb ataxia|no scan, in view of the clear test;a normal standing blood pressure;a normal audiogram|the Epley manoeuvre;advice about driving;home exercises;review in a fortnight|double vision or slurred speech
""".strip().splitlines()]

# drug | mg per kg per dose | doses a day | mg in 5 ml | largest single dose mg | use
DOSES = [row.split("|") for row in """
paracetamol|15|4|120|1000|pain or fever
ibuprofen|10|3|100|400|pain with inflammation
amoxicillin|25|3|250|1000|otitis media
cefalexin|12.5|2|125|500|an uncomplicated skin infection
erythromycin|12.5|4|250|500|infection in penicillin allergy
clarithromycin|7.5|2|125|500|whooping cough
trimethoprim|4|2|50|200|a lower urinary infection
flucloxacillin|12.5|4|125|500|impetigo
prednisolone|1|1|5|40|acute wheeze
phenoxymethylpenicillin|12.5|4|125|500|streptococcal sore throat
metronidazole|7.5|3|200|400|an anaerobic infection
cetirizine|0.25|1|5|10|hay fever
oral morphine|0.2|6|10|10|severe pain under supervision
ondansetron|0.1|2|4|8|vomiting
levetiracetam|10|2|500|1500|focal seizures
""".strip().splitlines()]

# drug | class | mechanism | use | unwanted effects | watch
DRUGS = [row.split("|") for row in """
furosemide|loop diuretic|blocks the sodium-potassium-chloride carrier of the thick ascending limb|fluid overload|low potassium and dehydration|electrolytes and weight
bendroflumethiazide|thiazide diuretic|inhibits sodium-chloride transport in the distal tubule|raised blood pressure|low sodium and gout|sodium and urate
spironolactone|aldosterone antagonist|competes with aldosterone in the collecting duct|heart failure and ascites|high potassium and breast tenderness|potassium
ramipril|angiotensin-converting enzyme inhibitor|prevents the formation of angiotensin II|hypertension|dry cough and raised potassium|creatinine and potassium
losartan|angiotensin receptor blocker|occupies the AT1 receptor|hypertension with cough on other drugs|dizziness|renal function
amlodipine|dihydropyridine calcium-channel blocker|relaxes arteriolar smooth muscle|angina and hypertension|ankle swelling and flushing|blood pressure
bisoprolol|beta blocker|slows the sinus node through the beta-1 receptor|angina and heart failure|cold hands and tiredness|pulse rate
digoxin|cardiac glycoside|inhibits the sodium-potassium pump|rate control in atrial fibrillation|nausea and yellow vision|potassium and plasma level
amiodarone|antiarrhythmic|prolongs the action potential by blocking potassium channels|ventricular arrhythmia|thyroid and lung damage|thyroid and liver tests
warfarin|vitamin K antagonist|stops the recycling of vitamin K in the liver|mechanical heart valves|bleeding|the international normalised ratio
apixaban|direct factor Xa inhibitor|binds the active site of factor Xa|atrial fibrillation and thrombosis|bruising|renal function
heparin|anticoagulant|speeds the action of antithrombin|acute thrombosis|bleeding and low platelets|platelet count
aspirin|antiplatelet agent|irreversibly acetylates cyclo-oxygenase|prevention of a second heart attack|gastric irritation|signs of bleeding
clopidogrel|antiplatelet agent|blocks the P2Y12 receptor of platelets|coronary stents|bruising and rash|signs of bleeding
atorvastatin|statin|inhibits HMG-CoA reductase|high cholesterol|muscle ache|lipids and transaminases
metformin|biguanide|reduces glucose output by the liver|type 2 diabetes|loose stools and, rarely, lactic acidosis|renal function
gliclazide|sulfonylurea|closes potassium channels of the beta cell|type 2 diabetes|hypoglycaemia and weight gain|glucose
empagliflozin|SGLT2 inhibitor|stops glucose reabsorption in the proximal tubule|diabetes and heart failure|genital thrush|ketones when unwell
insulin glargine|long-acting insulin|replaces basal hormone|type 1 diabetes|hypoglycaemia|capillary glucose
levothyroxine|thyroid hormone|supplies thyroxine|hypothyroidism|palpitations when overdosed|thyrotropin
carbimazole|antithyroid drug|inhibits thyroid peroxidase|Graves disease|rash and, rarely, agranulocytosis|white cells if the throat is sore
prednisolone|corticosteroid|alters gene transcription through the glucocorticoid receptor|severe inflammation|high glucose and thin bones|blood pressure and glucose
salbutamol|beta-2 agonist|raises cyclic AMP in bronchial smooth muscle|wheeze|tremor and fast pulse|potassium at high dose
ipratropium|antimuscarinic bronchodilator|blocks vagal constriction of the airways|chronic bronchitis|dry mouth|intraocular pressure in glaucoma
montelukast|leukotriene antagonist|blocks the CysLT1 receptor|asthma prevention|vivid dreams|mood
omeprazole|proton pump inhibitor|inactivates the gastric H+/K+ pump|peptic ulcer|low magnesium on long use|magnesium
ondansetron|5-HT3 antagonist|quietens vagal and central emetic pathways|postoperative vomiting|constipation and headache|the QT interval
loperamide|opioid acting on the gut|slows peristalsis|acute diarrhoea|constipation|fever or blood in the stool
morphine|opioid|activates mu receptors|severe pain|constipation and respiratory depression|breathing rate
naloxone|opioid antagonist|displaces opioids from the mu receptor|opioid overdose|acute withdrawal|relapse, because it is short-acting
paracetamol|simple analgesic|acts largely within the central nervous system|mild pain and fever|liver injury in overdose|total daily dose
naproxen|non-steroidal anti-inflammatory drug|inhibits prostaglandin synthesis|joint pain|gastric ulcer|renal function
allopurinol|xanthine oxidase inhibitor|lowers the formation of urate|prevention of gout|rash|urate
methotrexate|antifolate|inhibits dihydrofolate reductase|rheumatoid arthritis|marrow suppression|blood count and liver tests
sertraline|selective serotonin reuptake inhibitor|blocks the serotonin transporter|depression|nausea and sweating|mood in the first weeks
lithium|mood stabiliser|interferes with inositol signalling, among other actions|bipolar disorder|tremor and thirst|plasma lithium and thyroid
carbamazepine|antiepileptic|stabilises inactive sodium channels|focal epilepsy|rash and low sodium|sodium and blood count
levodopa|dopamine precursor|is turned into dopamine within the brain|Parkinson disease|involuntary movements|response through the day
donepezil|cholinesterase inhibitor|prolongs the action of acetylcholine|Alzheimer disease|slow pulse and nausea|pulse
benzylpenicillin|beta-lactam antibiotic|prevents cross-linking of the cell wall|meningococcal disease|allergy|rash and breathing
gentamicin|aminoglycoside|binds the 30S ribosomal subunit|Gram-negative sepsis|kidney and ear damage|trough level
doxycycline|tetracycline|stops transfer RNA from binding the ribosome|chest infection and acne|sunburn and heartburn|skin in bright sun
ciprofloxacin|quinolone|inhibits DNA gyrase|pyelonephritis|tendon pain|tendons and the QT interval
vancomycin|glycopeptide|blocks peptidoglycan assembly|resistant staphylococci|flushing if infused fast|trough level
rifampicin|rifamycin|inhibits bacterial RNA polymerase|tuberculosis|orange urine and enzyme induction|liver tests
aciclovir|nucleoside analogue|ends viral DNA chains after activation by viral kinase|herpes zoster|renal crystals if dehydrated|fluids and creatinine
fluconazole|azole antifungal|blocks ergosterol synthesis|candidiasis|abdominal pain|liver tests
""".strip().splitlines()]

# organism | kind | disease | route | measure
MICROBES = [row.split("|") for row in """
Staphylococcus aureus|Gram-positive coccus in clusters|boils and wound infection|skin contact|hand hygiene
Streptococcus pyogenes|Gram-positive coccus in chains|sore throat and cellulitis|droplets|penicillin
Streptococcus pneumoniae|lancet-shaped Gram-positive diplococcus|lobar pneumonia|droplets|vaccination
Neisseria meningitidis|Gram-negative diplococcus|meningitis and septicaemia|close respiratory contact|early antibiotics
Escherichia coli|Gram-negative rod|urinary infection|the bowel flora|good perineal hygiene
Salmonella enterica|motile Gram-negative rod|food poisoning|undercooked eggs and poultry|thorough cooking
Vibrio cholerae|comma-shaped Gram-negative rod|profuse watery diarrhoea|contaminated water|oral rehydration
Helicobacter pylori|curved, urease-positive rod|peptic ulcer|the mouth and the bowel, probably within families|combined antibiotics with acid suppression
Campylobacter jejuni|curved Gram-negative rod|diarrhoea with cramps|raw poultry|kitchen hygiene
Clostridium tetani|spore-forming anaerobic rod|lockjaw|soil in wounds|toxoid vaccine
Clostridioides difficile|spore-forming anaerobe|colitis after antibiotics|spores on surfaces|soap and water, since alcohol gel fails against spores
Mycobacterium tuberculosis|acid-fast bacillus|tuberculosis|airborne droplet nuclei|at least six months of combined drugs
Legionella pneumophila|water-loving Gram-negative rod|severe pneumonia|aerosols from warm water|hot water kept above 60 degrees
Borrelia burgdorferi|spirochaete|Lyme disease|tick bites|prompt removal of ticks
Bordetella pertussis|small Gram-negative coccobacillus|whooping cough|droplets|immunisation in pregnancy and infancy
Plasmodium falciparum|protozoan of red cells|severe malaria|Anopheles mosquitoes|bed nets and artemisinin combinations
Giardia duodenalis|flagellate protozoan|greasy diarrhoea|cysts in water|filtered or boiled water
Toxoplasma gondii|intracellular protozoan|lymph node swelling or fetal damage|cat faeces and undercooked meat|gloves for gardening
Candida albicans|budding yeast|thrush|overgrowth after antibiotics|azole drugs
Aspergillus fumigatus|mould with septate hyphae|lung disease in weak immunity|inhaled spores|filtered air on transplant wards
influenza A virus|segmented RNA virus|seasonal flu|droplets and hands|yearly vaccine
measles virus|enveloped RNA virus|fever with a blotchy rash|airborne spread|two doses of vaccine
hepatitis B virus|partly double-stranded DNA virus|acute and chronic hepatitis|blood, birth and sex|vaccination at birth
norovirus|non-enveloped RNA virus|winter vomiting|hands, food and surfaces|isolation for 48 hours after symptoms
varicella zoster virus|DNA herpesvirus|chickenpox and later shingles|airborne spread and contact|vaccine
rabies virus|bullet-shaped RNA virus|fatal encephalitis|animal bites|washing the wound and prompt vaccine
""".strip().splitlines()]

# muscle | origin | insertion | nerve | action
MUSCLES = [row.split("|") for row in """
biceps brachii|the coracoid process and supraglenoid tubercle|the radial tuberosity|the musculocutaneous nerve|flexes the elbow and turns the palm up
triceps brachii|the scapula and the back of the humerus|the olecranon|the radial nerve|extends the elbow
deltoid|the clavicle, acromion and scapular spine|the deltoid tuberosity|the axillary nerve|abducts the arm
supraspinatus|the supraspinous fossa|the greater tubercle|the suprascapular nerve|starts abduction of the arm
subscapularis|the costal face of the scapula|the lesser tubercle|the subscapular nerves|rotates the arm inward
pectoralis major|the clavicle, sternum and upper ribs|the lip of the bicipital groove|the pectoral nerves|draws the arm across the chest
latissimus dorsi|the lower spine and iliac crest|the floor of the bicipital groove|the thoracodorsal nerve|pulls the arm down and back
serratus anterior|the upper eight ribs|the medial border of the scapula|the long thoracic nerve|holds the scapula to the chest wall
trapezius|the skull and thoracic spines|the clavicle and scapula|the accessory nerve|lifts and turns the shoulder blade
brachioradialis|the ridge above the lateral epicondyle|the radial styloid|the radial nerve|flexes the half-turned forearm
pronator teres|the medial epicondyle and coronoid process|the shaft of the radius|the median nerve|turns the palm down
gluteus maximus|the ilium, sacrum and coccyx|the iliotibial tract and femur|the inferior gluteal nerve|extends the hip
gluteus medius|the outer ilium|the greater trochanter|the superior gluteal nerve|keeps the pelvis level in walking
iliopsoas|the lumbar vertebrae and iliac fossa|the lesser trochanter|the femoral nerve and lumbar roots|flexes the hip
sartorius|the anterior superior iliac spine|the upper medial tibia|the femoral nerve|crosses the legs
rectus femoris|the anterior inferior iliac spine|the patella|the femoral nerve|extends the knee
biceps femoris|the ischial tuberosity and linea aspera|the head of the fibula|the sciatic nerve's branches|bends the knee
gastrocnemius|the femoral condyles|the calcaneus|the tibial nerve|points the foot down
soleus|the tibia and fibula|the calcaneus|the tibial nerve|steadies the leg in standing
tibialis anterior|the upper lateral tibia|the medial cuneiform and first metatarsal|the deep fibular nerve|lifts the foot
masseter|the zygomatic arch|the angle of the jaw|the mandibular nerve|closes the jaw
sternocleidomastoid|the sternum and clavicle|the mastoid process|the accessory nerve|turns the head to the other side
diaphragm|the ribs, sternum and lumbar spine|its central tendon|the phrenic nerve|draws air into the chest
orbicularis oculi|the rim of the orbit|the eyelids|the facial nerve|shuts the eye
lateral rectus|the common tendinous ring|the sclera|the abducens nerve|turns the eye outward
""".strip().splitlines()]

# hormone | source | stimulus | effect | disorder
HORMONES = [row.split("|") for row in """
insulin|beta cells of the pancreas|a rise in blood glucose|glucose uptake by muscle and fat|diabetes when it is lacking
glucagon|alpha cells of the pancreas|falling glucose|glycogen breakdown in the liver|weight loss and rash in a rare tumour
cortisol|the adrenal cortex|corticotropin|glucose release and restraint of inflammation|Cushing syndrome in excess
aldosterone|the zona glomerulosa|angiotensin II and potassium|sodium retention and potassium loss|hypertension with low potassium in excess
adrenaline|the adrenal medulla|sympathetic nerves|a faster heart and wider airways|phaeochromocytoma in excess
thyroxine|thyroid follicles|thyrotropin|a higher metabolic rate|goitre and slowness when lacking
parathyroid hormone|the parathyroid glands|low calcium|calcium release from bone and activation of vitamin D|stones and weak bones in excess
vasopressin|the posterior pituitary|concentrated plasma|water reabsorption in collecting ducts|a flood of dilute urine when lacking
oxytocin|the posterior pituitary|suckling and labour|ejection of milk and contraction of the uterus|no clear deficiency state
growth hormone|the anterior pituitary|sleep and low glucose|growth through insulin-like growth factor|acromegaly in adult excess
prolactin|the anterior pituitary|loss of dopamine restraint|milk formation|missed periods and milky discharge in excess
erythropoietin|the kidney|low oxygen|red cell formation|anaemia in renal failure
renin|the juxtaglomerular cells|low renal perfusion|formation of angiotensin I|hypertension in renal artery narrowing
gastrin|G cells of the stomach|peptides in the stomach|acid secretion|severe ulcers in excess
secretin|the duodenum|acid in the duodenum|bicarbonate from the pancreas|no common disorder
leptin|fat cells|growing fat stores|less appetite|extreme childhood obesity when absent
melatonin|the pineal gland|darkness|timing of sleep|disturbed sleep after long flights
""".strip().splitlines()]

# food | kcal | protein g | iron mg | fibre g, per 100 g
FOODS = [row.split("|") for row in """
cooked lentils|116|9.0|3.3|7.9
oats|379|13.2|4.3|10.1
boiled egg|155|12.6|1.2|0
whole milk|61|3.2|0|0
grilled salmon|206|22.1|0.3|0
boiled potato|87|1.9|0.3|1.8
wholemeal bread|247|13.0|2.5|6.8
cooked chickpeas|164|8.9|2.9|7.6
raw spinach|23|2.9|2.7|2.2
banana|89|1.1|0.3|2.6
almonds|579|21.2|3.7|12.5
cheddar|403|24.9|0.7|0
roast chicken breast|165|31.0|1.0|0
cooked white rice|130|2.7|0.2|0.4
broccoli|34|2.8|0.7|2.6
tofu|76|8.1|1.6|0.3
apple|52|0.3|0.1|2.4
plain yoghurt|61|3.5|0.1|0
""".strip().splitlines()]
