"""A record as a drawing, our speed over the best peer's: `plot.py RECORD.jsonl > FILE.svg`."""

import itertools
import math
import pathlib
import sys
from xml.sax.saxutils import escape

from table import Record, read

WIDTH, LEFT, RIGHT, TOP = 820, 250, 190, 64
BAR, GAP = 16, 14
STYLE = """
  text { font: 13px system-ui, sans-serif; fill: #1f2328 }
  .title { font-size: 16px; font-weight: 600 }
  .small { font-size: 11px; fill: #59636e }
  .grid { stroke: #d1d9e0 }
  .one { stroke: #1f2328; stroke-width: 1.5 }
  .f32 { fill: #4c78a8 } .bf16 { fill: #e0913f } .int8 { fill: #3f9c6d } .int4 { fill: #a05fa8 }
  @media (prefers-color-scheme: dark) {
    text { fill: #f0f6fc } .small { fill: #9198a1 } .grid { stroke: #3d444d } .one { stroke: #f0f6fc }
    .f32 { fill: #79a8d9 } .bf16 { fill: #f0b072 } .int8 { fill: #6cc799 } .int4 { fill: #c993d0 }
  }"""


def svg(record: Record) -> str:
    cells = [c for c in record.cells if c.ratio]
    most = max(1, math.ceil(max((c.ratio for c in cells), default=1)))
    scale = (WIDTH - LEFT - RIGHT) / most
    groups = [(w, list(g)) for w, g in itertools.groupby(cells, key=lambda c: c.workload)]
    height = TOP + sum(len(g) * BAR + GAP for _, g in groups) + 28
    body: list[str] = []

    def text(x: float, y: float, words: str, style: str = "", anchor: str = "start") -> None:
        body.append(f'<text x="{x:.1f}" y="{y:.1f}" class="{style}" text-anchor="{anchor}">{escape(words)}</text>')

    text(12, 24, "Speed of seq2seq over the best of the other engines", "title")
    text(12, 44, f"{record.machine['cpu']}, {record.machine['cores']} cores; 1 is the best peer, longer is faster", "small")
    for i in range(most + 1):
        x = LEFT + i * scale
        body.append(f'<line x1="{x:.1f}" y1="{TOP - 6}" x2="{x:.1f}" y2="{height - 26}" class="{"one" if i == 1 else "grid"}"/>')
        text(x, height - 10, f"{i}×", "small", "middle")
    y = TOP
    for workload, group in groups:
        text(LEFT - 50, y + len(group) * BAR / 2 + 4, workload, anchor="end")
        for c in group:
            text(LEFT - 8, y + 12, c.format, "small", "end")
            body.append(f'<rect x="{LEFT}" y="{y + 1}" width="{c.ratio * scale:.1f}" height="{BAR - 3}" rx="2" class="{c.format}"/>')
            text(LEFT + c.ratio * scale + 6, y + 12, f"{c.ratio:.2f}× {c.best['peer']}", "small")
            y += BAR
        y += GAP
    size = f'width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}"'
    return "\n".join([f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img">', f"<style>{STYLE}\n</style>", *body, "</svg>"]) + "\n"


if __name__ == "__main__":
    print(svg(read(pathlib.Path(sys.argv[1]))), end="")
