"""Measures how the cost of seq2seq alone grows with the batch, the source and the beams; a record and its drawing.

    python benches/peers/growth.py --program target/release/seq2seq --checkpoints DIR --record benches/record/FILE.jsonl

Each series starts from one sequence, 32 tokens, one beam, and one of the three grows. For a point all formats run one after
another, and then `limits` reads the machine, round after round. The drawing shows the share of the floor: where it is level,
cost grows as the work does, and a cliff is where it falls. `growth.py RECORD.jsonl` draws again from a record.
"""

import argparse
import dataclasses
import json
import math
import pathlib
import statistics
import sys

import cost
import machine
from peers import Ours, Task
from plot import STYLE
from run import limits
from workloads import FORMATS, Workload

POWERS = [2**i for i in range(12)]
SERIES = {
    "batch": [(n, f"greedy {n}x32->{{new}}") for n in POWERS if n <= 64],
    "source": [(n, f"greedy 1x{n}->{{new}}") for n in POWERS if n >= 16],
    "beams": [(n, f"beam{n} 1x32->{{new}}" if n > 1 else "greedy 1x32->{new}") for n in POWERS if n <= 8],
}
WIDTH, HEIGHT, LEFT, TOP, GAP = 270, 230, 50, 64, 20
LINES = "\n  polyline { fill: none; stroke-width: 2 }" + "".join(
    f"\n  polyline.{f} {{ fill: none; stroke: {c} }}"
    for f, c in (("f32", "#4c78a8"), ("bf16", "#e0913f"), ("int8", "#3f9c6d"), ("int4", "#a05fa8"))
)


@dataclasses.dataclass
class Point:
    x: int
    share: float
    """Floor over median time."""


def measure(args: argparse.Namespace) -> None:
    ours = Ours(args.program.resolve(), args.threads)
    with args.record.open("x") as out:
        print(json.dumps({"machine": machine.describe(), "version": ours.version, "model": args.model}), file=out)
        for series, points in SERIES.items():
            for x, pattern in points:
                w = Workload.parse(f"{args.model} {pattern.format(new=args.new)}")
                runs, seen = {f: [] for f in args.formats}, []
                for _ in range(args.rounds):
                    for format in args.formats:
                        ours.task = Task(w, format, (args.checkpoints / w.model).resolve(), pathlib.Path(), 0)
                        runs[format] += ours.run(1, args.runs)
                    seen.append(limits(args))
                passes = [dataclasses.asdict(p) for p in cost.passes(w.config(args.checkpoints), w)]
                for format in args.formats:
                    row = dict(series=series, x=x, workload=w.name, format=format, seconds=runs[format])
                    row |= dict(threads=args.threads, limits=seen, passes=passes)
                    print(json.dumps(row), file=out, flush=True)
                    print(f"{w.name:32} {format:5} {statistics.median(runs[format]) * 1e3:9.1f} ms", flush=True)


def read(path: pathlib.Path) -> tuple[dict, dict[str, dict[str, list[Point]]]]:
    """What was measured, and the points by series and format."""
    head, *rows = [json.loads(line) for line in path.read_text().splitlines()]
    series: dict[str, dict[str, list[Point]]] = {}
    for row in rows:
        seen = {k: max(s[k] for s in row["limits"]) for k in row["limits"][0]}
        seen["bandwidth"] = statistics.median(s["bandwidth"] for s in row["limits"])
        floor = cost.floor([cost.Pass(**p) for p in row["passes"]], row["format"], seen)
        point = Point(row["x"], floor / statistics.median(row["seconds"]))
        series.setdefault(row["series"], {}).setdefault(row["format"], []).append(point)
    return head, series


def svg(head: dict, series: dict[str, dict[str, list[Point]]]) -> str:
    most = max(1.0, max(p.share for lines in series.values() for points in lines.values() for p in points))
    body: list[str] = []

    def text(x: float, y: float, words: str, style: str = "", anchor: str = "start") -> None:
        body.append(f'<text x="{x:.1f}" y="{y:.1f}" class="{style}" text-anchor="{anchor}">{words}</text>')

    m = head["machine"]
    text(12, 24, f"{head['model']}: share of the floor as the work grows", "title")
    text(12, 44, f"{m['cpu']}, {m['cores']} cores; level is cost in proportion to the work", "small")
    height = TOP + HEIGHT + 62
    for i, (name, lines) in enumerate(series.items()):
        left, bottom = LEFT + i * (WIDTH + GAP), TOP + HEIGHT
        xs = [p.x for p in next(iter(lines.values()))]
        x_of = lambda x: left + 8 + math.log2(x / xs[0]) / math.log2(xs[-1] / xs[0]) * (WIDTH - 24)
        y_of = lambda share: bottom - share / most * HEIGHT
        for percent in range(0, int(most * 100) + 1, 20):
            y = y_of(percent / 100)
            body.append(f'<line x1="{left}" y1="{y:.1f}" x2="{left + WIDTH}" y2="{y:.1f}" class="grid"/>')
            if i == 0:
                text(left - 6, y + 4, f"{percent}%", "small", "end")
        for x in xs:
            text(x_of(x), bottom + 16, str(x), "small", "middle")
        text(left + WIDTH / 2, bottom + 34, name, anchor="middle")
        for format, points in lines.items():
            path = " ".join(f"{x_of(p.x):.1f},{y_of(p.share):.1f}" for p in points)
            body.append(f'<polyline points="{path}" class="{format}"/>')
    for i, format in enumerate(next(iter(series.values()))):
        body.append(f'<rect x="{LEFT + 90 * i}" y="{height - 16}" width="12" height="12" rx="2" class="{format}"/>')
        text(LEFT + 90 * i + 18, height - 5, format, "small")
    width = LEFT + len(series) * (WIDTH + GAP)
    size = f'width="{width}" height="{height}" viewBox="0 0 {width} {height}"'
    head_line = f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img">'
    return "\n".join([head_line, f"<style>{STYLE}{LINES}\n</style>", *body, "</svg>"]) + "\n"


def main() -> None:
    if len(sys.argv) == 2 and sys.argv[1].endswith(".jsonl"):
        print(svg(*read(pathlib.Path(sys.argv[1]))), end="")
        return
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--program", type=pathlib.Path, required=True, help="the built seq2seq")
    p.add_argument("--checkpoints", type=pathlib.Path, required=True, help="the folder that make_checkpoints.py filled")
    p.add_argument("--record", type=pathlib.Path, required=True, help="a new .jsonl; the .svg is put beside it")
    p.add_argument("--model", default="t5-base")
    p.add_argument("--formats", nargs="+", default=FORMATS, choices=FORMATS)
    p.add_argument("--new", type=int, default=16)
    p.add_argument("--rounds", type=int, default=2)
    p.add_argument("--runs", type=int, default=2)
    p.add_argument("--threads", type=int, default=2)
    args = p.parse_args()
    args.limits = args.program.parent / "limits"
    measure(args)
    args.record.with_suffix(".svg").write_text(svg(*read(args.record)))


if __name__ == "__main__":
    main()
