#!/usr/bin/env bash
# transformers 5.23.0: a GGUF file's pre-tokenizer is replaced by GPT-2's where its name is not one of 23.
#
# Guess: `AutoTokenizer.from_pretrained(folder, gguf_file=...)` cuts text as `tokenizer.ggml.pre` says, or refuses a name that it
# does not know. llama.cpp does both.
# Seen (2026-11): a name that is missing in GGUF_PRE_TOKENIZER_SPLITS (integrations/gguf/gguf_tokenizer_mapping.py) leaves GPT-2's
# expression, without a warning: numbers stay whole that the model saw in single digits or in threes, and a space goes with the
# number after it. Among them are smollm, starcoder, command-r, deepseek-coder, deepseek-v3, glm4, kimi-k2, bailingmoe and hunyuan.
# The published vocabulary of SmolLM2 gives other ids where two spaces stand before a number.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
venv=${FINDINGS_VENV:-$folder/venv}
"$here/with-torch" "$venv" transformers==5.23.0 tokenizers==0.23.3 gguf==0.19.0 numpy==2.4.6 xllamacpp==2026.10.11549
cat >see.py <<'PY'
import gguf
import numpy as np
from llama_cpp import Model
from tokenizers.pre_tokenizers import ByteLevel
from transformers import AutoTokenizer

merges = [("1", "2"), ("3", "4"), ("12", "34"), ("Ġ", "Ġ")]
tokens = sorted(ByteLevel.alphabet()) + ["".join(pair) for pair in merges]
text = "a  1234"


def write(pre):
    """The vocabulary, and a model of zeros around it."""
    file = gguf.GGUFWriter("model.gguf", "llama")
    file.add_tokenizer_model("gpt2")
    file.add_tokenizer_pre(pre)
    file.add_token_list(tokens)
    file.add_token_types([gguf.TokenType.NORMAL] * len(tokens))
    file.add_token_merges([" ".join(pair) for pair in merges])
    file.add_context_length(64)
    file.add_embedding_length(32)
    file.add_block_count(1)
    file.add_feed_forward_length(32)
    file.add_head_count(2)
    file.add_layer_norm_rms_eps(1e-6)
    shapes = {"token_embd": (len(tokens), 32), "output_norm": 32, "blk.0.attn_norm": 32, "blk.0.ffn_norm": 32}
    square = ["attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"]
    for name, shape in (shapes | {f"blk.0.{it}": (32, 32) for it in square}).items():
        file.add_tensor(f"{name}.weight", np.zeros(shape, np.float32))
    file.write_header_to_file()
    file.write_kv_data_to_file()
    file.write_tensors_to_file()
    file.close()


def spelled(ids):
    return " ".join(tokens[id] for id in ids)


as_gpt2 = "a Ġ Ġ 1234"
for pre, cut in {
    "gpt-2": as_gpt2,
    "llama-bpe": "a Ġ Ġ 12 3 4",
    "qwen2": "a Ġ Ġ 1 2 3 4",
    "smollm": "a ĠĠ 1 2 3 4",
    "starcoder": "a ĠĠ 1 2 3 4",
    "command-r": "a ĠĠ 1 2 3 4",
    "deepseek-coder": "a ĠĠ 1 2 3 4",
    "deepseek-v3": "a ĠĠ 12 3 4",
    "glm4": "a Ġ Ġ 12 3 4",
    "kimi-k2": "a Ġ Ġ 12 3 4",
    "bailingmoe": "a Ġ Ġ 1 2 3 4",
    "hunyuan": "a Ġ Ġ 1 2 3 4",
}.items():
    write(pre)
    served = spelled(Model("model.gguf").ids(text))
    loaded = spelled(AutoTokenizer.from_pretrained(".", gguf_file="model.gguf")(text, add_special_tokens=False)["input_ids"])
    print(f"{pre:14} llama.cpp {served:16} transformers {loaded}")
    known = pre in ["gpt-2", "llama-bpe", "qwen2"]
    assert served == cut, "llama.cpp not as described"
    assert loaded == (cut if known else as_gpt2), "not as described"
PY
TRANSFORMERS_VERBOSITY=error HF_HUB_OFFLINE=1 PYTHONPATH=$here "$venv/bin/python" see.py
echo "as described: where the name is not known, numbers are cut as by GPT-2"
