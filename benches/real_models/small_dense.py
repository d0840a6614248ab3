"""A dense model of two million parameters, trained here, carved to half of its feed-forward layers and recovered.

small_dense.py, with DARKHORSE and REAL_MODELS in the environment, as ./run_calibrate sets them. The bars stand in
README.md beside this file. Nothing but Python is needed.
"""

import json
import math
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DARKHORSE = os.environ["DARKHORSE"]
DATA = [ROOT / "data/train.jsonl", ROOT / "data/valid.jsonl"]
STEPS, RECOVERY = 400, 200
CARVED, RECOVERED = 1.5, 1.10
BARS: list[bool] = []


def bar(what: str, met: bool) -> None:
    BARS.append(met)
    print(f"{'ok    ' if met else 'MISSED'}  {what}", flush=True)


def darkhorse(*args: object) -> str:
    command = [DARKHORSE, *map(str, args)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(command)[:300]}\nended with {done.returncode}")
    return done.stdout


def train(folder: Path) -> Path:
    """Trains the dense model for some minutes."""
    config = {
        "model": {
            "vocab_size": 2048, "hidden_size": 128, "num_hidden_layers": 6, "intermediate_size": 512,
            "layer_types": ["gqa"], "rope": {}, "max_position_embeddings": 512, "initializer_range": 0.04,
            "mixer": {"gqa": {"num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 32}},
        },
        "data": {"domain_token": False},
        "training": {
            "steps": STEPS, "batch_size": 8, "seq_len": 256, "learning_rate": 2e-3, "eval_every": 0,
            "checkpoint_every": 0, "log_every": 50, "schedule": {"type": "wsd", "warmup": 0.1, "decay": 0.2},
        },
    }
    (folder / "dense.json").write_text(json.dumps(config))
    darkhorse("train", "--config", folder / "dense.json", "--out", folder / "dense", "--quiet")
    return folder / "dense"


def perplexity(model: Path) -> float:
    return math.exp(json.loads(darkhorse("evaluate", "--model", model, "--data", DATA[1], "--json"))["loss"])


def main() -> None:
    with tempfile.TemporaryDirectory(dir=os.environ["REAL_MODELS"]) as name:
        folder = Path(name)
        begin = time.perf_counter()
        dense = train(folder)
        print(f"trained for {time.perf_counter() - begin:.0f} s", flush=True)
        carve = ["calibrate", "--from", dense, "--mode", "carve", "--experts", 16, "--shared", 2, "--top-k", 6]
        carve += ["--keep-dense-layers", "first", "--data", *DATA, "--no-speed", "--out"]
        darkhorse(*carve, folder / "carved")
        darkhorse(*carve, folder / "recovered", "--recover-steps", RECOVERY)
        models = {"dense": dense, "carved": folder / "carved", "recovered": folder / "recovered"}
        found = {name: perplexity(model) for name, model in models.items()}
        print("perplexity: " + ", ".join(f"{name} {value:.2f}" for name, value in found.items()))
        ratio = {name: value / found["dense"] for name, value in found.items()}
        bar(f"carved {ratio['carved']:.3f} times the dense perplexity, bar {CARVED}", ratio["carved"] <= CARVED)
        bar(f"recovered {ratio['recovered']:.3f} times, bar {RECOVERED}", ratio["recovered"] <= RECOVERED)
    sys.exit(not all(BARS))


main()
