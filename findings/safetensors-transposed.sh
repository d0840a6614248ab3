#!/usr/bin/env bash
# safetensors 0.8.0, NumPy: a transposed array is saved under its shape, but in the order in which it lies in memory.
#
# Guess: `load(save({"w": a.T}))` gives a.T as in 0.7.0, or `save` refuses an array that is not contiguous, as that of torch does.
# Seen (2026-11): a.T of [[0, 1, 2], [3, 4, 5]] comes back as [[0, 1], [2, 3], [4, 5]], without a word. An array in Fortran's
# order, such as many solvers give, is mixed up likewise. 0.7.0 is right: whoever converts weights (a Linear of one framework
# is the transpose of another's) and upgrades writes a model of noise that loads well. The documentation asks for contiguous arrays.
# Upstream: https://github.com/safetensors/safetensors/issues/825
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
cat >see.py <<'PY'
import numpy as np
import safetensors
from safetensors.numpy import load_file, save_file

rows = np.arange(6, dtype=np.float32).reshape(2, 3)
differ = []
for name, array in [("as made", rows), ("transposed", rows.T), ("Fortran", np.asfortranarray(rows))]:
    save_file({"w": array}, "w.safetensors")
    again = load_file("w.safetensors")["w"]
    print(f"{safetensors.__version__} {name:10} saved {array.tolist()}, loaded {again.tolist()}")
    if not np.array_equal(array, again):
        differ.append(name)
expected = {"0.7.0": [], "0.8.0": ["transposed", "Fortran"]}[safetensors.__version__]
assert differ == expected, f"not as described: {differ}"
PY
for version in 0.7.0 0.8.0; do
    venv/bin/pip install --quiet --disable-pip-version-check numpy==2.4.6 "safetensors==$version"
    venv/bin/python see.py
done
echo "as described: 0.8.0 writes the memory of a transposed array under its shape"
