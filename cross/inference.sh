#!/usr/bin/env bash
# Counts the instructions that ARM processors execute for one inference: by the engine, by tract, and by onnxruntime's
# own build for 64-bit ARM. Prints a table.
#   cross/inference.sh [<model of models/build/bench_models.json>…]
#
# Debian's qemu-aarch64 and qemu-arm run each as a program; cross/instructions.c counts what they execute until each
# line that they write. A model is loaded and run three times; the last run counts, so that neither loading nor what a
# first run prepares is in the figures. All get the same file and the same noise. The processors: Cortex-A53 (no dot
# products; A72 is the same to a program), Cortex-A76 (dot products), Cortex-A7 (32 bits, where there is no build of
# onnxruntime). Counts say nothing of caches, memory, or how many instructions a processor takes at once.
#   AIMASS_ENGINE_ARM64, AIMASS_ENGINE_ARMHF   the example `engine`, if it is built already; "" leaves one out
. "$(dirname "$0")/common.sh"

need qemu-aarch64 qemu-arm gcc
[ $# -gt 0 ] || set -- coco-ssd-lite nanodet centerface blazeface-back
python=$("$root/models/build/build.sh" --environment)
export PYTHONDONTWRITEBYTECODE=1 PYTHONHASHSEED=0 TF_CPP_MIN_LOG_LEVEL=3
files=$("$python" "$root/models/build/bench_models.py" "$@")
work=$(mktemp -d "$cache/inference.XXXXXX")
trap 'rm -rf "$work"' EXIT
gcc -O2 -Wall -shared -fPIC -o "$work/count.so" "$root/cross/instructions.c"

# program <arch>: the example `engine` for an architecture.
program() {
    names "$1"
    "$root/cross/build.sh" "$1" build --locked --profile dist -p aimass-inference --example engine >&2
    echo "${CARGO_TARGET_DIR:-$AIMASS_CACHE/target-cross}/$rust_target/dist/examples/engine"
}

# A Python for 64-bit ARM, and onnxruntime's wheels beside it.
peer_place() {
    local place
    place=$cache/onnxruntime-arm64-$(sha256sum "$root/cross/onnxruntime-arm64.txt" | cut -c1-12)
    if [ ! -f "$place/.done" ]; then
        say "fetching onnxruntime for arm64"
        rm -rf "$place"
        mkdir -p "$place"
        apt_index arm64
        unpack "$place" arm64 python3.11-minimal libpython3.11-minimal libpython3.11-stdlib libexpat1 zlib1g
        "$python" -m pip --disable-pip-version-check install --quiet --no-deps --require-hashes --only-binary :all: \
            --python-version 3.11 --implementation cp --abi cp311 --platform manylinux_2_28_aarch64 \
            --target "$place/wheels" -r "$root/cross/onnxruntime-arm64.txt" >&2 || die "onnxruntime for arm64 cannot be had"
        touch "$place/.done"
    fi
    echo "$place"
}

# last <command…>: instructions between the last two lines that it writes; "-" if it fails.
last() {
    if "$@" > "$work/out" 2> "$work/err" && ! grep -q '^error' "$work/out"; then
        awk '/^mark: / { before = now; now = $2 } END { printf "%.0f\n", now - before }' "$work/err"
    else
        { echo "failed: $*"; tail -n 3 "$work/out" "$work/err"; } >&2
        echo -
    fi
}

# view <processor> <its number> <its features>: what a program on this processor finds below /. The emulator hands on the
# /proc/cpuinfo of the machine it runs on, at which onnxruntime's library for such questions falls over.
view() {
    local place=$work/$1
    mkdir -p "$place/proc"
    ln -s "$sysroot64"/* "$place"
    printf 'processor\t: 0\nFeatures\t: %s\nCPU implementer\t: 0x41\nCPU architecture: 8\nCPU variant\t: 0x1\nCPU part\t: %s\nCPU revision\t: 4\n' \
        "$3" "$2" > "$place/proc/cpuinfo"
}

# own <emulator> <processor> <sysroot> <program> <backend> <file>
own() {
    printf 'load %s %s\ninput %s\nrun 1\nrun 1\nrun 1\n' "$5" "$6" "$work/noise" > "$work/commands"
    last "$1" -cpu "$2" -L "$3" -plugin "$work/count.so,marks=on" "$4" < "$work/commands"
}

# peer <processor> <file>
peer() {
    PYTHONHOME=$place/usr PYTHONPATH=$place/wheels LD_LIBRARY_PATH=$place/usr/lib/aarch64-linux-gnu:$place/lib/aarch64-linux-gnu \
        last qemu-aarch64 -cpu "$1" -L "$work/$1" -plugin "$work/count.so,marks=on" \
        "$place/usr/bin/python3.11" "$root/cross/inference_peer.py" "$2" "$work/noise"
}

engine64=${AIMASS_ENGINE_ARM64-$(program arm64)}
engine32=${AIMASS_ENGINE_ARMHF-$(program armhf)}
if [ -n "$engine64" ]; then
    sysroot64=$("$root/cross/sysroot.sh" arm64)
    place=$(peer_place)
    simple='fp asimd evtstrm aes pmull sha1 sha2 crc32 cpuid'
    view cortex-a53 0xd03 "$simple"
    view cortex-a76 0xd0b "$simple atomics fphp asimdhp asimdrdm lrcpc dcpop asimddp"
fi
[ -z "$engine32" ] || sysroot32=$("$root/cross/sysroot.sh" armhf)

columns='engine int8|engine f32|tract f32|onnxruntime int8|onnxruntime f32|best engine / tract|int8 / onnxruntime'
printf '| model, processor | %s |\n|---|---:|---:|---:|---:|---:|---:|---:|\n' "${columns//|/ | }"
for model in "$@"; do
    f32=$(awk -v name="$model" '$1 == name && $2 == "f32" { print $3 }' <<< "$files")
    int8=$(awk -v name="$model" '$1 == name && $2 == "int8" { print $3 }' <<< "$files")
    (cd "$root/models/build" && "$python" -c 'import sys, bench_models
(case,) = bench_models.cases(sys.argv[1:2])
bench_models.noise(case.f32, case.range)[1][0].astype("<f4").tofile(sys.argv[2])' "$model" "$work/noise")
    for processor in cortex-a53 cortex-a76 cortex-a7; do
        case $processor in
            cortex-a7) emulated=(qemu-arm "$processor" "${sysroot32:-}" "$engine32") ;;
            *) emulated=(qemu-aarch64 "$processor" "${sysroot64:-}" "$engine64") ;;
        esac
        [ -n "${emulated[3]}" ] || continue
        counts=("$(own "${emulated[@]}" engine-int8 "$int8")" "$(own "${emulated[@]}" engine-f32 "$f32")"
            "$(own "${emulated[@]}" tract "$f32")")
        if [ "$processor" = cortex-a7 ]; then
            counts+=(- -)
        else
            counts+=("$(peer "$processor" "$int8")" "$(peer "$processor" "$f32")")
        fi
        python3 -c 'import sys
name, *counts = sys.argv[1:]
known = [None if c == "-" else int(c) / 1e6 for c in counts]
ratio = lambda own, other: f"{own / known[other]:.2f}" if own and known[other] else "-"
best = min(filter(None, known[:2]), default=None)
shown = [f"{c:,.1f}" if c else "-" for c in known]
print("|", " | ".join([name, *shown, ratio(best, 2), ratio(known[0], 3)]), "|", flush=True)' "$model, $processor" "${counts[@]}"
    done
done
