#!/bin/sh
# Compares aimass-agent with what one would write in Python, on the same clips and the same model file,
# one after the other on this machine, and prints a Markdown table (see readme_table.py).
#
#   tests/peer/run.sh [BINARY] [arguments of figures.py]
#
# BINARY is target/release/aimass-agent unless named. Needs python3 with venv; brings the clips and the
# peer's packages itself. Exit codes: 69 a tool, registry or the binary is missing.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
root=$here/../..
AIMASS_CACHE=${AIMASS_CACHE:-$HOME/.cache/aimass}
PYTHONDONTWRITEBYTECODE=1
export AIMASS_CACHE PYTHONDONTWRITEBYTECODE

binary=${CARGO_TARGET_DIR:-$root/target}/release/aimass-agent
case ${1:-} in
    "" | --*) ;;
    *) binary=$1; shift ;;
esac
if [ ! -x "$binary" ]; then
    echo "error: $binary is not there: cargo build --release -p aimass-agent" >&2
    exit 69
fi

media=$("$root/tests/fixtures/fetch.sh")
peer=$AIMASS_CACHE/tools/peer-$(sha256sum "$here/requirements.txt" | cut -c1-16)
if [ ! -e "$peer/ready" ]; then
    rm -rf "$peer"
    if ! { python3 -m venv "$peer" &&
        "$peer/bin/python" -m pip --disable-pip-version-check install --quiet -r "$here/requirements.txt"; } >&2; then
        rm -rf "$peer"
        echo "error: the peer's environment could not be made: is the registry reachable, is python3-venv installed?" >&2
        exit 69
    fi
    touch "$peer/ready"
fi
exec "$peer/bin/python" "$here/figures.py" --binary "$binary" --media "$media" "$@"
