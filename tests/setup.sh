#!/usr/bin/env bash
# Installs what the tests need and is not there yet: Prometheus, node_exporter, Alertmanager and Chromium from Debian,
# Python and npm packages from their lock files. Ends with an error when something is still missing.
set -euo pipefail
cd "$(dirname "$0")"

need() { command -v "$1" >/dev/null 2>&1; }

missing=()
need prometheus || missing+=(prometheus)
need prometheus-node-exporter || missing+=(prometheus-node-exporter)
need chromium || missing+=(chromium)
if [ ${#missing[@]} -gt 0 ]; then
    echo "setup: installing ${missing[*]}"
    sudo=""
    [ "$(id -u)" = 0 ] || sudo=sudo
    $sudo apt-get update -qq
    $sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
fi
need uv || python3 -m pip install --quiet --root-user-action=ignore uv

if ! cmp -s requirements.txt .venv/.installed 2>/dev/null; then
    echo "setup: python packages"
    uv venv --quiet --clear --python 3.11 .venv 2>/dev/null || uv venv --quiet --clear .venv
    uv pip install --quiet --python .venv/bin/python --require-hashes -r requirements.txt
    cp requirements.txt .venv/.installed
fi
if ! cmp -s apps/express/package-lock.json apps/express/node_modules/.installed 2>/dev/null; then
    echo "setup: npm packages of the Express sample and of the browser tests"
    (cd apps/express && npm ci --no-audit --no-fund --ignore-scripts --silent)
    cp apps/express/package-lock.json apps/express/node_modules/.installed
fi

for program in prometheus promtool prometheus-node-exporter chromium node python3; do
    need "$program" || { echo "setup: $program is missing and could not be installed"; exit 1; }
done
