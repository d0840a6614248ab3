#!/usr/bin/env python3
"""Runs every command of the book, and checks its links.

    scripts/book.py PROGRAM        e.g. target/release/darkhorse-genesis

Commands are the blocks marked `sh`. They run chapter by chapter, as docs/SUMMARY.md lists them, in one empty folder
with the project's data/ in it and PROGRAM on the path.
"""

import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"


def chapters():
    names = re.findall(r"\]\(([^)]+\.md)\)", (DOCS / "SUMMARY.md").read_text())
    missing = sorted({path.name for path in DOCS.glob("*.md")} - {*names, "SUMMARY.md"})
    if missing:
        sys.exit(f"docs/SUMMARY.md does not name {', '.join(missing)}")
    return names


def check_links(name, text):
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", text):
        if not target.startswith("https://") and not (DOCS / target).is_file():
            sys.exit(f"docs/{name}: no file for the link `{target}`")


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__.strip())
    program = pathlib.Path(sys.argv[1]).resolve(strict=True)
    folder = pathlib.Path(tempfile.mkdtemp(prefix="book-"))
    (folder / "bin").mkdir()
    (folder / "bin" / "darkhorse-genesis").symlink_to(program)
    (folder / "data").symlink_to(ROOT / "data")
    environment = {"PATH": f"{folder / 'bin'}:{os.environ['PATH']}", "HOME": str(folder), "LC_ALL": "C.UTF-8"}
    ran = 0
    for name in chapters():
        text = (DOCS / name).read_text()
        check_links(name, text)
        for block in re.findall(r"^```sh\n(.*?)^```$", text, re.M | re.S):
            for command in block.strip().splitlines():
                print(f"docs/{name}$ {command}", flush=True)
                done = subprocess.run(
                    ["bash", "-euo", "pipefail", "-c", command],
                    cwd=folder, env=environment, stdin=subprocess.DEVNULL, text=True,
                    stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                )
                if done.returncode != 0:
                    sys.exit(f"{done.stdout}\ndocs/{name}: `{command}` ended with {done.returncode}; see {folder}")
                ran += 1
    shutil.rmtree(folder)
    print(f"{ran} commands ran")


if __name__ == "__main__":
    main()
