"""llama.cpp's own code, as the package `xllamacpp` carries it: its tokenizer, its models, and its quantizer of rows.

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
    """`llama_model_params` or `llama_context_params`, or more bytes than these have."""

    _fields_ = [("bytes", ctypes.c_byte * 512)]


class Batch(ctypes.Structure):
    """`llama_batch`."""

    _fields_ = [("tokens", ctypes.c_int32)] + [(name, ctypes.c_void_p) for name in "abcdef"]


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
    lib.llama_vocab_n_tokens.argtypes = [pointer]
    lib.llama_context_default_params.restype = Params
    lib.llama_init_from_model.argtypes = [pointer, Params]
    lib.llama_init_from_model.restype = pointer
    lib.llama_batch_get_one.argtypes = [pointer, number]
    lib.llama_batch_get_one.restype = Batch
    lib.llama_decode.argtypes = [pointer, Batch]
    lib.llama_get_logits_ith.argtypes = [pointer, number]
    lib.llama_get_logits_ith.restype = ctypes.POINTER(ctypes.c_float)
    lib.llama_free.argtypes = [pointer]
    lib.llama_model_free.argtypes = [pointer]
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


def opened(path: Path) -> int:
    """The model of a GGUF file."""
    lib = library()
    with quiet():
        model = lib.llama_model_load_from_file(str(path).encode(), lib.llama_model_default_params())
    if not model:
        raise ValueError(f"llama.cpp does not load {path}")
    return model


def logits(path: Path, ids: list[int]) -> np.ndarray:
    """Logits after each of the ids, which are read one by one. The cache is llama.cpp's default, in f16."""
    lib, model = library(), opened(path)
    with quiet():
        context = lib.llama_init_from_model(model, lib.llama_context_default_params())
    if not context:
        raise ValueError(f"llama.cpp does not run {path}")
    count = lib.llama_vocab_n_tokens(lib.llama_model_get_vocab(model))
    rows = []
    for id in ids:
        token = (ctypes.c_int32 * 1)(id)
        if failure := lib.llama_decode(context, lib.llama_batch_get_one(token, 1)):
            raise ValueError(f"llama.cpp fails with {failure} after {len(rows)} tokens of {path}")
        rows.append(np.ctypeslib.as_array(lib.llama_get_logits_ith(context, -1), (count,)).copy())
    with quiet():
        lib.llama_free(context)
        lib.llama_model_free(model)
    return np.stack(rows)


class Vocabulary:
    """The tokenizer of a GGUF file."""

    def __init__(self, path: Path):
        self.lib = library()
        self.vocab = self.lib.llama_model_get_vocab(opened(path))

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
