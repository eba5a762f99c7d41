"""What is asked of each row, beside what records show: `targets.py NAME=RECORD.jsonl[,RECORD.jsonl ...] ...`, a column each, in which
the last record that has a row counts; what misses is bold.

A row asks for a share of the floor and, beside the best other engine of the same rounds, for a speed; int4 of many rows for no
more time than int8 takes. `--threads N` takes the rows of so many threads (2).
"""

import argparse
import dataclasses
import pathlib

import table
from workloads import WORKLOADS


@dataclasses.dataclass(frozen=True)
class Target:
    share: float | None
    """Of the floor."""
    speed: float = 1.0
    """In that of the best other engine."""
    as_int8: bool = False
    """No more time than in int8."""

    def __str__(self) -> str:
        if self.as_int8:
            return "int8's time"
        return f"{self.share:.0%}" + (f", {self.speed:g} ×" if self.speed > 1 else "")


def targets(workload: str) -> dict[str, Target]:
    """By format."""
    if workload.startswith("bert"):
        shares = (0.90, 0.85, 0.70) if "8x128" in workload else (0.85, 0.78, 0.65)
        return {format: Target(share) for format, share in zip(("f32", "bf16", "int8"), shares)}
    if workload.startswith("tinyllama"):
        return {"f32": Target(0.95), "bf16": Target(0.95), "int8": Target(0.90, 1.25), "int4": Target(0.82, 1.25)}
    if " 1x" in workload:
        return {"f32": Target(0.90), "bf16": Target(0.82), "int8": Target(0.70, 5), "int4": Target(0.55)}
    return {"f32": Target(0.70), "bf16": Target(0.60), "int8": Target(0.46, 4), "int4": Target(None, as_int8=True)}


def found(target: Target, cell: table.Cell | None, int8: table.Cell | None) -> str:
    """What a record shows of a row."""
    if cell is None or cell.ours is None:
        return "–"
    ours = cell.ours["median"]
    if target.as_int8:
        if int8 is None or int8.ours is None:
            return "–"
        time = ours / int8.ours["median"]
        return f"**{time:.2f} of it**" if round(time, 2) > 1 else f"{time:.2f} of it"
    share = cell.floor / ours
    text = mark(f"{share:.0%}", round(share, 2) < target.share)
    if cell.ratio is not None:
        text += ", " + mark(f"{cell.ratio:.2f} ×", round(cell.ratio, 2) < target.speed)
    return text


def mark(text: str, missed: bool) -> str:
    return f"**{text}**" if missed else text


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("records", nargs="+", metavar="NAME=RECORD[,RECORD...]")
    p.add_argument("--threads", type=int, default=2)
    args = p.parse_args()
    columns = {}
    for record in args.records:
        name, _, paths = record.rpartition("=")
        cells = [cell for path in paths.split(",") for cell in table.read(pathlib.Path(path)).cells]
        cells = [c for c in cells if c.ours is None or c.ours["threads"] == args.threads]
        columns[name or paths] = {(c.workload, c.format): c for c in cells}
    print(f"| workload | format | target | {' | '.join(columns)} |")
    print("|---|---|---|" + "---|" * len(columns))
    for workload in WORKLOADS:
        for format, target in targets(workload).items():
            cells = [found(target, of.get((workload, format)), of.get((workload, "int8"))) for of in columns.values()]
            print(f"| {workload} | {format} | {target} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
