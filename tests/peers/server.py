"""What tests of `serve` share: a server as a process, and the tools and schemas that they ask it about."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

DARKHORSE = os.path.abspath(os.environ.get("DARKHORSE", "target/release/darkhorse-genesis"))
KEY = "sk-peer"

PERSON = {
    "type": "object",
    "properties": {"name": {"type": "string", "maxLength": 12}, "age": {"type": "integer", "minimum": 0, "maximum": 150}},
    "required": ["name", "age"],
    "additionalProperties": False,
}
WEATHER = {
    "type": "object",
    "properties": {"city": {"type": "string", "maxLength": 12}, "unit": {"enum": ["celsius", "fahrenheit"]}},
    "required": ["city", "unit"],
    "additionalProperties": False,
}


def check(holds: bool, what: object) -> None:
    if not holds:
        sys.exit(f"{Path(sys.argv[0]).name}: {what}")


@contextmanager
def served(model: str, *arguments: str) -> Iterator[str]:
    """The address of a server with the key `sk-peer`, which ends by itself when it is told to."""
    keys = Path(os.environ.get("PEERS_WORK", ".")) / "serve-keys.txt"
    keys.write_text(f"{KEY}\n")
    command = [DARKHORSE, "serve", "--model", model, "--name", "peer", "--port", "0", "--api-keys", str(keys), *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            line = server.stdout.readline()
            check(" is served at http://" in line, f"the server said {line!r}")
            yield line.split(" is served at ")[1].strip()
        finally:
            server.terminate()
    check(server.returncode == 0, f"the server ended with {server.returncode}")
