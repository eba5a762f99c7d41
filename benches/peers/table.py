"""A record as a Markdown table: `table.py RECORD.jsonl`."""

import dataclasses
import pathlib
import statistics
import sys

import commands
from cost import Pass, floor, over_rounds

OURS = "seq2seq"
LARGE_PAGES = (
    "The floor reads memory in small pages, as every program's lies. Read in large pages, as ours lies, it gave "
    "{gain:.2f} times as much (the median): by that floor, shares of what memory limits are as much lower."
)


@dataclasses.dataclass
class Cell:
    """A workload in a format."""

    workload: str
    format: str
    floor: float
    """Seconds."""
    bandwidth: float
    """Bytes a second, the median of the rounds."""
    large_pages: float | None
    """By how much more memory gives where it lies in large pages, the median of the rounds; records of old have none."""
    rows: dict[str, dict]

    @property
    def ours(self) -> dict | None:
        return self.rows.get(OURS)

    @property
    def best(self) -> dict | None:
        """The fastest of the others."""
        others = [r for name, r in self.rows.items() if name != OURS]
        return min(others, key=lambda r: r["median"], default=None)

    @property
    def ratio(self) -> float | None:
        """Our speed over the best peer's: the median over the rounds, so that both are from the same minutes."""
        if self.ours is None or self.best is None:
            return None
        pairs = zip(self.best["seconds"], self.ours["seconds"], strict=True)
        return statistics.median(statistics.median(best) / statistics.median(ours) for best, ours in pairs)


@dataclasses.dataclass
class Record:
    machine: dict
    cells: list[Cell]
    missing: list[str]
    """What did not take part, and why."""


def read(path: pathlib.Path) -> Record:
    machine, groups, missing = {}, {}, []
    for line in commands.lines(path):
        if "machine" in line:
            machine = line["machine"]
        elif "median" in line:
            groups.setdefault((line["workload"], line["format"]), {})[line["peer"]] = line
        elif "unavailable" in line:
            missing.append(f"{line['peer']}: {line['unavailable']}")
        elif "error" in line:
            missing.append(f"{line['peer']} failed on {line['workload']}, {line['format']}: {line['error']}")
    return Record(machine, [cell(*key, rows) for key, rows in groups.items()], missing)


def cell(workload: str, format: str, rows: dict[str, dict]) -> Cell:
    row = next(iter(rows.values()))
    limits = over_rounds(row["limits"])
    passes = [Pass(**p) for p in row["passes"]]
    seconds = floor(passes, format, limits)
    return Cell(workload, format, seconds, limits["bandwidth"], large_pages(row["limits"]), rows)


def large_pages(limits: list[dict[str, float]]) -> float | None:
    gains = [seen["large_pages"] / seen["bandwidth"] for seen in limits if "large_pages" in seen]
    return statistics.median(gains) if gains else None


def markdown(record: Record) -> str:
    m = record.machine
    lines = [
        f"{m['cpu']}, {m['cores']} cores, {m['memory_gib']} GiB; {m['os']}; {m['compiler']}; {m['date'][:10]}.",
        "",
        "| workload | format | GB/s | floor, ms | best peer | ms | of the floor | seq2seq, ms | of the floor | speed over the best peer |",
        "|---|---|--:|--:|---|--:|--:|--:|--:|--:|",
    ]
    for c in record.cells:
        parts = [c.workload, c.format, f"{c.bandwidth / 1e9:.0f}", f"{c.floor * 1e3:.1f}"]
        parts += [c.best["peer"], *share(c, c.best)] if c.best else ["", "", ""]
        parts += share(c, c.ours) if c.ours else ["", ""]
        parts.append(f"**{c.ratio:.2f}**" if c.ratio else "")
        lines.append(f"| {' | '.join(parts)} |")
    gains = [c.large_pages for c in record.cells if c.large_pages]
    if gains:
        lines += ["", LARGE_PAGES.format(gain=statistics.median(gains))]
    versions = {name: row["version"] for c in record.cells for name, row in c.rows.items()}
    lines += ["", "Versions: " + "; ".join(f"{name} {version}" for name, version in versions.items()) + "."]
    lines += commands.not_measured(record.missing)
    return "\n".join(lines) + "\n"


def share(c: Cell, row: dict) -> list[str]:
    return [f"{row['median'] * 1e3:.1f}", f"{c.floor / row['median']:.0%}"]


if __name__ == "__main__":
    print(markdown(read(pathlib.Path(sys.argv[1]))), end="")
