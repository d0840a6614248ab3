#!/usr/bin/env bash
# transformers 5.23.0: `add_bos_token` in tokenizer_config.json has no effect beside a tokenizer.json; as a keyword it has.
#
# Guess: `"add_bos_token": true` puts the token before every text, `false` leaves it out, in the file as in `from_pretrained`.
# Seen (2026-11): the file's key is dropped for every class tried, GPT-NeoX's among them, whose documentation names it. What
# counts is the post-processor of tokenizer.json. Only the keyword does what the key says. So a folder whose author has set
# `false` still gives the token, and one with `true` does not: a prompt differs by one token from what the model was trained on.
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
from tokenizers import Tokenizer, models, processors
from transformers import AutoTokenizer

tokenizer = Tokenizer(models.BPE(vocab={"<s>": 0, "a": 1, "<unk>": 2}, merges=[]))
tokenizer.add_special_tokens(["<s>", "<unk>"])
with_token = processors.TemplateProcessing(single="<s> $A", pair="<s> $A $B", special_tokens=[("<s>", 0)])


def load(config, **keywords):
    """AutoTokenizer of a folder with `tokenizer` and this tokenizer_config.json."""
    tokenizer.save("tokenizer.json")
    Path("tokenizer_config.json").write_text(json.dumps(config))
    Path("config.json").write_text(json.dumps({"model_type": "llama"}))
    return AutoTokenizer.from_pretrained(".", **keywords)


for name in ["PreTrainedTokenizerFast", "Qwen2Tokenizer", "GPT2Tokenizer", "GPTNeoXTokenizer"]:
    named = {"tokenizer_class": name, "bos_token": "<s>", "unk_token": "<unk>"}
    for stated in [True, False]:
        # the post-processor that says the opposite
        tokenizer.post_processor = processors.ByteLevel() if stated else with_token
        key = load({**named, "add_bos_token": stated})("a")["input_ids"]
        keyword = load(named, add_bos_token=stated)("a")["input_ids"]
        print(f"{name:24} add_bos_token {stated}: in the file {key}, as a keyword {keyword}")
        assert keyword == ([0, 1] if stated else [1]), "not as described: keyword"
        # GPT-NeoX's class drops the post-processor as well
        has = not stated and name != "GPTNeoXTokenizer"
        assert key == ([0, 1] if has else [1]), "not as described: key"
PY
TRANSFORMERS_VERBOSITY=error HF_HUB_OFFLINE=1 "$venv/bin/python" see.py
echo "as described: the key is ignored where the keyword is obeyed"
