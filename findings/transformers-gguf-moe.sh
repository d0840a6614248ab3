#!/usr/bin/env bash
# transformers 5.23.0: GGUF files of Mixtral, gpt-oss and the larger Qwen3-MoE do not load, the first without an error.
#
# Guess: what integrations/ggml.py lists (`qwen3_moe`, `gpt_oss`) loads, and what it does not know is refused by name.
# Seen (2026-11):
# - Mixtral, whose architecture is `llama` with experts, becomes a LlamaForCausalLM without experts. Its feed-forward weights are
#   random; the report of missing weights says so in passing, and two loads give two models.
# - qwen3moe: `expert_feed_forward_length` is not read, the experts are taken to be 768 wide. That is Qwen3-30B-A3B; a file of
#   Qwen3-235B-A22B (1536) or Qwen3-Coder-480B (2560) is refused for its shapes.
# - gpt-oss: `read_gpt_key` in modeling_gguf_pytorch_utils.py takes the first part of a field for its value. That is the length of
#   the key's name: with NumPy 2.4.6 any file with `rope.scaling.factor` is refused with a TypeError, before its tensors.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
venv=${FINDINGS_VENV:-$folder/venv}
"$here/with-torch" "$venv" transformers==5.23.0 tokenizers==0.23.3 gguf==0.19.0 numpy==2.4.6
cat >see.py <<'PY'
import gguf
import numpy as np
import torch
from transformers import AutoConfig, AutoModelForCausalLM

WIDTH, HEAD, EXPERTS = 32, 16, 4


def write(family, expert_width):
    file = gguf.GGUFWriter("model.gguf", family)
    file.add_context_length(4096)
    file.add_embedding_length(WIDTH)
    file.add_block_count(1)
    file.add_feed_forward_length(WIDTH)
    file.add_head_count(2)
    file.add_head_count_kv(2)
    file.add_key_length(HEAD)
    file.add_value_length(HEAD)
    file.add_layer_norm_rms_eps(1e-6)
    file.add_rope_freq_base(10000.0)
    file.add_rope_dimension_count(HEAD)
    file.add_vocab_size(WIDTH)
    file.add_expert_count(EXPERTS)
    file.add_expert_used_count(2)
    if family != "llama":
        file.add_expert_feed_forward_length(expert_width)
    if family == "gpt-oss":
        file.add_sliding_window(128)
        file.add_rope_scaling_type(gguf.RopeScalingType.YARN)
        file.add_rope_scaling_factor(32.0)
        file.add_rope_scaling_orig_ctx_len(128)
    file.add_tokenizer_model("llama")
    file.add_token_list([f"token{at}" for at in range(WIDTH)])
    file.add_token_scores([0.0] * WIDTH)
    file.add_token_types([gguf.TokenType.NORMAL] * WIDTH)
    rng = np.random.default_rng(0)
    square = ["token_embd", "output", "blk.0.attn_q", "blk.0.attn_k", "blk.0.attn_v", "blk.0.attn_output"]
    tensors = {name: rng.normal(0, 0.2, (WIDTH, WIDTH)) for name in square}
    tensors |= {name: np.ones(WIDTH) for name in ["output_norm", "blk.0.attn_norm", "blk.0.ffn_norm"]}
    if family == "qwen3moe":
        tensors |= {f"blk.0.attn_{it}_norm": np.ones(HEAD) for it in "qk"}
    tensors["blk.0.ffn_gate_inp"] = rng.normal(0, 0.2, (EXPERTS, WIDTH))
    tensors |= {f"blk.0.ffn_{it}_exps": rng.normal(0, 0.2, (EXPERTS, expert_width, WIDTH)) for it in ["gate", "up"]}
    tensors["blk.0.ffn_down_exps"] = rng.normal(0, 0.2, (EXPERTS, WIDTH, expert_width))
    for name, values in tensors.items():
        file.add_tensor(f"{name}.weight", values.astype(np.float32))
    file.write_header_to_file()
    file.write_kv_data_to_file()
    file.write_tensors_to_file()
    file.close()


def logits():
    model = AutoModelForCausalLM.from_pretrained(".", gguf_file="model.gguf").eval()
    with torch.no_grad():
        return type(model).__name__, model(torch.arange(16)[None]).logits


write("llama", WIDTH)
(name, first), (_, second) = logits(), logits()
print(f"Mixtral: {name}, two loads {(first - second).abs().max():.3f} apart")
assert name == "LlamaForCausalLM" and (first != second).any(), "not as described"

for width in [768, 1536]:
    write("qwen3moe", width)
    try:
        seen = logits()[0]
    except RuntimeError as error:
        seen = f"refused: {error}"
    print(f"Qwen3-MoE, experts {width} wide: {seen}")
    assert seen.startswith("Qwen3MoeForCausalLM" if width == 768 else "refused"), "not as described"

write("gpt-oss", WIDTH)
try:
    AutoConfig.from_pretrained(".", gguf_file="model.gguf")
    raise SystemExit("not as described: the configuration of gpt-oss loads")
except TypeError as error:
    print(f"gpt-oss: refused: {error}")
PY
TRANSFORMERS_VERBOSITY=error TQDM_DISABLE=1 HF_HUB_OFFLINE=1 "$venv/bin/python" see.py
echo "as described: Mixtral becomes a Llama with random weights, the others are refused"
