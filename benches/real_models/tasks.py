"""`evaluate --tasks` beside lm-evaluation-harness 0.4.13 on the same weights and files, document by document.

tasks.py [--limit N] [--tasks A,B,..] [--batch-size N|auto] [--threads N] [--rounds N] [--untimed], with DARKHORSE and
REAL_MODELS in the environment. The bars stand in README.md beside this file. In every round each task is done by both
programs, one after the other, and medians are compared; --untimed leaves the bar of the speed out. On a machine that
others use, too, --threads 1 and processor time tell more than the time that passes.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

os.environ.update(TRANSFORMERS_VERBOSITY="error", HF_DATASETS_OFFLINE="1", HF_HUB_OFFLINE="1", DISABLE_MULTIPROC="1")

DARKHORSE = os.environ["DARKHORSE"]
FOLDER = Path(os.environ["REAL_MODELS"])
DATA = FOLDER / "tasks"
MODEL = FOLDER / "SmolLM2-135M-Instruct.Q4_1.gguf"
EXPORT = FOLDER / "SmolLM2-135M-Instruct-f32"
CHOICES = {
    "strategyqa": 126,
    "misconceptions": 80,
    "sports_understanding": 80,
    "implicatures": 60,
    "social_iqa": 60,
    "disambiguation_qa": 40,
    "movie_recommendation": 30,
    "date_understanding": 8,
    "kannada": 8,
    "timedial": 8,
}
OTHERS = {"last_words": 100, "gsm8k_test": 12, "chain_sum": 24, "leg_counting": 24, "syllogisms": 24}
AGREEMENT, SCORES, SPEED = 0.995, 2e-3, 2.0


def darkhorse(*args: object) -> str:
    command = [DARKHORSE, *map(str, args)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=DATA)
    if done.returncode:
        sys.exit(f"{' '.join(command)[:300]}\nended with {done.returncode}:\n{done.stdout}{done.stderr}")
    return done.stdout


def spent() -> float:
    """Processor time of the program's calls, in seconds."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def ours(task: str, limit: int) -> tuple[dict, list[dict], float]:
    samples = FOLDER / f"{task}.samples.jsonl"
    begin = time.perf_counter()
    said = darkhorse(
        "evaluate", "--model", EXPORT, "--tasks", f"{task}.yaml", "--limit", limit, "--json", "--samples", samples
    )
    seconds = time.perf_counter() - begin
    return json.loads(said), [json.loads(line) for line in samples.read_text().splitlines()], seconds


def numbers(responses) -> list:
    """A response of lm-evaluation-harness: a text, or a log-likelihood and whether it is greedy."""
    return [response[0] for response in responses]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--limit", type=int)
    parser.add_argument("--tasks")
    parser.add_argument("--batch-size", default="8")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--untimed", action="store_true")
    args = parser.parse_args()
    tasks = CHOICES | OTHERS
    if args.tasks:
        tasks = {name: tasks[name] for name in args.tasks.split(",")}
    if args.limit:
        tasks = dict.fromkeys(tasks, args.limit)

    if not EXPORT.is_dir():
        darkhorse("export", "--model", MODEL, "--format", "hf", "--dtype", "f32", "--out", EXPORT)

    import torch
    from lm_eval import simple_evaluate
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager

    os.environ["RAYON_NUM_THREADS"] = str(args.threads)
    torch.set_num_threads(args.threads)
    os.chdir(DATA)
    manager = TaskManager(include_path=str(DATA), include_defaults=False)
    model = HFLM(pretrained=str(EXPORT), dtype="float32", device="cpu", batch_size=args.batch_size)
    same = documents = 0
    missed, seconds = [], [0.0, 0.0]
    for task, limit in tasks.items():
        times, processor = [], []
        for _ in range(args.rounds):
            before = spent()
            results, samples, own = ours(task, limit)
            used = spent() - before
            begin, before = time.perf_counter(), time.process_time()
            theirs = simple_evaluate(
                model=model, tasks=[task], task_manager=manager, limit=limit, verbosity="ERROR", bootstrap_iters=100_000
            )
            times.append((own, time.perf_counter() - begin))
            processor.append((used, time.process_time() - before))
        own, other = map(statistics.median, zip(*times))
        processor = list(map(statistics.median, zip(*processor)))
        expected = theirs["samples"][task]
        if len(expected) != len(samples):
            sys.exit(f"{task}: {len(samples)} samples here, {len(expected)} there")
        furthest, equal = 0.0, 0
        key = lambda sample: (sample["filter"], sample["doc_id"])
        for found, wanted in zip(sorted(samples, key=key), sorted(expected, key=key)):
            said = [list(it) for it in wanted["arguments"]]
            asked = [[it["arg_0"], it.get("arg_1")] for it in found["arguments"].values()]
            if [it[0] for it in said] != [it[0] for it in asked]:
                sys.exit(f"{task}, document {found['doc_id']}: the prompt is {asked[0][0]!r}, expected {said[0][0]!r}")
            if found["target"] != wanted["target"]:
                sys.exit(f"{task}, document {found['doc_id']}: {found['target']!r}, expected {wanted['target']!r}")
            mine, yours = numbers(found["resps"]), numbers(wanted["resps"])
            if isinstance(yours[0], str):
                equal += mine == yours
                continue
            if [it[1] for it in said] != [it[1] for it in asked]:
                sys.exit(f"{task}, document {found['doc_id']}: {asked}, expected {said}")
            furthest = max([furthest, *(abs(a[0] - b[0]) for a, b in zip(mine, yours))])
            likeliest = [max(range(len(it)), key=[x[0] for x in it].__getitem__) for it in (mine, yours)]
            alike = [m[1] for m in mine] == [y[1] for y in yours]
            metrics = all(found[name] == wanted[name] for name in wanted["metrics"] if name != "perplexity")
            equal += likeliest[0] == likeliest[1] and alike and metrics
        scores = theirs["results"][task]
        apart = {
            name: (results["results"][task].get(name), value)
            for name, value in scores.items()
            if isinstance(value, float) and abs(results["results"][task].get(name, 1e9) - value) > 1e-2 * max(1, abs(value))
        }
        print(
            f"{task}: {equal} of {len(expected)} alike, log-likelihoods within {furthest:.1e}; "
            f"{len(expected) / own:.2f} documents/s here (loading included), {len(expected) / other:.2f} there; "
            f"{processor[0]:.0f} and {processor[1]:.0f} s of processor time",
            flush=True,
        )
        if task in CHOICES:
            same, documents = same + equal, documents + len(expected)
            seconds = [seconds[0] + own, seconds[1] + other]
        if furthest > SCORES:
            missed.append(f"{task}: log-likelihoods within {SCORES}")
        if apart:
            missed.append(f"{task}: {apart}")
    if documents:
        speed = seconds[1] / seconds[0]
        print(f"multiple choice: {same} of {documents} documents alike, {speed:.2f} times as fast")
        if same < AGREEMENT * documents:
            missed.append(f"{AGREEMENT:.1%} of the documents alike")
        if speed < SPEED and not args.untimed:
            missed.append(f"{SPEED} times as fast")
    sys.exit("\n".join(f"MISSED  {it}" for it in missed) or None)


main()
