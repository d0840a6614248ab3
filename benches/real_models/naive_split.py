"""A mixture that nobody calibrated: neurons divided in their order, and a router that was drawn at random."""

import array
import json
import math
import random
import struct
from pathlib import Path


class Tensors:
    """A safetensors file of f32 numbers, whose values may be changed in place."""

    def __init__(self, path: Path):
        self.path, data = path, bytearray(path.read_bytes())
        (size,) = struct.unpack("<Q", data[:8])
        self.begin, self.data = 8 + size, data
        self.header = json.loads(data[8 : 8 + size])

    def slice(self, name: str) -> slice:
        assert self.header[name]["dtype"] == "F32"
        return slice(*(self.begin + at for at in self.header[name]["data_offsets"]))

    def __getitem__(self, name: str) -> array.array:
        return array.array("f", self.data[self.slice(name)])

    def __setitem__(self, name: str, values: array.array) -> None:
        self.data[self.slice(name)] = values.tobytes()

    def save(self) -> None:
        self.path.write_bytes(self.data)


def split(dense: Path, carved: Path) -> None:
    """Replaces the experts and routers of a carved model; both are exports as Hugging Face folders in f32."""
    config = json.loads((carved / "config.json").read_text())
    hidden, width, experts = (config[key] for key in ("hidden_size", "moe_intermediate_size", "n_routed_experts"))
    shared, layers = config["n_shared_experts"], range(config["first_k_dense_replace"], config["num_hidden_layers"])
    whole, parts = (Tensors(folder / "model.safetensors") for folder in (dense, carved))
    draw, full = random.Random(5), (shared + experts) * width
    for layer in layers:
        mlp = f"model.layers.{layer}.mlp"
        own = {name: whole[f"{mlp}.{name}.weight"] for name in ("gate_proj", "up_proj", "down_proj")}
        places = {f"{mlp}.shared_experts": (0, shared * width)}
        for expert in range(experts):
            places[f"{mlp}.experts.{expert}"] = ((shared + expert) * width, (shared + expert + 1) * width)
        for part, (begin, end) in places.items():
            for name in ("gate_proj", "up_proj"):
                parts[f"{part}.{name}.weight"] = own[name][begin * hidden : end * hidden]
            rows = (own["down_proj"][row * full + begin : row * full + end] for row in range(hidden))
            parts[f"{part}.down_proj.weight"] = array.array("f", (it for row in rows for it in row))
        router = f"{mlp}.gate.weight"
        deviation = math.sqrt(sum(it * it for it in parts[router]) / hidden / experts)
        parts[router] = array.array("f", (draw.gauss(0, deviation) for _ in range(hidden * experts)))
        parts[f"{mlp}.gate.e_score_correction_bias"] = array.array("f", [0.0] * experts)
    parts.save()
