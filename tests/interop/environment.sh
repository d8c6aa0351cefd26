#!/bin/sh
# Makes the Python environment with Eclipse Paho's client, pinned by hash, once, and prints its interpreter.
# Lies in ${AIMASS_CACHE:-$HOME/.cache/aimass}/tools. Exit code 69: it cannot be made.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
tools=${AIMASS_CACHE:-$HOME/.cache/aimass}/tools
place=$tools/paho-$(sha256sum "$here/requirements.txt" | cut -c1-16)
if [ ! -e "$place/ready" ]; then
    mkdir -p "$tools"
    # Two test processes may want it at once.
    exec 9>"$place.lock"
    flock 9
fi
if [ ! -e "$place/ready" ]; then
    rm -rf "$place"
    if ! { python3 -m venv "$place" &&
        "$place/bin/python" -m pip --disable-pip-version-check install --quiet --require-hashes \
            -r "$here/requirements.txt"; } >&2; then
        rm -rf "$place"
        echo "error: Paho's environment could not be made: is the registry reachable, is python3-venv installed?" >&2
        exit 69
    fi
    touch "$place/ready"
fi
echo "$place/bin/python"
