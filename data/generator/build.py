"""Write data/train.jsonl and data/valid.jsonl from the domain generators.

    python3 data/generator/build.py

Every domain has a module with `documents(rng)`, a stream of documents.  For
each domain the builder reads the stream, keeps the documents that say
something new (measured against what it kept already), sets every fourteenth
aside for validation, and drops those of them that repeat the training text.
Nothing depends on time, on the machine or on hash order, so the files come
out the same, byte for byte, each time.
"""
from __future__ import annotations

import importlib
import json
import random
import sys
from pathlib import Path
from typing import Iterator

HERE = Path(__file__).resolve().parent
DATA = HERE.parent

DOMAINS = ["mathematics", "code", "physics", "business", "legal",
           "government", "biomedical", "logic", "creative", "general"]

TRAIN_BYTES = 185_000     # text wanted per domain in the training file
SMALLER = {"logic": 150_000}   # domains that would begin to repeat themselves
VALID_BYTES = 14_000      # and in the validation file
POOL_BYTES = 120_000      # validation candidates looked at
SHORTEST, LONGEST = 300, 3600
VALID_EVERY = 14
NOVEL = 12                # piece length for the measure of novelty
PIECE = 50                # piece length for the overlap of the two files
OVERLAP = 0.03            # share of a validation document that may be covered
MAX_DRAWS = 40_000


def pieces(data: bytes, size: int) -> list[bytes]:
    return [data[i:i + size] for i in range(len(data) - size + 1)]


def covered(data: bytes, size: int, known: set[bytes]) -> int:
    """How many bytes of `data` lie in a piece that is in `known`."""
    total = end = 0
    for i in range(len(data) - size + 1):
        if data[i:i + size] in known:
            total += i + size - max(i, end)
            end = i + size
    return total


def novel(stream: Iterator[str]) -> Iterator[str]:
    """The documents of a stream that are new enough, without duplicates.

    A document is kept when the share of its 12-byte pieces not seen before is
    among the best quarter of the documents drawn lately.
    """
    seen: set[bytes] = set()
    texts: set[str] = set()
    recent: list[float] = []
    for drawn, text in enumerate(stream):
        if drawn >= MAX_DRAWS:
            return
        text = text.strip()
        if text in texts or not SHORTEST <= len(text) <= LONGEST:
            continue
        parts = pieces(text.encode(), NOVEL)
        share = sum(part not in seen for part in parts) / len(parts)
        recent = (recent + [share])[-40:]
        if share < 0.75 and share < sorted(recent)[len(recent) * 3 // 4]:
            continue
        texts.add(text)
        seen.update(parts)
        yield text


def draw(domain: str) -> tuple[list[str], list[str]]:
    """The training documents of a domain, and candidates for validation."""
    module = importlib.import_module(domain)
    train: list[str] = []
    pool: list[str] = []
    size = pool_size = 0
    wanted = SMALLER.get(domain, TRAIN_BYTES)
    stream = novel(module.documents(random.Random(f"corpus: {domain}")))
    for index, text in enumerate(stream):
        if size >= wanted and pool_size >= POOL_BYTES:
            break
        if size >= wanted or index % VALID_EVERY == VALID_EVERY // 2:
            pool.append(text)
            pool_size += len(text.encode())
        else:
            train.append(text)
            size += len(text.encode())
    return train, pool


def repeated(pools: dict[str, list[str]], train: dict[str, list[str]]) -> set[bytes]:
    """The pieces of the candidates that also stand in any training text."""
    wanted = {part for pool in pools.values() for text in pool for part in pieces(text.encode(), PIECE)}
    known: set[bytes] = set()
    for texts in train.values():
        for text in texts:
            known.update(wanted.intersection(pieces(text.encode(), PIECE)))
    return known


def clean(pool: list[str], known: set[bytes]) -> list[str]:
    """The candidates that barely repeat any training text, up to the size wanted."""
    kept, size = [], 0
    for text in pool:
        data = text.encode()
        if size < VALID_BYTES and covered(data, PIECE, known) <= OVERLAP * len(data):
            kept.append(text)
            size += len(data)
    return kept


def interleave(texts: dict[str, list[str]]) -> list[tuple[str, str]]:
    """All documents, every domain spread evenly over the whole."""
    rows = []
    for order, (domain, items) in enumerate(texts.items()):
        for i, text in enumerate(items):
            rows.append(((i + 0.5) / len(items), order, domain, text))
    return [(domain, text) for _, _, domain, text in sorted(rows)]


def write(path: Path, rows: list[tuple[str, str]]) -> None:
    with path.open("w", encoding="utf-8", newline="\n") as out:
        for domain, text in rows:
            row = json.dumps({"domain": domain, "text": text}, ensure_ascii=False)
            out.write(row + "\n")


def main() -> None:
    sys.path.insert(0, str(HERE))
    names = [name for name in DOMAINS if (HERE / f"{name}.py").exists()]
    train: dict[str, list[str]] = {}
    pools: dict[str, list[str]] = {}
    for name in names:
        train[name], pools[name] = draw(name)
        print(f"{name}: {len(train[name])} training documents", flush=True)
    known = repeated(pools, train)
    valid = {name: clean(pools[name], known) for name in names}
    write(DATA / "train.jsonl", interleave(train))
    write(DATA / "valid.jsonl", interleave(valid))
    missing = [name for name in DOMAINS if name not in names]
    if missing:
        print("no generator yet for:", ", ".join(missing))


if __name__ == "__main__":
    main()
