"""5b beside dense models of 3 to 4 billion parameters: same engine, random weights in 8 bits, on the CPU.

    cargo build --release && python3 benches/dense/compare.py [--binary target/release/darkhorse-genesis]

Every model is measured by `bench` in a process of its own: a prompt for one request, and a shorter one for each of eight at
a time. The dense ones have the shapes of Llama-3.2-3B and Phi-3-mini; their heads are not tied to the embedding
tables, so that all three have theirs in 8 bits.
"""

import argparse
import json
import pathlib
import resource
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).parent
MODELS = {
    "5b": ["--params", "5b"],
    "Llama-3.2-3B's shape": ["--config", str(HERE / "llama-3.2-3b.json")],
    "Phi-3-mini's shape": ["--config", str(HERE / "phi-3-mini.json")],
}
# batch, tokens of a prompt, new tokens
CASES = [(1, 128, 32), (8, 32, 16)]


def measure(binary, model, batch, prompt, new, runs):
    command = [binary, "bench", *MODELS[model], "--random-weights", "--weights", "q8", "--json"]
    command += ["--batch", str(batch), "--prompt", str(prompt), "--new", str(new), "--runs", str(runs)]
    begin = time.time()
    out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    report = json.loads(out)
    case = report["cases"][0]
    print(
        f"{model}, {batch} x {prompt}: {report['active_parameters'] / 1e9:.2f} B active, "
        f"{case['prefill_tokens_per_s']:.1f} and {case['decode_tokens_per_s']:.2f} tokens/s, "
        f"{100 * case['bandwidth_share']:.0f} % of {report['memory_bytes_per_s'] / 1e9:.1f} GB/s, "
        f"{time.time() - begin:.0f} s in all",
        file=sys.stderr,
        flush=True,
    )
    return case


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", default="target/release/darkhorse-genesis")
    parser.add_argument("--runs", type=int, default=2)
    parser.add_argument("--models", nargs="*", default=list(MODELS))
    arguments = parser.parse_args()
    found = {
        (model, case): measure(arguments.binary, model, *case, arguments.runs)
        for case in CASES
        for model in arguments.models
    }
    print("| batch x prompt | model | prefill tok/s | decode tok/s | 5b is: prefill | decode |")
    print("|---|---|---|---|---|---|")
    for case in CASES:
        base = found.get(("5b", case))
        for model in arguments.models:
            figures = found[model, case]
            ratio = lambda name: f"{base[name] / figures[name]:.2f}x" if base and model != "5b" else ""
            prefill, decode = "prefill_tokens_per_s", "decode_tokens_per_s"
            print(
                f"| {case[0]} x {case[1]} | {model} | {figures[prefill]:.1f} | {figures[decode]:.2f} "
                f"| {ratio(prefill)} | {ratio(decode)} |"
            )
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
    print(f"\nThe largest process held {peak:.2f} GiB at its peak.")


main()
