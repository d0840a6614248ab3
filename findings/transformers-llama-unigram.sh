#!/usr/bin/env bash
# transformers 5.23.0: LlamaTokenizer reads a Unigram tokenizer.json as BPE without merges: every text falls into characters.
#
# Guess: the file's model is used, or a class that cannot use it says so. SentencePiece makes both kinds of models,
# and its spaces look alike in both.
# Seen (2026-11): the scores are thrown away, the tokens become those of a BPE model with no merges. ` aa` is three characters
# instead of the one token that it is with PreTrainedTokenizerFast. There is no error, and decoding gives the text back.
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
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoTokenizer

pieces = [("<unk>", 0.0), ("<s>", 0.0), ("</s>", 0.0), ("▁", -4.0), ("a", -4.0), ("▁aa", -1.0)]
tokenizer = Tokenizer(models.Unigram(pieces, unk_id=0, byte_fallback=False))
tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
tokenizer.decoder = decoders.Metaspace()


def load(config, **keywords):
    """AutoTokenizer of a folder with `tokenizer` and this tokenizer_config.json."""
    tokenizer.save("tokenizer.json")
    Path("tokenizer_config.json").write_text(json.dumps(config))
    Path("config.json").write_text(json.dumps({"model_type": "llama"}))
    return AutoTokenizer.from_pretrained(".", **keywords)


for name, model, expected in [
    ("PreTrainedTokenizerFast", "Unigram", ["▁aa", "▁aa"]),
    ("LlamaTokenizer", "BPE", ["▁", "a", "a", "▁", "a", "a"]),
]:
    it = load({"tokenizer_class": name, "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"})
    tokens, kind = it.tokenize("aa aa"), type(it.backend_tokenizer.model).__name__
    print(f"{name:23} {kind}: {tokens}, decoded {it.decode(it('aa aa')['input_ids'])!r}")
    assert (kind, tokens) == (model, expected), "not as described"
PY
TRANSFORMERS_VERBOSITY=error HF_HUB_OFFLINE=1 "$venv/bin/python" see.py
echo "as described: a Unigram model under LlamaTokenizer gives characters"
