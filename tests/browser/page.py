#!/usr/bin/env python3
"""The page that `serve` shows, in a headless Chromium: page.py MODEL [DENSE_MODEL]

MODEL has experts. With PAGE_PICTURES=FOLDER it also writes pictures: light, dark and of a phone.
"""

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import urllib.request
from pathlib import Path

from cdp import Browser, browser_path

DARKHORSE = os.environ.get("DARKHORSE", "target/release/darkhorse-genesis")
PICTURES = os.environ.get("PAGE_PICTURES")
CHECKS = Path(__file__).with_name("checks.js").read_text()
NAME = "<script>alert(1)</script>"


def check(holds: bool, what: object) -> None:
    if not holds:
        sys.exit(f"page.py: {what}")


@contextlib.contextmanager
def served(model: str, *options: str):
    command = [DARKHORSE, "serve", "--model", model, "--port", "0", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            line = server.stdout.readline()
            check(" is served at http://" in line, f"the server said {line!r}")
            yield line.rsplit(" is served at ", 1)[1].strip(), server
        finally:
            server.terminate()


def get(address: str, path: str) -> dict:
    return json.load(urllib.request.urlopen(f"{address}{path}"))


def ask(page: Browser, text: str) -> None:
    """Types a message into the field that has the focus, and sends it."""
    page.wait("document.activeElement?.id === 'prompt'")
    page.type(text)
    page.enter()


def answered(page: Browser, number: int) -> None:
    page.wait(f"document.querySelectorAll('.message.assistant .facts').length >= {number}")


def set_field(page: Browser, field: str, value: object) -> None:
    page.run(f"""(() => {{ const it = document.getElementById({field!r});
        if (it.type === 'checkbox') it.checked = {json.dumps(value)}; else it.value = {json.dumps(value)};
        it.dispatchEvent(new Event('change', {{ bubbles: true }})); }})()""")


def also_asks(page: Browser, fields: dict) -> None:
    """Adds fields to the requests of the page that it has no settings for."""
    page.run(f"""window.askOf ??= fetch; window.fetch = (path, options) => askOf(path, options?.method !== 'POST' ? options
        : {{ ...options, body: JSON.stringify({{ ...JSON.parse(options.body), ...{json.dumps(fields)} }}) }})""")


def talks(page: Browser, address: str) -> None:
    """A message by keyboard alone; tokens come one after the other, and the heat map moves."""
    page.open(address)
    page.wait("document.getElementById('state').dataset.state === 'ready'")
    check(page.run("document.title") == f"{NAME} · Darkhorse Genesis", page.run("document.title"))
    check(page.run("document.getElementById('model').textContent") == NAME, "the name of the model")
    check(page.run("document.scripts.length") == 1, "a name became a script")
    page.run("""window.grown = []; new MutationObserver(() => {
        const it = document.querySelector('.message.assistant.running .text');
        const length = it?.textContent.length;
        if (length && length !== grown.at(-1)) grown.push(length); })
        .observe(document.getElementById('messages'), { subtree: true, childList: true, characterData: true });
        window.heatOf = () => { const it = document.getElementById('heat');
            return it.width ? it.toDataURL() : ''; }; window.before = heatOf();""")
    set_field(page, "max-tokens", "48")
    # a model that has hardly learned writes little but spaces at temperature 0
    set_field(page, "temperature", "1")
    also_asks(page, {"seed": 5})
    ask(page, "Name three colours of the rainbow.")
    page.wait("Number(document.getElementById('heat').dataset.tokens) > 0 && heatOf() !== before")
    page.run("window.middle = heatOf()")
    answered(page, 1)
    grown = page.run("grown")
    check(len(grown) >= 5 and grown == sorted(grown), f"lengths of the text as it came: {grown}")
    page.wait("heatOf() !== middle")
    facts = page.run("document.querySelector('.facts').textContent")
    check("tokens/s" in facts and "energy" in facts, facts)
    no_meter = get(address, "/api/energy")["no_meter"]
    if no_meter:
        check("not measured" in facts, facts)
        check(page.run("document.getElementById('no-meter').hidden") is False, "a missing meter is not told")
    else:
        page.wait("document.getElementById('power-now').textContent.endsWith(' W')")
        check("0 J" not in facts, facts)


def shows_experts(page: Browser, address: str) -> None:
    """A token's experts are those of the trace, by a click and by keyboard."""
    trace = get(address, "/api/trace/" + page.run("document.querySelector('[data-trace]').dataset.trace"))
    tokens = page.run("[...document.querySelectorAll('.token')].map((it) => Number(it.dataset.at))")
    check(len(tokens) > 9, f"{len(tokens)} tokens")
    text = page.run("document.querySelector('.message.assistant .text').textContent")
    answer = "".join(trace["texts"][trace["prompt_tokens"]:])
    check(text.strip() == answer.strip(), f"{text!r} is not {answer!r}")

    def holds(at: int) -> None:
        page.wait(f"document.querySelector('.token[aria-pressed=true]')?.dataset.at === '{at}'")
        rows = page.run("""[...document.querySelectorAll('#token-layers tr')]
            .map((it) => [Number(it.dataset.layer), it.dataset.slots, it.textContent])""")
        expected = [[it["layer"], " ".join(map(str, it["slots"][at]))] for it in trace["layers"]]
        check([row[:2] for row in rows] == expected, f"token {at}: {rows} are not {expected}")
        for (_, _, shown), layer in zip(rows, trace["layers"]):
            gates = sorted(layer["gates"][at], reverse=True)
            words = shown.replace("E", " E").split()
            found = [float(word) for word in words[words.index(f"Layer") + 2:] if not word.startswith("E")]
            check(len(found) == len(gates), shown)
            check(all(abs(a - b) < 0.006 * max(1, abs(b)) for a, b in zip(found, gates)), f"{shown} {gates}")

    # white space is no place to click
    seen = page.run("[...document.querySelectorAll('.token')].map((it) => it.textContent.trim() !== '')")
    one = seen.index(True, 4)
    page.click(f".token[data-at='{tokens[one]}']")
    holds(tokens[one])
    page.key("ArrowRight", 39)
    page.enter()
    holds(tokens[one + 1])
    # colours are those of the expert with the largest gate
    layer = int(page.run("document.getElementById('layer').value"))
    routes = next(it for it in trace["layers"] if it["layer"] == layer)
    titles = page.run("[...document.querySelectorAll('.token')].map((it) => it.title)")
    for at, title in zip(tokens, titles):
        if at < len(routes["slots"]):
            best = max(zip(routes["gates"][at], routes["slots"][at]), key=lambda it: it[0])[1]
            check(title == f"Layer {layer}: expert {best}", f"{title}: expert {best}")


def equals_a_direct_pass(page: Browser, address: str, model: str) -> None:
    """What the page shows of a text is what the program computes without a server."""
    page.click("#new-chat")
    set_field(page, "mode", "text")
    set_field(page, "temperature", "0")
    prompt = "The capital of France is"
    ask(page, prompt)
    answered(page, 1)
    trace = get(address, "/api/trace/" + page.run("document.querySelector('[data-trace]').dataset.trace"))
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "routes.json")
        subprocess.run([DARKHORSE, "inference", "--model", model, "--prompt", prompt, "--max-tokens", "48",
                        "--temperature", "0", "--routes", file], check=True, stdout=subprocess.DEVNULL)
        direct = json.loads(file.read_text())
    common = min(len(direct["ids"]), len(trace["ids"]))
    check(common > 20 and direct["ids"][:common] == trace["ids"][:common], "other tokens than without a server")
    for shown, computed in zip(trace["layers"], direct["layers"], strict=True):
        check(shown["slots"][:common] == computed["slots"][:common], f"layer {shown['layer']}")
    set_field(page, "mode", "chat")


