#!/usr/bin/env bash
# Resolve requirements*.in into requirements*.txt. Versions already chosen stay; `make lock UPGRADE=1` takes the newest.
set -euo pipefail
cd "$(dirname "$0")/.."
compile() {
  .venv/bin/uv pip compile --quiet --universal --python-version 3.13 --annotation-style line --no-emit-index-url \
    --custom-compile-command "make lock" ${UPGRADE:+--upgrade} "$@"
}
compile requirements.in --output-file requirements.txt
compile requirements-dev.in --constraint requirements.txt --output-file requirements-dev.txt
