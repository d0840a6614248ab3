#!/usr/bin/env bash
# transformers 5.23.0: the balance loss of Mixtral and its kin does not see experts that one layer uses alone.
#
# Guess: `load_balancing_loss_func`, "as in Switch Transformer", is that of each layer: a layer whose tokens all go to the same
# experts has a high loss, and the loss of a model is their mean.
# Seen (2026-11): tokens and probabilities are summed over the layers before they are multiplied
# (models/mixtral/modeling_mixtral.py, and the same in Qwen2-MoE, Qwen3-MoE, OLMoE and others). Four layers that each send every
# token to another pair of eight experts have the loss of perfect balance, 2.0; layer by layer it is 8.0. So a model trained with
# `router_aux_loss_coef` may collapse in every layer, and its loss says all is well.
# Upstream: https://github.com/huggingface/transformers/issues/28255
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
venv=${FINDINGS_VENV:-$folder/venv}
"$here/with-torch" "$venv" transformers==5.23.0 tokenizers==0.23.3
cat >see.py <<'PY'
import torch
from transformers.models.mixtral import modeling_mixtral
from transformers.models.olmoe import modeling_olmoe
from transformers.models.qwen3_moe import modeling_qwen3_moe

LAYERS, TOKENS, EXPERTS, USED = 4, 64, 8, 2
collapsed = [torch.full((TOKENS, EXPERTS), -20.0) for _ in range(LAYERS)]
for layer, logits in enumerate(collapsed):
    logits[:, 2 * layer : 2 * layer + 2] = 20.0
balanced = [torch.cat([layer[:16] for layer in collapsed])] * LAYERS

for module in [modeling_mixtral, modeling_qwen3_moe, modeling_olmoe]:
    loss = lambda layers: module.load_balancing_loss_func(tuple(layers), EXPERTS, USED).item()
    by_layer = sum(loss([layer]) for layer in collapsed) / LAYERS
    name = module.__name__.split(".")[-1]
    print(f"{name}: balanced {loss(balanced):.3f}, collapsed {loss(collapsed):.3f}, by layer {by_layer:.3f}")
    assert abs(loss(collapsed) - loss(balanced)) < 1e-4, "not as described"
    assert by_layer > 3.9 * loss(balanced)
PY
TRANSFORMERS_VERBOSITY=error HF_HUB_OFFLINE=1 "$venv/bin/python" see.py
echo "as described: layers that use two experts each count as balanced"
