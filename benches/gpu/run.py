"""Checks and times the CUDA backend on a machine with a GPU, with what carry.sh put beside this file; it needs Python and PyTorch.

    python3 run.py OUT [--device cuda:0] [--parts PART ...] [--seconds 460] [--models FOLDER] [--plain]

Parts, in the order in which they are done; README.md says what each is. What has no time left is named in the summary.
Writes to OUT, six files that grow row by row: rows.jsonl (everything), targets.json, summary.md, suite.txt, sanitizer.txt, log.txt.
The status is 1 where something failed that should have worked, or a target was not measured.

With --device cpu it rehearses all but the suite and the sanitizer, over small models.
"""

import argparse
import json
import pathlib
import sys
import tempfile

import checks
import ours
import summary
from clock import Clock, call
from rows import Rows
from sizes import GPU, REHEARSAL
from targets import Table
from workers import Workers

HERE = pathlib.Path(__file__).resolve().parent
PARTS = ["suite", "targets", "texts", "ways", "operations", "sanitizer", "more-ways", "whole-suite"]
DEFAULT = PARTS[:-1]


class Run:
    def __init__(self, args: argparse.Namespace, work: pathlib.Path) -> None:
        self.args, self.work, self.out, self.device = args, work, args.out, args.device
        self.clock = Clock(args.seconds)
        self.rehearsal = not args.device.startswith("cuda")
        self.number = args.device.partition(":")[2] or "0"
        self.sizes = REHEARSAL if self.rehearsal else GPU
        self.rows = Rows(args.out / "rows.jsonl")
        self.cases: list[dict] = []
        self.models = args.models or work / "models"
        self.unmeasured: list[str] = []
        kinds = ["ops"] if {"targets", "operations"} & set(args.parts) or self.needs_models() else []
        if "targets" in args.parts:
            kinds += [*self.sizes.models, "training"]
            kinds += [] if args.plain else [f"{kind} hub" for kind in kinds[1:]]
        self.workers = Workers(kinds, args.device, self.rehearsal, args.out / "log.txt")

    def needs_models(self) -> bool:
        return self.args.models is None and bool({"targets", "ways", "more-ways"} & set(self.args.parts))

    def ask(self, kind: str, at_most: float, what: dict, **request) -> None:
        """A worker's rows; `what` names those that say only why there is none."""
        for row in self.workers.ask(kind, self.clock.left(at_most), **request):
            self.rows.add(**(what | row))

    def everything(self) -> None:
        self.head()
        if "suite" in self.args.parts and not self.rehearsal:
            # Compilers of the workers are at work meanwhile: nothing is timed here.
            checks.suite(self.rows, self.out, self.number, self.clock.left(90), cases=4)
        if self.needs_models():
            self.ask("ops", 120, {"op": "checkpoint", "case": "all"}, do="checkpoints", folder=str(self.models))
        if "targets" in self.args.parts:
            self.targets()
        # Beside a first suite each tool gets a glance, without it a look.
        each = 10 if "suite" in self.args.parts else 100
        parts = {
            "texts": lambda: checks.texts(self.rows, self.device, self.clock, but=90),
            "ways": lambda: self.ways(["bf16"], but=80),
            "operations": self.operations,
            "sanitizer": lambda: checks.sanitizer(self.rows, self.out, self.number, self.clock, each),
            "more-ways": lambda: self.ways(["int8", "f16", "f32", "int4"], but=0),
            "whole-suite": lambda: checks.suite(self.rows, self.out, self.number, self.clock.left(), cases=32),
        }
        for part in self.args.parts:
            if part in parts and not (self.rehearsal and part in ("sanitizer", "whole-suite")):
                parts[part]()
                self.write()

    def head(self) -> None:
        text, end = call([HERE / "seq2seq", "devices"], 30)
        name = {"op": "machine", "case": "devices"}
        self.rows.add(**name, **{"text" if end == "ok" else "error": text.strip().replace("\n", "; ") or end})
        self.rows.add(op="machine", case="GPU", text=checks.gpu() if not self.rehearsal else "none: a rehearsal on the processor")
        self.cases = ours.cases("cpu" if self.rehearsal else self.device)

    def targets(self) -> None:
        slow = self.workers.gather(self.clock, max(0.0, 170 - self.clock.passed()))
        if slow:
            self.rows.add(op="machine", case="PyTorch", text=f"not ready in time, and held: {slow}")
        self.rows.add(op="machine", case="GPU, warm", text=checks.gpu() if not self.rehearsal else "none")
        self.ask("ops", 100, {"op": "copy", "side": "PyTorch"}, do="copy")
        self.rows.add(op="machine", case="PyTorch", text=self.workers.versions())
        for name in self.sizes.models:
            formats = ("bf16", "int8", "int4") if name.startswith("tinyllama") else ("bf16",)
            for format in formats:
                ours.decode(self.rows, self.models, self.device, name, format, self.sizes, self.left(60))
            self.models_of(name, "decode")
        ours.report(self.rows, self.device, self.work / "targets.jsonl", self.left(90), "--targets", "--rounds", "5")
        self.ask("ops", 60, {"op": "operations", "side": "PyTorch"}, do="ops", cases=self.cases)
        self.write()
        ours.beams(self.rows, self.models, self.device, self.sizes, self.left(60))
        self.models_of("t5-base", "beam search")
        ours.train(self.rows, self.models, self.device, self.sizes, self.left(60))
        self.models_of("training", "training step")
        if self.rehearsal:  # whose workers have begun one by one
            self.rows.add(op="machine", case="PyTorch, in the end", text=self.workers.versions())
        self.workers.close(but="ops")
        self.write()

    def left(self, at_most: float) -> float:
        return self.clock.left(at_most, but=10)

    def models_of(self, kind: str, op: str) -> None:
        for who, suffix in (("plain PyTorch", ""), ("transformers", " hub")):
            if f"{kind}{suffix}" in self.workers.kinds:
                named = {"op": op, "case": self.sizes.case(op, kind), "side": f"{who}, eager"}
                self.ask(f"{kind}{suffix}", 300 if self.rehearsal else 40, named, do="time", op=op)

    def ways(self, formats: list[str], but: float) -> None:
        for format in formats:
            ours.ways(self.rows, self.models, self.device, format, self.sizes, self.clock, but)

    def operations(self) -> None:
        self.ask("ops", 20, {"op": "operations", "side": "PyTorch"}, do="rest")
        ours.report(self.rows, self.device, self.work / "ops.jsonl", self.clock.left(90, but=40))

    def write(self) -> None:
        """Targets and summary as of now."""
        lines = Table(self.rows.all, self.cases, self.sizes, self.rehearsal).fill() if "targets" in self.args.parts else []
        (self.out / "targets.json").write_text(json.dumps(lines, indent=1) + "\n")
        (self.out / "summary.md").write_text(summary.text(self.rows, lines, self.clock.passed(), self.rehearsal))
        self.unmeasured = [line["target"] for line in lines if line["ratio"] is None]


