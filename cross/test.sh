#!/usr/bin/env bash
# Runs tests that were built for a board under user-mode emulation, the recorded answers of the models, and compares
# findings with those of the amd64 program.
#   cross/test.sh <arm64|armhf>
. "$(dirname "$0")/common.sh"

arch=${1:-}
names "$arch"
case "$arch" in
    arm64) emulator=qemu-aarch64 ;;
    armhf) emulator=qemu-arm ;;
    *) die "$arch needs no emulation: make test" 64 ;;
esac
need "$emulator-static" python3
sysroot=$("$root/cross/sysroot.sh" "$arch")
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$AIMASS_CACHE/target-cross}
# The least that a board may have: what needs more must find out at run time and go without.
case "$arch" in
    arm64) cpu=cortex-a53 ;;
    armhf) cpu=cortex-a7 ;;
esac
emulate() { QEMU_LD_PREFIX=$sysroot QEMU_CPU=$cpu "$emulator-static" "$@"; }

say "building the tests for $arch"
"$root/cross/build.sh" "$arch" test --locked --profile dist-test --no-run --message-format=json-render-diagnostics \
    -p aimass-core -p aimass-store -p aimass-mqtt -p aimass-inference --lib \
    --test store --test engine --test models --test plans > "$cache/tests.$arch.json"
mapfile -t programs < <(python3 - "$cache/tests.$arch.json" <<'PY'
import json, sys
for line in open(sys.argv[1]):
    row = json.loads(line)
    if row.get("profile", {}).get("test") and row.get("executable"):
        print(row["manifest_path"].rsplit("/", 2)[1] + "\t" + row["executable"])
PY
)
[ "${#programs[@]}" -ge 8 ] || die "fewer test programs than expected were built: ${programs[*]}"

# A test that starts itself a second time, to kill it, needs a kernel that knows the emulator.
skip=()
if [ ! -e "/proc/sys/fs/binfmt_misc/$emulator" ]; then
    skip=(--skip crash::)
    say "the kernel does not run programs for $arch by itself ($emulator in binfmt_misc): tests that kill such programs are left out"
fi

failed=
for line in "${programs[@]}"; do
    crate=${line%%$'\t'*} program=${line#*$'\t'}
    printf '%s (%s): ' "$crate" "$(basename "$program" | sed 's/-[0-9a-f]*$//')"
    if (cd "$root/agent/$crate" && emulate "$program" --test-threads 2 "${skip[@]}" > "$cache/tests.$arch.log" 2>&1); then
        grep '^test result' "$cache/tests.$arch.log"
    else
        echo failed
        grep -E '^test .*FAILED|panicked|^test result|signal' "$cache/tests.$arch.log" || tail -n 30 "$cache/tests.$arch.log"
        failed=yes
    fi
done

say "replaying the recorded answers of the models"
program=$("$root/cross/build.sh" "$arch")
emulate "$program" models --models "$root/models" verify || failed=yes

say "comparing findings with those of the amd64 program"
native=$("$root/cross/build.sh" amd64)
# By each engine: what is left alone takes the faster one, which need not be the same on both.
for engine in engine-int8 engine-f32; do
    for chain in detect faces; do
        for picture in "$root"/models/golden/*.jpg; do
            options=(analyze --source "file:$picture" --chain "$chain" --models "$root/models" --engine "$engine")
            emulate "$program" "${options[@]}" > "$cache/findings.$arch.jsonl" 2> /dev/null
            "$native" "${options[@]}" > "$cache/findings.amd64.jsonl" 2> /dev/null
            python3 "$root/cross/compare_findings.py" "$cache/findings.amd64.jsonl" "$cache/findings.$arch.jsonl" \
                "$engine $chain $(basename "$picture")" || failed=yes
        done
    done
done
[ -z "$failed" ] || die "not all is as on amd64: see above" 1
