"""Print the figures of the corpus and exit 1 when one misses its bar.

    python3 data/generator/check.py

Needs the `zstd` command.
"""
from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from build import DATA, DOMAINS, PIECE, covered, pieces

LEAST_DOMAIN = 100_000    # bytes of training text in every domain
LEAST_TOTAL = 1_500_000   # and in all of them
MOST_OVERLAP = 0.05       # share of validation bytes in pieces of training text
MOST_RATIO = 4.0          # what zstd -19 may make of it, at most
AIM_RATIO = 3.6           # and what every domain aims at


def load(path: Path) -> dict[str, list[str]]:
    texts: dict[str, list[str]] = {}
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            row = json.loads(line)
            texts.setdefault(row["domain"], []).append(row["text"])
    return texts


def ratio(data: bytes) -> float:
    packed = subprocess.run(["zstd", "-19", "-q", "-c"], input=data,
                            stdout=subprocess.PIPE, check=True).stdout
    return len(data) / len(packed)


def size(texts: list[str]) -> int:
    return sum(len(text.encode()) for text in texts)


def main() -> int:
    train, valid = load(DATA / "train.jsonl"), load(DATA / "valid.jsonl")
    faults: list[str] = []

    wanted = {part for texts in valid.values() for text in texts
              for part in pieces(text.encode(), PIECE)}
    known: set[bytes] = set()
    for texts in train.values():
        for text in texts:
            known.update(wanted.intersection(pieces(text.encode(), PIECE)))

    print(f"{'domain':<12} {'train bytes':>11} {'docs':>5} {'valid bytes':>11} {'docs':>5}"
          f" {'zstd':>5} {'overlap':>7} {'other':>6}")
    all_covered = 0
    for name in DOMAINS:
        here, there = train.get(name, []), valid.get(name, [])
        if not here or not there:
            faults.append(f"{name}: no documents")
            continue
        text = "\n".join(here)
        packed = ratio(text.encode())
        hits = sum(covered(t.encode(), PIECE, known) for t in there)
        all_covered += hits
        share = hits / size(there)
        other = sum(ord(c) > 126 for c in text)
        print(f"{name:<12} {size(here):>11} {len(here):>5} {size(there):>11} {len(there):>5}"
              f" {packed:>5.2f} {share:>7.2%} {other:>6}")
        if size(here) < LEAST_DOMAIN:
            faults.append(f"{name}: only {size(here)} bytes of training text")
        if packed > MOST_RATIO:
            faults.append(f"{name}: zstd -19 ratio {packed:.2f}")
        elif packed > AIM_RATIO:
            print(f"  (above the aim of {AIM_RATIO})")
        if share > MOST_OVERLAP:
            faults.append(f"{name}: {share:.1%} of the validation text is in the training text")

    total, checked = sum(map(size, train.values())), sum(map(size, valid.values()))
    whole = ratio((DATA / "train.jsonl").read_bytes())
    share = all_covered / max(checked, 1)
    print(f"{'all':<12} {total:>11} {sum(map(len, train.values())):>5} {checked:>11}"
          f" {sum(map(len, valid.values())):>5} {whole:>5.2f} {share:>7.2%}")
    if total < LEAST_TOTAL:
        faults.append(f"only {total} bytes of training text in all")
    if whole > MOST_RATIO:
        faults.append(f"zstd -19 ratio of the training file {whole:.2f}")
    if share > MOST_OVERLAP:
        faults.append(f"{share:.1%} of all validation text is in the training text")

    rows = [text for texts in train.values() for text in texts]
    both = set(rows) & {text for texts in valid.values() for text in texts}
    if both:
        faults.append(f"{len(both)} documents are in both files")
    if len(set(rows)) != len(rows):
        faults.append(f"{len(rows) - len(set(rows))} training documents occur twice")
    for name in sorted(set(train) | set(valid)):
        if name not in DOMAINS:
            faults.append(f"unknown domain {name!r}")

    for fault in faults:
        print("FAULT", fault)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
