#!/usr/bin/env bash
# Tells how exposed the service is (systemd-analyze security, 0 is closed, 10 is open) and fails above 2.5.
set -euo pipefail
cd "$(dirname "$0")/.."
command -v systemd-analyze > /dev/null || { echo "error: systemd-analyze is not installed: it is in Debian's package systemd" >&2; exit 69; }
out=$(systemd-analyze security --offline=true --threshold=25 --no-pager systemd/aimass-agent.service) || {
    echo "$out" >&2
    echo "error: the unit is too open: see what is marked above" >&2
    exit 1
}
if [ "${1:-}" = --table ]; then echo "$out"; else tail -n 1 <<< "$out"; fi
