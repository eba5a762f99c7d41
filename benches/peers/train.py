"""Measures a training step of seq2seq beside PyTorch's, alternating, and writes a record.

    cargo build --release -p seq2seq-benches --features train
    python benches/peers/train.py --checkpoints DIR --record benches/record/FILE.jsonl

A step is forward, backward, clipping by the norm of all gradients, and AdamW, on seeded ids and without dropout; in bf16
PyTorch runs under autocast. Each round runs every engine once, one after the other, and then reads the machine's limits; while
one works the others are stopped. seq2seq is a new process a round. The floor is (2 operations a weight and token forward
and 4 back) / peak + 28 bytes of AdamW a parameter / bandwidth; ratios are the median over rounds of (PyTorch / seq2seq).
"""

import argparse
import contextlib
import json
import pathlib
import statistics
import subprocess
import sys

import cost
import machine
from peers import Failed, Skipped, Worker, last_line
from workloads import Workload

HERE = pathlib.Path(__file__).resolve().parent
RELEASE = HERE.parents[1] / "target/release"
WORKLOADS = ["t5-small 8x64->64", "gpt2 4x128", "lstm 32x32->32"]
OURS = "seq2seq"


class Torch:
    """PyTorch in one mode, on one workload and format: a process of its own, so that its memory is its own."""

    def __init__(self, mode: str, w: Workload, format: str, folder: pathlib.Path, threads: int) -> None:
        sizes = [str(n) for n in (w.batch, w.source, w.new)]
        script = [sys.executable, str(HERE / "train_worker.py"), str(folder), *sizes, format, mode]
        self.worker = Worker(f"torch-{mode}", [*script, "--threads", str(threads)], threads)
        self.version, self.peak = self.worker.version, 0
        try:
            self.worker.ask(do="load")
            self.run(2, 1)
        except Exception:
            self.close()
            raise

    def run(self, warm: int, runs: int) -> list[float]:
        answer = self.worker.ask(do="run", warm=warm, runs=runs)
        self.peak = answer["peak_bytes"]
        return answer["seconds"]

    def close(self) -> None:
        self.worker.close()


class Ours:
    """`train_step`, a process a round."""

    def __init__(self, program: pathlib.Path, w: Workload, format: str, folder: pathlib.Path, threads: int) -> None:
        shape = f"{w.batch}x{w.source}" + (f"->{w.new}" if w.new else "")
        options = ["--format", format, "--threads", str(threads), "--json"]
        self.command, self.version, self.peak = [program, folder, shape, *options], "", 0
        self.report: dict = {}

    def run(self, warm: int, runs: int) -> list[float]:
        p = subprocess.run([*self.command, "--runs", str(runs)], capture_output=True, text=True)
        if p.returncode != 0:
            raise Failed(last_line(p.stderr))
        self.report = json.loads(p.stdout.splitlines()[-1])
        self.version, self.peak = self.report["device"], max(self.peak, int(self.report["peak_bytes"] or 0))
        return self.report["seconds"]

    def close(self) -> None:
        pass


def arguments() -> argparse.Namespace:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--program", type=pathlib.Path, default=RELEASE / "train_step")
    p.add_argument("--limits", type=pathlib.Path, default=RELEASE / "limits")
    p.add_argument("--checkpoints", type=pathlib.Path, required=True, help="the folder that make_checkpoints.py filled")
    p.add_argument("--record", type=pathlib.Path, required=True, help="a new .jsonl")
    p.add_argument("--workloads", nargs="+", default=WORKLOADS, metavar="W", help=" | ".join(WORKLOADS))
    p.add_argument("--formats", nargs="+", default=["f32", "bf16"], choices=["f32", "bf16"])
    p.add_argument("--modes", nargs="*", default=["eager", "compile"], choices=["eager", "compile"])
    p.add_argument("--rounds", type=int, default=5)
    p.add_argument("--runs", type=int, default=2, help="steps that are timed in a round")
    p.add_argument("--threads", type=int, default=2)
    args = p.parse_args()
    for path in (args.program, args.limits):
        if not path.is_file():
            p.error(f"{path} does not exist: cargo build --release -p seq2seq-benches --features train")
    if args.record.exists():
        p.error(f"{args.record} exists; a record is not written over")
    return args


def measure(args: argparse.Namespace, w: Workload, format: str) -> list[dict]:
    folder = (args.checkpoints / w.model).resolve()
    rows: list[dict] = []
    with contextlib.ExitStack() as stack:
        peers: dict[str, Torch | Ours] = {}
        for mode in args.modes:
            try:
                peers[f"torch-{mode}"] = Torch(mode, w, format, folder, args.threads)
                stack.callback(peers[f"torch-{mode}"].close)
            except (Failed, Skipped) as e:
                rows.append({"workload": w.name, "format": format, "peer": f"torch-{mode}", "error": str(e)})
        ours = peers[OURS] = Ours(args.program, w, format, folder, args.threads)
        seconds: dict[str, list[list[float]]] = {name: [] for name in peers}
        limits = []
        for _ in range(args.rounds):
            for name, peer in peers.items():
                seconds[name].append(peer.run(0, args.runs))
            command = [args.limits, "--json", "--threads", str(args.threads)]
            limits.append(json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout))
        seen = cost.over_rounds(limits)
        floor = ours.report["operations"] / seen.get(format, seen["f32"]) + ours.report["optimiser_bytes"] / seen["bandwidth"]
        for name, peer in peers.items():
            median = statistics.median(s for r in seconds[name] for s in r)
            pairs = zip(seconds[name], seconds[OURS], strict=True)
            rows.append({
                "workload": w.name, "format": format, "peer": name, "version": peer.version, "threads": args.threads,
                "median": median, "seconds": seconds[name], "peak_bytes": peer.peak, "limits": limits, "floor": floor,
                "ratio": statistics.median(statistics.median(a) / statistics.median(b) for a, b in pairs),
            })  # fmt: skip
        rows[-1] |= {key: ours.report[key] for key in ("pass", "norm", "step", "operations", "optimiser_bytes")}
    return rows


def main() -> int:
    args = arguments()
    args.record.parent.mkdir(parents=True, exist_ok=True)
    failed = False
    with args.record.open("x") as out:
        print(json.dumps({"machine": machine.describe()}), file=out, flush=True)
        for name in args.workloads:
            for format in args.formats:
                for row in measure(args, Workload.parse(name), format):
                    print(json.dumps(row), file=out, flush=True)
                    head = f"{name:20} {format:5} {row['peer']:14}"
                    if "error" in row:
                        failed = True
                        print(f"{head} {row['error'][:80]}")
                        continue
                    times = f"{row['median'] * 1e3:7.0f} ms {100 * row['floor'] / row['median']:4.0f}% of the floor"
                    print(f"{head} {times} {row['peak_bytes'] / 1e6:6.0f} MB, {row['ratio']:.2f} times seq2seq's", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