def arguments() -> argparse.Namespace:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("out", type=pathlib.Path)
    p.add_argument("--device", default="cuda:0")
    p.add_argument("--parts", nargs="+", choices=PARTS, default=DEFAULT, metavar="PART", help=" | ".join(PARTS))
    p.add_argument("--seconds", type=float, default=460)
    p.add_argument("--models", type=pathlib.Path, help="checkpoints that are there already, under the names of sizes.py")
    p.add_argument("--plain", action="store_true", help="without transformers, as where it is not installed")
    args = p.parse_args()
    args.parts = [part for part in PARTS if part in args.parts]
    args.out.mkdir(parents=True, exist_ok=True)
    for name in ("suite.txt", "sanitizer.txt", "log.txt"):
        (args.out / name).write_text("")
    return args


def main() -> int:
    args = arguments()
    with tempfile.TemporaryDirectory() as work:
        run = Run(args, pathlib.Path(work))
        try:
            run.everything()
        finally:
            run.workers.close()
            run.write()
    failures = run.rows.failures()
    print(f"{len(run.rows.all)} rows, {len(failures)} failures, {len(run.unmeasured)} targets not measured; {run.clock.passed():.0f} s")
    return 1 if failures or run.unmeasured else 0


if __name__ == "__main__":
    sys.exit(main())
