"""Do transformers and llama.cpp compute what a model computes that `calibrate` gave experts?  converted.py RUN

Small dense models of four families, with the tokenizer of the run, are copied into experts and carved, exported, and loaded by
transformers with every tensor in its place. Bars: logits of random ids differ by less than 2e-4 from the run's; those of carved
models, whose gates other formats have nearly, by less than 1e-3 of the largest. llama.cpp reads them as GGUF, with its cache in
f16: the likeliest tokens are equal, and logits differ by less than 2.5e-3 of the largest.
"""

import shutil
import sys
from pathlib import Path

import common
import llama_library
import torch
from transformers import AutoModelForCausalLM

SHAPE, COPIED, CARVED, HALF_CACHE = (2, 64), 2e-4, 1e-3, 2.5e-3
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


def in_llama(run: Path, ids: torch.Tensor, own: torch.Tensor) -> tuple[str, bool]:
    """Whether llama.cpp computes these logits from the run's GGUF."""
    path = common.export(run, run.with_name(f"{run.name}.gguf"), "gguf")
    other = torch.from_numpy(llama_library.logits(path, ids.tolist()))
    apart = ((own - other).abs().max() / own.abs().max()).item()
    equal = int((own.argmax(-1) == other.argmax(-1)).sum())
    what = f"{equal} of {len(ids)} likeliest tokens, logits {apart:.1e} of the largest apart, bar {HALF_CACHE:.1e}"
    return f"{run.name} in llama.cpp: {what}", equal == len(ids) and apart < HALF_CACHE


def main(run: Path) -> None:
    bars = []
    if not llama_library.available():
        print("llama.cpp is left out: no xllamacpp")
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
            if llama_library.available():
                bars.append(in_llama(made, ids[0], own[0]))
            if mode == "upcycle":
                dense_apart = (common.logits(ids, dense) - other).abs().max().item()
                bars.append((f"{mode} {family}: {dense_apart:.1e} from the dense model", dense_apart < COPIED))
    common.verdict(bars)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(Path(sys.argv[1]).resolve())