def shows_domains_and_drafts(page: Browser, address: str) -> None:
    """Lanes of domains add up, and accepted drafts are told, where the model has them; else that is said in words."""
    model = get(address, "/api/status")["model"]
    if model["has_domains"]:
        page.wait("document.querySelectorAll('#domains meter').length === 10")
        shares = page.run("[...document.querySelectorAll('#domains meter')].map((it) => it.value)")
        check(abs(sum(shares) - 1) < 1e-6, shares)
    else:
        page.wait("document.getElementById('domains').textContent.includes('no domains')")
    if not model["can_draft"]:
        check(page.run("document.getElementById('speculative').disabled"), "a model without drafts may draft")
        check(page.run("document.getElementById('tile-accepted').textContent") == "-", "drafts of a model without any")
        return
    page.click("#new-chat")
    set_field(page, "speculative", True)
    ask(page, "One two three four")
    answered(page, 1)
    check("drafts accepted" in page.run("document.querySelector('.facts').textContent"), "no accepted drafts")
    page.wait("document.getElementById('tile-accepted').textContent.endsWith(' %')")
    set_field(page, "speculative", False)


def text_stays_text(page: Browser) -> None:
    """A script in an answer is text, also after it has become tokens."""
    page.click("#new-chat")
    schema = {"name": "x", "schema": {"const": NAME}}
    also_asks(page, {"response_format": {"type": "json_schema", "json_schema": schema}})
    ask(page, "<img src=x onerror=alert(2)>")
    answered(page, 1)
    also_asks(page, {})
    text = page.run("document.querySelector('.message.assistant .text').textContent")
    check(NAME in text, text)
    check(page.run("document.scripts.length") == 1, "an answer became a script")
    check(page.run("document.querySelectorAll('.message img').length") == 0, "a message became a picture")


