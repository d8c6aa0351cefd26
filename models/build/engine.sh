#!/bin/sh
# Compares the engine with onnxruntime in the pinned environment of build.sh.
#
#   models/build/engine.sh bench [NAME...]      times, interleaved (bench_engine.py), of the models in bench_models.json
#   models/build/engine.sh fuzz [COUNT]         random graphs (fuzz_engine.py)
#   models/build/engine.sh fixtures             writes the graphs of agent/inference/tests/engine anew
#
# Exit codes: 1 a graph differs, 69 a tool or registry is missing.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
AIMASS_CACHE=${AIMASS_CACHE:-$HOME/.cache/aimass}
# Names of graph nodes must not depend on the order of Python's sets; TensorFlow's chatter helps nobody.
export AIMASS_CACHE PYTHONDONTWRITEBYTECODE=1 PYTHONHASHSEED=0 TF_CPP_MIN_LOG_LEVEL=3
python=$("$here/build.sh" --environment)
command=${1:-}
[ $# -eq 0 ] || shift
case $command in
    fixtures) exec "$python" "$here/fuzz_engine.py" fixtures "$root/agent/inference/tests/engine" ;;
    bench | fuzz) ;;
    *)
        echo "usage: $0 bench [NAME...] | fuzz [COUNT] | fixtures" >&2
        exit 64
        ;;
esac
profile=${AIMASS_PROFILE:-release}
as_shipped=
if [ "$profile" = dev ]; then
    # What is measured is what ships: fast code without the checks that tests want (a check for overflow alone keeps
    # loops over bytes from being vectorised). tract is fast in this profile, and has no such checks.
    for crate in aimass-kernels aimass-inference; do
        for setting in opt-level=3 debug-assertions=false overflow-checks=false; do
            as_shipped="$as_shipped --config profile.dev.package.$crate.$setting"
        done
    done
fi
# shellcheck disable=SC2086  # Words that are told apart.
(cd "$root" && cargo build --locked --workspace --example engine --profile "$profile" $as_shipped) >&2
[ "$profile" != dev ] || profile=debug
program=${CARGO_TARGET_DIR:-$root/target}/$profile/examples/engine
case $command in
    bench) exec "$python" "$here/bench_engine.py" "$program" "$@" ;;
    fuzz) exec "$python" "$here/fuzz_engine.py" fuzz "$program" "$@" ;;
esac
