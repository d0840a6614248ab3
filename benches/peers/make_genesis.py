"""Writes a random model in the published format of Genesis-152M: make_genesis.py OUT.safetensors [KEY=JSON ...]

The configuration is the package's preset of 152M at the published vocabulary, with a context that has room for a prompt of
2,048 tokens and an answer; KEY=JSON changes a field of it. `spread=FACTOR` multiplies all matrices, `seed=N` draws others.
"""
import json
import sys
from dataclasses import asdict

import torch
from genesis import Genesis, GenesisConfig
from safetensors.torch import save_file

out, *changes = sys.argv[1:]
fields = {"vocab_size": 50279, "block_size": 4096, "use_selective_activation": True, "selective_k_ratio": 0.85}
fields |= {key: json.loads(value) for key, value in (change.split("=", 1) for change in changes)}
spread, seed = fields.pop("spread", 1.0), fields.pop("seed", 0)
config = GenesisConfig(**{**asdict(GenesisConfig.genesis_147m()), **fields})
torch.manual_seed(seed)
model = Genesis(config)
with torch.no_grad():
    # what training would have moved and initialization leaves alike
    for name, parameter in model.named_parameters():
        if parameter.dim() == 1 and "metacognition" not in name:
            parameter.add_(0.1 * torch.randn_like(parameter))
        elif parameter.dim() == 2:
            parameter.mul_(spread)
tensors = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
if config.tie_word_embeddings:
    del tensors["lm_head.weight"]
save_file(tensors, out, {"genesis_config_json": json.dumps(asdict(config))})
