#!/usr/bin/env bash
# Builds what a GPU machine needs into FOLDER (default: target/gpu): the conformance suite, the report of operations and the
# program, each one file, and the script that runs them. The GPU machine needs the driver, Python and PyTorch, nothing else.
set -euo pipefail
cd "$(dirname "$0")/../.."
folder=${1:-target/gpu}
mkdir -p "$folder"
cargo build --release -p seq2seq-cli --features cuda
cargo build --release -p seq2seq-benches --features cuda --bin report
suite=$(cargo test --release -p seq2seq-cuda --test gpu --no-run --message-format json |
  python3 -c 'import json, sys; print(*[m["executable"] for m in map(json.loads, sys.stdin) if m.get("executable")][-1:])')
target=${CARGO_TARGET_DIR:-target}/release
cp "$target/seq2seq" "$target/report" "$folder/"
cp "$suite" "$folder/suite"
strip "$folder/seq2seq" "$folder/report" "$folder/suite"
cp benches/gpu/run.py "$folder/"
du -h "$folder"/*
