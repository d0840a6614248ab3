#!/usr/bin/env python3
"""Whether runs begin well: stability.py RUN...

Reads each run's metrics.jsonl and prints a row of a Markdown table. Two bars hold for every run: from step 11 on no
gradient norm is above 5 times the median of the 50 steps before it (of all before it, where they are fewer), and from
step 60 on the experts' MaxVio over 20 steps is below 1. Exits with 1 where one of them does not hold.
"""
import argparse
import json
import sys
from pathlib import Path
from statistics import mean, median

NORM_BAR, NORM_FROM, NORM_WINDOW = 5.0, 11, 50
BALANCE_BAR, BALANCE_FROM = 1.0, 60


def worst_norm(steps: list[dict]) -> tuple[float, int]:
    """The largest gradient norm in parts of the median before it, and its step."""
    norms = [step["grad_norm"] for step in steps]
    ratios = [
        (norm / median(norms[max(0, at - NORM_WINDOW) : at]), steps[at]["step"])
        for at, norm in enumerate(norms)
        if at > 0 and steps[at]["step"] >= NORM_FROM
    ]
    return max(ratios)


def worst_balance(steps: list[dict]) -> tuple[float, int]:
    """The largest MaxVio over 20 steps, and its step."""
    return max((step["max_vio_global"], step["step"]) for step in steps if step["step"] >= BALANCE_FROM)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN")
    print(
        "| seed | worst norm / median, step | MaxVio at 60 | at 100 | at the end | worst from 60 on, step | validation loss |"
        "\n|---|---|---|---|---|---|---|"
    )
    losses, holds = [], True
    for run in parser.parse_args().runs:
        seed = json.loads((run / "config.json").read_text())["training"]["seed"]
        records = [json.loads(line) for line in (run / "metrics.jsonl").open()]
        steps = [record["step"] for record in records if "step" in record]
        losses.append([record["eval"]["loss"] for record in records if "eval" in record][-1])
        (norm, norm_at), (balance, balance_at) = worst_norm(steps), worst_balance(steps)
        at = {step["step"]: step["max_vio_global"] for step in steps}
        seen = [f"{at[step]:.2f}" if step in at else "-" for step in (60, 100, steps[-1]["step"])]
        print(
            f"| {seed} | {norm:.1f}, {norm_at} | {' | '.join(seen)} | {balance:.2f}, {balance_at} | {losses[-1]:.3f} |"
        )
        holds = holds and norm <= NORM_BAR and balance < BALANCE_BAR
    print(f"\nmean validation loss {mean(losses):.3f}; the bars {'hold' if holds else 'DO NOT HOLD'}")
    return 0 if holds else 1


if __name__ == "__main__":
    sys.exit(main())
