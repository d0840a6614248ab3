#!/usr/bin/env bash
# llama.cpp (build 11549, in xllamacpp 2026.10.11549): the positions of gpt-oss turn at other speeds than in the published model.
#
# Guess: gpt-oss has YaRN with `"truncate": false` (its config.json; GptOssConfig of transformers 5.23.0): the range between the
# frequencies that are kept and those that are divided is 8.09 to 17.40, as OpenAI's code and transformers have it.
# Seen (2026-11): llama.cpp rounds it to 8 to 18 (`ggml_rope_yarn_corr_dims`: floorf, ceilf), and GGUF has no key that says
# otherwise. The further two tokens are apart, the more of a turn it makes: 500 tokens on, logits are 0.09 off where they were
# 0.0004 off at the start. Here is one layer of full attention with gpt-oss's width of a head, computed beside it in NumPy;
# the experts and the layer with the window add nothing.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
venv=${FINDINGS_VENV:-$folder/venv}
[ -x "$venv/bin/pip" ] || python3 -m venv "$venv"
"$venv/bin/pip" install --quiet --no-compile --disable-pip-version-check xllamacpp==2026.10.11549 gguf==0.19.0 numpy==2.4.6
cat >see.py <<'PY'
import math
import gguf
import numpy as np
from llama_cpp import Model

# of gpt-oss: the width of a head, and its YaRN
HEAD, THETA, FACTOR, ORIGINAL, FAST, SLOW = 64, 150_000.0, 32.0, 4096, 32.0, 1.0
WIDTH, HEADS, EXPERTS, VOCABULARY = 64, 2, 2, 64
ids = np.random.default_rng(1).integers(0, VOCABULARY, 500).astype(np.int32)


def write(path):
    file = gguf.GGUFWriter(path, "gpt-oss")
    file.add_context_length(131072)
    file.add_embedding_length(WIDTH)
    file.add_block_count(2)
    file.add_feed_forward_length(32)
    file.add_head_count(HEADS)
    file.add_head_count_kv(1)
    file.add_key_length(HEAD)
    file.add_value_length(HEAD)
    file.add_layer_norm_rms_eps(1e-5)
    file.add_sliding_window(128)
    file.add_rope_freq_base(THETA)
    file.add_rope_scaling_type(gguf.RopeScalingType.YARN)
    file.add_rope_scaling_factor(FACTOR)
    file.add_rope_scaling_orig_ctx_len(ORIGINAL)
    file.add_expert_count(EXPERTS)
    file.add_expert_used_count(1)
    file.add_expert_feed_forward_length(32)
    file.add_tokenizer_model("llama")
    file.add_token_list([f"token{at}" for at in range(VOCABULARY)])
    file.add_token_scores([0.0] * VOCABULARY)
    file.add_token_types([gguf.TokenType.NORMAL] * VOCABULARY)

    rng = np.random.default_rng(0)
    tensors = {"token_embd.weight": rng.normal(0, 1, (VOCABULARY, WIDTH)), "output_norm.weight": np.ones(WIDTH)}
    tensors["output.weight"] = rng.normal(0, 0.125, (VOCABULARY, WIDTH))
    for layer in range(2):
        block = {"attn_norm.weight": np.ones(WIDTH), "post_attention_norm.weight": np.ones(WIDTH)}
        block["attn_sinks.weight"] = np.full(HEADS, -1e4)
        for name, rows, scale in [("attn_q", HEADS * HEAD, 0.25), ("attn_k", HEAD, 0.25), ("attn_v", HEAD, 0.125)]:
            block |= {f"{name}.weight": rng.normal(0, scale, (rows, WIDTH)), f"{name}.bias": np.zeros(rows)}
        # the first layer has the window
        block["attn_output.weight"] = rng.normal(0, 0.2, (WIDTH, HEADS * HEAD)) * layer
        block |= {"attn_output.bias": np.zeros(WIDTH), "ffn_gate_inp.bias": np.zeros(EXPERTS)}
        block["ffn_gate_inp.weight"] = rng.normal(0, 1, (EXPERTS, WIDTH))
        for name, shape in [("gate", (EXPERTS, 32, WIDTH)), ("up", (EXPERTS, 32, WIDTH)), ("down", (EXPERTS, WIDTH, 32))]:
            block |= {f"ffn_{name}_exps.weight": np.zeros(shape), f"ffn_{name}_exps.bias": np.zeros(shape[:2])}
        tensors |= {f"blk.{layer}.{name}": values for name, values in block.items()}
    for name, values in tensors.items():
        file.add_tensor(name, values.astype(np.float32))
    file.write_header_to_file()
    file.write_kv_data_to_file()
    file.write_tensors_to_file()
    file.close()
    return tensors


def unit(rows):
    return rows / np.sqrt((rows * rows).mean(-1, keepdims=True) + 1e-5)


def frequencies(truncate):
    """As _compute_yarn_parameters in transformers/modeling_rope_utils.py has them."""
    low, high = (HEAD * math.log(ORIGINAL / (turns * 2 * math.pi)) / (2 * math.log(THETA)) for turns in [FAST, SLOW])
    if truncate:
        low, high = math.floor(low), math.ceil(high)
    kept = THETA ** -(np.arange(0, HEAD, 2) / HEAD)
    divided = np.clip((np.arange(HEAD // 2) - low) / (high - low), 0, 1)
    return kept * (1 - divided) + kept / FACTOR * divided


def logits(tensors, ids, truncate):
    query, key, value, out = (tensors[f"blk.1.attn_{it}.weight"] for it in ["q", "k", "v", "output"])

    def turned(rows):
        angles = np.arange(len(ids))[:, None] * frequencies(truncate)
        left, right = rows[:, : HEAD // 2], rows[:, HEAD // 2 :]
        turned = [left * np.cos(angles) - right * np.sin(angles), right * np.cos(angles) + left * np.sin(angles)]
        return np.concatenate(turned, -1) * (0.1 * math.log(FACTOR) + 1)

    states = tensors["token_embd.weight"][ids]
    rows = unit(states)
    keys, values, heads = turned(rows @ key.T), rows @ value.T, []
    for head in range(HEADS):
        scores = keys @ turned(rows @ query[head * HEAD : (head + 1) * HEAD].T)[-1] / math.sqrt(HEAD)
        shares = np.exp(scores - scores.max())
        heads.append(shares / shares.sum() @ values)
    return tensors["output.weight"] @ unit(states[-1] + out @ np.concatenate(heads))


tensors = write("model.gguf")
for count in [1, 50, 500]:
    seen = Model("model.gguf").logits(ids[:count], VOCABULARY)
    apart = {truncate: np.abs(seen - logits(tensors, ids[:count], truncate)).max() for truncate in [True, False]}
    print(f"{count:3} tokens: {apart[False]:.4f} from truncate false, {apart[True]:.4f} from truncate true")
assert apart[True] < 0.01 < 0.05 < apart[False], "not as described"
PY
PYTHONPATH=$here "$venv/bin/python" see.py
echo "as described: llama.cpp computes truncate true"
