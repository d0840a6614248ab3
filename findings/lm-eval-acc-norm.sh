#!/usr/bin/env bash
# lm-evaluation-harness 0.4.13: `acc_norm` divides by the number of characters, not of bytes.
#
# Guess: `acc_norm` is the accuracy after division of each choice's log-likelihood by its length in bytes, as the harness's
# authors describe it (blog.eleuther.ai/multiple-choice-normalization), so that it does not depend on a tokenizer.
# Seen (2026-11): it divides by `len(choice)`, the number of Python's characters (lm_eval/api/task.py, process_results). Bytes are
# another metric, `acc_bytes`. On choices of several scripts, and on letters with accents, the two pick other choices.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
venv=${FINDINGS_VENV:-$folder/venv}
[ -x "$venv/bin/pip" ] || python3 -m venv "$venv"
"$venv/bin/python" -c 'from importlib.metadata import version as v; assert v("lm_eval") == "0.4.13"' 2>/dev/null ||
    "$venv/bin/pip" install --quiet --disable-pip-version-check lm_eval==0.4.13
cat >see.py <<'PY'
import json
from pathlib import Path

from lm_eval.api.task import ConfigurableTask

# 6 characters each, of one byte and of two
choices = ["Berlin", "Берлин"]
doc = {"question": "The capital of Germany is", "choices": choices, "answer": 0}
Path("mine.jsonl").write_text(json.dumps(doc) + "\n")
task = ConfigurableTask(
    config={
        "task": "mine",
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": "mine.jsonl"}},
        "test_split": "test",
        "output_type": "multiple_choice",
        "doc_to_text": "{{question}}",
        "doc_to_choice": "choices",
        "doc_to_target": "answer",
        "metric_list": [{"metric": name} for name in ("acc", "acc_norm", "acc_bytes")],
    }
)
print([(choice, len(choice), len(choice.encode())) for choice in choices])
# the second is less likely: by characters it loses, by bytes it wins
found = task.process_results(doc, [(-6.0, False), (-9.0, False)])
print({name: float(value) for name, value in found.items()})
assert [len(choice) for choice in choices] == [6, 6]
assert found["acc_norm"] == 1.0 and found["acc_bytes"] == 0.0, "not as described"
PY
HF_HUB_OFFLINE=1 HF_DATASETS_OFFLINE=1 "$venv/bin/python" -W ignore see.py
echo "as described: acc_norm picks by characters, acc_bytes by bytes"
