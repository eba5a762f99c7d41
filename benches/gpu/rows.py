"""What was found, a JSON line each, on the disk as soon as it is known: whoever ends the run early loses nothing."""

import json
import pathlib
from collections.abc import Iterator

OURS = "ours"


class Rows:
    """Rows are dictionaries. Times: `op`, `case`, `side` (OURS, or who else), `seconds` of one call or token, and with them perhaps
    `replayed`, seconds of a call in a graph, and `asking`, what part of `seconds` the host took to ask. What failed has `error`
    in place of times; what is not there, or had no time, has `absent`."""

    def __init__(self, path: pathlib.Path) -> None:
        self.all: list[dict] = []
        self.file = path.open("w")

    def add(self, **row) -> dict:
        self.all.append(row)
        print(json.dumps(row), file=self.file, flush=True)
        what = " | ".join(str(row[key]) for key in ("op", "case", "side") if key in row)
        told = row.get("error") or row.get("absent") or row.get("text")
        print(f"{what}: {told or self.time(row)}", flush=True)
        return row

    @staticmethod
    def time(row: dict) -> str:
        seconds = row.get("replayed") or row.get("seconds")
        return f"{seconds * 1e6:.1f} us" if seconds else ""

    def find(self, **wanted) -> Iterator[dict]:
        """Those that have all of this."""
        return (row for row in self.all if all(row.get(key) == value for key, value in wanted.items()))

    def failures(self) -> list[dict]:
        return [row for row in self.all if "error" in row]
