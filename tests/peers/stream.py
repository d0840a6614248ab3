"""The batches that a run trains on, made a second time from the text, the tokenizer and the seed.

An implementation of its own of `src/data/{stream,mix,shuffle,packing}.rs` for runs without mix weights, dropped
tags and domain tokens: `same_training.py` finds its losses equal only if it gives the same batches.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from tokenizers import Tokenizer

DOMAINS = "mathematics code physics business legal government biomedical logic creative general".split()
MASK = (1 << 64) - 1
GOLDEN = 0x9E37_79B9_7F4A_7C15
IGNORED = -100


def mix(x: int) -> int:
    """SplitMix64's finalizer."""
    x = (x ^ x >> 30) * 0xBF58_476D_1CE4_E5B9 & MASK
    x = (x ^ x >> 27) * 0x94D0_49BB_1331_11EB & MASK
    return x ^ x >> 31


def draw(seed: int, *place: int) -> int:
    """64 random bits for a place named by numbers."""
    state = mix(seed ^ GOLDEN)
    for part in place:
        state = mix((state + GOLDEN & MASK) ^ mix(part))
    return state


def permuted(place: int, count: int, seed: int, stream: int, epoch: int) -> int:
    """Which of `count` things is at `place`: a Feistel network of six rounds with cycle walking."""
    half = max(((count - 1).bit_length() + 1) // 2, 1)
    mask = (1 << half) - 1
    keys = [draw(seed, stream, epoch, step) for step in range(6)]
    while True:
        left, right = place >> half, place & mask
        for key in keys:
            left, right = right, left ^ (mix(right ^ key) & mask)
        place = left << half | right
        if place < count:
            return place


def documents(data: Path, tokenizer: Path, bos: int, eos: int) -> list[list[list[int]]]:
    """Token ids of every document, by domain, as they go into rows."""
    encoder = Tokenizer.from_file(str(tokenizer))
    encoder.no_padding()
    encoder.no_truncation()
    encoder.encode_special_tokens = True
    lines = [json.loads(line) for line in data.read_text("utf-8").split("\n") if line.strip()]
    encoded = encoder.encode_batch([line["text"] for line in lines], add_special_tokens=False)
    by_domain: list[list[list[int]]] = [[] for _ in DOMAINS]
    for line, encoding in zip(lines, encoded):
        domain = DOMAINS.index(line.get("domain", "general"))
        by_domain[domain].append([bos, *encoding.ids, eos])
    return [pool for pool in by_domain if pool]


def in_order(pools: list[list[list[int]]], seed: int) -> Iterator[list[int]]:
    """The documents without end: next is one of the domain furthest behind its share of the tokens."""
    sizes = [sum(map(len, pool)) for pool in pools]
    shares = [size / sum(sizes) for size in sizes]
    begun, tokens = [0] * len(pools), [0] * len(pools)
    while True:
        index = min(range(len(pools)), key=lambda pool: tokens[pool] / shares[pool])
        pool = pools[index]
        epoch, place = divmod(begun[index], len(pool))
        document = pool[permuted(place, len(pool), seed, index, epoch)]
        begun[index] += 1
        tokens[index] += len(document)
        yield document


@dataclass
class Rows:
    """Packed rows, all `[rows, seq_len]`: ids, number of the document in its row, position in the document."""

    ids: torch.Tensor
    segments: torch.Tensor
    positions: torch.Tensor

    def mask(self) -> torch.Tensor:
        """Additive attention mask `[rows, 1, seq_len, seq_len]`: causal, and never across documents."""
        same = self.segments[:, :, None] == self.segments[:, None, :]
        seen = (same & torch.ones_like(same[0]).tril())[:, None]
        return torch.zeros(seen.shape).masked_fill(~seen, torch.finfo(torch.float32).min)

    def targets(self) -> torch.Tensor:
        """The next token, or `IGNORED` at the end of a document or of its part in this row."""
        targets = torch.full_like(self.ids, IGNORED)
        same = self.segments[:, 1:] == self.segments[:, :-1]
        targets[:, :-1] = torch.where(same, self.ids[:, 1:], IGNORED)
        return targets


def packed(ordered: Iterator[list[int]], rows: int, seq_len: int) -> Iterator[Rows]:
    """Packs documents side by side. One that does not fit goes on in the next row, from its last token."""
    document, offset = next(ordered), 0
    while True:
        parts: list[list[list[int]]] = []
        for _ in range(rows):
            ids, segments, positions = [], [], []
            segment = 0
            while len(ids) < seq_len:
                part = document[offset : offset + seq_len - len(ids)]
                ids += part
                segments += [segment] * len(part)
                positions += range(len(part))
                segment += 1
                offset += len(part)
                if offset == len(document):
                    document, offset = next(ordered), 0
                else:
                    offset -= 1
            parts.append([ids, segments, positions])
        yield Rows(*(torch.tensor(column) for column in zip(*parts)))


def batches(data: Path, tokenizer: Path, bos: int, eos: int, rows: int, seq_len: int, seed: int) -> Iterator[Rows]:
    """The rows of every optimizer step, all micro-batches together."""
    return packed(in_order(documents(data, tokenizer, bos, eos), seed), rows, seq_len)
