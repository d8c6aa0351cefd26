#!/usr/bin/env bash
# Counts the instructions that a Cortex-A53 executes for an inference, and for a frame outside inference, and prints a
# table. Debian's qemu-aarch64 runs the program as it is packaged; cross/instructions.c counts. Counts are steady where
# times are not: two runs differ by a few in a thousand, because threads wait for each other.
#   cross/instructions.sh [<program for arm64>]
. "$(dirname "$0")/common.sh"

need qemu-aarch64 gcc python3
qemu-aarch64 -help | grep -q -- '-plugin' || die "this qemu-aarch64 takes no plugins: Debian's package qemu-user does"
sysroot=$("$root/cross/sysroot.sh" arm64)
program=${1:-$("$root/cross/build.sh" arm64)}
work=$(mktemp -d "$cache/instructions.XXXXXX")
trap 'rm -rf "$work"' EXIT
gcc -O2 -Wall -shared -fPIC -o "$work/count.so" "$root/cross/instructions.c"
plugins=$sysroot/usr/lib/aarch64-linux-gnu/gstreamer-1.0

# emulate <options of the emulator…> -- <arguments>: the program, on that processor.
emulate() {
    local options=()
    while [ "$1" != -- ]; do options+=("$1"); shift; done
    shift
    QEMU_CPU=cortex-a53 GST_PLUGIN_SYSTEM_PATH_1_0=$plugins GST_PLUGIN_SCANNER_1_0=/nonexistent \
        GST_REGISTRY_1_0=$cache/instructions.registry GST_REGISTRY_FORK=no AIMASS_STATE=$work RAYON_NUM_THREADS=1 \
        qemu-aarch64 -L "$sysroot" "${options[@]}" "$program" "$@" > "$work/out" 2> "$work/err" ||
        { cat "$work/err" >&2; die "the program failed: $*" 1; }
}
# count <arguments>: what the whole run executed.
count() {
    emulate -plugin "$work/count.so" -- "$@"
    awk '/^instructions: / { print $2 }' "$work/err"
}
test_source() { echo "test:?frames=$1&realtime=false&pattern=$2"; }
# each <few> <many> <command…>: instructions for one frame more; FRAMES in the command is the number of frames.
each() {
    local few=$1 many=$2 a b
    shift 2
    a=$(count "${@//FRAMES/$few}")
    b=$(count "${@//FRAMES/$many}")
    echo $(((b - a) / (many - few)))
}
inferences() { python3 -c 'import json, sys; print(json.load(open(sys.argv[1]))["inferences"])' "$work/out"; }

# GStreamer looks through its plug-ins once, and each model is measured once, by all that can run it: what came out is
# kept in the state folder. Neither is to be counted.
emulate -- probe
emulate -- models --models "$root/models" verify
# The test source draws its pictures: twice in a bench (once to know what decoding costs), once in an analysis.
drawn=$(each 40 120 analyze --every 1000000 --models "$root/models" --source "$(test_source FRAMES black)")
declare -A whole
for chain in detect faces; do
    whole[$chain]=$(each 2 5 bench --gate off --chain "$chain" --models "$root/models" --source "$(test_source FRAMES ball)")
done
# A still scene is looked at now and then all the same: as many more frames as fit between two such looks.
still=(bench --gate on --models "$root/models" --source)
a=$(count "${still[@]}" "$(test_source 60 black)")
looks=$(inferences)
idle=
for more in 30 25 20 15 10; do
    b=$(count "${still[@]}" "$(test_source $((60 + more)) black)")
    [ "$(inferences)" -ne "$looks" ] || { idle=$(((b - a) / more)) && break; }
done
[ -n "$idle" ] || die "a still scene is looked at more than once in ten frames" 1
printf '| what, on aarch64 (Cortex-A53, no dot product) | million instructions |\n|---|---:|\n'
row() { printf '| %s | %s |\n' "$1" "$(python3 -c 'import sys; print(f"{int(sys.argv[1]) / 1e6:,.2f}")' "$2")"; }
row "a frame outside inference (640x480, still: gate, bookkeeping)" $((idle - 2 * drawn))
for chain in detect faces; do
    row "a frame through \`$chain\` with its default model, preparation and tracking included" $((whole[$chain] - 2 * drawn))
done
