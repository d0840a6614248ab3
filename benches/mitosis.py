#!/usr/bin/env python3
"""Whether growing pays: mitosis.py --binary PROGRAM --out FOLDER [--steps 800] [--seeds 0 1 2].

Trains three models on the embedded corpus with equal seeds and steps: 8 experts throughout, 8 that divide into 16 at half
time, and 16 from the start. Prints a row of a Markdown table per run, and the means. A run that is already in FOLDER is gone
on with or read, not done again. Exits with 1 if a division moved the loss by more than 1e-5, or if the models that grew are
not better than those of 8 experts in the mean.
"""
import argparse
import json
import subprocess
import sys
from pathlib import Path
from statistics import mean

PRESET = Path(__file__).parent.parent / "configs" / "deepseek-tiny.json"
ARMS = ("8 throughout", "8, 16 from half time on", "16 from the start")


def experiment(arm: str, steps: int, seed: int) -> dict:
    config = json.loads(PRESET.read_text())
    moe, training = config["model"]["moe"], config["training"]
    moe.update(n_routed_experts=8 if arm == ARMS[0] else 16, num_experts_per_tok=2, moe_intermediate_size=128)
    training.update(steps=steps, seed=seed, eval_every=max(steps // 8, 1))
    if arm == ARMS[1]:
        moe["router"]["initial_experts"] = 8
        apart = max(steps // 8, 1)
        training["mitosis"] = {
            "mode": {"schedule": {"at": [steps // 2]}},
            "hold_steps": apart,
            "fade_steps": apart,
        }
    return config


def train(binary: Path, run: Path, config: dict) -> None:
    file = run.with_suffix(".json")
    file.write_text(json.dumps(config, indent=2))
    if (run / "metrics.jsonl").is_file() and steps_done(run) == config["training"]["steps"]:
        return
    command = [binary, "train", "--out", run]
    command += ["--resume"] if run.is_dir() else ["--config", file]
    subprocess.run(command, check=True)


def records(run: Path, kind: str) -> list[dict]:
    lines = (run / "metrics.jsonl").read_text().splitlines()
    return [record[kind] for record in map(json.loads, lines) if kind in record]


def steps_done(run: Path) -> int:
    """The steps of a run when it was last evaluated; a run that was stopped has a report, too."""
    return max((record["step"] for record in records(run, "eval")), default=0)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--binary", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=800)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    losses = {arm: [] for arm in ARMS}
    jumps, rows = [], []
    for seed in args.seeds:
        for number, arm in enumerate(ARMS):
            run = args.out / f"arm{number}-seed{seed}"
            train(args.binary.resolve(), run, experiment(arm, args.steps, seed))
            loss = records(run, "eval")[-1]["loss"]
            minutes = sum(step["duration_s"] for step in records(run, "step")) / 60
            moved = [abs(it["loss_after"] - it["loss_before"]) for it in records(run, "mitosis")]
            losses[arm].append(loss)
            jumps += moved
            jump = f"{max(moved):.1e}" if moved else "-"
            rows.append(f"| {arm} | {seed} | {loss:.4f} | {jump} | {minutes:.1f} |")
    print("| experts | seed | validation loss | jump at the division | minutes of training |\n|---|---|---|---|---|")
    print("\n".join(rows))
    few, grown, many = (mean(losses[arm]) for arm in ARMS)
    print(f"\nmeans: {few:.4f} with 8, {grown:.4f} grown, {many:.4f} with 16 from the start")
    if few > many:
        print(f"growing covers {(few - grown) / (few - many):.0%} of the distance")
    else:
        print("16 experts are no better than 8 here: there is no distance to cover")
    holds = grown < few and bool(jumps) and max(jumps) <= 1e-5
    print("holds" if holds else "DOES NOT HOLD")
    return 0 if holds else 1


if __name__ == "__main__":
    sys.exit(main())
