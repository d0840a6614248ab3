#!/usr/bin/env bash
# transformers 5.23.0: a Llama tokenizer with `ByteLevel` among its tokens is read in another way than without it.
#
# Guess: one more token that does not occur in the text changes nothing in how the text is cut.
# Seen (2026-11): whether LlamaTokenizer's own rules hold is decided by a search for "ByteLevel", in quotes, in all of tokenizer.json.
# A vocabulary that was learned from source code and has that word gets the file's rules instead. The same text then has other ids:
# a space at the beginning is kept or lost, a word behind a special token begins with a space or not.
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
from tokenizers import Tokenizer, models, normalizers
from transformers import AutoTokenizer


def load(word):
    vocab = {token: id for id, token in enumerate(["<unk>", "<s>", "</s>", "▁", "a", "▁a", word])}
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=[("▁", "a")], unk_token="<unk>"))
    tokenizer.add_special_tokens(["<unk>", "<s>", "</s>"])
    # as in the files of Llama 2
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.save("tokenizer.json")
    config = {"tokenizer_class": "LlamaTokenizer", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    Path("tokenizer_config.json").write_text(json.dumps(config))
    Path("config.json").write_text(json.dumps({"model_type": "llama"}))
    return AutoTokenizer.from_pretrained(".")


one, other = load("CharLevel"), load("ByteLevel")
for text, cut in [("a a", False), (" a", True), ("a</s>a", True)]:
    seen = [" ".join(it.tokenize(text)) for it in (one, other)]
    print(f"{text!r}: `{seen[0]}` by {type(one).__name__}, `{seen[1]}` by {type(other).__name__}")
    assert (seen[0] != seen[1]) == cut, "not as described"
PY
TRANSFORMERS_VERBOSITY=error HF_HUB_OFFLINE=1 "$venv/bin/python" see.py
echo "as described: one unused token changes how texts are cut"
