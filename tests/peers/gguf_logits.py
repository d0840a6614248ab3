"""Does llama.cpp see the model that the binary trained?  gguf_logits.py RUN

Exports the run as GGUF in f32, loads it with llama-cpp-python, and compares with the run. Bars: logits of random
ids differ by less than 2e-4, the likeliest token is the same everywhere, and 24 greedy tokens are equal. Without
llama-cpp-python it is skipped.
"""

import sys
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file

import common

LENGTH, PROMPT, TOKENS, BAR = 64, 8, 24, 2e-4


def open_gguf(path: Path):
    """The model with its cache in f32, on the CPU."""
    from llama_cpp import GGML_TYPE_F32, Llama

    return Llama(
        str(path),
        n_ctx=256,
        n_batch=256,
        n_gpu_layers=0,
        logits_all=True,
        type_k=GGML_TYPE_F32,
        type_v=GGML_TYPE_F32,
        verbose=False,
    )


def llama_logits(llama, ids: list[int]) -> np.ndarray:
    """Logits at every position of a sequence."""
    llama.reset()
    llama.eval(ids)
    return np.array(llama.scores[: len(ids)])


def llama_greedy(llama, prompt: list[int], count: int) -> list[int]:
    tokens = [int(llama_logits(llama, prompt)[-1].argmax())]
    while len(tokens) < count and tokens[-1] != llama.token_eos():
        llama.eval(tokens[-1:])
        tokens.append(int(llama.scores[llama.n_tokens - 1].argmax()))
    return tokens


def main(run: Path) -> None:
    try:
        import llama_cpp  # noqa: F401
    except ImportError:
        print("skipped: no llama-cpp-python; a quarter of an hour makes it: PEERS_LLAMA=1 tests/peers/run")
        return
    path = common.export(run, common.WORK / f"{run.name}.gguf", "gguf")
    llama = open_gguf(path)
    ids = torch.randint(llama.n_vocab(), (1, LENGTH), generator=torch.Generator().manual_seed(0))
    inputs, outputs = common.WORK / "ids.safetensors", common.WORK / "logits.safetensors"
    save_file({"input_ids": ids}, inputs)
    common.darkhorse("logits", "--model", run, "--ids-file", inputs, "--out", outputs)
    ours = load_file(outputs)["logits"][0].numpy()
    theirs = llama_logits(llama, ids[0].tolist())
    apart = np.abs(ours - theirs).max()
    agreed = int((ours.argmax(-1) == theirs.argmax(-1)).sum())

    prompt = ids[0, :PROMPT].tolist()
    our_tokens = common.darkhorse_greedy(run, prompt, TOKENS)
    their_tokens = llama_greedy(llama, prompt, TOKENS)
    same = common.same_tokens(our_tokens, their_tokens, llama.token_eos())
    if not same:
        print(f"run: {our_tokens}\nllama.cpp: {their_tokens}")
    common.verdict(
        [
            (f"logits at most {apart:.1e} apart, bar {BAR:.0e}", apart < BAR),
            (f"likeliest token equal at {agreed} of {LENGTH} positions", agreed == LENGTH),
            (f"{len(their_tokens)} greedy tokens equal", same),
        ]
    )


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(Path(sys.argv[1]).resolve())
