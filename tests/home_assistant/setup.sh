#!/usr/bin/env bash
# Home Assistant's MQTT discovery schemas in a virtual environment of their own. Prints the path of its Python.
#
# Needs Python 3.12 or 3.13. Where there is none, or the packages cannot be had, it says so and ends with 3: the test
# that needs it is then skipped. Only what the schemas import is installed, without what those packages would pull in.
set -euo pipefail
cd "$(dirname "$0")"
cache="${AIMASS_CACHE:-$HOME/.cache/aimass}"
venv="$cache/ha-venv"
skip() { echo "home assistant: $*; its schemas are not checked" >&2; exit 3; }

stamp="$(cat requirements.txt setup.sh | sha256sum | cut -c1-16)"
if [ "$(cat "$venv/.stamp" 2>/dev/null)" = "$stamp" ] && [ -x "$venv/bin/python" ]; then
    echo "$venv/bin/python"
    exit 0
fi

python=
for candidate in "$HOME"/.pyenv/versions/3.13.*/bin/python3 "$HOME"/.pyenv/versions/3.12.*/bin/python3 \
    python3.13 python3.12 python3; do
    if "$candidate" -c 'import sys, venv; sys.exit((3, 12) > sys.version_info[:2] or sys.version_info[:2] > (3, 13))' \
        2>/dev/null; then
        python=$candidate
        break
    fi
done
[ -n "$python" ] || skip "no Python 3.12 or 3.13 here"

mkdir -p "$cache"
exec 9>"$cache/ha-venv.lock"
flock 9
if [ "$(cat "$venv/.stamp" 2>/dev/null)" != "$stamp" ]; then
    rm -rf "$venv"
    "$python" -m venv "$venv" >&2 || skip "no virtual environment can be made with $python"
    # Modules are compiled when they are imported: of some thousand in the package a few dozen are.
    timeout 300 "$venv/bin/pip" install --quiet --disable-pip-version-check --no-deps --no-compile --only-binary :all: \
        --require-hashes -r requirements.txt >&2 || skip "the pinned packages cannot be installed (see above)"
    echo "$stamp" >"$venv/.stamp"
fi
echo "$venv/bin/python"
