#!/usr/bin/env bash
# transformers 5.23.0: tokens that tokenizer_config.json lists with ids get other ids.
#
# Guess: `"added_tokens_decoder": {"9": "<tool>", "8": "<|turn|>"}` gives `<tool>` the id 9; a vocabulary of 4 grows up to there,
# or what cannot be is refused.
# Seen (2026-11): the keys only order the tokens. They get the next free ids, `<|turn|>` 4 and `<tool>` 5, without a warning. Where
# tokenizer.json lacks a token that the model was trained with, its embedding is taken from another token's row.
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
from tokenizers import Tokenizer, models
from transformers import AutoTokenizer

tokenizer = Tokenizer(models.BPE(vocab={"<unk>": 0, "a": 1, "b": 2, "c": 3}, merges=[]))


def load(config, **keywords):
    """AutoTokenizer of a folder with `tokenizer` and this tokenizer_config.json."""
    tokenizer.save("tokenizer.json")
    Path("tokenizer_config.json").write_text(json.dumps(config))
    Path("config.json").write_text(json.dumps({"model_type": "llama"}))
    return AutoTokenizer.from_pretrained(".", **keywords)


flags = {"lstrip": False, "rstrip": False, "single_word": False, "normalized": False, "special": True}
listed = {"9": {"content": "<tool>", **flags}, "8": {"content": "<|turn|>", **flags}}
for name in ["PreTrainedTokenizerFast", "GPT2Tokenizer"]:
    config = {"tokenizer_class": name, "unk_token": "<unk>", "eos_token": "<unk>", "bos_token": "<unk>"}
    it = load({**config, "added_tokens_decoder": listed})
    ids = {token["content"]: it.convert_tokens_to_ids(token["content"]) for token in listed.values()}
    print(f"{name}: listed {({token['content']: int(id) for id, token in listed.items()})}, got {ids}")
    assert ids == {"<|turn|>": 4, "<tool>": 5}, "not as described"
    assert it("a<tool>")["input_ids"] == [1, 5]
PY
TRANSFORMERS_VERBOSITY=error HF_HUB_OFFLINE=1 "$venv/bin/python" see.py
echo "as described: the ids that are listed are not those that tokens get"
