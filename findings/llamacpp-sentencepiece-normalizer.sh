#!/usr/bin/env bash
# llama.cpp (build 11549, in xllamacpp 2026.10.11549): a SentencePiece vocabulary in a GGUF file loses its normalizer.
#
# Guess: `tokenizer.ggml.precompiled_charsmap` and `tokenizer.ggml.remove_extra_whitespaces` are obeyed, or refused where they
# cannot be. SentencePiece 0.2.3 trains with both unless it is told otherwise (nmt_nfkc).
# Seen (2026-11): with `tokenizer.ggml.model` "llama" (BPE) the keys change nothing. Two spaces, a space at the ends, line breaks,
# tabs, full-width letters and ligatures get ids that the model never saw in training: the line break, which SentencePiece made
# a space, is the byte <0x0A>. The vocabulary of Llama 2 was trained without normalizer, so nothing is lost there.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
venv=${FINDINGS_VENV:-$folder/venv}
[ -x "$venv/bin/pip" ] || python3 -m venv "$venv"
"$venv/bin/pip" install --quiet --no-compile --disable-pip-version-check xllamacpp==2026.10.11549 gguf==0.19.0 numpy==2.4.6 \
    sentencepiece==0.2.3 protobuf==7.36.2
cat >see.py <<'PY'
from pathlib import Path
import gguf
import numpy as np
import sentencepiece
from llama_cpp import Model
from sentencepiece import sentencepiece_model_pb2

lines = ["the cat sat on the mat", "def add(a, b): return a + b", "ABC abc fi ff 123 456", "hello world, how are you?"]
Path("corpus.txt").write_text("\n".join(lines * 40))
sentencepiece.SentencePieceTrainer.train(
    input="corpus.txt", model_prefix="trained", model_type="bpe", vocab_size=340, byte_fallback=True, minloglevel=2
)
processor = sentencepiece.SentencePieceProcessor(model_file="trained.model")
size = processor.vocab_size()


def kind(id):
    if processor.is_unknown(id):
        return gguf.TokenType.UNKNOWN
    if processor.is_control(id):
        return gguf.TokenType.CONTROL
    return gguf.TokenType.BYTE if processor.is_byte(id) else gguf.TokenType.NORMAL


# the vocabulary with what its normalizer says, and a model of zeros around it
spec = sentencepiece_model_pb2.ModelProto.FromString(Path("trained.model").read_bytes()).normalizer_spec
print(f"normalizer {spec.name}, remove_extra_whitespaces {spec.remove_extra_whitespaces}")
file = gguf.GGUFWriter("model.gguf", "llama")
file.add_tokenizer_model("llama")
file.add_token_list([processor.id_to_piece(id) for id in range(size)])
file.add_token_scores([processor.get_score(id) for id in range(size)])
file.add_token_types([kind(id) for id in range(size)])
file.add_bos_token_id(1)
file.add_eos_token_id(2)
file.add_unk_token_id(0)
file.add_add_space_prefix(spec.add_dummy_prefix)
file.add_remove_extra_whitespaces(spec.remove_extra_whitespaces)
file.add_precompiled_charsmap(spec.precompiled_charsmap)
file.add_context_length(64)
file.add_embedding_length(32)
file.add_block_count(1)
file.add_feed_forward_length(32)
file.add_head_count(2)
file.add_layer_norm_rms_eps(1e-6)
shapes = {"token_embd": (size, 32), "output_norm": 32, "blk.0.attn_norm": 32, "blk.0.ffn_norm": 32}
square = ["attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"]
for name, shape in (shapes | {f"blk.0.{it}": (32, 32) for it in square}).items():
    file.add_tensor(f"{name}.weight", np.zeros(shape, np.float32))
file.write_header_to_file()
file.write_kv_data_to_file()
file.write_tensors_to_file()
file.close()


model = Model("model.gguf")


def pieces(ids):
    return " ".join(processor.id_to_piece(id) for id in ids)


for text in ["the cat", "the  cat", " the cat ", "a\nb", "ＡＢＣ", "ﬁ"]:
    trained, served = processor.encode(text), model.ids(text)
    print(f"{text!r}: SentencePiece {pieces(trained)}, llama.cpp {pieces(served)}")
    assert (trained == served) == (text == "the cat"), "not as described"
PY
PYTHONPATH=$here "$venv/bin/python" see.py
echo "as described: llama.cpp does not normalize"
