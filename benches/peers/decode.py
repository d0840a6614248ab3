"""Prefill and decode of the same weights here, in transformers and in llama.cpp, taken in turns.

    decode.py MODEL_FOLDER MODEL.gguf [--prompt 128] [--new 64] [--rounds 5] [--threads 2] [--dtype f32|bf16]
              [--weights f32|bf16|q8|q4]

Every round measures each engine once, so that a disturbance of the machine meets all of them. Prints medians, the
ratios of medians, and whether the engines generate the same ids. A peer that is not installed is left out.
"""
import argparse
import json
import os
import statistics
import subprocess
import time

arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
arguments.add_argument("folder")
arguments.add_argument("gguf")
arguments.add_argument("--prompt", type=int, default=128)
arguments.add_argument("--new", type=int, default=64)
arguments.add_argument("--rounds", type=int, default=5)
arguments.add_argument("--threads", type=int, default=2)
arguments.add_argument("--dtype", choices=["f32", "bf16"], default="f32", help="of transformers")
arguments.add_argument("--weights", default="f32", help="ours")
arguments.add_argument("--tokenizer", action="store_true", help="the GGUF file has one")
arguments = arguments.parse_args()
os.environ["OMP_NUM_THREADS"] = os.environ["RAYON_NUM_THREADS"] = str(arguments.threads)
binary = os.environ.get("DARKHORSE", "target/release/darkhorse-genesis")


def prompt_ids(vocab):
    return [2 + (7919 * i + 13) % (vocab - 2) for i in range(arguments.prompt)]


class Ours:
    """The program's own `bench`, one run after one that is not counted."""

    def __init__(self):
        self.share = []

    def measure(self):
        command = [binary, "bench", "--model", arguments.folder, "--json", "--runs", "1"]
        command += ["--prompt", str(arguments.prompt), "--new", str(arguments.new)]
        if arguments.weights != "f32":
            command += ["--weights", arguments.weights]
        report = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        case = report["cases"][0]
        self.share.append(case["bandwidth_share"])
        self.memory = report["memory_bytes_per_s"]
        return case["time_to_first_token_s"], case["pass_duration_s"], case["ids"]


class Transformers:
    def __init__(self):
        import torch
        import transformers

        torch.set_num_threads(arguments.threads)
        transformers.utils.logging.set_verbosity_error()
        transformers.utils.logging.disable_progress_bar()
        self.torch, self.cache = torch, transformers.DynamicCache
        dtype = {"f32": torch.float32, "bf16": torch.bfloat16}[arguments.dtype]
        self.model = transformers.DeepseekV3ForCausalLM.from_pretrained(
            arguments.folder, dtype=dtype, attn_implementation="sdpa", experts_implementation="eager"
        ).eval()
        self.measure()

    def measure(self):
        torch = self.torch
        ids = torch.tensor([prompt_ids(self.model.config.vocab_size)])
        with torch.inference_mode():
            cache = self.cache(config=self.model.config)
            begin = time.perf_counter()
            output = self.model(ids, past_key_values=cache, use_cache=True, logits_to_keep=1)
            next_id = output.logits[:, -1].argmax(-1, keepdim=True)
            generated = [next_id.item()]
            first = time.perf_counter()
            while len(generated) < arguments.new:
                output = self.model(next_id, past_key_values=cache, use_cache=True)
                next_id = output.logits[:, -1].argmax(-1, keepdim=True)
                generated.append(next_id.item())
            end = time.perf_counter()
        return first - begin, (end - first) / (arguments.new - 1), generated


class LlamaCpp:
    def __init__(self):
        import llama_cpp

        context = arguments.prompt + arguments.new
        threads = dict(n_threads=arguments.threads, n_threads_batch=arguments.threads)
        overrides = None if arguments.tokenizer else {"tokenizer.ggml.model": "none"}
        batch = max(arguments.prompt, 64)
        self.model = llama_cpp.Llama(
            arguments.gguf, n_ctx=context, n_batch=batch, verbose=False, kv_overrides=overrides, **threads
        )
        self.measure()

    def measure(self):
        self.model.reset()
        self.model.n_tokens = 0
        begin = time.perf_counter()
        self.model.eval(prompt_ids(self.model.n_vocab()))
        generated = [self.model.sample(temp=0.0)]
        first = time.perf_counter()
        while len(generated) < arguments.new:
            self.model.eval([generated[-1]])
            generated.append(self.model.sample(temp=0.0))
        end = time.perf_counter()
        return first - begin, (end - first) / (arguments.new - 1), generated


engines = {"ours": Ours()}
for name, engine in [("transformers", Transformers), ("llama.cpp", LlamaCpp)]:
    try:
        engines[name] = engine()
    except ImportError as missing:
        print(f"{name} is left out: {missing}")

results = {name: [] for name in engines}
for _ in range(arguments.rounds):
    for name, engine in engines.items():
        results[name].append(engine.measure())

ours = engines["ours"]
print(f"prompt {arguments.prompt}, {arguments.new} new, {arguments.threads} threads, {arguments.rounds} rounds, medians; "
      f"ours {arguments.weights}, transformers {arguments.dtype}, llama.cpp {os.path.basename(arguments.gguf)}")
print(f"{'engine':<14}{'prefill tok/s':>15}{'decode tok/s':>15}{'ours is':>24}{'same ids':>10}")
median = {
    name: [statistics.median(run[column] for run in runs) for column in (0, 1)] for name, runs in results.items()
}
for name, (prefill, decode) in median.items():
    ratios = f"{prefill / median['ours'][0]:.2f}x, {decode / median['ours'][1]:.2f}x"
    expected = results["ours"][0][2]
    same = next((i for i, (a, b) in enumerate(zip(results[name][0][2], expected)) if a != b), len(expected))
    print(f"{name:<14}{arguments.prompt / prefill:>15.1f}{1 / decode:>15.1f}{ratios:>24}{same:>7}/{len(expected)}")
print(f"memory reads {ours.memory / 1e9:.1f} GB/s; our decode reads {100 * statistics.median(ours.share):.0f} % of that")
