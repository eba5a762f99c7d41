"""The targets of the CUDA backend: from rows to a table. Pure, and tested by test_gpu.py.

A ratio is the peer's time over ours, or the share of the bandwidth; it is to be at least what is wanted. Where both sides have a time
in a graph, these are compared, else both loops.
"""

import math
import pathlib
import sys
from collections.abc import Iterable

from rows import OURS
from sizes import Sizes, decode_case

# carry.sh puts what is taken from there beside this file.
sys.path.append(str(pathlib.Path(__file__).resolve().parent.parent / "peers"))
import cost
from workloads import Workload


def weights_a_step(config: dict) -> int:
    """Weights that a step of decoding multiplies: the layers of the decoder and the vocabulary. Keys and values are not counted."""
    return cost.passes(config, Workload("a step", "any", batch=1, source=1, new=2, beams=1))[-1].weights


def bytes_a_step(config: dict, format: str) -> float:
    return weights_a_step(config) * cost.BYTES[format]


def times(ours: dict, peer: dict) -> tuple[float, float, str] | None:
    """Both times, of the same kind, and which that is."""
    for key, kind in (("replayed", "in a graph"), ("seconds", "in a loop" if "asking" in ours else "by the host's clock")):
        if ours.get(key) and peer.get(key):
            return ours[key], peer[key], kind
    return None


def bound_by_host(row: dict) -> bool:
    """Whether a loop of calls measured how fast the host asks for them."""
    return bool(row.get("asking")) and row["asking"] > 0.9 * row["seconds"]


