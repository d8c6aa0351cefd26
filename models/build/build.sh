#!/bin/sh
# Rebuilds models of the library from their packages, with pinned tools, and says whether the result is
# byte for byte the file that model.toml records.
#
#   models/build/build.sh NAME... | all [--accept] [--calibrate]
#   models/build/build.sh --environment [tfjs]      makes the environment if need be, and prints its python
#
# Needs python3.11 with venv on x86-64 Linux (TensorFlow 2.15 ends there), npm for the models that come
# from it, 3 GB under ${AIMASS_CACHE:-$HOME/.cache/aimass}. Exit codes: 0 reproduced, 65 built but not the
# recorded file (how far it is, is printed), 69 a tool or registry is missing.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
AIMASS_CACHE=${AIMASS_CACHE:-$HOME/.cache/aimass}
# Names of graph nodes must not depend on the order of Python's sets; TensorFlow's chatter helps nobody.
PYTHONHASHSEED=0 TF_CPP_MIN_LOG_LEVEL=3 OPENCV_FFMPEG_LOGLEVEL=-8 PYTHONDONTWRITEBYTECODE=1
export AIMASS_CACHE PYTHONHASHSEED TF_CPP_MIN_LOG_LEVEL OPENCV_FFMPEG_LOGLEVEL PYTHONDONTWRITEBYTECODE

if [ $# -eq 0 ]; then
    echo "usage: $0 NAME... | all [--accept] [--calibrate]" >&2
    exit 64
fi
python=${PYTHON:-python3.11}
if ! "$python" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null; then
    echo "error: python3.11 is needed (name another with PYTHON=...); on Debian 12: apt-get install python3.11-venv" >&2
    exit 69
fi

# An environment is made once for each content of its requirements file.
environment() {
    home=$AIMASS_CACHE/tools/$1-$(sha256sum "$here/$2" | cut -c1-16)
    if [ ! -e "$home/ready" ]; then
        rm -rf "$home"
        echo "making the $1 environment" >&2
        if ! { "$python" -m venv "$home" &&
            "$home/bin/python" -m pip --disable-pip-version-check install --quiet --require-hashes \
                --only-binary :all: -r "$here/$2"; } >&2; then
            rm -rf "$home"
            echo "error: the $1 environment could not be made; is the package registry reachable?" >&2
            exit 69
        fi
        touch "$home/ready"
    fi
    echo "$home/bin/python"
}

if [ "$*" = "--environment tfjs" ]; then
    environment tfjs requirements-tfjs.txt
    exit 0
fi
main=$(environment build requirements.txt)
if [ "$1" = --environment ]; then
    echo "$main"
    exit 0
fi
tfjs=$main
flags=
names=
for argument in "$@"; do
    case $argument in
        --*) flags="$flags $argument" ;;
        all) names="$names coco-ssd-lite nanodet centerface blazeface-back" ;;
        *) names="$names $argument" ;;
    esac
done
case $names in
    *coco-ssd-lite* | *nanodet* | *blazeface-back*) tfjs=$(environment tfjs requirements-tfjs.txt) ;;
esac
# The yardstick itself is checked where its packages are; `make test` does without numpy.
(cd "$here" && "$main" -m unittest -q test_decoders) >&2
# shellcheck disable=SC2086 # flags and names are words
exec "$main" "$here/build.py" --tfjs-python "$tfjs" $flags $names
