#!/usr/bin/env python3
"""Whether runs begin well: stability.py RUN...

Reads each run's metrics.jsonl and prints a row of a Markdown table. Two bars hold for every run: from step 11 on no
gradient norm is above 5 times the median of the 50 steps before it (of all before it, where they are fewer), and from
step 60 on the experts' MaxVio over 20 steps is below 1. Exits with 1 where one of them does not hold, or was not measured:
what a run is too short for, or has no experts or validation text for, is shown as `-`.
"""
import argparse
import json
import sys
from pathlib import Path
from statistics import mean, median

NORM_BAR, NORM_FROM, NORM_WINDOW = 5.0, 11, 50
BALANCE_BAR, BALANCE_FROM = 1.0, 60


def worst_norm(steps: list[dict]) -> tuple[float, int] | None:
    """The largest gradient norm in parts of the median before it, and its step."""
    norms = [step["grad_norm"] for step in steps]
    ratios = [
        (norm / median(norms[max(0, at - NORM_WINDOW) : at]), steps[at]["step"])
        for at, norm in enumerate(norms)
        if at > 0 and steps[at]["step"] >= NORM_FROM
    ]
    return max(ratios, default=None)


def worst_balance(steps: list[dict]) -> tuple[float, int] | None:
    """The largest MaxVio over 20 steps, and its step."""
    late = (step for step in steps if step["step"] >= BALANCE_FROM and step.get("max_vio_global") is not None)
    return max(((step["max_vio_global"], step["step"]) for step in late), default=None)


def shown(worst: tuple[float, int] | None, digits: int) -> str:
    return "-" if worst is None else f"{worst[0]:.{digits}f}, {worst[1]}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN")
    print(
        "| seed | worst norm / median, step | MaxVio at 60 | at 100 | at the end | worst from 60 on, step | validation loss |"
        "\n|---|---|---|---|---|---|---|"
    )
    losses, holds, measured = [], True, True
    for run in parser.parse_args().runs:
        try:
            seed = json.loads((run / "config.json").read_text())["training"]["seed"]
            lines = (run / "metrics.jsonl").read_text().splitlines(keepends=True)
            # half a line is what a killed process leaves
            records = [json.loads(line) for line in lines if line.endswith("\n")]
        except (OSError, ValueError, KeyError) as error:
            parser.error(f"{run} is no run that can be read: {error!r}")
        steps = [record["step"] for record in records if "step" in record]
        evaluations = [record["eval"]["loss"] for record in records if "eval" in record]
        losses += evaluations[-1:]
        norm, balance = worst_norm(steps), worst_balance(steps)
        at = {step["step"]: step.get("max_vio_global") for step in steps}
        seen = [at.get(step) for step in (60, 100, max(at, default=0))]
        cells = [
            str(seed),
            shown(norm, 1),
            *("-" if value is None else f"{value:.2f}" for value in seen),
            shown(balance, 2),
            f"{evaluations[-1]:.3f}" if evaluations else "-",
        ]
        print(f"| {' | '.join(cells)} |")
        holds = holds and (norm is None or norm[0] <= NORM_BAR) and (balance is None or balance[0] < BALANCE_BAR)
        measured = measured and norm is not None and balance is not None
    loss = f"mean validation loss {mean(losses):.3f}" if losses else "no validation loss"
    verdict = "DO NOT HOLD" if not holds else "hold" if measured else "were not all measured"
    print(f"\n{loss}; the bars {verdict}")
    return 0 if holds and measured else 1


if __name__ == "__main__":
    sys.exit(main())
