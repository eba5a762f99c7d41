#!/usr/bin/env python3
"""Names the types and traits of other crates in the public API of ours.

    python scripts/public_types.py            # every published library

Whoever uses a crate of ours would have to match the version of a crate that shows in its signatures, and a new version of it
would break them. So only these may show: the standard library, crates of this workspace, half and safetensors, which the field
shares, and serde's traits.
"""

import sys

from rustdoc_json import PUBLISHED, api, place

SHOWN = {"std", "core", "alloc", "half", "safetensors", "serde", "serde_core"}


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
                yield place(item), item["name"] or "impl", full


def main():
    found = sorted({stranger for library in PUBLISHED for stranger in strangers(api(library))})
    for where, item, path in found:
        print(f"{where}: {item}: {path}")
    if found:
        sys.exit(f"{len(found)} mentions of other crates in the public API")
    print(f"{len(PUBLISHED)} libraries show no other crate")


if __name__ == "__main__":
    main()
