#!/usr/bin/env bash
# minijinja 3.1.0 with its Python methods (minijinja-contrib, `pycompat`): chat templates render other text than under jinja2 3.1.6.
#
# Guess: what both render is the same text; what minijinja lacks is an error.
# Seen (2026-11): a string that is continued by a backslash at the end of a line keeps both, large and small numbers are written
# without an exponent, a string is no `sequence`, lines that end as on Windows stay so, `\N{...}` stays as it is: no error, and the
# model gets another prompt than in training. Errors, though the methods are Python's: `%`, `rsplit`, `removeprefix`, `partition`,
# `split` with `maxsplit=`, `index` of a list.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
venv=${FINDINGS_VENV:-$folder/venv}
[ -x "$venv/bin/pip" ] || python3 -m venv "$venv"
"$venv/bin/pip" install --quiet --no-compile --disable-pip-version-check jinja2==3.1.6
mkdir src
cat >Cargo.toml <<'TOML'
[package]
name = "minijinja-and-jinja2"
version = "0.0.0"
edition = "2024"
[dependencies]
minijinja = { version = "=3.1.0", features = ["loop_controls", "json", "preserve_order"] }
minijinja-contrib = { version = "=3.1.0", features = ["pycompat"] }
serde_json = { version = "1", features = ["preserve_order"] }
[profile.dev]
debug = false
TOML
cat >src/main.rs <<'RUST'
use minijinja::{AutoEscape, Environment, context, syntax::SyntaxConfig};

fn main() {
    let cases: Vec<String> = serde_json::from_reader(std::io::stdin()).unwrap();
    let rendered = cases.iter().map(|case| {
        let mut env = Environment::new();
        env.set_syntax(SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build().unwrap());
        env.set_auto_escape_callback(|_| AutoEscape::None);
        env.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        env.render_str(case, context! {}).ok()
    });
    println!("{}", serde_json::to_string(&rendered.collect::<Vec<_>>()).unwrap());
}
RUST
cat >see.py <<'PY'
import json
import subprocess
import sys
from jinja2.sandbox import ImmutableSandboxedEnvironment

# template, what minijinja makes of it: None is an error
CASES = [
    ("{{ 'a,b'.split(',') }}{{ 'abc'[::-1] }}{{ -7 // 2 }}", "['a', 'b']cba-4"),
    ("{{ 'a\\\nb' }}", "a\\\nb"),
    ("{{ 1e20 }} {{ 1e-7 }}", "100000000000000000000.0 0.0000001"),
    ("{{ 'a' is sequence }}", "False"),
    ("a\r\nb", "a\r\nb"),
    ("{{ '\\N{BULLET}' }}", "\\N{BULLET}"),
    ("{{ '%s!' % 'a' }}", None),
    ("{{ 'a,b,c'.rsplit(',', 1) }}", None),
    ("{{ 'abc'.removeprefix('a') }}", None),
    ("{{ 'a b'.partition(' ') }}", None),
    ("{{ 'a,b'.split(',', maxsplit=1) }}", None),
    ("{{ [1, 2].index(2) }}", None),
]
jinja2 = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
templates = json.dumps([template for template, _ in CASES])
seen = json.loads(subprocess.run(sys.argv[1], input=templates, capture_output=True, text=True, check=True).stdout)
for at, ((template, expected), other) in enumerate(zip(CASES, seen)):
    text = jinja2.from_string(template).render()
    print(f"{template!r}: jinja2 {text!r}, minijinja {'an error' if other is None else repr(other)}")
    assert other == expected and (other == text) == (at == 0), "not as described"
PY
export CARGO_TARGET_DIR=${FINDINGS_TARGET:-$folder/target}
cargo build --quiet
"$venv/bin/python" see.py "$CARGO_TARGET_DIR/debug/minijinja-and-jinja2"
echo "as described: the first renders alike, the others do not"
