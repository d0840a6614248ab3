"""SmolLM2-135M-Instruct from its published GGUF: this program against the gguf package, tokenizers and transformers.

smollm2.py, with DARKHORSE and REAL_MODELS in the environment, as benches/real_models/run sets them. The bars stand in
README.md beside this file.
"""

import os
import subprocess
import sys
from pathlib import Path

os.environ["TRANSFORMERS_VERBOSITY"] = "error"

import gguf
import llama_library
import numpy as np
import torch
from safetensors.numpy import load_file, save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import DynamicCache, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
from varied_lines import lines

DARKHORSE = os.environ["DARKHORSE"]
FOLDER = Path(os.environ["REAL_MODELS"])
MODEL = FOLDER / "SmolLM2-135M-Instruct.Q4_1.gguf"
PROMPTS = [
    "The capital of France is",
    "def fibonacci(n):\n    ",
    "Water boils at 100 degrees because",
    "Once upon a time, in a village by the sea,",
    "Ein Apfel ist eine Frucht. Eine Karotte ist",
]
TURNS = ["What is the capital of Italy?", "Name three things to see there.", "Which of these is the oldest?"]
TOKENS, ANSWER, LOGITS, MEMORY = 64, 96, 2e-3, 1.3
BARS: list[tuple[str, bool]] = []


def bar(what: str, met: bool) -> None:
    BARS.append((what, met))
    print(f"{'ok    ' if met else 'MISSED'}  {what}", flush=True)


def darkhorse(*args: object, text: str = "") -> str:
    command = [DARKHORSE, *map(str, args)]
    done = subprocess.run(command, input=text, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(command)[:300]}\nended with {done.returncode}:\n{done.stdout}{done.stderr}")
    return done.stdout


class File:
    """What the gguf package reads."""

    def __init__(self, path: Path):
        self.reader = gguf.GGUFReader(path)

    def value(self, key: str):
        return self.reader.fields[key].contents()

    def weights(self) -> dict[str, np.ndarray]:
        """Under the names of transformers, in its order of rows."""
        parts = {
            "attn_norm": "input_layernorm",
            "ffn_norm": "post_attention_layernorm",
            "attn_q": "self_attn.q_proj",
            "attn_k": "self_attn.k_proj",
            "attn_v": "self_attn.v_proj",
            "attn_output": "self_attn.o_proj",
            "ffn_gate": "mlp.gate_proj",
            "ffn_up": "mlp.up_proj",
            "ffn_down": "mlp.down_proj",
            "token_embd": "model.embed_tokens",
            "output_norm": "model.norm",
        }
        heads = {
            "attn_q": self.value("llama.attention.head_count"),
            "attn_k": self.value("llama.attention.head_count_kv"),
        }
        found = {}
        for tensor in self.reader.tensors:
            values = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
            *layer, part, _ = tensor.name.split(".")
            if part in heads:
                # llama.cpp rotates neighbours, transformers the two halves of a head
                rows, width = values.shape
                values = values.reshape(heads[part], -1, 2, width).swapaxes(1, 2).reshape(rows, width)
            before = f"model.layers.{layer[1]}." if layer else ""
            found[f"{before}{parts[part]}.weight"] = np.array(values, dtype=np.float32, order="C")
        return found

    def model(self, weights: dict[str, np.ndarray]) -> LlamaForCausalLM:
        config = LlamaConfig(
            vocab_size=self.value("llama.vocab_size"),
            hidden_size=self.value("llama.embedding_length"),
            intermediate_size=self.value("llama.feed_forward_length"),
            num_hidden_layers=self.value("llama.block_count"),
            num_attention_heads=self.value("llama.attention.head_count"),
            num_key_value_heads=self.value("llama.attention.head_count_kv"),
            max_position_embeddings=self.value("llama.context_length"),
            rms_norm_eps=round(self.value("llama.attention.layer_norm_rms_epsilon"), 12),
            rope_parameters={"rope_type": "default", "rope_theta": self.value("llama.rope.freq_base")},
            tie_word_embeddings=True,
            bos_token_id=1,
            eos_token_id=2,
            attn_implementation="eager",
        )
        model = LlamaForCausalLM(config).eval()
        state = {name: torch.from_numpy(values) for name, values in weights.items()}
        missing, unexpected = model.load_state_dict(state, strict=False)
        if unexpected or set(missing) - {"lm_head.weight"}:
            sys.exit(f"missing {missing}, unexpected {unexpected}")
        model.tie_weights()
        return model

    def tokenizer(self) -> PreTrainedTokenizerFast:
        """The pipeline of SmolLM2's `tokenizer.json`, with the vocabulary and the template of the file."""
        tokens = self.value("tokenizer.ggml.tokens")
        vocab = {token: id for id, token in enumerate(tokens)}
        merges = [tuple(merge.split(" ")) for merge in self.value("tokenizer.ggml.merges")]
        tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=merges))
        digits = pre_tokenizers.Digits(individual_digits=True)
        bytes_ = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence([digits, bytes_])
        tokenizer.decoder = decoders.ByteLevel()
        types = self.value("tokenizer.ggml.token_type")
        special = [token for token, kind in zip(tokens, types) if kind == gguf.TokenType.CONTROL]
        return PreTrainedTokenizerFast(
            tokenizer_object=tokenizer,
            additional_special_tokens=special,
            chat_template=self.value("tokenizer.chat_template"),
            clean_up_tokenization_spaces=False,
        )