def by_keyboard(page: Browser) -> None:
    """Every control is reached by Tab in the order of the page; Escape stops and closes."""
    page.click("#new-chat")
    reached = []
    for _ in range(40):
        page.tab()
        name = page.run("document.activeElement.id || document.activeElement.className || document.activeElement.tagName")
        if name in reached:
            break
        if name != "BODY":
            reached.append(name)
    begin = reached.index("skip") if "skip" in reached else 0
    reached = reached[begin:] + reached[:begin]
    expected = ["skip", "open-settings", "layer", "new-chat", "messages", "prompt", "send", "window", "heat"]
    positions = [reached.index(name) if name in reached else -1 for name in expected]
    check(-1 not in positions and positions == sorted(positions), f"Tab reaches {reached}")
    page.run("document.getElementById('heat').focus()")
    page.key("ArrowRight", 39)
    page.key("ArrowDown", 40)
    cell = page.run("document.getElementById('heat-cell').textContent")
    check("expert 0" in cell or "expert 1" in cell, cell)
    page.run("document.getElementById('open-settings').focus()")
    page.enter()
    page.wait("document.getElementById('settings').open")
    page.key("Escape", 27)
    page.wait("!document.getElementById('settings').open")
    set_field(page, "max-tokens", "4000")
    also_asks(page, {"ignore_eos": True})
    page.run("document.getElementById('prompt').focus()")
    ask(page, "Write a long story.")
    page.wait("document.querySelector('.message.running .text')?.textContent.length > 40")
    page.key("Escape", 27)
    page.wait("document.querySelector('.facts')?.textContent.includes('stopped')")
    page.wait("document.getElementById('tile-running').textContent === '0'")
    also_asks(page, {})
    set_field(page, "max-tokens", "48")


def basics(page: Browser) -> None:
    """Names, labels, ids and contrast, in both colour schemes and on a phone."""
    for width, height, mobile in [(1360, 860, False), (390, 844, True)]:
        for scheme in ["light", "dark"]:
            page.screen(width, height, scheme, mobile)
            found = page.run(f"({CHECKS})()")
            check(found == [], f"{scheme}, {width} wide: " + "; ".join(found))
    page.screen(1360, 860, "light")


