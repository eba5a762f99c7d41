"""Measures how the cost of seq2seq alone grows with the batch, the source and the beams; a record and its drawing.

    python benches/peers/growth.py --program target/release/seq2seq --checkpoints DIR --record benches/record/FILE.jsonl

Each series starts from one sequence, 32 tokens, one beam, and one of the three grows. For a point all formats run one after
another, and then `limits` reads the machine, round after round. The drawing shows the share of the floor: where it is level,
cost grows as the work does, and a cliff is where it falls. `growth.py RECORD.jsonl` draws again from a record.
"""

import argparse
import dataclasses
import math
import pathlib
import statistics
import sys

import commands
import cost
import machine
from drawing import Drawing
from peers import Ours, Task
from run import limits
from workloads import Workload

POWERS = [2**i for i in range(12)]
SERIES = {
    "batch": [(n, f"greedy {n}x32->{{new}}") for n in POWERS if n <= 64],
    "source": [(n, f"greedy 1x{n}->{{new}}") for n in POWERS if n >= 16],
    "beams": [(n, f"beam{n} 1x32->{{new}}" if n > 1 else "greedy 1x32->{new}") for n in POWERS if n <= 8],
}
WIDTH, HEIGHT, LEFT, TOP, GAP = 270, 230, 50, 64, 20


@dataclasses.dataclass
class Point:
    x: int
    share: float
    """Floor over median time."""


def measure(args: argparse.Namespace) -> None:
    ours = Ours(args.program.resolve(), args.threads)
    with commands.recording(args.record) as write:
        write({"machine": machine.describe(), "version": ours.version, "model": args.model})
        for series, points in SERIES.items():
            for x, pattern in points:
                w = Workload.parse(f"{args.model} {pattern.format(new=args.new)}")
                runs, seen = {f: [] for f in args.formats}, []
                for _ in range(args.rounds):
                    for format in args.formats:
                        ours.task = Task(w, format, (args.checkpoints / w.model).resolve(), pathlib.Path(), 0)
                        runs[format] += ours.run(1, args.runs)
                    seen.append(limits(args.limits, args.threads))
                passes = [dataclasses.asdict(p) for p in cost.passes(w.config(args.checkpoints), w)]
                for format in args.formats:
                    row = dict(series=series, x=x, workload=w.name, format=format, seconds=runs[format])
                    row |= dict(threads=args.threads, limits=seen, passes=passes)
                    write(row)
                    print(f"{w.name:32} {format:5} {statistics.median(runs[format]) * 1e3:9.1f} ms", flush=True)


def read(path: pathlib.Path) -> tuple[dict, dict[str, dict[str, list[Point]]]]:
    """What was measured, and the points by series and format."""
    head, *rows = commands.lines(path)
    series: dict[str, dict[str, list[Point]]] = {}
    for row in rows:
        floor = cost.floor([cost.Pass(**p) for p in row["passes"]], row["format"], cost.over_rounds(row["limits"]))
        point = Point(row["x"], floor / statistics.median(row["seconds"]))
        series.setdefault(row["series"], {}).setdefault(row["format"], []).append(point)
    return head, series


def svg(head: dict, series: dict[str, dict[str, list[Point]]]) -> str:
    most = max(1.0, max(p.share for lines in series.values() for points in lines.values() for p in points))
    d = Drawing(LEFT + len(series) * (WIDTH + GAP), TOP + HEIGHT + 62)
    m = head["machine"]
    d.text(12, 24, f"{head['model']}: share of the floor as the work grows", "title")
    d.text(12, 44, f"{m['cpu']}, {m['cores']} cores; level is cost in proportion to the work", "small")
    for i, (name, lines) in enumerate(series.items()):
        panel(d, LEFT + i * (WIDTH + GAP), most, name, lines)
    for percent in range(0, int(most * 100) + 1, 20):
        d.text(LEFT - 6, TOP + HEIGHT * (1 - percent / 100 / most) + 4, f"{percent}%", "small", "end")
    for i, format in enumerate(next(iter(series.values()))):
        d.bar(LEFT + 90 * i, d.height - 16, 12, 12, format)
        d.text(LEFT + 90 * i + 18, d.height - 5, format, "small")
    return d.svg()


def panel(d: Drawing, left: float, most: float, name: str, lines: dict[str, list[Point]]) -> None:
    """One series; x is logarithmic."""
    bottom = TOP + HEIGHT
    first, *_, last = [p.x for p in next(iter(lines.values()))]

    def x_of(x: int) -> float:
        return left + 8 + math.log2(x / first) / math.log2(last / first) * (WIDTH - 24)

    def y_of(share: float) -> float:
        return bottom - share / most * HEIGHT

    for percent in range(0, int(most * 100) + 1, 20):
        d.line((left, y_of(percent / 100)), (left + WIDTH, y_of(percent / 100)), "grid")
    for p in next(iter(lines.values())):
        d.text(x_of(p.x), bottom + 16, str(p.x), "small", "middle")
    d.text(left + WIDTH / 2, bottom + 34, name, anchor="middle")
    for format, points in lines.items():
        d.curve([(x_of(p.x), y_of(p.share)) for p in points], format)


def main() -> None:
    if len(sys.argv) == 2 and sys.argv[1].endswith(".jsonl"):
        print(svg(*read(pathlib.Path(sys.argv[1]))), end="")
        return
    p = commands.parser(__doc__, "the .svg is", rounds=2)
    p.add_argument("--model", default="t5-base")
    p.add_argument("--new", type=int, default=16)
    p.add_argument("--runs", type=int, default=2)
    args = p.parse_args()
    args.limits = args.program.parent / "limits"
    commands.check(p, args, [args.model])
    measure(args)
    args.record.with_suffix(".svg").write_text(svg(*read(args.record)))


if __name__ == "__main__":
    main()
