#!/usr/bin/env python3
"""Names the types and traits of other crates in the public API of ours.

    python scripts/public_types.py            # every published library

Whoever uses a crate of ours would have to match the version of a crate that shows in its signatures, and a new version of it
would break them. So only these may show: the standard library, crates of this workspace, half and safetensors, which the field
shares, and serde's traits. Read from the JSON that rustdoc writes, which is still unstable: hence RUSTC_BOOTSTRAP. Builds into
`public-types` in the target folder, as the variable would have what lies beside it built again. Needs no libtorch and no CUDA.
"""

import json
import os
import pathlib
import subprocess
import sys

# Each library with all that it can have.
LIBRARIES = {
    "seq2seq-core": "conformance",
    "seq2seq-cpu": "",
    "seq2seq-cuda": "",
    "seq2seq-tch": "doc-only",
    "seq2seq-models": "cuda,tch,hub,seq2seq-tch/doc-only",
}
SHOWN = {"std", "core", "alloc", "half", "safetensors", "serde", "serde_core"}


def api(library, target):
    """What rustdoc says of a library."""
    command = ["cargo", "rustdoc", "-q", "--lib", "-p", library, "--features", LIBRARIES[library], "--target-dir", str(target)]
    command += ["--", "-Z", "unstable-options", "--output-format", "json"]
    subprocess.run(command, env=os.environ | {"RUSTC_BOOTSTRAP": "1"}, check=True)
    return json.loads((target / "doc" / f"{library.replace('-', '_')}.json").read_text())


def paths(signature):
    """Every mention of a type or trait: what rustdoc has as `{path, id, args}`, and what `use` has as `{source, id}`."""
    if isinstance(signature, dict):
        if "id" in signature and ("path" in signature or "source" in signature):
            yield signature["id"], signature.get("path", signature.get("source"))
        signature = signature.values()
    elif not isinstance(signature, list):
        return
    for part in signature:
        yield from paths(part)


def strangers(api):
    """Place, item and path of what may not be shown."""
    items, known, crates = api["index"], api["paths"], api["external_crates"]

    def owner(id, path):
        if (entry := known.get(str(id))) is None:
            # A crate that is exported whole has no entry.
            return path.split("::")[0] if path.split("::")[0] in {c["name"] for c in crates.values()} else None
        return crates[str(entry["crate_id"])]["name"] if entry["crate_id"] else None

    def inherited(item):
        # What every type has by an implementation `for T`, and Send and its like.
        of = item["inner"].get("impl")
        return of and (of["is_synthetic"] or of["blanket_impl"])

    skipped = {id for item in items.values() if inherited(item) for id in item["inner"]["impl"]["items"]}
    for id, item in items.items():
        if item["crate_id"] or inherited(item) or int(id) in skipped:
            continue
        for mention, path in paths(item["inner"]):
            crate = owner(mention, path)
            if crate and crate not in SHOWN and not crate.startswith("seq2seq_"):
                full = "::".join(known[str(mention)]["path"]) if str(mention) in known else path
                span = item["span"]
                yield f"{span['filename']}:{span['begin'][0]}", item["name"] or "impl", full


def main():
    root = pathlib.Path(__file__).resolve().parent.parent
    os.chdir(root)
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", "target")) / "public-types"
    found = sorted({stranger for library in LIBRARIES for stranger in strangers(api(library, target))})
    for place, item, path in found:
        print(f"{place}: {item}: {path}")
    if found:
        sys.exit(f"{len(found)} mentions of other crates in the public API")
    print(f"{len(LIBRARIES)} libraries show no other crate")


if __name__ == "__main__":
    main()
