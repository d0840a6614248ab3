#!/usr/bin/env bash
# transformers 5.23.0: the assistant mask of a chat template learns the user's words, or nothing, where an answer ends or begins
# with a space.
#
# Guess: `apply_chat_template(return_assistant_tokens_mask=True)` marks what stands between `{% generation %}` and its end.
# Seen (2026-11): with `trim_offsets=True`, which byte-level tokenizers have unless told otherwise, a space within a token belongs
# to no token's place. An answer that ends with one is marked up to the end of the conversation, the user's next turn included;
# one that begins with one is not marked, nor are all answers behind it. With `trim_offsets=False` all masks are right.
# Upstream: https://github.com/huggingface/transformers/issues/47325
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
venv=${FINDINGS_VENV:-$folder/venv}
[ -x "$venv/bin/pip" ] || python3 -m venv "$venv"
"$venv/bin/pip" install --quiet --no-compile --disable-pip-version-check transformers==5.23.0 tokenizers==0.23.3 jinja2==3.1.6
cat >see.py <<'PY'
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

letters = {token: id for id, token in enumerate(["a", "b", "c", "d", "|", "Ġ", "Ġb"])}
TEMPLATE = (
    "{% for m in messages %}{% if m.role == 'assistant' %}{% generation %}{{ m.content }}{% endgeneration %}"
    "{% else %}{{ m.content }}{% endif %}|{% endfor %}"
)


def learned(answer, trim):
    tokenizer = Tokenizer(models.BPE(vocab=letters, merges=[("Ġ", "b")]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=trim)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=tokenizer)
    roles = ["user", "assistant", "user", "assistant"]
    messages = [{"role": role, "content": text} for role, text in zip(roles, ["a", answer, "c", "d"])]
    out = tokenizer.apply_chat_template(
        messages, chat_template=TEMPLATE, tokenize=True, return_dict=True, return_assistant_tokens_mask=True
    )
    return tokenizer.decode([id for id, marked in zip(out["input_ids"], out["assistant_masks"]) if marked])


for answer, seen in [("b", "bd"), ("b ", "b |c|d|"), (" b", "")]:
    trimmed, whole = learned(answer, True), learned(answer, False)
    print(f"answers {answer!r} and 'd': marked {trimmed!r}, with trim_offsets=False {whole!r}")
    assert whole == f"{answer}d" and trimmed == seen, "not as described"
PY
TRANSFORMERS_VERBOSITY=error HF_HUB_OFFLINE=1 "$venv/bin/python" see.py
echo "as described: the mask is wrong where an answer begins or ends with a space"
