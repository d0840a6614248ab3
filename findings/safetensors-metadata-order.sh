#!/usr/bin/env bash
# safetensors 0.8.0: the same tensors and metadata make another file in every process.
#
# Guess: one model saved twice gives one checksum; the order of the header's keys is that of the dictionary, or sorted.
# Seen (2026-11): tensors are written in a fixed order, but the entries of `metadata` in that of a hash map with a random seed:
# with six entries, eight processes write several files that differ in nothing else. Checksums of checkpoints, stores that
# address by content, and builds that must be repeatable see a change where there is none. With one entry all files are equal.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check numpy==2.4.6 safetensors==0.8.0
cat >see.py <<'PY'
import hashlib
import json
import sys
import numpy as np
from safetensors.numpy import save

entries = {f"key{at}": "value" for at in range(int(sys.argv[1]))}
tensors = {name: np.zeros(2, np.float32) for name in "abcdef"}
file = save(tensors, metadata=entries)
header = json.loads(file[8 : 8 + int.from_bytes(file[:8], "little")])
assert header.pop("__metadata__") == entries
print(hashlib.sha256(file).hexdigest()[:16], " ".join(header))
PY
for entries in 1 6; do
    echo "$entries entries:"
    for _ in 1 2 3 4 5 6 7 8; do venv/bin/python see.py "$entries"; done | sort | tee "seen.$entries"
done
[ "$(uniq seen.1 | wc -l)" = 1 ] || { echo "not as described: one entry"; exit 1; }
[ "$(uniq seen.6 | wc -l)" -gt 1 ] || { echo "not as described: eight equal files"; exit 1; }
echo "as described: the order of the metadata, and with it the file's checksum, changes from process to process"
