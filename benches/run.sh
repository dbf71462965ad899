#!/usr/bin/env bash
# `make bench`: every figure, each beside its peer where there is one. Needs what `make test` installs.
set -euo pipefail
cd "$(dirname "$0")/.."
bin="${CARGO_TARGET_DIR:-$PWD/target}/release"
for bench in $(sed -n 's/^name = "\(.*\)"$/\1/p' benches/Cargo.toml | grep -v -e '^weir-benches$' -e '^weir-load$'); do
    echo
    echo "=== $bench"
    "$bin/$bench"
done
echo
echo "=== figures"
python3 benches/figures.py
