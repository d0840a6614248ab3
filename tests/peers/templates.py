"""Chat templates against transformers: `templates.py` compares, `templates.py --write` makes what `cargo test` compares with.

Text of every case of tests/fixtures/templates with that of `apply_chat_template`; ids with the tokenizer of a
folder; what is learned with the `{% generation %}` marks, by their places in the text (transformers' own mask is
wrong for answers that begin with a space where `trim_offsets` is true).
"""

import json
import os
import pathlib
import shutil
import subprocess
import sys

FOLDER = pathlib.Path(__file__).parent.parent / "fixtures" / "templates"
# what stands in tokenizer_config.json, and so in the templates' variables
CONFIG = {
    "tokenizer_class": "PreTrainedTokenizerFast",
    "bos_token": "<|bos|>",
    "eos_token": "<|eos|>",
    "pad_token": "<|pad|>",
}
CALL = {"id": "call12345", "type": "function", "function": {"name": "lamp", "arguments": {"on": True, "é": [1, 2.5, None]}}}
TOOL = {"type": "function", "function": {"name": "lamp", "description": "Turns the\nlamp <on> & 'off'", "parameters": {
    "type": "object", "properties": {"on": {"type": "boolean"}, "rooms": {"type": "array", "items": {"type": "string"}},
                                     "how": {"enum": ["fast", "slow"]}}, "required": ["on"]}}}


def turn(role, content, **more):
    return {"role": role, "content": content, **more}


CONVERSATIONS = {
    "short": ([turn("user", "hi")], None),
    "system": ([turn("system", " Be brief. "), turn("user", "Hello\n there "), turn("assistant", "Hi!")], None),
    "two answers": ([turn("user", "a"), turn("assistant", "  b\n"), turn("user", "c é 😀"), turn("assistant", "\n\n    return d")], None),
    "thoughts": ([turn("user", "why?"), turn("assistant", "<think>\nso\n</think>\n\nbecause"), turn("user", "and?"),
                  turn("assistant", "done", reasoning_content="well")], None),
    "tools": ([turn("user", "light!"), {"role": "assistant", "tool_calls": [CALL]},
               turn("tool", "it is on", tool_call_id="call12345"), turn("assistant", "done")], [TOOL]),
    "order": ([turn("assistant", "first"), turn("user", "x"), turn("user", "y")], None),
    "odd text": ([turn("user", "{{ 7 }} {% raw %} \\n \t <b>'\"&"), turn("assistant", "x\u2028y\u00a0 ")], None),
}


def cases():
    for path in sorted(FOLDER.glob("*.jinja")):
        for name, (messages, tools) in CONVERSATIONS.items():
            for prompt in [False, True]:
                yield {"template": path.stem, "name": name, "messages": messages, "tools": tools, "prompt": prompt}


def rendered(case, **more):
    """What transformers makes of a case: its text and the marked places, or nothing if the template refuses."""
    import transformers.utils.chat_template_utils as utils

    template = (FOLDER / f"{case['template']}.jinja").read_text()
    tokens = {key: value for key, value in CONFIG.items() if key.endswith("_token")}
    try:
        texts, marks = utils.render_jinja_template(
            conversations=[case["messages"]], tools=case["tools"], chat_template=template,
            return_assistant_tokens_mask="generation" in template, add_generation_prompt=case["prompt"], **tokens, **more)
    except Exception as error:  # jinja2's, and Python's own of what a template does
        return None, None, f"{type(error).__name__}: {error}"
    return texts[0], marks[0] if marks else [], None


def write():
    out = []
    for case in cases():
        text, marks, _ = rendered(case, date_string="26 Jul 2024")
        out.append({**case, "text": text, "marks": marks})
    lines = ",\n".join(json.dumps(case, ensure_ascii=False) for case in out)
    (FOLDER / "expected.json").write_text(f"[\n{lines}\n]\n")
    refused = sum(case["text"] is None for case in out)
    print(f"{len(out)} cases, {refused} of them refused by their templates")


def ours(folder, case, *more):
    line = {"messages": case["messages"], "tools": case["tools"]}
    command = [os.environ["DARKHORSE"], "render", "--tokenizer", str(folder), *(["--prompt"] if case["prompt"] else []), *more]
    return subprocess.run(command, input=json.dumps(line) + "\n", capture_output=True, text=True)


def compare():
    from transformers import AutoTokenizer

    work = pathlib.Path(os.environ["PEERS_WORK"]) / "templates"
    source = pathlib.Path(os.environ["PEERS_WORK"]) / "tiny" / "tokenizer.json"
    shutil.rmtree(work, ignore_errors=True)
    wrong = texts = ids = masks = refused = 0
    for case in cases():
        folder = work / case["template"]
        if not folder.exists():
            folder.mkdir(parents=True)
            shutil.copy(source, folder / "tokenizer.json")
            (folder / "tokenizer_config.json").write_text(json.dumps(CONFIG))
            shutil.copy(FOLDER / f"{case['template']}.jinja", folder / "chat_template.jinja")
            tokenizer = AutoTokenizer.from_pretrained(folder)
        label = f"{case['template']}, {case['name']}{', prompt' if case['prompt'] else ''}"
        text, marks, error = rendered(case)
        run = ours(folder, case)
        unwritten = "does not write" in run.stderr
        if text is None or unwritten:
            refused += 1
            if run.returncode == 0:
                wrong += 1
                print(f"{label}: rendered, but transformers says {error}")
            continue
        texts += 1
        if run.returncode != 0 or run.stdout != text + "\n":
            wrong += 1
            print(f"{label}:\n  ours   {run.stdout!r}{run.stderr}\n  theirs {text!r}")
            continue
        run = ours(folder, case, "--json")
        if run.returncode != 0:
            # who speaks cannot be told; what is rendered for a prompt always has ids
            assert not case["prompt"] and "answer" in run.stderr, f"{label}: {run.stderr}"
            continue
        found = json.loads(run.stdout)
        encoded = tokenizer(text, add_special_tokens=False)
        ids += 1
        if found["ids"] != encoded["input_ids"]:
            wrong += 1
            print(f"{label}:\n  ours   {found['ids']}\n  theirs {encoded['input_ids']}")
        if marks and not case["prompt"]:
            masks += 1
            said = "".join(text[start:end] for start, end in marks)
            learned = [id for id, is_learned in zip(found["ids"], found["learned"]) if is_learned]
            if tokenizer.decode(learned) != said:
                wrong += 1
                print(f"{label}: learned {tokenizer.decode(learned)!r}, marked {said!r}")
    print(f"{texts} texts, ids of {ids}, masks of {masks}, {refused} refused: {wrong} differ")
    sys.exit(wrong > 0)


if __name__ == "__main__":
    write() if "--write" in sys.argv else compare()
