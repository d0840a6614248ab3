"""Prefill, decode and training of Genesis-152M here and in its own package, the same weights, taken in turns.

    hybrid.py MODEL.safetensors [--prompts 128,2048] [--new 32] [--rounds 3] [--steps 2] [--threads 2] [--skip train]

Every round measures both once, so that a disturbance of the machine meets both. Prints medians, ratios of medians, and
whether the ids and the losses are the same. Wants the package (PyPI genesis-llm) and torch.
"""
import argparse
import json
import os
import statistics
import subprocess
import time

arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
arguments.add_argument("model")
arguments.add_argument("--prompts", default="128,2048")
arguments.add_argument("--new", type=int, default=32)
arguments.add_argument("--rounds", type=int, default=3)
arguments.add_argument("--steps", type=int, default=2, help="training steps that are counted")
arguments.add_argument("--threads", type=int, default=2)
arguments.add_argument("--skip", choices=["train", "decode"], action="append", default=[])
arguments = arguments.parse_args()
os.environ["OMP_NUM_THREADS"] = os.environ["RAYON_NUM_THREADS"] = str(arguments.threads)
binary = os.environ.get("DARKHORSE", "target/release/darkhorse-genesis")
training = os.environ.get("DARKHORSE_TRAINING", "cargo bench --quiet --bench hybrid --").split()
prompts = [int(it) for it in arguments.prompts.split(",")]
ROWS, SEQ, RATE = 4, 256, 1e-4


def prompt_ids(count, vocab):
    return [2 + (7919 * i + 13) % (vocab - 2) for i in range(count)]


class Ours:
    def decode(self):
        command = [binary, "bench", "--model", arguments.model, "--json", "--runs", "1"]
        command += ["--prompt", arguments.prompts, "--new", str(arguments.new)]
        report = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        self.memory = report["memory_bytes_per_s"]
        self.share = report["cases"][0]["bandwidth_share"]
        return {
            case["prompt_tokens"]: (case["time_to_first_token_s"], case["pass_duration_s"], case["ids"])
            for case in report["cases"]
        }

    def train(self):
        command = training + ["train", "--model", arguments.model, "--steps", str(arguments.steps + 1), "--json"]
        report = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        return report["durations_s"][1:], report["losses"]


class Package:
    def __init__(self):
        import torch
        from genesis import Genesis, GenesisConfig
        from safetensors import safe_open

        torch.set_num_threads(arguments.threads)
        self.torch = torch
        with safe_open(arguments.model, "pt") as file:
            self.config = GenesisConfig(**json.loads(file.metadata()["genesis_config_json"]))
            self.weights = {name: file.get_tensor(name) for name in file.keys()}
        self.build = lambda: Genesis(self.config)
        self.model = self.loaded().eval()

    def loaded(self):
        model = self.build()
        missing, unexpected = model.load_state_dict(self.weights, strict=False)
        assert not unexpected and set(missing) <= {"lm_head.weight"}, (missing, unexpected)
        return model

    def decode(self):
        return {count: self.decode_after(count) for count in prompts}

    def decode_after(self, count):
        torch = self.torch
        ids = torch.tensor([prompt_ids(count, self.config.vocab_size)])
        with torch.inference_mode():
            begin = time.perf_counter()
            logits, _, _, past = self.model(ids, use_cache=True)
            generated = [logits[0, -1].argmax().item()]
            first = time.perf_counter()
            while len(generated) < arguments.new:
                new = torch.tensor([[generated[-1]]])
                logits, _, _, past = self.model(new, past_key_values=past, use_cache=True)
                generated.append(logits[0, -1].argmax().item())
            end = time.perf_counter()
        return first - begin, (end - first) / (arguments.new - 1), generated

    def train(self):
        torch = self.torch
        model = self.loaded().train()
        optimizer = model.configure_optimizers(0.1, RATE, (0.9, 0.95), "cpu")
        ids = torch.tensor(prompt_ids(ROWS * (SEQ + 1), self.config.vocab_size)).reshape(ROWS, SEQ + 1)
        tokens, targets = ids[:, :-1].contiguous(), ids[:, 1:].contiguous()
        durations, losses = [], []
        for _ in range(arguments.steps + 1):
            begin = time.perf_counter()
            _, loss, _ = model(tokens, targets=targets)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            losses.append(loss.item())
            durations.append(time.perf_counter() - begin)
        return durations[1:], losses


ours, package = Ours(), Package()
print(f"{arguments.threads} threads, f32, {arguments.rounds} rounds, medians")
print(f"{'':<28}{'ours':>12}{'package':>12}{'ratio':>9}")


def line(name, mine, theirs, unit="tok/s"):
    print(f"{name:<28}{mine:>12.1f}{theirs:>12.1f}{mine / theirs:>8.2f}x  {unit}", flush=True)


if "decode" not in arguments.skip:
    package.decode_after(prompts[0])
    rounds = [(ours.decode(), package.decode()) for _ in range(arguments.rounds)]
    for count in prompts:
        median = lambda who, at: statistics.median(pair[who][count][at] for pair in rounds)
        line(f"prefill of {count}", count / median(0, 0), count / median(1, 0))
        line(f"decode after {count}", 1 / median(0, 1), 1 / median(1, 1))
        mine, theirs = (rounds[0][who][count][2] for who in (0, 1))
        same = next((i for i, (a, b) in enumerate(zip(mine, theirs)) if a != b), len(theirs))
        print(f"  the first {same} of {len(theirs)} ids are the same")
    print(f"  memory reads {ours.memory / 1e9:.1f} GB/s; our decode reads {100 * ours.share:.0f} % of that")
if "train" not in arguments.skip:
    rounds = [(ours.train(), package.train()) for _ in range(arguments.rounds)]
    rate = lambda who: ROWS * SEQ / statistics.median(it for pair in rounds for it in pair[who][0])
    line(f"training {ROWS} x {SEQ}", rate(0), rate(1))
    for who, name in enumerate(["ours", "package"]):
        print(f"  losses, {name}: " + " ".join(f"{loss:.5f}" for loss in rounds[0][who][1]))
