"""What was found, in short."""

from rows import OURS, Rows
from targets import bound_by_host, markdown


def text(rows: Rows, targets: list[dict], seconds: float) -> str:
    parts = [f"# The CUDA backend on a GPU\n\n{seconds:.0f} s."]
    checks = [row for row in rows.all if "seconds" not in row]
    parts.append("\n".join(f"- {row['op']}, {row.get('case', '')}: {told(row)}" for row in checks))
    if targets:
        parts.append(f"## Targets\n\n{markdown(targets)}")
    parts.append(f"## Times\n\n{times(rows)}")
    return "\n\n".join(parts) + "\n"


def told(row: dict) -> str:
    who = f"{row['side']}: " if "side" in row else ""
    if "error" in row:
        return f"{who}**failed**: {row['error']}"
    return who + (f"not there: {row['absent']}" if "absent" in row else str(row.get("text", "")))


def times(rows: Rows) -> str:
    """A line an operation and case. A star is a loop of calls in which the host was what was measured."""
    timed = [row for row in rows.all if row.get("seconds")]
    sides = {}
    for row in timed:
        sides.setdefault((row["op"], row["case"]), {}).setdefault(row["side"], row)
    text = ["| operation | case | ours, us | in a graph | peer | us | in a graph | × |", "|---|---|---:|---:|---|---:|---:|---:|"]
    for (op, case), of in sides.items():
        ours = of.pop(OURS, {})
        for side, peer in of.items() or [("", {})]:
            ratio = ""
            for key in ("replayed", "seconds"):
                if not ratio and ours.get(key) and peer.get(key):
                    ratio = f"{peer[key] / ours[key]:.2f}"
            text.append(f"| {op} | {case} | {cells(ours)} | {side} | {cells(peer)} | {ratio} |")
    return "\n".join(text) + "\n\n\\* as fast as the host asks."


def cells(row: dict) -> str:
    loop, graph = (f"{row[key] * 1e6:.1f}" if row.get(key) else "" for key in ("seconds", "replayed"))
    return f"{loop}{' *' if row and bound_by_host(row) else ''} | {graph}"
