#!/usr/bin/env bash
# llama.cpp (build 11549, in xllamacpp 2026.10.11549): qwen3moe always divides the gates, olmoe never, whatever the file says.
#
# Guess: `qwen3moe.expert_weights_norm` false, or `olmoe.expert_weights_norm` true, is obeyed or refused: both families have a
# `norm_topk_prob` in their config.json, and Qwen3MoeConfig of transformers 5.23.0 has false if nobody says otherwise.
# Seen (2026-11): the key is not looked at. `qwen3moe` divides always, `olmoe` never (the argument after LLM_FFN_SILU in
# src/models/qwen3moe.cpp and src/models/olmoe.cpp). A model trained the other way loads and writes other text, without a warning.
# The published Qwen3 and OLMoE happen to agree with it; models of one's own of these families need not.
# One layer, whose attention adds nothing, is computed beside it in NumPy.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
venv=${FINDINGS_VENV:-$folder/venv}
[ -x "$venv/bin/pip" ] || python3 -m venv "$venv"
"$venv/bin/pip" install --quiet --no-compile --disable-pip-version-check xllamacpp==2026.10.11549 gguf==0.19.0 numpy==2.4.6
cat >see.py <<'PY'
import gguf
import numpy as np
from llama_cpp import Model

WIDTH, EXPERTS, USED, TOKEN = 32, 8, 2, 5


def write(path, family, normalized):
    """A model with one layer; all sizes are WIDTH. Returns its tensors."""
    file = gguf.GGUFWriter(path, family)
    file.add_context_length(64)
    file.add_embedding_length(WIDTH)
    file.add_block_count(1)
    file.add_feed_forward_length(WIDTH)
    file.add_head_count(2)
    file.add_head_count_kv(2)
    file.add_layer_norm_rms_eps(1e-6)
    file.add_rope_freq_base(10000.0)
    file.add_expert_count(EXPERTS)
    file.add_expert_used_count(USED)
    file.add_expert_feed_forward_length(WIDTH)
    file.add_expert_weights_norm(normalized)
    file.add_tokenizer_model("llama")
    file.add_token_list([f"token{at}" for at in range(WIDTH)])
    file.add_token_scores([0.0] * WIDTH)
    file.add_token_types([gguf.TokenType.NORMAL] * WIDTH)

    rng = np.random.default_rng(0)
    square, experts = (WIDTH, WIDTH), (EXPERTS, WIDTH, WIDTH)
    shapes = {"output": square, "blk.0.attn_q": square, "blk.0.attn_k": square, "blk.0.attn_v": square}
    shapes |= {"blk.0.ffn_gate_inp": (EXPERTS, WIDTH)} | {f"blk.0.ffn_{it}_exps": experts for it in ["gate", "up", "down"]}
    tensors = {name: rng.normal(0, 0.2, shape) for name, shape in shapes.items()}
    tensors |= {"token_embd": rng.normal(0, 1, square), "blk.0.attn_output": np.zeros(square)}
    of_heads = 16 if family == "qwen3moe" else WIDTH
    tensors |= {f"blk.0.attn_{it}_norm": np.ones(of_heads) for it in "qk"}
    tensors |= {it: np.ones(WIDTH) for it in ["output_norm", "blk.0.attn_norm", "blk.0.ffn_norm"]}
    for name, values in tensors.items():
        file.add_tensor(f"{name}.weight", values.astype(np.float32))
    file.write_header_to_file()
    file.write_kv_data_to_file()
    file.write_tensors_to_file()
    file.close()
    return tensors


def unit(row):
    return row / np.sqrt((row * row).mean() + 1e-6)


def logits(tensors, normalized):
    """As transformers/models/{qwen3_moe,olmoe}/modeling_*.py have it; `normalized` is norm_topk_prob."""
    state = tensors["token_embd"][TOKEN]
    row = unit(state)
    gates = np.exp(tensors["blk.0.ffn_gate_inp"] @ row)
    gates /= gates.sum()
    best = np.argsort(-gates)[:USED]
    shares = gates[best] / (gates[best].sum() if normalized else 1)
    for expert, share in zip(best, shares):
        gate, up, down = (tensors[f"blk.0.ffn_{it}_exps"][expert] for it in ["gate", "up", "down"])
        gated = gate @ row
        state = state + share * (down @ (gated / (1 + np.exp(-gated)) * (up @ row)))
    return tensors["output"] @ unit(state)


for family, does in [("qwen3moe", True), ("olmoe", False)]:
    for says in [True, False]:
        tensors = write("model.gguf", family, says)
        seen = Model("model.gguf").logits([TOKEN], WIDTH)
        apart = {it: np.abs(seen - logits(tensors, it)).max() for it in [True, False]}
        print(f"{family:8} expert_weights_norm {says!s:5}: {apart[True]:.6f} from divided gates, {apart[False]:.6f} from others")
        assert apart[does] < 1e-4 < 0.05 < apart[not does], "not as described"
PY
PYTHONPATH=$here "$venv/bin/python" see.py
echo "as described: qwen3moe divides always, olmoe never"
