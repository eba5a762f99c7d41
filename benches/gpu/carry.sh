#!/usr/bin/env bash
# Builds what a GPU machine needs into FOLDER (default: target/gpu), and FOLDER.tar.xz: the conformance suite, the report of operations,
# a step of training and the program, each one file, and the scripts that run them. The GPU machine needs the driver, Python and PyTorch,
# nothing else.
set -euo pipefail
cd "$(dirname "$0")/../.."
folder=${1:-target/gpu}
mkdir -p "$folder"
cargo build --release -p seq2seq-cli --features cuda
cargo build --release -p seq2seq-benches --features cuda,train --bin report --bin train_step
suite=$(cargo test --release -p seq2seq-cuda --test gpu --no-run --message-format json |
  python3 -c 'import json, sys; print(*[m["executable"] for m in map(json.loads, sys.stdin) if m.get("executable")][-1:])')
target=${CARGO_TARGET_DIR:-target}/release
cp "$target/seq2seq" "$target/report" "$target/train_step" "$folder/"
cp "$suite" "$folder/suite"
strip "$folder/seq2seq" "$folder/report" "$folder/train_step" "$folder/suite"
cp benches/gpu/*.py benches/peers/{cost,workloads}.py "$folder/"
rm -f "$folder"/test_*.py
# The programs hold the same kernels: behind a long window they are there once.
tar -C "$folder" -c . | xz --lzma2=preset=3,dict=192MiB >"$folder.tar.xz"
du -ch "$folder"/* "$folder.tar.xz" | tail -7
