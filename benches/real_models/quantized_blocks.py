"""Types that files are published in: a random Llama, quantized by llama.cpp's own quantizer, read by this program.

quantized_blocks.py, with DARKHORSE and REAL_MODELS in the environment, as benches/real_models/run sets them. Each file
mixes types as published ones do: the name says which type most matrices have, `attn_v` and `ffn_down` of half of the
layers and the embedding have others. Of a model 448 wide, most rows are no multiple of 256, so that types of 32 values stand
in for K-quants. Bars: every weight is bit for bit what the gguf package makes of the same bytes, and the one line that
the program says names all types.
"""

import os
import subprocess
import sys
from pathlib import Path

import gguf
import llama_library
import numpy as np
from gguf import GGMLQuantizationType as Type
from safetensors.numpy import load_file

DARKHORSE = os.environ["DARKHORSE"]
FOLDER = Path(os.environ["REAL_MODELS"])
LAYERS, HEADS, VOCAB, INNER = 2, 8, 512, 1024

# the type of most matrices, that of some, and that of the embedding
MIXES = {
    "Q2_K": (Type.Q2_K, Type.Q3_K, Type.Q6_K),
    "Q3_K_M": (Type.Q3_K, Type.Q5_K, Type.Q6_K),
    "Q4_K_M": (Type.Q4_K, Type.Q6_K, Type.Q6_K),
    "Q5_K_M": (Type.Q5_K, Type.Q6_K, Type.Q6_K),
    "IQ4_XS": (Type.IQ4_XS, Type.IQ4_NL, Type.Q6_K),
    "Q4_0": (Type.Q4_0, Type.Q4_1, Type.Q8_0),
    "Q5_0": (Type.Q5_0, Type.Q5_1, Type.Q8_0),
    "MXFP4": (Type.MXFP4, Type.Q8_0, Type.BF16),
}
STAND_INS = {Type.Q2_K: Type.Q4_0, Type.Q3_K: Type.IQ4_NL, Type.Q4_K: Type.Q5_0, Type.Q5_K: Type.Q5_1}
STAND_INS |= {Type.Q6_K: Type.Q8_0, Type.IQ4_XS: Type.IQ4_NL}


def quantized(values: np.ndarray, kind: Type) -> np.ndarray:
    if kind == Type.BF16:
        return gguf.quants.quantize(values, kind)
    return llama_library.quantize(values, kind)


def write(path: Path, width: int, mix: tuple[Type, Type, Type]) -> dict[str, np.ndarray]:
    """Writes a file; its weights under the names of transformers, in its order of rows."""
    random = np.random.default_rng(width)
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_block_count(LAYERS)
    writer.add_context_length(64)
    writer.add_embedding_length(width)
    writer.add_feed_forward_length(INNER)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS // 2)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(1e4)
    writer.add_rope_dimension_count(width // HEADS)
    writer.add_vocab_size(VOCAB)
    writer.add_tokenizer_model("no_vocab")
    found = {}

    def add(name: str, theirs: str, shape: list[int], kind: Type, heads: int = 0) -> None:
        values = random.normal(0, 0.04, shape).astype(np.float32)
        if len(shape) == 1:
            writer.add_tensor(f"{name}.weight", values)
            found[f"{theirs}.weight"] = values
            return
        if shape[-1] % gguf.GGML_QUANT_SIZES[kind][0]:
            kind = STAND_INS[kind]
        data = quantized(values, kind)
        values = gguf.quants.dequantize(data, kind)
        if heads:
            # llama.cpp rotates neighbours, transformers the two halves of a head
            values = values.reshape(heads, -1, 2, shape[-1]).swapaxes(1, 2).reshape(shape)
        writer.add_tensor(f"{name}.weight", data, raw_dtype=kind)
        found[f"{theirs}.weight"] = values

    most, some, embedding = mix
    add("token_embd", "model.embed_tokens", [VOCAB, width], embedding)
    add("output_norm", "model.norm", [width], Type.F32)
    add("output", "lm_head", [VOCAB, width], embedding)
    for layer in range(LAYERS):
        ours, theirs = f"blk.{layer}.", f"model.layers.{layer}."
        better = some if layer == 0 else most
        add(f"{ours}attn_norm", f"{theirs}input_layernorm", [width], Type.F32)
        add(f"{ours}ffn_norm", f"{theirs}post_attention_layernorm", [width], Type.F32)
        add(f"{ours}attn_q", f"{theirs}self_attn.q_proj", [width, width], most, HEADS)
        add(f"{ours}attn_k", f"{theirs}self_attn.k_proj", [width // 2, width], most, HEADS // 2)
        add(f"{ours}attn_v", f"{theirs}self_attn.v_proj", [width // 2, width], better)
        add(f"{ours}attn_output", f"{theirs}self_attn.o_proj", [width, width], most)
        add(f"{ours}ffn_gate", f"{theirs}mlp.gate_proj", [INNER, width], most)
        add(f"{ours}ffn_up", f"{theirs}mlp.up_proj", [INNER, width], most)
        add(f"{ours}ffn_down", f"{theirs}mlp.down_proj", [width, INNER], better)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return found


def main() -> None:
    if not llama_library.available():
        print("skipped: no llama.cpp (the package xllamacpp)")
        return
    right = True
    for width in [512, 448]:
        for name, mix in MIXES.items():
            path, out = FOLDER / f"{name}-{width}.gguf", FOLDER / "read"
            weights = write(path, width, mix)
            subprocess.run(["rm", "-rf", str(out)], check=True)
            command = [DARKHORSE, "export", "--checkpoint", path, "--format", "hf", "--dtype", "f32", "--out", out]
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode:
                sys.exit(f"export of {path} ended with {done.returncode}:\n{done.stderr}")
            found = load_file(out / "model.safetensors")
            equal = sum(np.array_equal(found[name], values) for name, values in weights.items())
            types = {tensor.tensor_type.name for tensor in gguf.GGUFReader(path).tensors}
            said = next((line for line in done.stderr.splitlines() if " holds " in line), "nothing")
            met = equal == len(weights) == len(found) and all(f"{kind} (" in said for kind in types)
            right &= met
            print(f"{'ok    ' if met else 'MISSED'}  {path.name}: {equal} of {len(weights)} equal; {said}")
            path.unlink()
            subprocess.run(["rm", "-rf", str(out)], check=True)
    sys.exit(not right)


if __name__ == "__main__":
    main()
