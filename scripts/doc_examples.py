#!/usr/bin/env python3
"""Names the public items whose documentation shows no example.

    python scripts/doc_examples.py                 # every library
    python scripts/doc_examples.py seq2seq-cpu     # those that are named

Structs, enums, unions, traits, functions and macros, each once, whatever exports it; the items of another crate are documented
there. An example is a block of Rust that is compiled with the tests, in the documentation of the item itself, or of a module that
it is found in where the block names it. That examples run is for `cargo test --doc` to see.
"""

import re
import sys

from rustdoc_json import PUBLISHED, api, place

KINDS = {"struct", "enum", "union", "trait", "function", "macro", "proc_macro"}
# Beside the editions, what may stand behind the backticks of a block that is Rust and works.
RUST = {"", "rust", "no_run", "should_panic", "standalone_crate", "test_harness"}


def examples(docs):
    """What is shown of the blocks of Rust in a documentation."""
    fence, words, lines = "", "", []
    for line in (docs or "").splitlines():
        mark = re.match(r"\s*(`{3,}|~{3,})(.*)", line)
        if not fence and mark:
            fence, words, lines = mark[1], mark[2], []
        elif fence and mark and mark[1].startswith(fence) and not mark[2].strip():
            if all(word in RUST or word.startswith("edition") for word in re.split(r"[\s,]+", words.strip())):
                yield "\n".join(lines)
            fence = ""
        elif not re.match(r"\s*#(\s|$)", line):
            lines.append(line)


def public(api):
    """Each public item, once, with the documentation of the modules on every way to it."""
    items, found = api["index"], {}

    def walk(id, way):
        item = items.get(str(id))
        if item is None or item["crate_id"] or id in way:
            return
        kind, inner = next(iter(item["inner"].items()))
        if kind == "use":
            of = items.get(str(inner["id"]), {"inner": {}})["inner"].get("module")
            if not inner["is_glob"]:
                walk(inner["id"], way)
            elif of and inner["id"] not in way:
                for child in of["items"]:
                    walk(child, way)
        elif kind == "module":
            for child in inner["items"]:
                walk(child, [*way, id])
        elif kind in KINDS:
            found.setdefault(id, (item, kind, set()))[2].update(way)

    walk(api["root"], [])
    in_order = sorted(found.values(), key=lambda of: (of[0]["span"]["filename"], of[0]["span"]["begin"]))
    return [(item, kind, [items[str(id)]["docs"] for id in around]) for item, kind, around in in_order]


def bare(api):
    """Place, kind and name of the items without an example."""
    for item, kind, around in public(api):
        named = re.compile(rf"\b{re.escape(item['name'])}\b")
        shown = any(True for _ in examples(item["docs"]))
        if not shown and not any(named.search(code) for docs in around for code in examples(docs)):
            yield place(item), kind, item["name"]


def main():
    libraries = sys.argv[1:] or [*PUBLISHED, "seq2seq-ptx"]
    found, count = [], 0
    for library in libraries:
        of = api(library)
        count += len(public(of))
        found += bare(of)
    for where, kind, name in found:
        print(f"{where}: {kind} {name}")
    if found:
        sys.exit(f"{len(found)} of {count} public items have no example")
    print(f"{count} public items of {', '.join(libraries)} have an example")


if __name__ == "__main__":
    main()
