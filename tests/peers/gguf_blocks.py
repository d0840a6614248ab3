"""Makes tests/fixtures/gguf_blocks: a file with a tensor of every element type that is read, and the numbers in it.

gguf_blocks.py [--check]

Blocks are random bytes with scales that are finite numbers, written by the package `gguf` 0.19; `expected.json` has
the SHA-256 of the little-endian f32 numbers to which the same package dequantizes each tensor, and its first four.
With --check the fixture is compared with what would be written.
"""

import hashlib
import json
import sys
import tempfile
from pathlib import Path

import gguf
import numpy as np
from gguf import GGMLQuantizationType as Type

FOLDER = Path(__file__).parents[1] / "fixtures" / "gguf_blocks"
ROWS, BLOCKS = 2, 3

# Where the f16 numbers of a block stand. MXFP4 has the exponent of a power of two in byte 0.
HALVES = {
    Type.Q4_0: [0],
    Type.Q4_1: [0, 2],
    Type.Q5_0: [0],
    Type.Q5_1: [0, 2],
    Type.Q8_0: [0],
    Type.Q2_K: [80, 82],
    Type.Q3_K: [108],
    Type.Q4_K: [0, 2],
    Type.Q5_K: [0, 2],
    Type.Q6_K: [208],
    Type.IQ4_NL: [0],
    Type.IQ4_XS: [0],
}
PLAIN = {Type.F32: "<f4", Type.F16: "<f2"}


def rows(kind: Type, random: np.random.Generator) -> np.ndarray:
    """The bytes of a tensor."""
    values, size = gguf.GGML_QUANT_SIZES[kind]
    if values == 1:
        numbers = random.normal(0, 0.1, (ROWS, 32 * BLOCKS)).astype(np.float32)
        return gguf.quants.quantize(numbers, kind).view(np.uint8)
    blocks = random.integers(0, 256, (ROWS, BLOCKS, size), dtype=np.uint8)
    for at in HALVES.get(kind, []):
        scales = random.normal(0, 0.05, (ROWS, BLOCKS, 1)).astype("<f2")
        blocks[..., at : at + 2] = scales.view(np.uint8)
    if kind == Type.MXFP4:
        # the two subnormal powers, and usual ones
        powers = random.integers(110, 140, (ROWS, BLOCKS))
        powers[0, :2] = [0, 1]
        blocks[..., 0] = powers
    return blocks.reshape(ROWS, BLOCKS * size)


def write(folder: Path) -> None:
    random = np.random.default_rng(0)
    writer = gguf.GGUFWriter(folder / "blocks.gguf", "llama")
    expected = {}
    for kind in [*PLAIN, Type.BF16, *HALVES, Type.MXFP4]:
        data = rows(kind, random)
        numbers = gguf.quants.dequantize(data, kind).astype("<f4")
        expected[kind.name] = {
            "sha256": hashlib.sha256(numbers.tobytes()).hexdigest(),
            "first": [float(number) for number in numbers.ravel()[:4]],
        }
        writer.add_tensor(kind.name, data.view(PLAIN.get(kind, np.uint8)), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    (folder / "expected.json").write_text(json.dumps(expected, indent=1) + "\n")


def main() -> None:
    if "--check" not in sys.argv:
        FOLDER.mkdir(exist_ok=True)
        write(FOLDER)
        return
    with tempfile.TemporaryDirectory() as made:
        write(Path(made))
        for name in ["blocks.gguf", "expected.json"]:
            same = (Path(made) / name).read_bytes() == (FOLDER / name).read_bytes()
            print(f"{name}: {'as written' if same else 'DIFFERS'}")
            if not same:
                sys.exit(1)


if __name__ == "__main__":
    main()
