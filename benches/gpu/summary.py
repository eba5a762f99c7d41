"""What was found, in short."""

from ours import WAYS
from rows import OURS, Rows
from targets import bound_by_host, markdown


def text(rows: Rows, targets: list[dict], seconds: float, rehearsal: bool) -> str:
    what = "A rehearsal on the processor: nothing here says anything of a GPU" if rehearsal else "The CUDA backend on a GPU"
    parts = [f"# {what}\n\n{seconds:.0f} s."]
    checks = [row for row in rows.all if "seconds" not in row]
    parts.append("\n".join(f"- {row['op']}, {row.get('case', '')}: {told(row)}" for row in checks))
    if targets:
        parts.append(f"## Targets\n\n{markdown(targets)}")
    steps = [row for row in rows.all if row["op"] == "step" and row.get("seconds")]
    if steps:
        parts.append(f"## A step of decoding, us, by how its kernels are asked for\n\n{ways(steps)}")
    parts.append(f"## Times\n\n{times(rows)}")
    return "\n\n".join(parts) + "\n"


def told(row: dict) -> str:
    who = f"{row['side']}: " if "side" in row else ""
    if "error" in row:
        return f"{who}**failed**: {row['error']}"
    return who + (f"not there: {row['absent']}" if "absent" in row else str(row.get("text", "")))


def ways(steps: list[dict]) -> str:
    by_case = {}
    for row in steps:
        case, way = row["case"].rsplit(", ", 1)
        by_case.setdefault(case, {})[way] = f"{row['seconds'] * 1e6:.1f}"
    text = ["| | " + " | ".join(WAYS) + " |", "|---|" + "---:|" * len(WAYS)]
    text += [f"| {case} | " + " | ".join(of.get(way, "") for way in WAYS) + " |" for case, of in by_case.items()]
    return "\n".join(text)


def times(rows: Rows) -> str:
    """A line an operation and case. A star is a loop of calls in which the host was what was measured."""
    timed = [row for row in rows.all if row.get("seconds") and row["op"] != "step"]
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
