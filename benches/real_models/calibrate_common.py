"""What the checks of `calibrate` share: the program under test, its texts, and bars."""

import json
import math
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DARKHORSE = os.environ["DARKHORSE"]
FOLDER = Path(os.environ["REAL_MODELS"])
DATA = [ROOT / "data/train.jsonl", ROOT / "data/valid.jsonl"]
BARS: list[bool] = []


def bar(what: str, met: bool) -> None:
    BARS.append(met)
    print(f"{'ok    ' if met else 'MISSED'}  {what}", flush=True)


def darkhorse(*args: object) -> str:
    """Runs a command of the program and returns what it prints."""
    command = [DARKHORSE, *map(str, args)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(command)[:300]}\nended with {done.returncode}")
    return done.stdout


def perplexity(model: Path, text: Path) -> float:
    return math.exp(json.loads(darkhorse("evaluate", "--model", model, "--data", text, "--json"))["loss"])
