"""Fixtures of the Hugging Face families, made and held against exports.

tests/peers/families.py make [NAME ...]   # makes them
tests/peers/families.py check             # exports each, loads it into transformers, and compares the logits

Each is a small model with random weights under tests/fixtures/NAME: `config.json` in the form of published models,
`model.safetensors`, and in `fixture.safetensors` what transformers computes with it in f32: hidden states of every layer,
the routers' choices, logits, loss, gradients of all but the experts, and greedy tokens. `cargo test --test reference`
compares with them.
"""

import json
import shutil
import sys
import tempfile
from pathlib import Path

import torch
import transformers
from safetensors.torch import load_file, save_file
from torch.nn.functional import cross_entropy
from transformers import AutoConfig, AutoModelForCausalLM

FIXTURES = Path(__file__).resolve().parents[1] / "fixtures"
BATCH, SEQ, PROMPT, NEW_TOKENS = 2, 16, 6, 14
# what is computed in another order may differ by this much
TOLERANCE = {
    "gen": "exact", "grad_rel_to_max": 0.001, "hidden_abs": 0.0001, "logits_abs": 0.0002,
    "router_weight_abs": 2e-05, "topk_idx": "exact",
}
# a choice of experts, and of a token, is wider apart than rounding
LEAST_MARGIN, LEAST_TOKEN_MARGIN = 1e-4, 2e-2

COMMON = {
    "vocab_size": 96, "hidden_size": 32, "intermediate_size": 40, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "hidden_act": "silu", "attention_dropout": 0.0, "initializer_range": 0.02,
    "max_position_embeddings": 64, "rms_norm_eps": 1e-06, "rope_theta": 10000.0, "tie_word_embeddings": False,
    "bos_token_id": 1, "eos_token_id": 2, "use_cache": True, "torch_dtype": "float32",
}
QWEN_MOE = {
    "head_dim": 12, "attention_bias": False, "moe_intermediate_size": 16, "num_experts": 8, "num_experts_per_tok": 2,
    "norm_topk_prob": True, "decoder_sparse_step": 1, "mlp_only_layers": [], "use_sliding_window": False,
    "sliding_window": None, "rope_scaling": None, "router_aux_loss_coef": 0.001, "output_router_logits": False,
}
OLMOE = {
    "intermediate_size": 16, "num_experts": 8, "num_experts_per_tok": 3, "norm_topk_prob": False, "clip_qkv": None,
    "attention_bias": False, "rms_norm_eps": 1e-05, "rope_scaling": None, "bos_token_id": None, "pad_token_id": 1,
}
DEEPSEEK_V2 = {
    "num_key_value_heads": 4, "moe_intermediate_size": 12, "n_routed_experts": 12, "num_experts_per_tok": 3,
    "n_shared_experts": 2, "first_k_dense_replace": 1, "moe_layer_freq": 1, "scoring_func": "softmax",
    "norm_topk_prob": False, "attention_bias": False, "kv_lora_rank": 16, "qk_nope_head_dim": 8,
    "qk_rope_head_dim": 8, "v_head_dim": 12,
}
MODELS = {
    "qwen2": COMMON | {
        "architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2", "tie_word_embeddings": True,
        "rope_theta": 1000000.0, "use_sliding_window": False, "sliding_window": 32, "max_window_layers": 1,
    },
    "qwen3": COMMON | {
        "architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3", "head_dim": 12, "attention_bias": False,
        "rope_theta": 1000000.0, "rope_scaling": None, "use_sliding_window": False, "sliding_window": None,
        "max_window_layers": 2,
    },
    "qwen3_moe": COMMON | QWEN_MOE | {"architectures": ["Qwen3MoeForCausalLM"], "model_type": "qwen3_moe"},
    # the only layer with experts is the second of three
    "qwen3_moe_sparse": COMMON | QWEN_MOE | {
        "architectures": ["Qwen3MoeForCausalLM"], "model_type": "qwen3_moe", "num_hidden_layers": 3,
        "decoder_sparse_step": 2, "norm_topk_prob": False, "attention_bias": True,
    },
    "mistral": COMMON | {
        "architectures": ["MistralForCausalLM"], "model_type": "mistral", "head_dim": 12, "rms_norm_eps": 1e-05,
        "sliding_window": None,
    },
    "mistral_window": COMMON | {
        "architectures": ["MistralForCausalLM"], "model_type": "mistral", "rms_norm_eps": 1e-05, "sliding_window": 5,
    },
    "olmoe": COMMON | OLMOE | {
        "architectures": ["OlmoeForCausalLM"], "model_type": "olmoe", "num_key_value_heads": 4,
    },
    "olmoe_clip": COMMON | OLMOE | {
        "architectures": ["OlmoeForCausalLM"], "model_type": "olmoe", "clip_qkv": 0.8, "norm_topk_prob": True,
    },
    "deepseek_v2": COMMON | DEEPSEEK_V2 | {
        "architectures": ["DeepseekV2ForCausalLM"], "model_type": "deepseek_v2", "q_lora_rank": None,
        "topk_method": "greedy", "n_group": 1, "topk_group": 1, "routed_scaling_factor": 1.0,
        "rope_scaling": {
            "type": "yarn", "factor": 4, "original_max_position_embeddings": 16, "beta_fast": 32, "beta_slow": 1,
            "mscale": 0.707, "mscale_all_dim": 0.707,
        },
    },
    "deepseek_v2_groups": COMMON | DEEPSEEK_V2 | {
        "architectures": ["DeepseekV2ForCausalLM"], "model_type": "deepseek_v2", "q_lora_rank": 24,
        "topk_method": "group_limited_greedy", "n_group": 4, "topk_group": 2, "routed_scaling_factor": 4.0,
        "rope_scaling": None,
    },
    "glm4_moe": COMMON | {
        "architectures": ["Glm4MoeForCausalLM"], "model_type": "glm4_moe", "head_dim": 16, "attention_bias": True,
        "partial_rotary_factor": 0.5, "use_qk_norm": True, "moe_intermediate_size": 16, "n_routed_experts": 8,
        "num_experts_per_tok": 2, "n_shared_experts": 1, "first_k_dense_replace": 1, "n_group": 1, "topk_group": 1,
        "norm_topk_prob": True, "routed_scaling_factor": 2.5, "rms_norm_eps": 1e-05, "rope_scaling": None,
        "num_nextn_predict_layers": 0,
    },
}


