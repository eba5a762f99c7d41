"""Measures seq2seq beside other engines, all of them alternating, and writes a record, its table and its drawing.

    python benches/peers/run.py --program target/release/seq2seq --checkpoints DIR --record benches/record/FILE.jsonl

README.md beside this file says what is measured and how.
"""

import argparse
import contextlib
import dataclasses
import json
import pathlib
import statistics
import subprocess
import sys

import commands
import cost
import machine
import plot
import table
from peers import PEERS, WARM_BELOW, Failed, Peer, Skipped, Task, convert, start
from workloads import WORKLOADS, Workload

HERE = pathlib.Path(__file__).resolve().parent
ROUND_SECONDS = 0.4
"""A peer repeats a short run in each round until about this time has gone by, at most `MOST_RUNS` times."""
MOST_RUNS = 5


def arguments() -> argparse.Namespace:
    p = commands.parser(__doc__, ".md and .svg are")
    p.add_argument("--workloads", nargs="+", default=WORKLOADS, metavar="W", help=" | ".join(WORKLOADS))
    p.add_argument("--peers", nargs="+", default=PEERS, choices=PEERS)
    p.add_argument("--limits", type=pathlib.Path, help="the built limits [default: beside the program]")
    p.add_argument("--candle", type=pathlib.Path, default=HERE / "candle/target/release/candle_peer")
    args = p.parse_args()
    args.limits = args.limits or args.program.parent / "limits"
    commands.check(p, args, [Workload.parse(name).model for name in args.workloads])
    return args


def limits(program: pathlib.Path, threads: int) -> dict[str, float]:
    command = [program, "--json", "--threads", str(threads)]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


@dataclasses.dataclass
class Row:
    """One peer's part of a workload and format."""

    peer: Peer
    runs: int = 1
    warm: int = 1
    rounds: list[list[float]] = dataclasses.field(default_factory=list)
    failure: dict[str, str] = dataclasses.field(default_factory=dict)

    def attempt(self, step: str, task: Task) -> None:
        """One step; what fails takes no part in the next ones."""
        if self.failure:
            return
        try:
            if step == "load":
                convert(self.peer.name, task)
                seconds = self.peer.load(task)
                self.runs = max(1, min(MOST_RUNS, round(ROUND_SECONDS / seconds)))
                self.warm = int(seconds < WARM_BELOW)
            else:
                self.rounds.append(self.peer.run(self.warm, self.runs))
        except Skipped as e:
            self.failure = {"skipped": str(e)}
        except Failed as e:
            self.failure = {"error": str(e)}
            print(f"{task.workload.name} {task.format} {self.peer.name}: {e}", file=sys.stderr)

    def record(self) -> dict:
        if self.failure:
            return self.failure
        seconds = [s for r in self.rounds for s in r]
        quartiles = statistics.quantiles(seconds, n=4, method="inclusive") if len(seconds) > 1 else seconds * 3
        return {
            "median": quartiles[1],
            "quartiles": [quartiles[0], quartiles[2]],
            "seconds": self.rounds,
        }


def measure(args: argparse.Namespace, peers: list[Peer], task: Task) -> list[dict]:
    """The rows of one workload and format: peer by peer and then the machine's limits, round after round."""
    rows, seen = [Row(p) for p in peers], []
    for row in rows:
        row.attempt("load", task)
    for _ in range(args.rounds):
        for row in rows:
            row.attempt("run", task)
        seen.append(limits(args.limits, args.threads))
    for row in rows:
        with contextlib.suppress(Failed):  # it has ended, and its row says so
            row.peer.unload()
    passes = cost.passes(task.workload.config(args.checkpoints), task.workload)
    common = {"threads": args.threads, "limits": seen, "passes": [dataclasses.asdict(p) for p in passes]}
    result = []
    for row in rows:
        head = {"workload": task.workload.name, "format": task.format, "peer": row.peer.name, "version": row.peer.version}
        result.append(head | row.record() | ({} if row.failure else common))
    return result


def main() -> int:
    args = arguments()
    failed = False
    with contextlib.ExitStack() as stack, commands.recording(args.record) as write:
        write({"machine": machine.describe()})
        peers: list[Peer] = []
        for name in args.peers:
            try:
                peers.append(start(name, args.program.resolve(), args.candle.resolve(), args.threads))
                stack.callback(peers[-1].close)
            except Skipped as e:
                write({"peer": name, "unavailable": str(e)})
        for name in args.workloads:
            w = Workload.parse(name)
            folder = (args.checkpoints / w.model).resolve()
            vocabulary = w.config(args.checkpoints)["vocab_size"]
            for format in args.formats:
                task = Task(w, format, folder, folder.parent / "converted" / w.model, vocabulary)
                for row in measure(args, peers, task):
                    failed |= "error" in row
                    write(row)
                    if "median" in row:
                        print(f"{name:32} {format:5} {row['peer']:12} {row['median'] * 1e3:9.1f} ms", flush=True)
    text = table.markdown(table.read(args.record))
    args.record.with_suffix(".md").write_text(text)
    args.record.with_suffix(".svg").write_text(plot.svg(table.read(args.record)))
    print(text)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
