#!/usr/bin/env bash
# transformers 5.23.0: GPTNeoXTokenizer drops what tokenizer.json puts around a text; other classes keep it.
#
# Guess: a post-processor that puts `<s>` before and `</s>` behind does so whatever the class, as GPT2Tokenizer's does, which also
# builds its own pipeline.
# Seen (2026-11): with GPTNeoXTokenizer or GPTNeoXTokenizerFast as the class both tokens are gone, also where `add_bos_token` in
# tokenizer_config.json asks for the first. `save_pretrained` then writes a tokenizer.json without them, so that no later
# reader can know. The same files with PreTrainedTokenizerFast as the class give them.
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

tokenizer = Tokenizer(models.BPE(vocab={"<s>": 0, "</s>": 1, "a": 2}, merges=[]))
tokenizer.add_special_tokens(["<s>", "</s>"])
special = [("<s>", 0), ("</s>", 1)]
tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A </s>", pair="<s> $A $B </s>", special_tokens=special)


def load(config, **keywords):
    """AutoTokenizer of a folder with `tokenizer` and this tokenizer_config.json."""
    tokenizer.save("tokenizer.json")
    Path("tokenizer_config.json").write_text(json.dumps(config))
    Path("config.json").write_text(json.dumps({"model_type": "llama"}))
    return AutoTokenizer.from_pretrained(".", **keywords)


classes = {"PreTrainedTokenizerFast": True, "GPT2Tokenizer": True, "GPTNeoXTokenizer": False, "GPTNeoXTokenizerFast": False}
for name, kept in classes.items():
    config = {"tokenizer_class": name, "bos_token": "<s>", "eos_token": "</s>", "unk_token": "</s>", "add_bos_token": True}
    it = load(config)
    seen = it("a")["input_ids"]
    it.save_pretrained("saved")
    saved = Tokenizer.from_file("saved/tokenizer.json").encode("a").ids
    print(f"{name:23} {seen}, saved {saved}")
    assert seen == saved == ([0, 2, 1] if kept else [2]), "not as described"
PY
TRANSFORMERS_VERBOSITY=error HF_HUB_OFFLINE=1 "$venv/bin/python" see.py
echo "as described: the class GPTNeoXTokenizer drops the post-processor of the file"
