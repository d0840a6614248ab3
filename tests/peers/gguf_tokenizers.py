"""The ids of tokenizers in GGUF files: this program, the published tokenizer and llama.cpp read the same.

gguf_tokenizers.py [--write]

For every pre-tokenizer that is known here, a file whose vocabulary was trained across words, so that ids tell where
a text was split; and one with a SentencePiece vocabulary. The published tokenizers are written down below from their
`tokenizer.json` files, and computed by the `tokenizers` library or by `sentencepiece`. llama.cpp is asked if the
package `xllamacpp` is there. Compared are the ids of 2,000 varied lines.

With --write it makes `tests/fixtures/gguf_tokenizers`, which `cargo test` compares with: the vocabularies, and the
ids of some of the lines.
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import gguf
import llama_library
import numpy as np
from gguf import TokenType
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from varied_lines import lines

DARKHORSE = os.environ.get("DARKHORSE", "target/release/darkhorse-genesis")
WORK = Path(os.environ.get("PEERS_WORK", "target/peers")) / "gguf_tokenizers"
FIXTURE = Path(__file__).parents[1] / "fixtures" / "gguf_tokenizers"
COUNT, STEP = 2000, 40

BYTES = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
GPT_2 = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
DIGITS = pre_tokenizers.Digits(individual_digits=True)


def split(expression: str):
    return pre_tokenizers.Split(Regex(expression), "isolated")


WORDS = r"[^\r\n\p{L}\p{N}]?\p{L}+"
REST = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
SHORT = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|"
# Latin, Greek, Cyrillic, Armenian and other letters that have case, in Unicode 11 or so; here as in the varied lines
CASED = r"[A-Za-zµÀ-ÖØ-öø-ƺƼ-ƿǄ-ʓʕ-ʯͰ-ͳͶͷͻ-ͽͿΆΈ-ΊΌΎ-ΡΣ-ϵϷ-ҁҊ-ԯԱ-ՖႠ-ჅḀ-ἕﬀ-ﬆＡ-Ｚａ-ｚ℀-\u2101ℂℇℊ-ℓ]"
CJK = split(r"[一-龥ࠀ-一가-퟿]+")

# As `tokenizer.json` of the models has them: GPT-2, SmolLM2, Llama 3, Qwen2, DeepSeek-LLM, DeepSeek-V3.
# `default` is llama.cpp's own.
PUBLISHED = {
    "gpt-2": [GPT_2],
    "smollm": [DIGITS, GPT_2],
    "llama-bpe": [split(SHORT + WORDS + r"|\p{N}{1,3}" + REST), BYTES],
    "qwen2": [split(SHORT + WORDS + r"|\p{N}" + REST), BYTES],
    "deepseek-llm": [
        split(r"[\r\n]"),
        split(rf"\s?{CASED}+"),
        split(r"\s?[!-/:-~！-／：-～‘-‟　-。]+"),
        split(r"\s+$"),
        CJK,
        DIGITS,
        BYTES,
    ],
    "deepseek-v3": [
        split(r"\p{N}{1,3}"),
        split(r"[一-龥぀-ゟ゠-ヿ]+"),
        split(
            r"""[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+"""
            r"| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
        ),
        BYTES,
    ],
    "default": [
        split(r"[\p{P}$+<=>^~|]+"),
        split(r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"),
        split(r"\p{N}+"),
        split(r"[0-9][0-9][0-9]"),
        BYTES,
    ],
}
# For `deepseek-llm` llama.cpp leaves several digits together, of which the model's own vocabulary has no token, and takes
# an ideographic space for no punctuation, which the published expression does.
APART = re.compile(r"[\d½Ⅻ²٣-٥]{2}|\u3000")
# llama.cpp takes a word whole that is a token, as the published file asks for by `ignore_merges`.
WHOLE_WORDS = {"llama-bpe"}


def byte_level_vocabulary(texts: list[str]) -> dict:
    """Trained without any split."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = BYTES
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    trainer = trainers.BpeTrainer(
        vocab_size=1500,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        max_token_length=16,
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    model = json.loads(tokenizer.to_str())["model"]
    tokens = sorted(model["vocab"], key=model["vocab"].get)
    types = [TokenType.CONTROL if token in special else TokenType.NORMAL for token in tokens]
    return {"model": "gpt2", "tokens": tokens, "types": types, "merges": [tuple(it) for it in model["merges"]]}


def published(vocabulary: dict, pre: str) -> Tokenizer:
    model = models.BPE(
        vocab={token: id for id, token in enumerate(vocabulary["tokens"])},
        merges=vocabulary["merges"],
        ignore_merges=pre in WHOLE_WORDS,
    )
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(PUBLISHED[pre])
    return tokenizer


def sentence_piece_vocabulary(texts: list[str]):
    """A vocabulary trained by sentencepiece, with its processor; None without the package."""
    try:
        import sentencepiece
    except ImportError:
        return None
    WORK.mkdir(parents=True, exist_ok=True)
    (WORK / "corpus.txt").write_text("\n".join(text for text in texts if "\n" not in text and "\0" not in text))
    with llama_library.quiet():
        sentencepiece.SentencePieceTrainer.train(
            input=str(WORK / "corpus.txt"),
            model_prefix=str(WORK / "sp"),
            model_type="bpe",
            vocab_size=1500,
            byte_fallback=True,
            character_coverage=0.98,
            normalization_rule_name="identity",
            remove_extra_whitespaces=False,
            allow_whitespace_only_pieces=True,
            split_digits=True,
            user_defined_symbols=["<think>"],
            control_symbols=["<|im_end|>"],
        )
    processor = sentencepiece.SentencePieceProcessor(model_file=str(WORK / "sp.model"))
    tokens, scores, types = [], [], []
    for id in range(processor.vocab_size()):
        kind = TokenType.NORMAL
        if processor.is_unknown(id):
            kind = TokenType.UNKNOWN
        elif processor.is_control(id):
            kind = TokenType.CONTROL
        elif processor.is_byte(id):
            kind = TokenType.BYTE
        elif processor.id_to_piece(id) == "<think>":
            kind = TokenType.USER_DEFINED
        tokens.append(processor.id_to_piece(id))
        scores.append(processor.get_score(id))
        types.append(kind)
    return {"model": "llama", "tokens": tokens, "scores": scores, "types": types}, processor


def in_llamas_way(vocabulary: dict) -> Tokenizer:
    """The `tokenizer.json` that was published with Llama 2 and Mistral, with merges as transformers derives them."""
    from transformers.tokenization_utils_base import generate_merges

    vocab = {token: id for id, token in enumerate(vocabulary["tokens"])}
    merges = generate_merges(vocab, dict(zip(vocabulary["tokens"], vocabulary["scores"])))
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    tokenizer.add_tokens(["<think>"])
    return tokenizer


def write_keys(writer: gguf.GGUFWriter, vocabulary: dict, pre: str) -> None:
    writer.add_tokenizer_model(vocabulary["model"])
    writer.add_tokenizer_pre(pre)
    writer.add_token_list(vocabulary["tokens"])
    writer.add_token_types(vocabulary["types"])
    if "merges" in vocabulary:
        writer.add_token_merges([" ".join(merge) for merge in vocabulary["merges"]])
    if "scores" in vocabulary:
        writer.add_token_scores(vocabulary["scores"])
        writer.add_unk_token_id(0)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)


def write_model(path: Path, vocabulary: dict, pre: str) -> None:
    """A file with the tokenizer and a llama of one layer, which nobody computes with."""
    width, heads, inner, rows = 64, 2, 64, len(vocabulary["tokens"])
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_block_count(1)
    writer.add_context_length(64)
    writer.add_embedding_length(width)
    writer.add_feed_forward_length(inner)
    writer.add_head_count(heads)
    writer.add_head_count_kv(heads)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(1e4)
    writer.add_rope_dimension_count(width // heads)
    writer.add_vocab_size(rows)
    write_keys(writer, vocabulary, pre)
    shapes = {"token_embd": [rows, width], "output_norm": [width]}
    shapes |= {f"blk.0.{norm}": [width] for norm in ["attn_norm", "ffn_norm"]}
    shapes |= {f"blk.0.attn_{name}": [width, width] for name in ["q", "k", "v", "output"]}
    shapes |= {f"blk.0.ffn_{name}": [width, width] for name in ["gate", "up", "down"]}
    for name, shape in shapes.items():
        writer.add_tensor(f"{name}.weight", np.ones(shape, dtype=np.float32))
    finish(writer)


def finish(writer: gguf.GGUFWriter) -> None:
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def ours(path: Path, texts: list[str]) -> list[list[int]]:
    arguments = [part for text in texts for part in ("--text", text)]
    command = [DARKHORSE, "tokenize", "--model", str(path), "--bare", *arguments]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"tokenize of {path} ended with {done.returncode}:\n{done.stderr}")
    rows = done.stdout.split("\n")[: len(texts)]
    return [[int(id) for id in row.split(",") if id] for row in rows]


def compare(name: str, texts: list[str], found: list, expected: list, by: str) -> bool:
    wrong = [at for at, pair in enumerate(zip(found, expected)) if pair[0] != pair[1]]
    print(f"{name:15} {len(texts) - len(wrong):5} of {len(texts)} lines as {by}")
    for at in wrong[:3]:
        print(f"    {texts[at]!r}\n    {found[at]}\n    {expected[at]}")
    return not wrong and len(found) == len(expected)


def main() -> None:
    texts = lines(COUNT, 0)
    WORK.mkdir(parents=True, exist_ok=True)
    byte_level = byte_level_vocabulary(texts)
    cases = [(pre, byte_level, published(byte_level, pre).encode, "the published tokenizer") for pre in PUBLISHED]
    trained = sentence_piece_vocabulary(texts)
    if trained:
        vocabulary, processor = trained
        cases.append(("llama", vocabulary, in_llamas_way(vocabulary).encode, "Llama's tokenizer.json"))
        cases.append(("llama", vocabulary, processor.encode, "sentencepiece"))
    else:
        print("skipped: no sentencepiece")
    if not llama_library.available():
        print("skipped: no llama.cpp (the package xllamacpp)")
    right, expected = True, {}
    for name, vocabulary, encode, by in cases:
        path = WORK / f"{name}.gguf"
        write_model(path, vocabulary, "default" if name == "llama" else name)
        found = ours(path, texts)
        theirs = [encode(text) for text in texts]
        theirs = [row if isinstance(row, list) else row.ids for row in theirs]
        right &= compare(name, texts, found, theirs, by)
        if llama_library.available():
            llama = llama_library.Vocabulary(path)
            pairs = [(text, row) for text, row in zip(texts, found) if name != "deepseek-llm" or not APART.search(text)]
            rows = [row for _, row in pairs]
            right &= compare(name, [it for it, _ in pairs], rows, [llama.ids(it) for it, _ in pairs], "llama.cpp")
        expected[name] = theirs[::STEP]
    if "--write" in sys.argv:
        FIXTURE.mkdir(exist_ok=True)
        for name, vocabulary in [("byte_level", byte_level), ("sentence_piece", trained[0])]:
            writer = gguf.GGUFWriter(FIXTURE / f"{name}.gguf", "llama")
            write_keys(writer, vocabulary, "default")
            finish(writer)
        text = json.dumps({"lines": texts[::STEP], "ids": expected}, ensure_ascii=False, separators=(",", ":"))
        (FIXTURE / "expected.json").write_text(text.replace(']],"', ']],\n"').replace('],"ids"', '],\n"ids"') + "\n")
    sys.exit(not right)


if __name__ == "__main__":
    main()
