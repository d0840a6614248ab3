"""Writes a random model of a configuration as a Hugging Face folder: make_model.py CONFIG.json OUT

The router's weights are large enough to prefer some experts, as trained ones do, and the head's to prefer some tokens,
so that engines which compute the same choose the same.
"""
import json
import sys
from pathlib import Path

import torch
from transformers import DeepseekV3Config, DeepseekV3ForCausalLM

config_file, out = Path(sys.argv[1]), Path(sys.argv[2])
torch.manual_seed(0)
model = DeepseekV3ForCausalLM(DeepseekV3Config(**json.loads(config_file.read_text())))
with torch.no_grad():
    for name, parameter in model.named_parameters():
        if name.endswith("mlp.gate.weight"):
            parameter.normal_(0.0, 2.0 / parameter.shape[1] ** 0.5)
    model.lm_head.weight.mul_(4.0)
model.save_pretrained(out)
