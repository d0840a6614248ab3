#!/usr/bin/env bash
# transformers 5.23.0: switching on `add_eos_token` removes the token that stood before the text.
#
# Guess: `tokenizer.add_eos_token = True`, or the same as a keyword of `from_pretrained`, adds `</s>` behind and changes nothing
# else.
# Seen (2026-11): with a post-processor that puts `<s>` before a text, as in Llama's files, `<s> a` becomes `a </s>`: no more `<s>`.
# `add_bos_token` is False before as after, although the token is there: the post-processor is made anew from the two flags.
# A fine-tuning script that only wants ends thereby trains without beginnings. Setting both flags is right.
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

tokenizer = Tokenizer(models.BPE(vocab={"<unk>": 0, "<s>": 1, "</s>": 2, "a": 3, "▁": 4, "▁a": 5}, merges=[("▁", "a")]))
tokenizer.add_special_tokens(["<unk>", "<s>", "</s>"])
tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", pair="<s> $A $B", special_tokens=[("<s>", 1)])


def load(config, **keywords):
    """AutoTokenizer of a folder with `tokenizer` and this tokenizer_config.json."""
    tokenizer.save("tokenizer.json")
    Path("tokenizer_config.json").write_text(json.dumps(config))
    Path("config.json").write_text(json.dumps({"model_type": "llama"}))
    return AutoTokenizer.from_pretrained(".", **keywords)


def tokens(it):
    return " ".join(it.convert_ids_to_tokens(it("a")["input_ids"]))


for name in ["PreTrainedTokenizerFast", "LlamaTokenizer"]:
    config = {"tokenizer_class": name, "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    plain = load(config)
    before, flag = tokens(plain), plain.add_bos_token
    plain.add_eos_token = True
    keyword = load(config, add_eos_token=True)
    both = load(config, add_bos_token=True, add_eos_token=True)
    print(f"{name}: as loaded `{before}`, add_bos_token {flag}; with add_eos_token set `{tokens(plain)}`, "
          f"as a keyword `{tokens(keyword)}`; with both `{tokens(both)}`")
    assert before.startswith("<s> ") and not flag and tokens(both) == f"{before} </s>"
    for seen in [tokens(plain), tokens(keyword)]:
        assert seen == before.removeprefix("<s> ") + " </s>", "not as described"
PY
TRANSFORMERS_VERBOSITY=error HF_HUB_OFFLINE=1 "$venv/bin/python" see.py
echo "as described: with add_eos_token the beginning is gone"
