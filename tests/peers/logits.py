"""Does transformers see the model that the binary trained?  logits.py RUN

Exports the run, loads it with transformers (every tensor there, none unknown but those of MTP modules), and
compares both from the run and from the export read back. Bars: logits of random ids differ by less than 2e-4, and 24
greedy tokens are equal.
"""

import sys
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

import common

SHAPE, PROMPT, TOKENS, BAR = (2, 64), 8, 24, 2e-4


def main(run: Path) -> None:
    folder = common.export(run, common.WORK / f"{run.name}-hf")
    model = common.load(folder)
    torch.manual_seed(0)
    ids = torch.randint(model.config.vocab_size, SHAPE)
    with torch.inference_mode():
        theirs = model(ids).logits
    prompt = ids[0, :PROMPT].tolist()
    their_tokens = common.greedy(model, prompt, TOKENS)
    best_two = theirs.topk(2).values
    print(f"logits of {list(SHAPE)} ids: standard deviation {theirs.std():.3f}")
    print(f"closest call among the likeliest tokens: {(best_two[..., 0] - best_two[..., 1]).min():.1e}")

    inputs, outputs = common.WORK / "ids.safetensors", common.WORK / "logits.safetensors"
    save_file({"input_ids": ids}, inputs)
    bars = []
    for name, path in ("run", run), ("export", folder):
        common.darkhorse("logits", "--model", path, "--ids-file", inputs, "--out", outputs)
        apart = (load_file(outputs)["logits"] - theirs).abs().max().item()
        tokens = common.darkhorse_greedy(path, prompt, TOKENS)
        same = common.same_tokens(tokens, their_tokens, model.config.eos_token_id)
        bars += [
            (f"{name}: logits at most {apart:.1e} apart, bar {BAR:.0e}", apart < BAR),
            (f"{name}: {len(their_tokens)} greedy tokens equal", same),
        ]
        if not same:
            print(f"{name}: {tokens}\ntransformers: {their_tokens}")
    common.verdict(bars)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(Path(sys.argv[1]).resolve())
