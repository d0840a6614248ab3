#!/usr/bin/env bash
# transformers 5.23.0: a Qwen3-MoE that is saved has its number of experts under another key than the published files.
#
# Guess: `Qwen3MoeConfig(num_experts=16).save_pretrained` writes `num_experts`, as the config.json of every published Qwen3-MoE
# has it, and as OLMoE and Qwen3-Next write it.
# Seen (2026-11): it writes `num_local_experts` alone (`attribute_map` in configuration_qwen3_moe.py). transformers reads both keys.
# A reader of the file that knows the published key alone takes the default of 128 experts, or stops.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
venv=${FINDINGS_VENV:-$folder/venv}
[ -x "$venv/bin/pip" ] || python3 -m venv "$venv"
"$venv/bin/python" -c 'import transformers; assert transformers.__version__ == "5.23.0"' 2>/dev/null ||
    "$venv/bin/pip" install --quiet --disable-pip-version-check transformers==5.23.0
cat >see.py <<'PY'
import json
from pathlib import Path

from transformers import AutoConfig, OlmoeConfig, Qwen3MoeConfig, Qwen3NextConfig

published, other = "num_experts", "num_local_experts"


def keys(of):
    """The keys of a saved configuration that count its experts."""
    folder = Path(of.__name__)
    of(num_experts=16).save_pretrained(folder)
    saved = json.loads((folder / "config.json").read_text())
    found = {key: saved[key] for key in (published, other) if key in saved}
    print(f"{of.__name__}(num_experts=16) is saved with {found}")
    return found


assert keys(Qwen3MoeConfig) == {other: 16}, "not as described"
assert keys(OlmoeConfig) == {published: 16}, "not as described"
assert keys(Qwen3NextConfig) == {published: 16}, "not as described"
for key in published, other:
    Path("read").mkdir(exist_ok=True)
    Path("read/config.json").write_text(json.dumps({"model_type": "qwen3_moe", key: 16}))
    read = AutoConfig.from_pretrained("read").num_experts
    print(f"{key} 16 is read as {read}")
    assert read == 16, "not as described"
PY
TRANSFORMERS_VERBOSITY=error HF_HUB_OFFLINE=1 "$venv/bin/python" -W ignore see.py
echo "as described: only Qwen3-MoE is saved with num_local_experts"