class Table:
    def __init__(self, rows: Iterable[dict], cases: list[dict], sizes: Sizes, rehearsal: bool) -> None:
        self.rows, self.cases, self.sizes, self.rehearsal = list(rows), cases, sizes, rehearsal
        self.lines: list[dict] = []

    def one(self, op: str, case: str, side: str) -> dict:
        """The first row of this that has a time, or what says why there is none."""
        found = [r for r in self.rows if (r.get("op"), r.get("case"), r.get("side")) == (op, case, side)]
        return next((row for row in found if row.get("seconds")), found[-1] if found else {"absent": "not run"})

    def fastest(self, op: str, case: str, sides: list[str]) -> dict:
        rows = [self.one(op, case, side) for side in sides]
        timed = [row for row in rows if row.get("seconds")]
        return min(timed, key=lambda row: row["seconds"]) if timed else rows[-1]

    def line(self, target: str, wanted: float, ratio: float | None, why: str = "", **more) -> None:
        verdict = f"not measured: {why}"
        if ratio is not None:
            verdict = "met" if ratio >= wanted else "missed"
            if self.rehearsal:
                verdict = "rehearsed"
        self.lines.append({"target": target, "wanted": wanted, "ratio": ratio, "verdict": verdict, **more})

    def pair(self, target: str, wanted: float, ours: dict, peer: dict) -> None:
        found = times(ours, peer)
        if found is None:
            return self.line(target, wanted, None, " / ".join(map(why_not, lacking(ours, peer))))
        mine, theirs, kind = found
        of = f"{peer['side']}, {kind}"
        self.line(target, wanted, theirs / mine, ours=mine, peer=theirs, of=of)

    def group(self, target: str, wanted: float, cases: list[dict], peer: str) -> None:
        """The least of several cases is what counts; their geometric mean stands beside it."""
        pairs = [(self.one(c["op"], c["case"], OURS), self.one(c["op"], c["case"], peer), c["case"]) for c in cases]
        found = [(times(ours, theirs), case) for ours, theirs, case in pairs]
        ratios = [(t[1] / t[0], case, t) for t, case in found if t]
        missing = len(found) - len(ratios)
        if not ratios or missing:
            lacks = next((lacking(o, p) for (o, p, _), (t, _) in zip(pairs, found) if not t), [{"absent": "no such case"}])
            return self.line(target, wanted, None, f"{missing} of {len(found)} cases; " + " / ".join(map(why_not, lacks)))
        least, case, (mine, theirs, kind) = min(ratios)
        mean = math.exp(sum(math.log(r) for r, _, _ in ratios) / len(ratios))
        self.line(target, wanted, least, ours=mine, peer=theirs, of=f"{peer}, {kind}; the least of {len(ratios)}: {case}", mean=mean)

    def fill(self) -> list[dict]:
        self.products()
        self.attention()
        self.decoding()
        beams = self.one("beam search", self.sizes.beam_case, OURS)
        eager = ["transformers, eager", "plain PyTorch, eager"]
        self.pair(f"{self.sizes.beam_case}, times eager", 8.0, beams, self.generate("beam search", self.sizes.beam_case, eager))
        compiled = ["transformers, compiled", "plain PyTorch, compiled"]
        peer = self.fastest("training step", self.sizes.train_case, compiled)
        self.pair(f"training step, {self.sizes.train_case}, times compiled", 1.2, self.one("training step", self.sizes.train_case, OURS), peer)
        for case in (c for c in self.cases if c["op"] == "lstm"):
            self.pair(f"LSTM {case['case']}, cuDNN's time", 1.0, self.one("lstm", case["case"], OURS), self.one("lstm", case["case"], "cuDNN"))
        return self.lines

    def generate(self, op: str, case: str, sides: list[str]) -> dict:
        """What a target names is `generate`: transformers' where it was timed, else the plain one."""
        rows = [self.one(op, case, side) for side in sides]
        return next((row for row in rows if row.get("seconds")), rows[-1])

    def products(self) -> None:
        plain = [c for c in self.cases if c["op"] == "linear" and c["plain"]]
        ended = [c for c in self.cases if c["op"] == "linear" and not c["plain"]]
        halves = [c for c in self.cases if c["op"] == "feed_forward"]
        rows = sorted({c["layer"]["rows"] for c in plain})
        for n in rows:
            self.group(f"product in bf16, {n} rows, of cuBLAS", 0.85, [c for c in plain if c["layer"]["rows"] == n], "cuBLAS")
        for n in rows:
            cases = [c for c in ended if c["layer"]["rows"] == n]
            self.group(f"with its epilogue, {n} rows, of cuBLAS and its kernels", 1.0, cases, "cuBLAS")
        for n in rows:
            cases = [c for c in halves if c["inner"]["rows"] == n]
            self.group(f"feed-forward half, {n} rows, of cuBLAS and its kernels", 1.0, cases, "cuBLAS")

    def attention(self) -> None:
        for op, name in (("attend", "attention"), ("attend_backward", "attention, back")):
            for case in (c for c in self.cases if c["op"] == op):
                ragged = min(case["lengths"]) < max(case["lengths"])
                wanted = 0.7 if op == "attend_backward" else 1.3 if ragged else 0.75
                self.pair(f"{name}, {case['case']}, of SDPA", wanted, self.one(op, case["case"], OURS), self.one(op, case["case"], "SDPA, bf16"))

    def decoding(self) -> None:
        copies = [row["bandwidth"] for row in self.rows if row.get("op") == "copy" and row.get("bandwidth")]
        llama, t5 = self.sizes.models
        for model, format, wanted in ((llama, "bf16", 0.65), (t5, "bf16", 0.35), (llama, "int8", 0.5), (llama, "int4", 0.4)):
            case, bytes = decode_case(model, format), bytes_a_step(self.sizes.models[model], format)
            ours = self.one("decode", case, OURS)
            target = f"decode, {case}, share of the copy's bandwidth"
            if not ours.get("seconds") or not copies:
                self.line(target, wanted, None, why_not(ours) if copies else "the copy was not measured")
                continue
            of = f"{bytes / 1e6:.0f} MB of weights a step, {copies[-1] / 1e12:.3f} TB/s"
            self.line(target, wanted, bytes / ours["seconds"] / copies[-1], ours=ours["seconds"], peer=bytes / copies[-1], of=of)
        for model in (llama, t5):
            case = decode_case(model, "bf16")
            ours = self.one("decode", case, OURS)
            eager = self.generate("decode", case, ["transformers, eager", "plain PyTorch, eager"])
            self.pair(f"decode, {case}, times eager", 5.0, ours, eager)
            compiled = self.fastest("decode", case, ["transformers, compiled", "plain PyTorch, compiled"])
            self.pair(f"decode, {case}, times compiled", 1.5, ours, compiled)


def lacking(ours: dict, peer: dict) -> list[dict]:
    """Those of the two that have no time."""
    both = [{"who": OURS} | ours, {"who": "peer"} | peer]
    return [row for row in both if not row.get("seconds")] or both


def why_not(row: dict) -> str:
    who = f"{row['who']}: " if "who" in row else ""
    return who + str(row.get("error") or row.get("absent") or "no time of the same kind")


def markdown(lines: list[dict]) -> str:
    text = ["| target | wanted | ratio | verdict | ours, us | peer, us | peer |", "|---|---:|---:|---|---:|---:|---|"]
    for line in lines:
        ratio = "" if line["ratio"] is None else f"{line['ratio']:.2f}" + (f" (mean {line['mean']:.2f})" if "mean" in line else "")
        both = [f"{line[side] * 1e6:.1f}" if side in line else "" for side in ("ours", "peer")]
        verdict = line["verdict"].replace("|", "/")
        text.append(f"| {line['target']} | {line['wanted']:.2f} | {ratio} | {verdict} | {both[0]} | {both[1]} | {line.get('of', '')} |")
    return "\n".join(text)
