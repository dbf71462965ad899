#!/usr/bin/env bash
# `make test`: sets up, then runs every suite. The last line is the sum of all of them.
set -uo pipefail
cd "$(dirname "$0")/.."
log=$(mktemp -d)
trap 'rm -rf "$log"' EXIT
passed=0
failed=0
skipped=0

# suite NAME COMMAND…: runs it, shows its output, adds up what it counted.
suite() {
    local name=$1
    shift
    echo "=== $name"
    "$@" 2>&1 | tee "$log/$name"
    local status=${PIPESTATUS[0]}
    read -r ok bad left < <(python3 tests/count.py "$log/$name")
    passed=$((passed + ok)) failed=$((failed + bad)) skipped=$((skipped + left))
    if [ "$status" != 0 ]; then
        echo "=== $name failed with exit code $status"
        [ "$bad" != 0 ] || failed=$((failed + 1))
    fi
}

bash tests/setup.sh || { echo "0 passed, 1 failed"; exit 1; }
export PATH="$PWD/tests/.venv/bin:$PATH"

suite build cargo build --release --workspace --all-targets
[ "$failed" = 0 ] || { echo "$passed passed, $failed failed"; exit 1; }
suite rust cargo test --release --workspace --no-fail-fast
suite web npm --prefix dashboards/web test
suite end-to-end tests/.venv/bin/python -m pytest -q --durations=10 tests/e2e

echo
if [ "$skipped" != 0 ]; then
    grep -hE 'SKIP|ignored' "$log"/* | sort -u | head -20
    echo "$passed passed, $failed failed, $skipped skipped"
else
    echo "$passed passed, $failed failed"
fi
[ "$failed" = 0 ]
