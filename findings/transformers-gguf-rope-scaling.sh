#!/usr/bin/env bash
# transformers 5.23.0: a GGUF file's YaRN, and the frequencies of Llama 3.1 in it, are dropped.
#
# Guess: `AutoModelForCausalLM.from_pretrained(folder, gguf_file=...)` computes what llama.cpp computes: `rope.scaling.type`,
# `.factor` and `.original_context_length`, and the tensor `rope_freqs.weight`, become rope_parameters of the configuration.
# Seen (2026-11): they are in no mapping (integrations/ggml.py); logging at level info names the keys. The model has rope_type
# "default" and max_position_embeddings of the long context. After 200 tokens its logits are those of the same file without
# scaling, far from llama.cpp's. Converted Llama 3.1 to 3.3, and long-context files of Qwen2.5 and Qwen3-MoE, are such files.
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
import torch
from llama_cpp import Model
from transformers import AutoModelForCausalLM

WIDTH, HEAD = 64, 32
ids = np.random.default_rng(1).integers(3, WIDTH, 200)


def write(scaling):
    file = gguf.GGUFWriter("model.gguf", "llama")
    file.add_context_length(1024)
    file.add_embedding_length(WIDTH)
    file.add_block_count(1)
    file.add_feed_forward_length(WIDTH)
    file.add_head_count(WIDTH // HEAD)
    file.add_head_count_kv(WIDTH // HEAD)
    file.add_layer_norm_rms_eps(1e-6)
    file.add_rope_freq_base(10000.0)
    file.add_rope_dimension_count(HEAD)
    file.add_vocab_size(WIDTH)
    file.add_tokenizer_model("llama")
    file.add_token_list([f"token{at}" for at in range(WIDTH)])
    file.add_token_scores([0.0] * WIDTH)
    file.add_token_types([gguf.TokenType.NORMAL] * WIDTH)
    rng = np.random.default_rng(0)
    square = ["token_embd", "output", "blk.0.attn_q", "blk.0.attn_k", "blk.0.attn_v", "blk.0.attn_output"]
    square += [f"blk.0.ffn_{it}" for it in ["gate", "up", "down"]]
    tensors = {name: rng.normal(0, 0.2, (WIDTH, WIDTH)) for name in square}
    tensors |= {name: np.ones(WIDTH) for name in ["output_norm", "blk.0.attn_norm", "blk.0.ffn_norm"]}
    if scaling == "YaRN":
        file.add_rope_scaling_type(gguf.RopeScalingType.YARN)
        file.add_rope_scaling_factor(8.0)
        file.add_rope_scaling_orig_ctx_len(128)
    if scaling == "Llama 3.1":
        # what frequencies are divided by: the slow ones by 8
        tensors["rope_freqs"] = np.geomspace(1, 64, HEAD // 2).clip(4, 32) / 4
    for name, values in tensors.items():
        file.add_tensor(f"{name}.weight", values.astype(np.float32))
    file.write_header_to_file()
    file.write_kv_data_to_file()
    file.write_tensors_to_file()
    file.close()


def loaded():
    model = AutoModelForCausalLM.from_pretrained(".", gguf_file="model.gguf", dtype=torch.float32).eval()
    assert model.config.rope_parameters["rope_type"] == "default", "not as described"
    with torch.no_grad():
        return model(torch.tensor(ids[None])).logits[0, -1].numpy()


write(None)
plain = loaded()
for scaling in [None, "YaRN", "Llama 3.1"]:
    write(scaling)
    served, seen = Model("model.gguf").logits(ids, WIDTH), loaded()
    apart, changed = np.abs(served - seen).max(), np.abs(plain - seen).max()
    print(f"scaling {scaling}: {apart:.3f} from llama.cpp, {changed:.3f} from the file without scaling")
    assert changed == 0 and (apart > 0.3 if scaling else apart < 0.05), "not as described"
PY
TRANSFORMERS_VERBOSITY=error TQDM_DISABLE=1 HF_HUB_OFFLINE=1 PYTHONPATH=$here "$venv/bin/python" see.py
echo "as described: the scaling of positions is dropped"
