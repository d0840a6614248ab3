#!/usr/bin/env python3
"""A run's loss by domain beside zstd's: compare.py RUN --train FILE... --valid FILE...

Prints a Markdown table. The model's bits per UTF-8 byte are those of the last evaluation in RUN/metrics.jsonl. zstd
gets the domain's validation text with the domain's training text as dictionary, `zstd -19 --long=27`, whichever of
`-D` and `--patch-from` does better.
"""
import argparse
import json
import subprocess
import tempfile
from pathlib import Path


def texts(files: list[Path]) -> dict[str, str]:
    """All text of each domain."""
    found: dict[str, list[str]] = {}
    for file in files:
        for line in file.open(encoding="utf-8"):
            document = json.loads(line)
            found.setdefault(document["domain"], []).append(document["text"])
    return {domain: "\n".join(parts) for domain, parts in found.items()}


def zstd_bits_per_byte(train: str, valid: str) -> float:
    with tempfile.TemporaryDirectory() as folder:
        dictionary, text = Path(folder, "train"), Path(folder, "valid")
        dictionary.write_text(train, encoding="utf-8")
        text.write_text(valid, encoding="utf-8")
        sizes = []
        for option in ["-D", str(dictionary)], [f"--patch-from={dictionary}"]:
            command = ["zstd", "-19", "--long=27", *option, "-c", str(text)]
            sizes.append(len(subprocess.run(command, check=True, capture_output=True).stdout))
        return 8 * min(sizes) / text.stat().st_size


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--train", type=Path, nargs="+", required=True)
    parser.add_argument("--valid", type=Path, nargs="+", required=True)
    arguments = parser.parse_args()

    records = [json.loads(line) for line in (arguments.run / "metrics.jsonl").open()]
    evaluation = [record["eval"] for record in records if "eval" in record][-1]
    model = {row["domain"]: row["bits_per_byte"] for row in evaluation["domains"]}
    train, valid = texts(arguments.train), texts(arguments.valid)
    print("| domain | model, bits/byte | zstd, bits/byte | |\n|---|---|---|---|")
    for domain in model:
        theirs = zstd_bits_per_byte(train[domain], valid[domain])
        better = "model" if model[domain] < theirs else "zstd"
        print(f"| {domain} | {model[domain]:.3f} | {theirs:.3f} | {better} |")


if __name__ == "__main__":
    main()
