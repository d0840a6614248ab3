"""Does PEFT compute what a run trained by LoRA computes?  adapters.py RUN

Adapts the run and small models of other families for a few steps, writes the adapters by `export --format peft`, and
loads them with PEFT on transformers' model of the base. Bars: logits of random ids differ by less than 2e-4 between PEFT, the
tuned run, and the base with `--adapter`; PEFT finds every adapted matrix and no other tensor but those of MTP modules.
"""

import json
import re
import shutil
import sys
import warnings
from pathlib import Path

import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

import common

SHAPE, BAR = (2, 64), 2e-4
TEXT = common.ROOT / "data/valid.jsonl"


def tuned(run: Path, options: list[object]) -> Path:
    """The model with adapters, trained so fast that they matter."""
    out = common.WORK / f"{run.name}-tuned"
    shutil.rmtree(out, ignore_errors=True)
    size = ["--steps", 12, "--seq-len", 64, "--batch-size", 4, "--no-valid", "--learning-rate", 3e-3]
    common.darkhorse("train", "--init-from", run, "--data", TEXT, *size, *options, "--out", out)
    return out


def theirs(base: Path, adapter: Path, ids: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, list[str]]:
    """Logits of the base and of PEFT's model, and the names in the file that PEFT has no place for."""
    eager = dict(attn_implementation="eager", experts_implementation="eager")
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32, **eager).eval()
    first = model.config.num_hidden_layers
    with torch.inference_mode():
        plain = model(ids).logits
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = PeftModel.from_pretrained(model, adapter).eval()
    known = {re.sub(r"\.(modules_to_save\.)?default(?=\.|$)", "", name) for name in model.state_dict()}
    in_file = load_file(adapter / "adapter_model.safetensors")

    def is_mtp(name: str) -> bool:
        layer = re.search(r"\.layers\.(\d+)\.", name)
        return layer is not None and int(layer[1]) >= first

    unknown = [name for name in in_file if name not in known and not is_mtp(name)]
    with torch.inference_mode():
        return plain, model(ids).logits, unknown


def main(run: Path) -> None:
    bars = []
    mixtral = common.small("mixtral", run, num_local_experts=4, num_experts_per_tok=2)
    experts = dict(n_routed_experts=4, n_shared_experts=1, moe_intermediate_size=24, first_k_dense_replace=1)
    glm = common.small("glm4_moe", run, num_experts_per_tok=2, n_group=1, topk_group=1, **experts)
    llama = common.small("llama", run)
    cases = [
        (run, ["--lora-rank", 4]),
        (run, ["--lora-rank", 2, "--lora-targets", "attention", "--lora-train", "norms"]),
        (mixtral, ["--lora-rank", 4, "--lora-alpha", 4, "--lora-train", "routers"]),
        (mixtral, ["--lora-rank", 3, "--lora-targets", "q_proj,experts.up_proj,lm_head"]),
        (glm, ["--lora-rank", 2]),
        (llama, ["--lora-rank", 2, "--lora-targets", "layers.1.mixer.q_proj,down_proj"]),
    ]
    for base_run, options in cases:
        of_lora = tuned(base_run, options)
        base = base_run
        if (base_run / "checkpoints").is_dir():
            base = common.export(base_run, common.WORK / f"{base_run.name}-base")
        adapter = common.WORK / f"{base_run.name}-adapter"
        shutil.rmtree(adapter, ignore_errors=True)
        common.darkhorse("export", "--model", of_lora, "--format", "peft", "--out", adapter)
        vocab = json.loads((base / "config.json").read_text())["vocab_size"]
        torch.manual_seed(0)
        ids = torch.randint(vocab, SHAPE)
        plain, peft, unknown = theirs(base, adapter, ids)
        said = f"{base_run.name} {' '.join(map(str, options))}"
        moved = (peft - plain).abs().max().item()
        bars.append((f"{said}: logits moved by {moved:.2f}", moved > 0.05))
        bars.append((f"{said}: PEFT knows every tensor{unknown[:3] or ''}", not unknown))
        for name, model in ("run", [of_lora]), ("--adapter", [base, "--adapter", adapter]):
            apart = (common.logits(ids, *model) - peft).abs().max().item()
            bars.append((f"{said}: {name} at most {apart:.1e} apart, bar {BAR:.0e}", apart < BAR))
    common.verdict(bars)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(Path(sys.argv[1]).resolve())
