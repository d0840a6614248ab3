#!/usr/bin/env bash
# transformers 5.23.0: `add_space_prefix` false in a GGUF file is not obeyed: texts begin with a space all the same.
#
# Guess: `tokenizer.ggml.add_space_prefix` false makes "ab" the token `ab`, as in SentencePiece with add_dummy_prefix false, and in
# llama.cpp.
# Seen (2026-11): the key is read (integrations/gguf/gguf_tokenizer_mapping.py has it as `add_prefix_space`) and handed to nobody:
# "ab" begins with the token ` a`. Models that were trained without the space see another first token in every text, and after
# every special token of a chat.
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
from gguf import TokenType
from llama_cpp import Model
from transformers import AutoTokenizer

pieces = [("<unk>", 0, TokenType.UNKNOWN), ("<s>", 0, TokenType.CONTROL), ("</s>", 0, TokenType.CONTROL)]
pieces += [(f"<0x{byte:02X}>", 0, TokenType.BYTE) for byte in range(256)]
pieces += [(piece, score, TokenType.NORMAL) for piece, score in [("▁a", -1), ("ab", -2), ("▁", -3), ("a", -4), ("b", -5)]]
tokens, scores, types = zip(*pieces)


def write(prefix):
    """The vocabulary, and a model of zeros around it."""
    file = gguf.GGUFWriter("model.gguf", "llama")
    file.add_tokenizer_model("llama")
    file.add_token_list(tokens)
    file.add_token_scores([float(score) for score in scores])
    file.add_token_types(types)
    file.add_bos_token_id(1)
    file.add_eos_token_id(2)
    file.add_unk_token_id(0)
    file.add_add_space_prefix(prefix)
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


for prefix, expected in [(True, "▁a b"), (False, "ab")]:
    write(prefix)
    served = " ".join(tokens[id] for id in Model("model.gguf").ids("ab"))
    loaded = AutoTokenizer.from_pretrained(".", gguf_file="model.gguf")
    seen = " ".join(tokens[id] for id in loaded("ab", add_special_tokens=False)["input_ids"])
    print(f"add_space_prefix {prefix!s:5}: llama.cpp {served}, transformers {seen}")
    assert served == expected and seen == "▁a b", "not as described"
PY
TRANSFORMERS_VERBOSITY=error HF_HUB_OFFLINE=1 PYTHONPATH=$here "$venv/bin/python" see.py
echo "as described: a space is put before texts whatever the file says"
