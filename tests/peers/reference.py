"""A training step in torch under the project's rules, and the pair of runs that it is compared with."""

import json
import math
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch.nn.functional import cross_entropy
from transformers import DeepseekV3ForCausalLM

import common
import stream

CONFIG = common.ROOT / "configs/tiny.json"
DATA = common.ROOT / "data/train.jsonl"
ROWS, ACCUMULATION, SEQ_LEN = 4, 2, 120
LEARNING_RATE, BETAS, EPS, WEIGHT_DECAY, CLIP = 3e-4, (0.9, 0.95), 1e-8, 0.1, 1.0
WARMUP, DECAY = 0.05, 0.10
SEED = 7


@dataclass
class Runs:
    """What the binary made: its journal, and the weights before and after."""

    steps: list[dict]
    run: Path
    initial: Path
    final: Path


def train(name: str, steps: int, bias_update_speed: float, bias_update_start: float = 0.0) -> Runs:
    """Trains the `tiny` model without MTP, domains and auxiliary loss, and exports it before and after."""
    experiment = json.loads(CONFIG.read_text())
    experiment["model"]["num_nextn_predict_layers"] = 0
    experiment["model"]["domains"]["mode"] = "off"
    experiment["data"] = {"train": [str(DATA)], "valid_share": 0.0, "domain_dropout": 0.0, "domain_token": False}
    experiment["training"] = {
        "steps": steps,
        "batch_size": ROWS,
        "accumulation": ACCUMULATION,
        "seq_len": SEQ_LEN,
        "learning_rate": LEARNING_RATE,
        "schedule": {"type": "wsd", "warmup": WARMUP, "decay": DECAY},
        "betas": list(BETAS),
        "eps": EPS,
        "weight_decay": WEIGHT_DECAY,
        "clip": CLIP,
        "bias_update_speed": bias_update_speed,
        "bias_update_start": bias_update_start,
        "bias_freeze": 0.0,
        "seq_aux_alpha": 0.0,
        "eval_every": 0,
        "checkpoint_every": 0,
        "seed": SEED,
    }
    folder = common.WORK / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)

    def trained(part: str) -> Path:
        config = folder / f"{part}.json"
        config.write_text(json.dumps(experiment, indent=2))
        common.darkhorse("train", "--config", config, "--out", folder / part)
        return folder / part

    run = trained("run")
    # a step that is too small to change an f32 leaves the initial weights for an export
    experiment["training"] |= {"steps": 1, "learning_rate": 1e-30, "bias_update_speed": 0.0}
    initial = trained("before")
    journal = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return Runs(
        steps=[line["step"] for line in journal if "step" in line],
        run=run,
        initial=common.export(initial, folder / "hf-before"),
        final=common.export(run, folder / "hf-after"),
    )


def learning_rate(step: int, total: int) -> float:
    """Warm-up, stable, linear decay; steps count from 1."""
    rising, falling = math.ceil(WARMUP * total), math.ceil(DECAY * total)
    rise = min(step / rising, 1.0) if rising else 1.0
    fall = min((total - step + 1) / (falling + 1), 1.0) if falling else 1.0
    return LEARNING_RATE * rise * fall


@dataclass
class Trainer:
    """AdamW on a transformers model: decay on matrices only, one clip over all gradients."""

    model: DeepseekV3ForCausalLM
    total: int
    optimizer: torch.optim.AdamW = field(init=False)
    routers: list[torch.nn.Module] = field(init=False)
    counts: list[np.ndarray] = field(init=False)

    def __post_init__(self) -> None:
        self.model.train()
        parameters = list(self.model.parameters())
        matrices = [parameter for parameter in parameters if parameter.ndim >= 2]
        vectors = [parameter for parameter in parameters if parameter.ndim < 2]
        groups = [{"params": matrices, "weight_decay": WEIGHT_DECAY}, {"params": vectors, "weight_decay": 0.0}]
        self.optimizer = torch.optim.AdamW(groups, lr=0.0, betas=BETAS, eps=EPS)
        layers = (layer.mlp for layer in self.model.model.layers)
        self.routers = [mlp.gate for mlp in layers if hasattr(mlp, "gate")]
        self.counts = [np.zeros(0)] * len(self.routers)
        for layer, router in enumerate(self.routers):
            router.register_forward_hook(lambda _module, _input, output, layer=layer: self._count(layer, output[2]))

    def _count(self, layer: int, chosen: torch.Tensor) -> None:
        experts = self.routers[layer].num_experts
        self.counts[layer] = chosen.flatten().bincount(minlength=experts).numpy()

    def step(self, number: int, rows: stream.Rows) -> tuple[float, float]:
        """One optimizer step; returns its loss and the norm of its gradient. `counts` are then its loads."""
        logits = self.model(
            rows.ids, attention_mask=rows.mask(), position_ids=rows.positions, use_cache=False
        ).logits
        loss = cross_entropy(logits.flatten(0, 1), rows.targets().flatten(), ignore_index=stream.IGNORED)
        self.optimizer.zero_grad()
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), CLIP)
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(number, self.total)
        self.optimizer.step()
        return loss.item(), norm.item()


def trainer_and_batches(runs: Runs) -> tuple[Trainer, Iterator[stream.Rows]]:
    """The binary's model before its first step, and the batches that it trained on.

    In f64, where transformers knows it: after 50 steps its own rounding in f32 is a hundred times the difference.
    """
    model = common.load(runs.initial).double()
    special = model.config.bos_token_id, model.config.eos_token_id
    batches = stream.batches(DATA, runs.run / "tokenizer.json", *special, ROWS * ACCUMULATION, SEQ_LEN, SEED)
    return Trainer(model, len(runs.steps)), batches