def compare_weights(weights: dict[str, np.ndarray]) -> None:
    out = FOLDER / "exported"
    subprocess.run(["rm", "-rf", str(out)], check=True)
    darkhorse("export", "--checkpoint", MODEL, "--format", "hf", "--dtype", "f32", "--out", out)
    found = load_file(out / "model.safetensors")
    equal = [name for name, values in weights.items() if np.array_equal(found.get(name), values)]
    names = set(found) - {"lm_head.weight"} == set(weights)
    bar(f"{len(equal)} of {len(weights)} tensors equal, bit for bit", names and len(equal) == len(weights))
    subprocess.run(["rm", "-rf", str(out)], check=True)


def compare_ids(tokenizer: PreTrainedTokenizerFast) -> None:
    texts = lines(2000, 1)
    arguments = [part for text in texts for part in ("--text", text)]
    rows = darkhorse("tokenize", "--model", MODEL, *arguments).split("\n")
    ours = [[int(id) for id in row.split(",") if id] for row in rows[: len(texts)]]
    theirs = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts]
    equal = sum(left == right for left, right in zip(ours, theirs))
    bar(f"ids of {equal} of {len(texts)} lines equal those of the published tokenizer", equal == len(texts))
    if llama_library.available():
        llama = llama_library.Vocabulary(MODEL)
        equal = sum(row == llama.ids(text, around=True) for row, text in zip(ours, texts))
        bar(f"ids of {equal} of {len(texts)} lines equal those of llama.cpp", equal == len(texts))


@torch.inference_mode()
def greedy(model: LlamaForCausalLM, ids: list[int], count: int, end: int | None = None) -> list[int]:
    """The likeliest tokens after `ids`, up to `end` without it."""
    cache, tokens, new = DynamicCache(config=model.config), [], torch.tensor([ids])
    while len(tokens) < count:
        logits = model(new, past_key_values=cache, use_cache=True).logits[:, -1]
        new = logits.argmax(-1, keepdim=True)
        if new.item() == end:
            break
        tokens.append(new.item())
    return tokens


def compare_prompts(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast) -> None:
    inputs, outputs = FOLDER / "ids.safetensors", FOLDER / "logits.safetensors"
    apart, tokens = 0.0, 0
    for prompt in PROMPTS:
        ids = tokenizer(prompt, add_special_tokens=False)["input_ids"]
        save_file({"input_ids": np.array([ids])}, inputs)
        darkhorse("logits", "--model", MODEL, "--ids-file", inputs, "--out", outputs)
        with torch.inference_mode():
            theirs = model(torch.tensor([ids])).logits[0].numpy()
        apart = max(apart, float(np.abs(load_file(outputs)["logits"][0] - theirs).max()))
        options = ["--max-tokens", TOKENS, "--temperature", 0, "--repetition-penalty", 1, "--print-ids"]
        printed = darkhorse("inference", "--model", MODEL, "--prompt", prompt, *options)
        ours = [int(id) for id in printed.strip().splitlines()[-1].split(",")]
        expected = greedy(model, ids, TOKENS)
        tokens += sum(left == right for left, right in zip(ours, expected, strict=True))
        if ours != expected:
            print(f"{prompt!r}\n    {ours}\n    {expected}")
    bar(f"logits at most {apart:.1e} apart after {len(PROMPTS)} prompts, bar {LOGITS:.0e}", apart < LOGITS)
    bar(f"{tokens} of {len(PROMPTS) * TOKENS} greedy tokens equal after {len(PROMPTS)} prompts", tokens == len(PROMPTS) * TOKENS)


def compare_chat(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast) -> None:
    options = ["--max-tokens", ANSWER, "--temperature", 0, "--repetition-penalty", 1, "--quiet"]
    said = darkhorse("chat", "--model", MODEL, *options, text="".join(f"{turn}\n" for turn in TURNS))
    messages, answers = [], []
    for turn in TURNS:
        messages.append({"role": "user", "content": turn})
        ids = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=False)
        answer = tokenizer.decode(greedy(model, ids, ANSWER, end=2))
        messages.append({"role": "assistant", "content": answer})
        answers.append(answer)
    same = " ".join(said.split()) == " ".join(" ".join(answers).split())
    bar(f"{len(TURNS)} answers of chat equal", same)
    if not same:
        print(f"--- here\n{said}\n--- transformers\n" + "\n".join(answers))


def compare_memory(size: int) -> None:
    """By a process of its own: what this one has counts for its children until they are another program."""
    command = [DARKHORSE, "inference", "--model", str(MODEL), "--ids", "1,2,3", "--max-tokens", "1"]
    ask = "import resource, subprocess, sys; subprocess.run(sys.argv[1:], check=True, capture_output=True); "
    ask += "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    done = subprocess.run([sys.executable, "-c", ask, *command], check=True, capture_output=True, text=True)
    most = int(done.stdout) * 1024
    bar(f"{most / size:.2f} times the weights as f32 in memory, bar {MEMORY}", most < MEMORY * size)


def main() -> None:
    file = File(MODEL)
    weights = file.weights()
    compare_weights(weights)
    tokenizer = file.tokenizer()
    compare_ids(tokenizer)
    model = file.model(weights)
    compare_prompts(model, tokenizer)
    compare_chat(model, tokenizer)
    compare_memory(sum(values.nbytes for values in weights.values()))
    sys.exit(not all(met for _, met in BARS))


if __name__ == "__main__":
    main()
