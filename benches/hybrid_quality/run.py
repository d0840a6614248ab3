"""The validation loss of a small hybrid against that of pure attention with as many parameters, same text, same steps:

    run.py OUT [--seeds 0,1,2] [--steps N]

Trains both on the embedded corpus for every seed (a run that is there is not trained again), evaluates them on all of the
embedded validation text, and prints the losses, their means and ranges. The bar is a mean no more than 1 % higher.
"""
import argparse
import json
import os
import statistics
import subprocess
from pathlib import Path

arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
arguments.add_argument("out", type=Path)
arguments.add_argument("--seeds", default="0,1,2")
arguments.add_argument("--steps", type=int)
arguments = arguments.parse_args()
here = Path(__file__).parent
binary = os.environ.get("DARKHORSE", str(here / "../../target/release/darkhorse-genesis"))
text = here / "../../data/valid.jsonl"


def loss_of(name, seed):
    run = arguments.out / f"{name}-{seed}"
    if not (run / "checkpoints").is_dir() or not any((run / "checkpoints").iterdir()):
        command = [binary, "train", "--config", str(here / f"{name}.json"), "--seed", str(seed), "--out", str(run)]
        command += ["--steps", str(arguments.steps)] if arguments.steps else []
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    command = [binary, "evaluate", "--checkpoint", str(run), "--data", str(text), "--json"]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)["loss"]


seeds = [int(it) for it in arguments.seeds.split(",")]
means = {}
print(f"{'':<12}{'mean':>8}   range            by seed")
for name in ("hybrid", "attention"):
    losses = [loss_of(name, seed) for seed in seeds]
    means[name] = statistics.mean(losses)
    each = " ".join(f"{loss:.4f}" for loss in losses)
    print(f"{name:<12}{means[name]:>8.4f}   {min(losses):.4f}-{max(losses):.4f}    {each}", flush=True)
difference = means["hybrid"] / means["attention"] - 1
print(f"the hybrid's mean is {100 * abs(difference):.2f} % {'higher' if difference > 0 else 'lower'}")
