"""A dense model of two million parameters, trained here, carved to half of its feed-forward layers and recovered.

small_dense.py, with DARKHORSE and REAL_MODELS in the environment, as ./run_calibrate sets them. The bars stand in
README.md beside this file. Nothing but Python is needed.
"""

import json
import sys
import tempfile
import time
from pathlib import Path

from calibrate_common import BARS, DATA, FOLDER, bar, darkhorse, perplexity

STEPS, RECOVERY = 400, 200
CARVED, RECOVERED = 1.5, 1.10


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


def main() -> None:
    with tempfile.TemporaryDirectory(dir=FOLDER) as name:
        folder = Path(name)
        begin = time.perf_counter()
        dense = train(folder)
        print(f"trained for {time.perf_counter() - begin:.0f} s", flush=True)
        carve = ["calibrate", "--from", dense, "--mode", "carve", "--experts", 16, "--shared", 2, "--top-k", 6]
        carve += ["--keep-dense-layers", "first", "--data", *DATA, "--no-speed", "--out"]
        darkhorse(*carve, folder / "carved")
        darkhorse(*carve, folder / "recovered", "--recover-steps", RECOVERY)
        models = {"dense": dense, "carved": folder / "carved", "recovered": folder / "recovered"}
        found = {name: perplexity(model, DATA[1]) for name, model in models.items()}
        print("perplexity: " + ", ".join(f"{name} {value:.2f}" for name, value in found.items()))
        ratio = {name: value / found["dense"] for name, value in found.items()}
        bar(f"carved {ratio['carved']:.3f} times the dense perplexity, bar {CARVED}", ratio["carved"] <= CARVED)
        bar(f"recovered {ratio['recovered']:.3f} times, bar {RECOVERED}", ratio["recovered"] <= RECOVERED)
    sys.exit(not all(BARS))


main()