def randomize(model: torch.nn.Module, seed: int) -> None:
    """Weights so large that every part shows in the logits."""
    generator = torch.Generator().manual_seed(seed)

    def noise(tensor: torch.Tensor) -> torch.Tensor:
        return torch.randn(tensor.shape, generator=generator)

    with torch.no_grad():
        for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
            if name.endswith("inv_freq"):
                continue
            if "norm" in name:
                tensor.copy_(1 + 0.2 * noise(tensor))
            elif name.endswith("e_score_correction_bias"):
                tensor.copy_(0.2 * noise(tensor))
            elif name.endswith("bias"):
                tensor.copy_(0.3 * noise(tensor))
            elif "embed_tokens" in name or "lm_head" in name:
                tensor.copy_(0.5 * noise(tensor))
            else:
                tensor.copy_(1.2 * tensor.shape[-1] ** -0.5 * noise(tensor))


def load(folder: Path) -> torch.nn.Module:
    return AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager", experts_implementation="eager"
    ).eval()


def write_model(folder: Path, config: dict, seed: int) -> None:
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(folder))
    randomize(model, seed)
    with tempfile.TemporaryDirectory() as saved:
        model.save_pretrained(saved)
        weights = load_file(Path(saved) / "model.safetensors")
    save_file(weights, folder / "model.safetensors", {"format": "pt"})


def margin(config: dict, scores: torch.Tensor) -> float:
    """Least distance of a chosen expert, or group, and one that was passed over."""
    groups, kept = config.get("n_group", 1), config.get("topk_group", 1)
    least = []
    if kept < groups:
        by_group = scores.view(scores.shape[0], groups, -1)
        best, order = by_group.max(-1)[0].sort(-1, descending=True)
        least.append((best[:, kept - 1] - best[:, kept]).min())
        closed = torch.ones_like(best, dtype=torch.bool).scatter(1, order[:, :kept], False)
        scores = by_group.masked_fill(closed.unsqueeze(-1), -1.0).flatten(1)
    best = scores.sort(-1, descending=True)[0]
    k = config["num_experts_per_tok"]
    least.append((best[:, k - 1] - best[:, k]).min())
    return float(torch.stack(least).min())


