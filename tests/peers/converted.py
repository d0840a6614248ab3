"""Does transformers compute what a model computes that `calibrate` gave experts?  converted.py RUN

Small dense models of four families, with the tokenizer of the run, are copied into experts and carved, exported, and loaded by
transformers with every tensor in its place. Bars: logits of random ids differ by less than 2e-4 from the run's; those of carved
models, whose gates other formats have nearly, by less than 1e-3 of the largest.
"""

import shutil
import sys
from pathlib import Path

import common
import torch
from transformers import AutoModelForCausalLM

SHAPE, COPIED, CARVED = (2, 64), 2e-4, 1e-3
TEXT = common.ROOT / "data/valid.jsonl"
COPIES = {"llama": "mixtral", "mistral": "mixtral", "qwen3": "qwen3_moe"}
PARTS = {"llama": "glm4_moe", "mistral": "glm4_moe", "qwen2": "glm4_moe", "qwen3": "glm4_moe"}


def converted(dense: Path, mode: str, *options: object) -> tuple[Path, Path]:
    """The run with experts, and its export."""
    run = common.WORK / f"{dense.name}-{mode}"
    shutil.rmtree(run, ignore_errors=True)
    common.darkhorse("calibrate", "--from", dense, "--mode", mode, *options, "--out", run)
    return run, common.export(run, run.with_name(f"{run.name}-hf"))


def theirs(folder: Path, ids: torch.Tensor) -> tuple[str, torch.Tensor, list[str]]:
    """The family, the logits, and the tensors without a place."""
    eager = dict(attn_implementation="eager", experts_implementation="eager")
    model, found = AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, output_loading_info=True, **eager
    )
    wrong = [str(name) for key in ("missing_keys", "unexpected_keys", "mismatched_keys") for name in found[key]]
    with torch.inference_mode():
        return model.config.model_type, model.eval()(ids).logits, wrong


def main(run: Path) -> None:
    bars = []
    carve = ["--experts", 8, "--shared", 2, "--top-k", 3, "--keep-dense-layers", "first", "--data", TEXT]
    carve += ["--calibration-tokens", 2048, "--no-speed"]
    for mode, families, options in ("upcycle", COPIES, ["--experts", 4]), ("carve", PARTS, carve):
        for family, expected in families.items():
            # GLM-4-MoE has no window
            more = {"sliding_window": None} if family == "mistral" else {}
            dense = common.small(family, run, **more)
            torch.manual_seed(0)
            ids = torch.randint(256, SHAPE)
            made, folder = converted(dense, mode, *options)
            name, other, wrong = theirs(folder, ids)
            own = common.logits(ids, made)
            apart = (own - other).abs().max().item()
            bar = COPIED if mode == "upcycle" else CARVED * own.abs().max().item()
            right = name == expected and not wrong
            bars.append((f"{mode} {family}: {name}, {len(wrong)} tensors without a place {wrong[:3]}", right))
            bars.append((f"{mode} {family}: logits at most {apart:.1e} apart, bar {bar:.1e}", apart < bar))
            if mode == "upcycle":
                dense_apart = (common.logits(ids, dense) - other).abs().max().item()
                bars.append((f"{mode} {family}: {dense_apart:.1e} from the dense model", dense_apart < COPIED))
    common.verdict(bars)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(Path(sys.argv[1]).resolve())
