"""llama.cpp's C functions, as the package xllamacpp carries them: ids of a text, and logits behind some tokens.

Parameters and batches are passed on as llama.cpp gives them, so that their layout does not matter.
"""

import ctypes
from pathlib import Path

import numpy as np
import xllamacpp


class Opaque(ctypes.Structure):
    _fields_ = [("bytes", ctypes.c_byte * 512)]


@ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)
def silent(*_):
    pass


library = ctypes.CDLL(str(next(Path(xllamacpp.__file__).parent.glob("*.so"))))
pointer = ctypes.c_void_p
for name, kind in {
    "llama_model_default_params": Opaque,
    "llama_model_load_from_file": pointer,
    "llama_model_get_vocab": pointer,
    "llama_context_default_params": Opaque,
    "llama_init_from_model": pointer,
    "llama_batch_get_one": Opaque,
    "llama_get_logits_ith": ctypes.POINTER(ctypes.c_float),
}.items():
    getattr(library, name).restype = kind
library.llama_log_set(silent, None)


class Model:
    def __init__(self, path: str):
        self.model = pointer(library.llama_model_load_from_file(path.encode(), library.llama_model_default_params()))
        assert self.model, f"llama.cpp does not load {path}"

    def ids(self, text: str) -> list[int]:
        """Ids of a text without what is put around it; special tokens in it are text."""
        text = text.encode()
        ids = (ctypes.c_int32 * (len(text) + 8))()
        vocabulary = pointer(library.llama_model_get_vocab(self.model))
        return ids[: library.llama_tokenize(vocabulary, text, len(text), ids, len(ids), False, False)]

    def logits(self, ids, vocabulary: int) -> np.ndarray:
        """What follows at most 512 tokens."""
        ids = np.array(ids, np.int32)
        context = pointer(library.llama_init_from_model(self.model, library.llama_context_default_params()))
        batch = library.llama_batch_get_one(pointer(ids.ctypes.data), len(ids))
        assert library.llama_decode(context, batch) == 0, "llama.cpp does not decode"
        return np.ctypeslib.as_array(library.llama_get_logits_ith(context, -1), (vocabulary,)).copy()
