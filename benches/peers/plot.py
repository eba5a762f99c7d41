"""A record as a drawing, our speed over the best peer's: `plot.py RECORD.jsonl > FILE.svg`."""

import itertools
import math
import pathlib
import sys

from drawing import Drawing
from table import Record, read

WIDTH, LEFT, RIGHT, TOP = 820, 250, 190, 64
BAR, GAP = 16, 14


def svg(record: Record) -> str:
    cells = [c for c in record.cells if c.ratio]
    most = max(1, math.ceil(max((c.ratio for c in cells), default=1)))
    scale = (WIDTH - LEFT - RIGHT) / most
    groups = [(w, list(g)) for w, g in itertools.groupby(cells, key=lambda c: c.workload)]
    d = Drawing(WIDTH, TOP + sum(len(g) * BAR + GAP for _, g in groups) + 28)
    d.text(12, 24, "Speed of seq2seq over the best of the other engines", "title")
    d.text(12, 44, f"{record.machine['cpu']}, {record.machine['cores']} cores; 1 is the best peer, longer is faster", "small")
    for i in range(most + 1):
        x = LEFT + i * scale
        d.line((x, TOP - 6), (x, d.height - 26), "one" if i == 1 else "grid")
        d.text(x, d.height - 10, f"{i}×", "small", "middle")
    y = TOP
    for workload, group in groups:
        d.text(LEFT - 50, y + len(group) * BAR / 2 + 4, workload, anchor="end")
        for c in group:
            d.text(LEFT - 8, y + 12, c.format, "small", "end")
            d.bar(LEFT, y + 1, c.ratio * scale, BAR - 3, c.format)
            d.text(LEFT + c.ratio * scale + 6, y + 12, f"{c.ratio:.2f}× {c.best['peer']}", "small")
            y += BAR
        y += GAP
    return d.svg()


if __name__ == "__main__":
    print(svg(read(pathlib.Path(sys.argv[1]))), end="")
