"""lm-evaluation-harness' `local-chat-completions` against `serve`, item by item beside its `hf` model in transformers.

served_chats.py FOLDER: a folder that transformers reads, with a chat template. DARKHORSE names the binary, LIMIT the number
of documents. Runs offline, in the environment of `lm-eval-environment`. Ends with 1 if an answer differs.
"""

import json
import os
import sys
import tempfile
import time
from pathlib import Path

os.environ["HF_DATASETS_OFFLINE"] = "1"
os.environ["HF_HUB_OFFLINE"] = "1"

from server import KEY, check, served

os.environ["OPENAI_API_KEY"] = KEY
LIMIT = int(os.environ.get("LIMIT", "10"))

import lm_eval

QUESTIONS = [{"question": f"What is {a} + {b}?", "answer": str(a + b)} for a in range(2, 7) for b in range(3, 9)]


def task(folder: Path) -> dict:
    data = folder / "questions.jsonl"
    data.write_text("".join(json.dumps(it) + "\n" for it in QUESTIONS))
    return {
        "task": "sums",
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(data)}},
        "test_split": "test",
        "output_type": "generate_until",
        "doc_to_text": "{{question}}",
        "doc_to_target": "{{answer}}",
        "generation_kwargs": {"until": ["###"], "max_gen_toks": 24, "do_sample": False},
        "metric_list": [{"metric": "exact_match", "aggregation": "mean", "higher_is_better": True}],
    }


def answers(kind: str, arguments: str, folder: Path, **more: object) -> dict[int, str]:
    found = lm_eval.simple_evaluate(
        kind, model_args=arguments, tasks=[task(folder)], limit=LIMIT, log_samples=True, bootstrap_iters=0,
        apply_chat_template=True, **more,
    )
    return {it["doc_id"]: it["resps"][0][0] for it in found["samples"]["sums"]}


with tempfile.TemporaryDirectory() as folder, served(sys.argv[1]) as address:
    where = f"model=peer,base_url={address}/v1/chat/completions,num_concurrent=8,max_retries=1,tokenizer_backend=None"
    begin = time.monotonic()
    ours = answers("local-chat-completions", where, Path(folder))
    seconds = time.monotonic() - begin
    theirs = answers("hf", f"pretrained={os.path.abspath(sys.argv[1])},dtype=float32", Path(folder), device="cpu", batch_size=1)
    other = {doc: (ours[doc], text) for doc, text in theirs.items() if ours[doc] != text}
    print(f"lm-eval {lm_eval.__version__}: {len(ours)} answers in {seconds:.0f} s, {len(other)} other than in transformers")
    check(len(ours) == LIMIT and not other and any(ours.values()), other)
