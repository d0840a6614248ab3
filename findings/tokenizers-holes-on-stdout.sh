#!/usr/bin/env bash
# tokenizers 0.22.2: writing a tokenizer whose ids have gaps puts a sentence into the program's standard output.
#
# Guess: a library writes nothing to the standard output, least of all while it makes a string; a warning goes to a log.
# Seen (2026-11): `to_str` of a vocabulary with ids 0, 1, 5 prints "The OrderedVocab you are attempting to save contains holes ..."
# on file descriptor 1, at every call. A program that prints ids, JSON or text for another program prints that sentence among
# them, and neither `warnings` nor `logging` stops it. Gaps are common: many published models leave ids free for later tokens.
# 0.23.3 prints nothing.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
cat >see.py <<'PY'
from tokenizers import Tokenizer, models

tokenizer = Tokenizer(models.BPE(vocab={"a": 0, "b": 1, "c": 5}, merges=[]))
tokenizer.to_str()
PY
for version in 0.22.2 0.23.3; do
    venv/bin/pip install --quiet --disable-pip-version-check tokenizers==$version
    venv/bin/python see.py >"$version"
    echo "$version: $(wc -c <"$version") bytes on the standard output: $(cat "$version")"
done
grep -q "holes for indices \[2, 3, 4\]" 0.22.2 || { echo "not as described: 0.22.2 prints no warning"; exit 1; }
[ ! -s 0.23.3 ] || { echo "not as described: 0.23.3 prints too"; exit 1; }
echo "as described: 0.22.2 warns on the standard output"
