#!/usr/bin/env bash
# transformers 5.23.0: DeepSeek-V2 takes `norm_topk_prob` and does not divide the gates.
#
# Guess: `norm_topk_prob` true in a config.json of model_type deepseek_v2 makes the gates of the chosen experts add up to one, as
# in the modelling code that is published with DeepSeek-V2 (`if self.top_k > 1 and self.norm_topk_prob`), or is refused.
# Seen (2026-11): DeepseekV2Config keeps the key, saves it again, and models/deepseek_v2/modeling_deepseek_v2.py never reads it. The
# gates are the plain probabilities times `routed_scaling_factor`; logits are equal with true and false. deepseek_v3 obeys it.
# The published DeepSeek-V2 and V2-Lite have false; a model of one's own with true gets other text after a change to this class.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
venv=${FINDINGS_VENV:-$folder/venv}
"$here/with-torch" "$venv" transformers==5.23.0 tokenizers==0.23.3
cat >see.py <<'PY'
import torch
from transformers import DeepseekV2Config, DeepseekV2ForCausalLM, DeepseekV3Config, DeepseekV3ForCausalLM

ids = torch.arange(16)[None]
sizes = {"vocab_size": 32, "hidden_size": 32, "intermediate_size": 32, "moe_intermediate_size": 16, "num_hidden_layers": 2}
sizes |= {"num_attention_heads": 2, "num_key_value_heads": 2, "q_lora_rank": 8, "kv_lora_rank": 8, "qk_rope_head_dim": 8}
sizes |= {"qk_nope_head_dim": 8, "v_head_dim": 8, "n_routed_experts": 8, "num_experts_per_tok": 2, "n_shared_experts": 1}
sizes |= {"n_group": 1, "topk_group": 1, "first_k_dense_replace": 0, "routed_scaling_factor": 1.0, "initializer_range": 0.5}


def logits(config, model, divided):
    torch.manual_seed(0)
    built = model(config(**sizes, norm_topk_prob=divided)).eval()
    assert built.config.norm_topk_prob == divided
    with torch.no_grad():
        return built(ids).logits


for config, model, obeyed in [(DeepseekV2Config, DeepseekV2ForCausalLM, False), (DeepseekV3Config, DeepseekV3ForCausalLM, True)]:
    apart = (logits(config, model, True) - logits(config, model, False)).abs().max().item()
    print(f"{model.__name__}: norm_topk_prob changes logits by {apart:.3f}")
    assert (apart > 0) == obeyed, "not as described"
PY
TRANSFORMERS_VERBOSITY=error HF_HUB_OFFLINE=1 "$venv/bin/python" see.py
echo "as described: deepseek_v2 keeps norm_topk_prob and does not obey it"
