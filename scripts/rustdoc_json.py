"""What rustdoc says of our libraries, for the scripts beside this one.

Read from the JSON that rustdoc writes, which is still unstable: hence RUSTC_BOOTSTRAP. Builds into `rustdoc-json` in the target
folder, as the variable would have what lies beside it built again. Needs no libtorch and no CUDA.
"""

import json
import os
import pathlib
import subprocess

# Each library that is published, with all that it can have.
PUBLISHED = {
    "seq2seq-core": "conformance",
    "seq2seq-cpu": "",
    "seq2seq-cuda": "",
    "seq2seq-tch": "doc-only",
    "seq2seq-models": "cuda,tch,hub,seq2seq-tch/doc-only",
}


def api(library):
    """All that is public in a library. A library that is not published is taken as it comes."""
    root = pathlib.Path(__file__).resolve().parent.parent
    target = (root / os.environ.get("CARGO_TARGET_DIR", "target") / "rustdoc-json").resolve()
    command = ["cargo", "rustdoc", "-q", "--lib", "-p", library, "--features", PUBLISHED.get(library, "")]
    command += ["--target-dir", str(target), "--", "-Z", "unstable-options", "--output-format", "json"]
    subprocess.run(command, cwd=root, env=os.environ | {"RUSTC_BOOTSTRAP": "1"}, check=True)
    return json.loads((target / "doc" / f"{library.replace('-', '_')}.json").read_text())


def place(item):
    """Where an item is defined."""
    span = item["span"]
    return f"{span['filename']}:{span['begin'][0]}"
