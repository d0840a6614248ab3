"""llama.cpp's own code, as the package `xllamacpp` carries it: its tokenizer, and its quantizer of rows.

`available()` says whether the package is there. Nothing is built, and nothing but C functions of `llama.h` and `ggml.h`
is called: parameters are passed on as llama.cpp gives them, so that their layout does not matter.
"""

import ctypes
import os
import sys
from contextlib import contextmanager
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np


class Params(ctypes.Structure):
    """`llama_model_params`, or more bytes than it has."""

    _fields_ = [("bytes", ctypes.c_byte * 512)]


@cache
def library() -> ctypes.CDLL | None:
    found = find_spec("xllamacpp")
    files = [] if found is None else list(Path(found.origin).parent.glob("*.so"))
    if not files:
        return None
    lib = ctypes.CDLL(str(files[0]))
    lib.llama_model_default_params.restype = Params
    lib.llama_model_load_from_file.argtypes = [ctypes.c_char_p, Params]
    lib.llama_model_load_from_file.restype = ctypes.c_void_p
    lib.llama_model_get_vocab.argtypes = [ctypes.c_void_p]
    lib.llama_model_get_vocab.restype = ctypes.c_void_p
    pointer, flag, number = ctypes.c_void_p, ctypes.c_bool, ctypes.c_int32
    lib.llama_tokenize.argtypes = [pointer, ctypes.c_char_p, number, pointer, number, flag, flag]
    long = ctypes.c_int64
    lib.ggml_quantize_chunk.argtypes = [ctypes.c_int, pointer, pointer, long, long, long, pointer]
    lib.ggml_quantize_chunk.restype = ctypes.c_size_t
    lib.llama_backend_init()
    return lib


def available() -> bool:
    return library() is not None


@contextmanager
def quiet():
    """llama.cpp says on the standard error output what it does."""
    sys.stderr.flush()
    kept, null = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(null)


class Vocabulary:
    """The tokenizer of a GGUF file."""

    def __init__(self, path: Path):
        self.lib = library()
        with quiet():
            model = self.lib.llama_model_load_from_file(str(path).encode(), self.lib.llama_model_default_params())
        if not model:
            raise ValueError(f"llama.cpp does not load {path}")
        self.vocab = self.lib.llama_model_get_vocab(model)

    def ids(self, text: str, around: bool = False) -> list[int]:
        """Ids of a text; special tokens in it are text. With `around` also what is put around every text."""
        data = text.encode()
        room = len(data) + 8
        tokens = (ctypes.c_int32 * room)()
        count = self.lib.llama_tokenize(self.vocab, data, len(data), tokens, room, around, False)
        if count < 0:
            raise ValueError(f"llama.cpp has no room for {text!r}")
        return tokens[:count]


def quantize(rows: np.ndarray, kind) -> np.ndarray:
    """The bytes of rows of f32 as blocks of a `GGMLQuantizationType`."""
    from gguf import GGML_QUANT_SIZES

    values, size = GGML_QUANT_SIZES[kind]
    rows = np.ascontiguousarray(rows, dtype=np.float32)
    count, length = rows.shape
    out = np.zeros((count, length // values * size), dtype=np.uint8)
    written = library().ggml_quantize_chunk(int(kind), rows.ctypes.data, out.ctypes.data, 0, count, length, None)
    if written != out.nbytes:
        raise ValueError(f"llama.cpp wrote {written} bytes of {kind.name}, expected {out.nbytes}")
    return out
