#!/usr/bin/env bash
# llama.cpp (build 11549, in xllamacpp 2026.10.11549): DeepSeek-V2's groups of experts are chosen by the rule of DeepSeek-V3.
#
# Guess: a `deepseek2` file with softmax gates, groups of experts and no bias is DeepSeek-V2 (236B has n_group 8, topk_group 3 and
# topk_method "group_limited_greedy"): groups rank by their best expert, as in transformers 5.23.0,
# models/deepseek_v2/modeling_deepseek_v2.py, `scores.view(...).max(dim=-1)`.
# Seen (2026-11): groups rank by the sum of their two best, whatever the family and the gates (src/llama-graph.cpp,
# build_moe_ffn, `ggml_argsort_top_k(ctx0, selection_groups, 2)`). Where the two rules choose other groups, other experts answer.
# llama.cpp's converter writes the number of groups for every config.json that has `n_group`.
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

WIDTH, EXPERTS, USED, GROUPS, RANK = 32, 8, 2, 4, 16


def write(path):
    """A model with one layer, of whose groups of experts one is taken. Returns its tensors."""
    file = gguf.GGUFWriter(path, "deepseek2")
    file.add_context_length(64)
    file.add_embedding_length(WIDTH)
    file.add_block_count(1)
    file.add_feed_forward_length(WIDTH)
    file.add_layer_norm_rms_eps(1e-6)
    # latent attention: two heads of 8 with position and 8 without
    file.add_head_count(2)
    file.add_head_count_kv(1)
    file.add_q_lora_rank(RANK)
    file.add_kv_lora_rank(RANK)
    file.add_rope_dimension_count(8)
    file.add_rope_freq_base(10000.0)
    file.add_key_length(RANK + 8)
    file.add_value_length(RANK)
    file.add_key_length_mla(16)
    file.add_value_length_mla(8)
    file.add_leading_dense_block_count(0)
    file.add_expert_count(EXPERTS)
    file.add_expert_used_count(USED)
    file.add_expert_shared_count(1)
    file.add_expert_feed_forward_length(WIDTH)
    file.add_expert_group_count(GROUPS)
    file.add_expert_group_used_count(1)
    file.add_expert_weights_scale(1.0)
    file.add_expert_weights_norm(False)
    file.add_expert_gating_func(gguf.ExpertGatingFuncType.SOFTMAX)
    file.add_tokenizer_model("llama")
    file.add_token_list([f"token{at}" for at in range(WIDTH)])
    file.add_token_scores([0.0] * WIDTH)
    file.add_token_types([gguf.TokenType.NORMAL] * WIDTH)

    rng = np.random.default_rng(0)
    square, experts = (WIDTH, WIDTH), (EXPERTS, WIDTH, WIDTH)
    shapes = {"attn_q_a": (RANK, WIDTH), "attn_q_b": (2 * 16, RANK), "attn_kv_a_mqa": (RANK + 8, WIDTH)}
    shapes |= {"attn_k_b": (2, RANK, 8), "attn_v_b": (2, 8, RANK), "ffn_gate_inp": (EXPERTS, WIDTH)}
    shapes |= {f"ffn_{it}_exps": experts for it in ["gate", "up", "down"]} | {f"ffn_{it}_shexp": square for it in ["gate", "up"]}
    tensors = {f"blk.0.{name}": rng.normal(0, 0.2, shape) for name, shape in shapes.items()}
    tensors |= {"token_embd": rng.normal(0, 1, square), "output": rng.normal(0, 0.2, square)}
    tensors |= {"blk.0.attn_output": np.zeros((WIDTH, 16)), "blk.0.ffn_down_shexp": np.zeros(square)}
    tensors |= {it: np.ones(WIDTH) for it in ["output_norm", "blk.0.attn_norm", "blk.0.ffn_norm"]}
    tensors |= {f"blk.0.attn_{it}_a_norm": np.ones(RANK) for it in ["q", "kv"]}
    for name, values in tensors.items():
        file.add_tensor(f"{name}.weight", values.astype(np.float32))
    file.write_header_to_file()
    file.write_kv_data_to_file()
    file.write_tensors_to_file()
    file.close()
    return tensors


def unit(row):
    return row / np.sqrt((row * row).mean() + 1e-6)


def logits(tensors, token, ranked_by):
    """What follows a token, and the group whose `ranked_by` best experts have the largest sum."""
    state = tensors["token_embd"][token]
    row = unit(state)
    gates = np.exp(tensors["blk.0.ffn_gate_inp"] @ row)
    gates /= gates.sum()
    group = np.sort(gates.reshape(GROUPS, -1))[:, -ranked_by:].sum(-1).argmax()
    members = np.arange(EXPERTS).reshape(GROUPS, -1)[group]
    for expert in members[np.argsort(-gates[members])[:USED]]:
        gate, up, down = (tensors[f"blk.0.ffn_{it}_exps"][expert] for it in ["gate", "up", "down"])
        gated = gate @ row
        state = state + gates[expert] * (down @ (gated / (1 + np.exp(-gated)) * (up @ row)))
    return tensors["output"] @ unit(state), group


tensors = write("model.gguf")
differ = 0
for token in range(WIDTH):
    (best, its), (two, their) = (logits(tensors, token, ranked_by) for ranked_by in [1, 2])
    if its == their:
        continue
    seen = Model("model.gguf").logits([token], WIDTH)
    from_best, from_two = np.abs(seen - best).max(), np.abs(seen - two).max()
    print(f"token {token:2}: best expert in group {its}, best two in group {their}: {from_best:.6f} and {from_two:.6f} away")
    assert from_two < 1e-4 < 0.05 < from_best, "not as described"
    differ += 1
assert differ, "the rules agree everywhere"
PY
PYTHONPATH=$here "$venv/bin/python" see.py
echo "as described: groups are ranked by the sum of their two best experts"
