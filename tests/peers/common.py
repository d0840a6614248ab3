"""What the peer tests share: the binary under test, its exports, and transformers' model of an export."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import torch
import transformers
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForCausalLM, DeepseekV3ForCausalLM, DynamicCache

ROOT = Path(__file__).resolve().parents[2]
BINARY = Path(os.environ.get("DARKHORSE", ROOT / "target/release/darkhorse-genesis")).resolve()
WORK = Path(os.environ.get("PEERS_WORK", ROOT / "target/peers")).resolve()

transformers.utils.logging.set_verbosity_error()
transformers.utils.logging.disable_progress_bar()


def darkhorse(*args: object) -> str:
    """Runs a command of the binary and returns what it prints. Its `runs/` is made in the work folder."""
    if not BINARY.is_file():
        sys.exit(f"{BINARY} is missing: run `cargo build --release`, or set DARKHORSE to the binary")
    WORK.mkdir(parents=True, exist_ok=True)
    command = [str(part) for part in (BINARY, *args)]
    done = subprocess.run(command, cwd=WORK, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(command)}\nended with {done.returncode}:\n{done.stdout}{done.stderr}")
    return done.stdout


def export(run: Path, out: Path, form: str = "hf") -> Path:
    """Exports a run in f32, in place of an earlier export."""
    shutil.rmtree(out, ignore_errors=True) if out.is_dir() else out.unlink(missing_ok=True)
    darkhorse("export", "--checkpoint", run, "--format", form, "--out", out, "--dtype", "f32")
    return out


def small(family: str, run: Path, **more: object) -> Path:
    """A small random model of a family, with the tokenizer of the run."""
    folder = WORK / f"small-{family}"
    shutil.rmtree(folder, ignore_errors=True)
    vocab = json.loads((run / "config.json").read_text())["model"]["vocab_size"]
    config = AutoConfig.for_model(
        # room for the special tokens that a tokenizer's class adds
        family, vocab_size=vocab + 8, hidden_size=64, num_hidden_layers=2, intermediate_size=48, head_dim=16,
        num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=256, initializer_range=0.1,
        tie_word_embeddings=False, **more,
    )
    torch.manual_seed(1)
    AutoModelForCausalLM.from_config(config, dtype=torch.float32).save_pretrained(folder)
    shutil.copy(run / "tokenizer.json", folder)
    return folder


def logits(ids: torch.Tensor, *model: object) -> torch.Tensor:
    """Logits of this program; `model` is what follows `--model`."""
    inputs, outputs = WORK / "ids.safetensors", WORK / "logits.safetensors"
    save_file({"input_ids": ids}, inputs)
    darkhorse("logits", "--model", *model, "--ids-file", inputs, "--out", outputs)
    return load_file(outputs)["logits"]


def load(folder: Path) -> DeepseekV3ForCausalLM:
    """Loads an export, and sees to it that it has every tensor and, but for MTP modules, no others."""
    model, found = DeepseekV3ForCausalLM.from_pretrained(
        folder,
        dtype=torch.float32,
        attn_implementation="eager",
        experts_implementation="eager",
        output_loading_info=True,
    )
    first = model.config.num_hidden_layers
    depths = json.loads((folder / "config.json").read_text())["num_nextn_predict_layers"]
    mtp = {str(layer) for layer in range(first, first + depths)}

    def is_mtp(name: str) -> bool:
        layer = re.match(r"model\.layers\.(\d+)\.", name)
        return layer is not None and layer[1] in mtp

    unexpected = [name for name in found["unexpected_keys"] if not is_mtp(name)]
    wrong = {"missing": found["missing_keys"], "mismatched": found["mismatched_keys"], "unexpected": unexpected}
    for what, names in wrong.items():
        if names:
            sys.exit(f"{folder}: {what} tensors: {sorted(names)[:5]}")
    return model.eval()


@torch.inference_mode()
def greedy(model: DeepseekV3ForCausalLM, prompt: list[int], count: int) -> list[int]:
    """The likeliest tokens after `prompt`, through the cache; ends behind an end of text."""
    cache, tokens = DynamicCache(config=model.config), []
    ids = torch.tensor([prompt])
    while len(tokens) < count and model.config.eos_token_id not in tokens:
        logits = model(ids, past_key_values=cache, use_cache=True).logits[:, -1]
        ids = logits.argmax(-1, keepdim=True)
        tokens.append(ids.item())
    return tokens


def darkhorse_greedy(path: Path, prompt: list[int], count: int) -> list[int]:
    """The same by the binary."""
    ids = ",".join(map(str, prompt))
    printed = darkhorse(
        "inference", "--model", path, "--ids", ids, "--max-tokens", count, "--temperature", 0, "--print-ids"
    )
    return [int(part) for part in printed.strip().splitlines()[-1].split(",")]


def same_tokens(ours: list[int], theirs: list[int], eos: int) -> bool:
    """Whether two generations are equal, whether or not they keep the end of text."""
    cut = lambda tokens: tokens[: tokens.index(eos)] if eos in tokens else tokens
    return cut(ours) == cut(theirs)


def verdict(bars: list[tuple[str, bool]]) -> None:
    """Prints every bar, and ends the script: with 1 if one is missed."""
    for bar, met in bars:
        print(f"{'ok    ' if met else 'MISSED'}  {bar}")
    sys.exit(not all(met for _, met in bars))
