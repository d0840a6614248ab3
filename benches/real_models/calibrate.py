"""SmolLM2 carved by `calibrate`: what its receipt says, against bars.

calibrate.py, with DARKHORSE and REAL_MODELS in the environment, as ./run_calibrate sets them. The bars stand in README.md
beside this file. Nothing but Python is needed.
"""

import array
import json
import shutil
import struct
import sys
import tempfile
from pathlib import Path

import naive_split
from calibrate_common import BARS, DATA, FOLDER, bar, darkhorse, perplexity

MODEL = FOLDER / "SmolLM2-135M-Instruct.Q4_1.gguf"
IDS = [504, 3575, 282, 4649, 314, 260, 2030, 28, 284, 357, 436, 253, 1123, 2240, 30, 198]
TOKENS, EQUAL, PASSAGES, NAIVE = 4096, 1e-4, 50, 3.0


def carve(out: Path, *options: object) -> dict:
    data = ["--data", *DATA, "--calibration-tokens", TOKENS]
    print(darkhorse("calibrate", "--from", MODEL, "--mode", "carve", *data, "--no-speed", "--out", out, *options))
    return json.loads((out / "receipt.json").read_text())


def logits(model: Path, folder: Path) -> array.array:
    """Logits of the ids, through safetensors files."""
    inputs, outputs = folder / "ids.safetensors", folder / "logits.safetensors"
    data = struct.pack(f"<{len(IDS)}q", *IDS)
    header = {"input_ids": {"dtype": "I64", "shape": [1, len(IDS)], "data_offsets": [0, len(data)]}}
    header = json.dumps(header).encode()
    inputs.write_bytes(struct.pack("<Q", len(header)) + header + data)
    darkhorse("logits", "--model", model, "--ids-file", inputs, "--out", outputs)
    found = outputs.read_bytes()
    (size,) = struct.unpack("<Q", found[:8])
    begin, end = json.loads(found[8 : 8 + size])["logits"]["data_offsets"]
    return array.array("f", found[8 + size + begin : 8 + size + end])


def compare_all_on(folder: Path) -> None:
    carve(folder / "all", "--top-k", 14, "--keep-dense-layers", "none")
    dense, whole = logits(MODEL, folder), logits(folder / "all", folder)
    apart = max(abs(a - b) for a, b in zip(dense, whole, strict=True)) / max(map(abs, dense))
    bar(f"all experts on: logits within {apart:.1e} of the largest, bar {EQUAL:.0e}", apart < EQUAL)


def compare_half(folder: Path) -> None:
    (folder / "task.jsonl").write_text("".join(json.dumps({"n": at}) + "\n" for at in range(100)))
    (folder / "task.yaml").write_text(json.dumps({
        "task": "counting", "dataset_path": "json", "dataset_kwargs": {"data_files": {"test": "task.jsonl"}},
        "test_split": "test", "output_type": "multiple_choice", "doc_to_text": "{{n}}, {{n + 1}}, {{n + 2}},",
        "doc_to_choice": "{{[(n + 3)|string, (n + 5)|string, (n + 4)|string, (n + 1)|string]}}", "doc_to_target": 0,
        "metric_list": [{"metric": "acc"}],
    }))
    first = ["--keep-dense-layers", "first"]
    receipt = carve(folder / "half", "--top-k", 6, *first, "--analyse", "--tasks", folder / "task.yaml")
    carving, layers = receipt["carving"], receipt["carving"]["layers"]
    mean = lambda of: sum(map(of, layers)) / len(layers)
    errors = {name: mean(lambda it: it["analysis"][name]["error"]) for name in ("oracle", "random", "random_partition")}
    errors["ridge"] = mean(lambda it: it["error"])
    print("mean errors of the layers: " + ", ".join(f"{name} {value:.3f}" for name, value in errors.items()))
    bar(f"{len(layers)} layers carved", len(layers) == 29)
    bar("oracle < ridge < lot", errors["oracle"] < errors["ridge"] < errors["random"])
    bar("clustered < random partition", errors["ridge"] < errors["random_partition"])
    dense, carved = carving["dense"], carving["carved"]
    bar(
        f"perplexity {dense['perplexity']:.2f} < {carved['perplexity']:.2f}, in {len(dense['domains'])} domains",
        1 < dense["perplexity"] < carved["perplexity"] and len(dense["domains"]) == len(carved["domains"]) > 1,
    )
    words = [it["cloze"] for it in (dense, carved)]
    bar(
        f"{words[0]['passages']} last words, {words[0]['accuracy']:.3f} right, carved {words[1]['accuracy']:.3f}",
        words[0]["passages"] >= PASSAGES and words[0]["accuracy"] > words[1]["accuracy"] > 0,
    )
    (metric,) = carving["tasks"]["tasks"][0]["metrics"]
    left = metric.get("kept", {}).get("carved", -1)
    bar(
        f"of a task that the dense model can do ({metric['dense']['value']:.2f}), {left:.1%} is left",
        metric["errors_above_chance"] > 3 and 0 < left < 1.2 and carving["tasks"]["counted"] == 1,
    )
    before, after = receipt["before"]["active"], receipt["after"]["active"]
    bar(f"{after / before - 1:.1%} active parameters", after < 0.75 * before)


def compare_naive(folder: Path) -> None:
    """The experts of the half carved before, beside a split that nobody calibrated."""
    text = folder / "text.jsonl"
    text.write_text("".join(DATA[1].read_text().splitlines(keepends=True)[:40]))
    for model, out in ((MODEL, "dense-hf"), (folder / "half", "naive")):
        darkhorse("export", "--model", model, "--format", "hf", "--dtype", "f32", "--out", folder / out)
    whole, half = perplexity(MODEL, text), perplexity(folder / "naive", text)
    naive_split.split(folder / "dense-hf", folder / "naive")
    naive = perplexity(folder / "naive", text)
    print(f"perplexity of {text.stat().st_size:,} bytes: {whole:.2f} dense, {half:.2f} carved, {naive:.2f} naive")
    bar(f"split in order, router not fitted: {naive / half:.1f} times the carved perplexity, at least {NAIVE}", naive > NAIVE * half)


def main() -> None:
    with tempfile.TemporaryDirectory(dir=FOLDER) as folder:
        compare_all_on(Path(folder))
        shutil.rmtree(Path(folder) / "all")
        compare_half(Path(folder))
        compare_naive(Path(folder))
    sys.exit(not all(BARS))


main()
