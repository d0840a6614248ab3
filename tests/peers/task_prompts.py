"""Makes tests/fixtures/tasks: small tasks, and the requests that lm-evaluation-harness 0.4.13 makes of them.

`cargo test` compares its own requests with them. The data is made up. Tasks of lm-evaluation-harness itself get data
sets in the hub's layout, so that the built-in tasks are compared with its own files. Wants an environment with
`lm-eval` (see README.md).
"""

import json
import os
from pathlib import Path

os.environ["HF_DATASETS_OFFLINE"] = "1"

import datasets
import lm_eval
from lm_eval.api.task import ConfigurableTask
from lm_eval.tasks._yaml_loader import load_yaml

FOLDER = Path(__file__).resolve().parents[1] / "fixtures/tasks"
TASKS = Path(lm_eval.__file__).parent / "tasks"
WORDS = "stone river bread window copper lantern garden winter letter bridge silver meadow".split()


def word(at: int) -> str:
    return WORDS[at % len(WORDS)]


def arc(at: int) -> dict:
    texts = [f"a {word(at + k)}" for k in range(4)]
    labels = ["A", "B", "C", "D"] if at % 2 else ["1", "2", "3", "4"]
    return {"id": str(at), "question": f"Which is the {word(at)}'s \"kin\"?", "choices": {"text": texts, "label": labels},
            "answerKey": labels[at % 4]}


def boolq(at: int) -> dict:
    return {"question": f"is the {word(at)} old", "passage": f"The {word(at)} -- é -- stands.", "idx": at, "label": at % 2}


def hellaswag(at: int) -> dict:
    return {"ind": at, "activity_label": "Baking  cookies", "ctx_a": f"[header] How to bake {word(at)} [title] Begin.",
            "ctx_b": "a Woman" if at % 2 else "", "ctx": "", "source_id": "x", "split": "train", "split_type": "zeroshot",
            "endings": [f" takes [substeps] the {word(at + k)}. [title] Ends.  So" for k in range(4)], "label": str(at % 4)}


def winogrande(at: int) -> dict:
    return {"sentence": f"The {word(at)} fell on the {word(at + 1)} since the _ was heavy.", "option1": word(at),
            "option2": word(at + 1), "answer": str(at % 2 + 1)}


def commonsense_qa(at: int) -> dict:
    return {"id": str(at), "question": f" Where is a {word(at)}? ", "question_concept": word(at),
            "choices": {"label": list("ABCDE"), "text": [word(at + k) for k in range(5)]}, "answerKey": "ABCDE"[at % 5]}


def openbookqa(at: int) -> dict:
    return {"id": str(at), "question_stem": f"A {word(at)} can", "answerKey": "ABCD"[at % 4],
            "choices": {"text": [word(at + k) for k in range(4)], "label": list("ABCD")}}


def sciq(at: int) -> dict:
    return {"question": f"What is a {word(at)}?", "distractor1": word(at + 1), "distractor2": word(at + 2),
            "distractor3": word(at + 3), "correct_answer": word(at), "support": f"  A {word(at)} is.\n"}


def piqa(at: int) -> dict:
    return {"goal": f"To lift a {word(at)},", "sol1": f"use a {word(at + 1)}.", "sol2": "wait.", "label": at % 2}


SHARDED = "{split}-00000-of-00001.parquet"
# files and types as they are published
HUB = {
    "arc_easy": ("arc/arc_easy.yaml", f"ai2_arc/ARC-Easy/{SHARDED}", arc, {}),
    "arc_challenge": ("arc/arc_challenge.yaml", f"ai2_arc/ARC-Challenge/{SHARDED}", arc, {}),
    "boolq": ("super_glue/boolq/default.yaml", f"super_glue/boolq/{SHARDED}", boolq,
              {"idx": datasets.Value("int32"), "label": datasets.ClassLabel(names=["False", "True"])}),
    "hellaswag": ("hellaswag/hellaswag.yaml", f"hellaswag/data/{SHARDED}", hellaswag, {"ind": datasets.Value("int32")}),
    "winogrande": ("winogrande/default.yaml", f"winogrande/winogrande_xl/{SHARDED}", winogrande, {}),
    "commonsense_qa": ("commonsense_qa/default.yaml", f"commonsense_qa/data/{SHARDED}", commonsense_qa, {}),
    "openbookqa": ("openbookqa/openbookqa.yaml", f"openbookqa/main/{SHARDED}", openbookqa, {}),
    "sciq": ("sciq/sciq.yaml", f"sciq/data/{SHARDED}", sciq, {}),
    "piqa": ("piqa/piqa.yaml", "piqa/piqa_{split}.parquet", piqa, {"label": datasets.ClassLabel(names=["0", "1"])}),
}


def requests(config: dict, shots: int | None) -> list:
    task = ConfigurableTask(config=config)
    if shots is not None:
        task.set_config(key="num_fewshot", value=shots)
    elif task.get_config("num_fewshot") is None:
        task.set_config(key="num_fewshot", value=0)
    task.set_fewshot_seed(1234)
    task.build_all_requests()
    asked = [[i.doc_id, i.args[0], i.args[1] if isinstance(i.args[1], str) else None] for i in task.instances]
    targets = [task.doc_to_target(doc) for doc in task.eval_docs]
    return [asked, targets]


def main() -> None:
    expected = {}
    for name, (path, place, record, types) in HUB.items():
        files = {}
        for first, (split, count) in enumerate({"train": 7, "validation": 4, "test": 3}.items()):
            records = [record(100 * first + at) for at in range(count)]
            file = FOLDER / "hub" / place.format(split=split)
            file.parent.mkdir(parents=True, exist_ok=True)
            data = datasets.Dataset.from_list(records)
            data.cast(datasets.Features({**data.features, **types})).to_parquet(file)
            files[split] = str(file)
        for shots in (None, 2):
            config = load_yaml(TASKS / path)
            config |= {"dataset_path": "parquet", "dataset_name": None, "dataset_kwargs": {"data_files": files}}
            config.pop("tag", None)
            expected[f"{name} {shots or 0}"] = requests(config, shots)
    os.chdir(FOLDER)
    for path in sorted(Path().glob("*.yaml")):
        for shots in (None, 3):
            expected[f"{path} {'-' if shots is None else shots}"] = requests(load_yaml(path), shots)
    Path("expected.json").write_text(json.dumps(expected, indent=1, ensure_ascii=False) + "\n")


main()
