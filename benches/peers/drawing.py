"""A drawing as SVG, light and dark."""

import dataclasses
from xml.sax.saxutils import escape

COLOURS = {"f32": ("#4c78a8", "#79a8d9"), "bf16": ("#e0913f", "#f0b072"), "f16": ("#b8a13a", "#d6c268"), "int8": ("#3f9c6d", "#6cc799"), "int4": ("#a05fa8", "#c993d0")}
"""On a light and on a dark page."""


def colours(dark: bool) -> str:
    rules = (f".{f} {{ fill: {c[dark]} }} polyline.{f} {{ fill: none; stroke: {c[dark]} }}" for f, c in COLOURS.items())
    return " ".join(rules)


STYLE = f"""
  text {{ font: 13px system-ui, sans-serif; fill: #1f2328 }}
  polyline {{ stroke-width: 2 }}
  .title {{ font-size: 16px; font-weight: 600 }}
  .small {{ font-size: 11px; fill: #59636e }}
  .grid {{ stroke: #d1d9e0 }}
  .one {{ stroke: #1f2328; stroke-width: 1.5 }}
  {colours(False)}
  @media (prefers-color-scheme: dark) {{
    text {{ fill: #f0f6fc }} .small {{ fill: #9198a1 }} .grid {{ stroke: #3d444d }} .one {{ stroke: #f0f6fc }}
    {colours(True)}
  }}"""


@dataclasses.dataclass
class Drawing:
    """Lengths are in pixels; a style is a class of `STYLE`."""

    width: int
    height: int
    parts: list[str] = dataclasses.field(default_factory=list)

    def text(self, x: float, y: float, words: str, style: str = "", anchor: str = "start") -> None:
        self.parts.append(f'<text x="{x:.1f}" y="{y:.1f}" class="{style}" text-anchor="{anchor}">{escape(words)}</text>')

    def line(self, start: tuple[float, float], end: tuple[float, float], style: str) -> None:
        (x1, y1), (x2, y2) = start, end
        self.parts.append(f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" class="{style}"/>')

    def bar(self, x: float, y: float, width: float, height: float, style: str) -> None:
        self.parts.append(f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height}" rx="2" class="{style}"/>')

    def curve(self, points: list[tuple[float, float]], style: str) -> None:
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        self.parts.append(f'<polyline points="{path}" class="{style}"/>')

    def svg(self) -> str:
        size = f'width="{self.width}" height="{self.height}" viewBox="0 0 {self.width} {self.height}"'
        head = f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img">'
        return "\n".join([head, f"<style>{STYLE}\n</style>", *self.parts, "</svg>"]) + "\n"
