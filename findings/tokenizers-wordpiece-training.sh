#!/usr/bin/env bash
# tokenizers 0.23.3: WordPieceTrainer learns another vocabulary from the same text in every process.
#
# Guess: a trainer without a seed is deterministic, as BpeTrainer of the same package is.
# Seen (2026-11): over six processes the ids of many tokens differ, and in some even which tokens there are, on one thread as on
# many. Ids are rows of the embedding: a tokenizer that is trained again beside its model does not belong to it any more.
# Sorting the result does not help, for the tokens themselves are not the same.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check tokenizers==0.23.3
cat >see.py <<'PY'
import hashlib
import json
import random
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

made = random.Random(1)
words = ["".join(made.choices("etaoinshrdlu", k=made.randint(2, 7))) for _ in range(300)]
text = [" ".join(made.choices(words, k=3000))]


def checksum(value):
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()[:8]


for name, model, trainer in [
    ("BPE", models.BPE(), trainers.BpeTrainer),
    ("WordPiece", models.WordPiece(), trainers.WordPieceTrainer),
]:
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.train_from_iterator(text, trainer(vocab_size=200, show_progress=False))
    ids = sorted(tokenizer.get_vocab().items())
    print(name, "ids", checksum(ids), "tokens", checksum([token for token, _ in ids]))
PY
for _ in 1 2 3 4 5 6; do RAYON_NUM_THREADS=1 venv/bin/python see.py; done | sort | tee seen
[ "$(grep -c ^BPE <(uniq seen))" = 1 ] || { echo "not as described: BPE differs too"; exit 1; }
[ "$(grep -c ^WordPiece <(uniq seen))" -gt 1 ] || { echo "not as described: WordPiece is one"; exit 1; }
echo "as described: the ids of WordPiece are not those of the last training"
