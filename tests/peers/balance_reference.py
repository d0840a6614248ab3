"""Is the balancing without an auxiliary loss (ALF, arXiv 2408.15664) the published one?

The rule in 6 lines of Python: b += u * sign(mean load - load) with a speed u that falls with the root of the
step, then zero mean, in f64, kept as f32. Bars:
fed the binary's own counts it gives the binary's biases bit for bit after 50 steps; and in transformers,
training from the same weights on the same batches with this rule, the counts of the first 10 steps
differ in at most 0.1 % of the assignments.
"""

import math

import numpy as np
import torch

import reference
from common import load, verdict

STEPS, COMPARED, BAR = 50, 10, 1e-3
START, SPEED = 0.02, 0.01  # from step 4 on it is the speed


def rebalance(bias: np.ndarray, load: list[int], step: int) -> np.ndarray:
    """One step of the rule. The mean load is compared in integers, the sum goes from left to right."""
    speed = max(SPEED, START / math.sqrt(step))
    signs = [np.sign(sum(load) - len(load) * count) for count in load]
    moved = [float(value) + speed * float(sign) for value, sign in zip(bias, signs)]
    total = 0.0
    for value in moved:
        total += value
    return np.array([value - total / len(moved) for value in moved]).astype(np.float32)


def biases_of(model: torch.nn.Module) -> list[np.ndarray]:
    return [value.numpy() for name, value in model.named_buffers() if name.endswith("e_score_correction_bias")]


def main() -> None:
    runs = reference.train("balance", STEPS, bias_update_speed=SPEED, bias_update_start=START)
    loads = [record["expert_loads"] for record in runs.steps]

    replayed = [np.zeros(len(layer), np.float32) for layer in loads[0]]
    for step, layers in enumerate(loads, 1):
        replayed = [rebalance(bias, [int(count) for count in load], step) for bias, load in zip(replayed, layers)]
    exported = biases_of(load(runs.final))
    equal = [ours.tobytes() == rule.tobytes() for ours, rule in zip(exported, replayed, strict=True)]

    trainer, batches = reference.trainer_and_batches(runs)
    moved_elsewhere = assignments = 0
    for record, rows in zip(runs.steps[:COMPARED], batches):
        trainer.step(record["step"], rows)
        for router, ours, theirs in zip(trainer.routers, record["expert_loads"], trainer.counts, strict=True):
            moved_elsewhere += int(np.abs(np.array(ours) - theirs).sum()) // 2
            assignments += int(theirs.sum())
            bias = rebalance(router.e_score_correction_bias.numpy(), theirs.tolist(), record["step"])
            router.e_score_correction_bias.copy_(torch.from_numpy(bias))
    share = moved_elsewhere / assignments
    print(f"biases after {len(loads)} steps: {np.min(exported):.4f} to {np.max(exported):.4f}")
    differ = f"{moved_elsewhere} of {assignments} assignments differ in {COMPARED} steps"
    verdict(
        [
            (f"{len(loads)} steps, {STEPS} expected", len(loads) == STEPS),
            (f"biases equal bit for bit in {sum(equal)} of {len(replayed)} layers", all(equal)),
            (f"{differ} ({share:.3%}), bar {BAR:.1%}", share <= BAR),
        ]
    )


if __name__ == "__main__":
    main()
