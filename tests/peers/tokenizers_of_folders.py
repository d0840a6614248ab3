"""The ids of a tokenizer folder: this program and transformers' AutoTokenizer read the same.

The folders are made here, each with a trait that published ones have: the class that is named, tokens that
only tokenizer_config.json lists, what the post-processor puts around a text. Compared are the ids of texts,
with and without what stands around them, the text of ids, and the same after export as a Hugging Face folder
and, where the format has such tokenizers, as GGUF.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

os.environ["TRANSFORMERS_VERBOSITY"] = "error"

import numpy as np
from safetensors.numpy import save_file
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import AutoTokenizer

DARKHORSE = os.environ["DARKHORSE"]
WORK = Path(os.environ.get("PEERS_WORK", "target/peers")) / "tokenizers"

CORPUS = [
    "the lamp is on the table and the cat is in the hat",
    "a small lamp, the second of 1234 été 😀 one",
    "don't you see it? we'll go  there",
] * 20
TEXTS = [
    "the lamp is on",
    " the lamp  is   on ",
    "The été of 1234 😀, don't you?\n\n\tif x:\n    y",
    "",
    "日本語 <tool> the",
    "a <tool>  the<tool>",
]


def byte_level(digits=False):
    tokenizer = Tokenizer(models.BPE())
    bytes_ = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.pre_tokenizer = bytes_
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=360,
        special_tokens=["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    if digits:
        # it has learned 1234, but is not to use it
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), bytes_])
    return tokenizer


def sentence_piece(prefix=("<s>",)):
    """BPE in the style of SentencePiece: `▁` for spaces, bytes for what is unknown."""
    tokenizer = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    special = ["<unk>", "<s>", "</s>"]
    byte_tokens = [f"<0x{byte:02X}>" for byte in range(256)]
    trainer = trainers.BpeTrainer(vocab_size=400, special_tokens=special + byte_tokens, show_progress=False)
    tokenizer.train_from_iterator(CORPUS, trainer)
    made = json.loads(tokenizer.to_str())
    made["added_tokens"] = [token for token in made["added_tokens"] if token["content"] in special]
    made["pre_tokenizer"] = None
    made["normalizer"] = {
        "type": "Sequence",
        "normalizers": [
            {"type": "Prepend", "prepend": "▁"},
            {"type": "Replace", "pattern": {"String": " "}, "content": "▁"},
        ],
    }
    tokenizer = Tokenizer.from_str(json.dumps(made))
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    return around(tokenizer, prefix)


def metaspace():
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    trainer = trainers.BpeTrainer(vocab_size=200, special_tokens=["<unk>", "</s>"], show_progress=False)
    tokenizer.train_from_iterator(CORPUS, trainer)
    return tokenizer


def unigram():
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    special = ["<unk>", "<s>", "</s>"]
    trainer = trainers.UnigramTrainer(vocab_size=120, special_tokens=special, unk_token="<unk>", show_progress=False)
    tokenizer.train_from_iterator(CORPUS, trainer)
    return tokenizer


def word_piece():
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    trainer = trainers.WordPieceTrainer(vocab_size=160, special_tokens=special, show_progress=False)
    tokenizer.train_from_iterator(CORPUS, trainer)
    return tokenizer


def around(tokenizer, before=(), after=()):
    """Puts special tokens before and behind every text."""
    tokenizer.add_special_tokens([*before, *after])
    template = processors.TemplateProcessing(
        single=[*before, "$A", *after],
        pair=[*before, "$A", *after, "$B"],
        special_tokens=[(token, tokenizer.token_to_id(token)) for token in [*before, *after]],
    )
    # a file in which this word stands is never taken for one of LlamaTokenizer
    is_byte_level = "ByteLevel" in tokenizer.to_str()
    stages = [processors.ByteLevel(trim_offsets=False), template]
    tokenizer.post_processor = processors.Sequence(stages) if is_byte_level else template
    return tokenizer


FAST = "PreTrainedTokenizerFast"
LISTED = {
    "400": {"content": "<tool>", "special": False, "normalized": False, "lstrip": True, "rstrip": True},
    "399": {"content": "<|first|>", "special": True},
    "0": {"content": "<|endoftext|>", "special": True},
}


def folders():
    """Name, tokenizer.json, tokenizer_config.json, type of the model, further files."""
    yield "plain", byte_level(), {"tokenizer_class": FAST, "eos_token": "<|im_end|>"}, "llama", {}
    yield "no_config", byte_level(), None, "llama", {}
    for flag in (True, False):
        config = {"tokenizer_class": FAST, "bos_token": "<|im_start|>", "add_bos_token": flag, "add_eos_token": flag}
        yield f"add_bos_{flag}", byte_level(), config, "llama", {}
    yield "prefix", around(byte_level(), ["[gMASK]", "<sop>"]), {"tokenizer_class": FAST}, "llama", {}
    bos = {"tokenizer_class": FAST, "bos_token": "<|im_start|>", "add_bos_token": False}
    yield "bos", around(byte_level(), ["<|im_start|>"]), bos, "llama", {}
    both = {"tokenizer_class": FAST, "bos_token": "<|im_start|>", "eos_token": "<|im_end|>"}
    yield "bos_and_eos", around(byte_level(), ["<|im_start|>"], ["<|im_end|>"]), both, "llama", {}
    yield "digits", byte_level(digits=True), {"tokenizer_class": FAST, "eos_token": "<|im_end|>"}, "llama", {}

    # classes that build a pipeline of their own
    yield "gpt2", byte_level(digits=True), {"tokenizer_class": "GPT2Tokenizer"}, "llama", {}
    spaced = {"tokenizer_class": "GPT2Tokenizer", "add_prefix_space": True}
    yield "gpt2_prefix_space", byte_level(), spaced, "llama", {}
    yield "fast_prefix_space", byte_level(), {"tokenizer_class": FAST, "add_prefix_space": True}, "llama", {}
    neox = {"tokenizer_class": "GPTNeoXTokenizerFast", "bos_token": "<|endoftext|>"}
    yield "neox", around(byte_level(), ["<|endoftext|>"]), neox, "llama", {}
    yield "qwen2", byte_level(), {"tokenizer_class": "Qwen2Tokenizer"}, "llama", {}
    yield "qwen3_next_without_a_class", byte_level(), {"eos_token": "<|im_end|>"}, "qwen3_next", {}
    yield "cohere", byte_level(), {"tokenizer_class": "CohereTokenizerFast"}, "llama", {}
    yield "llama3_style", byte_level(digits=True), {"tokenizer_class": "LlamaTokenizer"}, "llama", {}
    llama = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    for name, more, model in [
        (FAST, {}, "llama"),
        ("LlamaTokenizer", {}, "llama"),
        ("LlamaTokenizerFast", {"legacy": True}, "deepseek_v3"),
        ("LlamaTokenizer", {"add_prefix_space": False}, "llama"),
        ("LlamaTokenizer", {}, "mixtral"),
        ("CodeLlamaTokenizer", {}, "llama"),
        ("GemmaTokenizer", {}, "llama"),
    ]:
        config = {"tokenizer_class": name, **llama, **more}
        yield f"{name}_{model}_{'_'.join(more)}", sentence_piece(), config, model, {}

    yield "metaspace", metaspace(), {"tokenizer_class": FAST, "eos_token": "</s>"}, "llama", {}
    yield "unigram", unigram(), {"tokenizer_class": FAST, "eos_token": "</s>"}, "llama", {}
    yield "unigram_as_llama", unigram(), {"tokenizer_class": "LlamaTokenizer", **llama}, "llama", {}
    yield "word_piece", word_piece(), {"tokenizer_class": FAST, "unk_token": "[UNK]"}, "llama", {}
    yield "bert", word_piece(), {"tokenizer_class": "BertTokenizer", "do_lower_case": True}, "llama", {}

    # tokens that tokenizer.json lacks
    listed = {"tokenizer_class": FAST, "eos_token": "<|im_end|>", "added_tokens_decoder": LISTED}
    yield "listed", byte_level(), listed, "llama", {}
    yield "listed_gpt2", byte_level(), {**listed, "tokenizer_class": "GPT2Tokenizer"}, "llama", {}
    flags = byte_level()
    flags.add_tokens([AddedToken("<tool>", normalized=False)])
    yield "other_flags", flags, listed, "llama", {}
    outside = {"tokenizer_class": FAST, "eos_token": "</s>", "additional_special_tokens": ["<|more|>"]}
    yield "eos_outside", byte_level(), outside, "llama", {}
    in_vocabulary = sentence_piece(())
    made = json.loads(in_vocabulary.to_str())
    made["added_tokens"] = []
    named = {"tokenizer_class": FAST, "eos_token": "</s>", "bos_token": "<s>"}
    yield "eos_in_the_vocabulary_alone", Tokenizer.from_str(json.dumps(made)), named, "llama", {}
    older = {
        "special_tokens_map": {"eos_token": {"content": "<e>", "lstrip": True, "rstrip": False}},
        "added_tokens": {"<tool>": 400},
    }
    yield "older_files", byte_level(), {"tokenizer_class": FAST}, "llama", older


def write(folder, tokenizer, config, model_type, files):
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    if config is not None:
        files = {**files, "tokenizer_config": config}
    for name, content in files.items():
        (folder / f"{name}.json").write_text(json.dumps(content))
    (folder / "config.json").write_text(json.dumps({"model_type": model_type}))


def model_beside(folder, size):
    """A model of the folder's tokenizer: a dense one of one layer, which any folder may be given."""
    width = 8
    config = {
        "model_type": "llama",
        "architectures": ["LlamaForCausalLM"],
        "vocab_size": size,
        "hidden_size": width,
        "intermediate_size": width,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "hidden_act": "silu",
        "max_position_embeddings": 64,
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "tie_word_embeddings": True,
        "bos_token_id": None,
        "eos_token_id": 0,
    }
    (folder / "config.json").write_text(json.dumps(config))
    layer = "model.layers.0."
    shapes = {
        "model.embed_tokens.weight": (size, width),
        "model.norm.weight": (width,),
        f"{layer}input_layernorm.weight": (width,),
        f"{layer}post_attention_layernorm.weight": (width,),
        f"{layer}self_attn.q_proj.weight": (width, width),
        f"{layer}self_attn.k_proj.weight": (width // 2, width),
        f"{layer}self_attn.v_proj.weight": (width // 2, width),
        f"{layer}self_attn.o_proj.weight": (width, width),
        **{f"{layer}mlp.{name}_proj.weight": (width, width) for name in ("gate", "up", "down")},
    }
    weights = {name: np.full(shape, 0.01, np.float32) for name, shape in shapes.items()}
    save_file(weights, folder / "model.safetensors")


def darkhorse(*arguments, text=None):
    done = subprocess.run([DARKHORSE, *map(str, arguments)], capture_output=True, text=True, input=text)
    if done.returncode:
        raise SystemExit(f"{' '.join(map(str, arguments))}: {done.stderr}")
    return done.stdout


def ids_of(*arguments):
    texts = [argument for text in TEXTS for argument in ("--text", text)]
    lines = darkhorse("tokenize", *arguments, *texts).split("\n")[: len(TEXTS)]
    return [[int(id) for id in line.split(",") if id] for line in lines]


def differences(reference, source):
    """What this program reads otherwise in `source` than transformers in its folder."""
    found = []
    for name, options in [("ids", {}), ("bare ids", {"add_special_tokens": False})]:
        ours = ids_of(*source, *(["--bare"] if options else []))
        for text, mine in zip(TEXTS, ours):
            theirs = reference(text, **options)["input_ids"]
            if mine != theirs:
                found.append(f"{name} of {text!r}: {mine}, transformers has {theirs}")
    for text in TEXTS[:4]:
        ids = reference(text)["input_ids"]
        if not ids:
            continue
        mine = darkhorse("tokenize", *source, "--decode", ",".join(map(str, ids)))
        theirs = reference.decode(ids, skip_special_tokens=True)
        if mine != theirs + "\n":
            found.append(f"text of {ids}: {mine!r}, transformers has {theirs!r}")
    return found


def main():
    failed = 0
    done = 0
    for name, tokenizer, config, model_type, files in folders():
        folder = WORK / name
        write(folder, tokenizer, config, model_type, files)
        reference = AutoTokenizer.from_pretrained(folder)
        found = differences(reference, ["--tokenizer", folder])
        if model_type == "llama":
            # what the folder is to transformers after export
            model_beside(folder, len(reference))
            exported = WORK / f"{name}-exported"
            shutil.rmtree(exported, ignore_errors=True)
            darkhorse("export", "--model", folder, "--format", "hf", "--out", exported)
            again = AutoTokenizer.from_pretrained(exported)
            for text in TEXTS:
                mine, theirs = again(text)["input_ids"], reference(text)["input_ids"]
                if mine != theirs:
                    found.append(f"exported: ids of {text!r}: {mine}, the source has {theirs}")
            for key in ("bos_token", "eos_token"):
                mine, theirs = getattr(again, key), getattr(reference, key)
                if theirs is not None and mine != theirs:
                    found.append(f"exported: {key} is {mine!r}, the source's {theirs!r}")
            if name in ("plain", "bos", "bos_and_eos", "digits", "add_bos_True", "gpt2", "qwen2"):
                gguf = WORK / f"{name}.gguf"
                darkhorse("export", "--model", folder, "--format", "gguf", "--out", gguf)
                found += [f"GGUF: {line}" for line in differences(reference, ["--model", gguf])]
        done += 1
        for line in found:
            print(f"{name}: {line}")
        failed += bool(found)
    print(f"{done - failed} of {done} folders are read as by transformers")
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
