#!/usr/bin/env bash
# transformers 5.23.0: GPT2Tokenizer replaces the pre-tokenizer of tokenizer.json, so numbers are no longer cut into digits.
#
# Guess: `AutoTokenizer` reads a tokenizer.json as it stands; the name of the class matters only where there is none.
# Seen (2026-11): with `"tokenizer_class": "GPT2Tokenizer"` the file's Digits stage is gone and 12 is one token, while tokenizers
# itself and the class PreTrainedTokenizerFast give two. A model that was trained on
# single digits then gets tokens that it has never met.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
venv=${FINDINGS_VENV:-$folder/venv}
[ -x "$venv/bin/pip" ] || python3 -m venv "$venv"
"$venv/bin/pip" install --quiet --no-compile --disable-pip-version-check transformers==5.23.0 tokenizers==0.23.3
cat >see.py <<'PY'
import json
from pathlib import Path
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoTokenizer

tokenizer = Tokenizer(models.BPE(vocab={"<|endoftext|>": 0, "1": 1, "2": 2, "12": 3}, merges=[("1", "2")]))
tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
    [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
)


def load(config, **keywords):
    """AutoTokenizer of a folder with `tokenizer` and this tokenizer_config.json."""
    tokenizer.save("tokenizer.json")
    Path("tokenizer_config.json").write_text(json.dumps(config))
    Path("config.json").write_text(json.dumps({"model_type": "llama"}))
    return AutoTokenizer.from_pretrained(".", **keywords)


assert tokenizer.encode("12").tokens == ["1", "2"]
for name, expected in [("PreTrainedTokenizerFast", ["1", "2"]), ("GPT2Tokenizer", ["12"]), ("GPT2TokenizerFast", ["12"])]:
    it = load({"tokenizer_class": name, "unk_token": "<|endoftext|>", "bos_token": "<|endoftext|>", "eos_token": "<|endoftext|>"})
    print(f"{name:23} {it.tokenize('12')} with {it.backend_tokenizer.pre_tokenizer}")
    assert it.tokenize("12") == expected, "not as described"
PY
TRANSFORMERS_VERBOSITY=error HF_HUB_OFFLINE=1 "$venv/bin/python" see.py
echo "as described: GPT2Tokenizer does not cut numbers as its tokenizer.json says"
