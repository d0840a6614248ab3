"""lm-evaluation-harness' `local-completions` against `serve`, item by item beside `evaluate --tasks`.

served_tasks.py MODEL TASKS..: a model and task files. DARKHORSE names the binary, LIMIT the number of documents per
task. Runs offline, in the environment of `lm-eval-environment`. Ends with 1 if a log-likelihood differs by more than
2e-3, or greediness or a score at all.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

os.environ["HF_DATASETS_OFFLINE"] = "1"
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("OPENAI_API_KEY", "none")

DARKHORSE = os.path.abspath(os.environ.get("DARKHORSE", "target/release/darkhorse-genesis"))
LIMIT = os.environ.get("LIMIT", "20")


def ours(model: str, task: Path, folder: Path) -> list:
    out = folder / "ours.jsonl"
    command = [DARKHORSE, "evaluate", "--model", model, "--tasks", task.name, "--limit", LIMIT, "--samples", str(out)]
    subprocess.run(command, check=True, cwd=task.parent, stdout=subprocess.DEVNULL)
    return [json.loads(line) for line in out.read_text().splitlines()]


def theirs(address: str, task: Path) -> list:
    import lm_eval
    from lm_eval.tasks._yaml_loader import load_yaml

    where = f"model=peer,base_url={address}/v1/completions,num_concurrent=8,max_retries=1,tokenizer_backend=remote"
    config = load_yaml(task)
    os.chdir(task.parent)
    found = lm_eval.simple_evaluate(
        "local-completions", model_args=where, tasks=[config], limit=int(LIMIT), log_samples=True, bootstrap_iters=0
    )
    return sorted(found["samples"][config["task"]], key=lambda it: it["doc_id"])


def main() -> None:
    model = os.path.abspath(sys.argv[1])
    command = [DARKHORSE, "serve", "--model", model, "--name", "peer", "--port", "0"]
    failed = False
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server, tempfile.TemporaryDirectory() as folder:
        try:
            address = server.stdout.readline().split(" is served at ")[1].strip()
            for task in map(Path, sys.argv[2:]):
                task = task.resolve()
                begin = time.monotonic()
                asked = theirs(address, task)
                seconds = time.monotonic() - begin
                own = sorted(ours(model, task, Path(folder)), key=lambda it: it["doc_id"])
                assert len(asked) == len(own) > 0, (len(asked), len(own))
                largest, other, compared = 0.0, 0, 0
                for left, right in zip(asked, own):
                    assert left["doc_id"] == right["doc_id"] and len(left["resps"]) == len(right["resps"])
                    for ((one, greedy),), ((two, also),) in zip(left["resps"], right["resps"]):
                        compared += 1
                        largest = max(largest, abs(float(one) - float(two)))
                        other += str(greedy) != str(also)
                    other += any(left[key] != right[key] for key in left["metrics"])
                print(f"{task.name}: {len(asked)} documents, {compared} log-likelihoods in {seconds:.0f} s, within {largest:.1e}, {other} other")
                failed |= compared == 0 or largest > 2e-3 or other > 0
        finally:
            server.terminate()
    sys.exit(failed)


main()