def forward(model: torch.nn.Module, config: dict, ids: torch.Tensor) -> tuple[dict, float]:
    """Numbers of one pass, and the least margin of its choices."""
    found, margins, hooks = {}, [], []

    def note(name):
        return lambda _, __, output: found.__setitem__(name, output[0] if isinstance(output, tuple) else output)

    def note_choice(at):
        def hook(gate, _, output):
            logits, weights, indices = output
            order = indices.argsort(-1)
            found[f"router.{at}.topk_idx"] = indices.gather(1, order)
            found[f"router.{at}.topk_weight"] = weights.gather(1, order)
            bias = getattr(gate, "e_score_correction_bias", None)
            scores = logits.softmax(-1) if bias is None else logits.sigmoid() + bias
            margins.append(margin(config, scores.detach()))

        return hook

    for at, layer in enumerate(model.model.layers):
        hooks.append(layer.register_forward_hook(note(f"hidden.layer.{at}")))
        if hasattr(layer.mlp, "gate"):
            hooks.append(layer.mlp.gate.register_forward_hook(note_choice(at)))
    hooks.append(model.model.embed_tokens.register_forward_hook(note("hidden.embed")))
    hooks.append(model.model.norm.register_forward_hook(note("hidden.final_norm")))
    found["logits"] = model(ids).logits
    for hook in hooks:
        hook.remove()
    return found, min(margins, default=1.0)


def gradients(model: torch.nn.Module, logits: torch.Tensor, ids: torch.Tensor) -> dict:
    loss = cross_entropy(logits[:, :-1].flatten(0, 1), ids[:, 1:].flatten())
    loss.backward()
    found = {"loss": loss.detach()}
    for name, tensor in model.named_parameters():
        # experts are fused in memory
        if ".experts." not in name:
            found[f"grad.{name}"] = tensor.grad
    return found


def generate(model: torch.nn.Module, ids: torch.Tensor) -> tuple[dict, float]:
    output = model.generate(
        ids[:1, :PROMPT], max_new_tokens=NEW_TOKENS, do_sample=False, eos_token_id=None, pad_token_id=0,
        return_dict_in_generate=True, output_logits=True,
    )
    logits = torch.cat(output.logits)
    top = logits.topk(2, -1)[0]
    numbers = {"gen.prompt_ids": ids[:1, :PROMPT], "gen.output_ids": output.sequences, "gen.logits": logits}
    return numbers, float((top[:, 0] - top[:, 1]).min())


def make(name: str) -> None:
    config, folder = MODELS[name], FIXTURES / name
    for seed in range(1, 200):
        write_model(folder, config, seed)
        model = load(folder)
        ids = torch.randint(3, config["vocab_size"], (BATCH, SEQ), generator=torch.Generator().manual_seed(seed))
        found, choice_margin = forward(model, config, ids)
        generated, token_margin = generate(model, ids)
        if choice_margin > LEAST_MARGIN and token_margin > LEAST_TOKEN_MARGIN:
            break
    else:
        shutil.rmtree(folder)
        sys.exit(f"{name}: no seed has choices wide apart")
    numbers = {"input_ids": ids} | found | gradients(model, found["logits"], ids) | generated
    meta = {
        "name": name, "seed": seed, "min_selection_margin": choice_margin, "gen_min_top2_margin": token_margin,
        "gen_unique_tokens": len(set(generated["gen.output_ids"][0].tolist())),
        "logits_std": float(found["logits"].detach().std()), "tolerance": TOLERANCE, "torch": torch.__version__,
        "transformers": transformers.__version__,
    }
    (folder / "meta.json").write_text(json.dumps(meta, indent=1) + "\n")
    numbers = {name: it.detach().clone().contiguous() for name, it in numbers.items()}
    save_file(numbers, folder / "fixture.safetensors")
    print(json.dumps(meta))


def check(name: str) -> bool:
    """Whether transformers computes with an export what it computes with the fixture."""
    from common import WORK, export

    folder = export(FIXTURES / name, WORK / "families" / name)
    model, found = AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager", experts_implementation="eager",
        output_loading_info=True,
    )
    wrong = {key: names for key, names in found.items() if names}
    golden = load_file(FIXTURES / name / "fixture.safetensors")
    with torch.no_grad():
        worst = float((model.eval()(golden["input_ids"]).logits - golden["logits"]).abs().max())
    holds = not wrong and worst <= TOLERANCE["logits_abs"]
    print(f"{name}: {type(model).__name__}, logits within {worst:.1e}{'' if holds else f' FAILED {wrong}'}")
    return holds


def main() -> None:
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    match sys.argv[1:]:
        case ["make", *names]:
            for name in names or MODELS:
                make(name)
        case ["check"]:
            if not all([check(name) for name in MODELS]):
                sys.exit(1)
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main()
