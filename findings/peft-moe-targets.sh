#!/usr/bin/env bash
# PEFT 0.21.2 on transformers 5.23.0: the names of MLP matrices adapt other experts from one family of models to the next.
#
# Guess: `target_modules=["gate_proj", "up_proj", "down_proj"]` adapts every matrix of that name, and
# `["shared_experts.gate_proj", ...]` those of the shared experts only.
# Seen (2026-11): on DeepSeek-V3 (and what else is converted by the pattern of Qwen2-MoE: Qwen3-MoE, GLM-4-MoE, ...) both lists, and
# a regular expression for the shared experts, become `target_parameters` gate_up_proj and down_proj: the routed experts are
# adapted, the shared experts and dense layers are not, without a warning. Of gate_up_proj the rank and alpha are twice what was
# asked for. On Qwen2-MoE the first list adapts the shared expert alone. On Mixtral w1, w2, w3 likewise come out fused with twice
# the rank, and w1 without w3 is refused (peft/utils/transformers_weight_conversion.py, _convert_peft_config_moe).
# Upstream: https://github.com/huggingface/peft/issues/3711
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
venv=${FINDINGS_VENV:-$folder/venv}
"$here/with-torch" "$venv" transformers==5.23.0 tokenizers==0.23.3 peft==0.21.2 accelerate==1.15.0 psutil==7.2.2
cat >see.py <<'PY'
from peft import LoraConfig, get_peft_model
from transformers import DeepseekV3Config, DeepseekV3ForCausalLM, MixtralConfig, MixtralForCausalLM
from transformers import Qwen2MoeConfig, Qwen2MoeForCausalLM

sizes = {"vocab_size": 32, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2}
sizes |= {"num_key_value_heads": 2, "num_experts_per_tok": 2}
latent = {"q_lora_rank": 8, "kv_lora_rank": 8, "qk_rope_head_dim": 8, "qk_nope_head_dim": 8, "v_head_dim": 16}
groups = {"n_routed_experts": 4, "n_group": 1, "topk_group": 1, "moe_intermediate_size": 16, "first_k_dense_replace": 1}
models = {
    "Mixtral": lambda: MixtralForCausalLM(MixtralConfig(**sizes, num_local_experts=4)),
    "Qwen2-MoE": lambda: Qwen2MoeForCausalLM(
        Qwen2MoeConfig(**sizes, num_experts=4, moe_intermediate_size=16, shared_expert_intermediate_size=24)
    ),
    # the first layer is dense
    "DeepSeek-V3": lambda: DeepseekV3ForCausalLM(DeepseekV3Config(**sizes, **latent, **groups)),
}


def part(name):
    """What a LoRA's matrix belongs to."""
    if ".shared_expert" in name:
        return "shared"
    return "routed" if ".experts." in name else "dense"


def adapted(model, targets):
    """Parts of the model that get matrices, and the ranks of the routed experts' in the saved configuration."""
    try:
        adapter = get_peft_model(models[model](), LoraConfig(r=4, lora_alpha=8, target_modules=targets))
    except ValueError as error:
        print(f"{model} {targets}: refused: {error}")
        return None
    parts = sorted({part(name) for name, _ in adapter.named_parameters() if ".lora_A." in name})
    config = adapter.peft_config["default"]
    print(f"{model} {targets}: {', '.join(parts)}; rank 4, alpha 8 became {config.rank_pattern}, {config.alpha_pattern}")
    return parts, list(config.rank_pattern.values()), list(config.alpha_pattern.values())


names = ["gate_proj", "up_proj", "down_proj"]
twice = [8], [16]
assert adapted("DeepSeek-V3", names) == (["routed"], *twice), "not as described"
assert adapted("DeepSeek-V3", [f"shared_experts.{name}" for name in names]) == (["routed"], *twice), "not as described"
assert adapted("DeepSeek-V3", r".*shared_experts\.(gate|up|down)_proj") == (["routed"], *twice), "not as described"
assert adapted("Qwen2-MoE", names) == (["shared"], [], []), "not as described"
assert adapted("Mixtral", ["w1", "w2", "w3"]) == (["routed"], *twice), "not as described"
assert adapted("Mixtral", ["w1", "w2"]) is None, "not as described"
PY
TRANSFORMERS_VERBOSITY=error HF_HUB_OFFLINE=1 "$venv/bin/python" -W ignore see.py
echo "as described: of DeepSeek-V3 only the routed experts are adapted, of Qwen2-MoE only the shared one"
