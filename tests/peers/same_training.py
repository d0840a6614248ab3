"""Does the binary learn as transformers does?

50 AdamW steps of the `tiny` model on the embedded corpus, from the same weights on the same batches, without
balancing, domains and MTP. Bars: at every step the loss differs by less than 1e-5 of itself, and the
learning rate is that of the schedule. A decay that leaves out the embedding, or another eps, moves the
loss by 4e-5 or more; a missing mask between documents by 1e-4 at the first step.
"""

import reference
from common import verdict

STEPS, BAR = 50, 1e-5


def main() -> None:
    runs = reference.train("same-training", STEPS, bias_update_speed=0.0)
    trainer, batches = reference.trainer_and_batches(runs)
    losses, norms, rates = [], [], []
    for record, rows in zip(runs.steps, batches):
        loss, norm = trainer.step(record["step"], rows)
        losses.append(abs(record["loss"] / loss - 1))
        norms.append(abs(record["grad_norm"] / norm - 1))
        rates.append(abs(record["lr"] / reference.learning_rate(record["step"], STEPS) - 1))
        if record["step"] in (1, STEPS) or record["step"] % 10 == 0:
            print(f"step {record['step']:3}: loss {record['loss']:.6f}, transformers {loss:.6f}", flush=True)
    print(f"gradient norm: at most {max(norms):.1e} relative apart")
    verdict(
        [
            (f"{len(losses)} steps, {STEPS} expected", len(losses) == STEPS),
            (f"loss at most {max(losses):.1e} relative apart, bar {BAR:.0e}", max(losses) < BAR),
            (f"learning rate at most {max(rates):.1e} relative apart, bar 1e-9", max(rates) < 1e-9),
        ]
    )


if __name__ == "__main__":
    main()