def pictures(page: Browser) -> None:
    page.click("#new-chat")
    for number, text in enumerate(["What is photosynthesis?", "Name three planets and describe one of them."]):
        set_field(page, "max-tokens", "72")
        ask(page, text)
        answered(page, number + 1)
    page.wait("document.getElementById('state').dataset.state === 'ready'")
    os.makedirs(PICTURES, exist_ok=True)
    page.picture(f"{PICTURES}/serve-light.png")
    page.click(".message:last-child .token:nth-of-type(12)")
    page.screen(1360, 860, "dark")
    page.picture(f"{PICTURES}/serve-dark.png")
    page.screen(390, 844, "light", mobile=True)
    page.run("document.querySelector('.token[aria-pressed=true]').scrollIntoView({block: 'start'})")
    page.picture(f"{PICTURES}/serve-phone.png")
    page.run("document.querySelector('[data-show=live]').click()")
    page.click("#close-token")
    page.screen(390, 844, "dark", mobile=True)
    page.picture(f"{PICTURES}/serve-phone-live.png")
    page.run("document.querySelector('[data-show=chat]').click()")
    page.screen(1360, 860, "light")


def errors(page: Browser, server: subprocess.Popen) -> None:
    """Whatever fails is one line that says what, and the message is not lost."""
    set_field(page, "temperature", "1000")
    ask(page, "Hello")
    page.wait("!document.getElementById('error').hidden")
    line = page.run("document.getElementById('error').textContent")
    check("temperature" in line.lower() and "\n" not in line, line)
    check(page.run("document.getElementById('prompt').value") == "Hello", "the message is lost")
    set_field(page, "temperature", "0")
    server.terminate()
    server.wait()
    page.wait("document.getElementById('state').dataset.state === 'lost'")
    page.enter()
    page.wait("document.getElementById('error').textContent.includes('Is it still running?')")


def keys(executable: str, model: str) -> None:
    """The page asks for a key, tells a wrong one, and goes on with the right one."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "keys")
        file.write_text("sk-right\n")
        with served(model, "--api-keys", str(file)) as (address, _), contextlib.closing(Browser(executable)) as page:
            page.open(address)
            page.wait("document.getElementById('key-dialog').open")
            page.type("sk-wrong")
            page.enter()
            page.wait("document.getElementById('key-why').textContent.includes('does not know')")
            page.wait("document.getElementById('key-dialog').open")
            page.run("document.getElementById('key').value = ''")
            page.type("sk-right")
            page.enter()
            page.wait("document.getElementById('state').dataset.state === 'ready'")


def dense(executable: str, model: str) -> None:
    """A model without experts is told to be one."""
    with served(model) as (address, _), contextlib.closing(Browser(executable)) as page:
        page.open(address)
        page.wait("document.getElementById('state').dataset.state === 'ready'")
        check("dense" in page.run("document.getElementById('notice').textContent"), "no notice")
        page.wait("document.getElementById('heat-none').textContent.includes('dense')")
        set_field(page, "max-tokens", "8")
        ask(page, "Hello")
        answered(page, 1)
        check(page.run("document.querySelectorAll('.token').length") == 0, "tokens have routes")
        check(page.console == [], page.console)


def main() -> None:
    executable = browser_path()
    if executable is None:
        print("page.py: there is no Chromium (set CHROMIUM to its path)")
        sys.exit(3)
    model = sys.argv[1]
    with served(model, "--name", NAME) as (address, server), contextlib.closing(Browser(executable)) as page:
        page.screen(1360, 860, "light")
        parts = [(talks, address), (shows_experts, address), (equals_a_direct_pass, address, model),
                 (shows_domains_and_drafts, address), (text_stays_text,),
                 (by_keyboard,), (basics,)]
        for part, *rest in parts:
            part(page, *rest)
            check(page.console == [], f"{part.__name__}: the console has {page.console}")
            print(f"{part.__name__}: as expected")
        elsewhere = [url for url in page.requests if not url.startswith((f"{address}/", "about:", "chrome:"))]
        check(elsewhere == [], f"requests to elsewhere: {elsewhere}")
        print(f"{len(page.requests)} requests, none to elsewhere")
        errors(page, server)
        print("errors: as expected")
    if PICTURES:
        with served(model, "--name", "SmolLM2-135M-carved") as (address, _), \
                contextlib.closing(Browser(executable)) as page:
            page.screen(1360, 860, "light")
            page.open(address)
            page.wait("document.getElementById('state').dataset.state === 'ready'")
            set_field(page, "temperature", "0")
            pictures(page)
    keys(executable, model)
    print("keys: as expected")
    for other in sys.argv[2:]:
        dense(executable, other)
        print("dense: as expected")


main()
