"""Measures what more threads bring: seq2seq alone, on one thread and on several; a record and its table.

    python benches/peers/threads.py --program target/release/seq2seq --checkpoints DIR --record benches/record/FILE.jsonl

The workloads and formats are those of run.py. In each round a workload runs on each number of threads, one after another, and
then `limits` reads the machine at each of them: what two cores give beside one is the machine's to say. Two cores of a shared
server may share a pipe or a clock, and one core alone often draws more than half of the memory's bandwidth.

- **speedup**: seconds on one thread over those on more, the median of the rounds' quotients.
- **the machine's**: the same of the floors (README.md), which are made of peaks and bandwidths at either number of threads.
- **operations**: the share of the floor, with more threads, that is operations over peak; the rest is reading weights. What is
  made of operations is to scale as the peaks do, the rest as the bandwidth does.

`threads.py RECORD.jsonl` makes the table again.
"""

import argparse
import dataclasses
import functools
import pathlib
import statistics
import sys

import commands
import cost
import machine
from peers import WARM_BELOW, Ours, Task
from run import MOST_RUNS, ROUND_SECONDS, limits
from workloads import WORKLOADS, Workload


def measure(args: argparse.Namespace, name: str, format: str) -> list[dict]:
    """The row of a workload in a format: by the number of threads the runs of each round and the limits."""
    w = Workload.parse(name)
    task = Task(w, format, (args.checkpoints / w.model).resolve(), pathlib.Path(), 0)
    engines = {threads: Ours(args.program, threads) for threads in (1, args.threads)}
    # The slowest is asked how often a run fits into a round.
    seconds = max(engine.load(task) for engine in engines.values())
    warm, runs = int(seconds < WARM_BELOW), max(1, min(MOST_RUNS, round(ROUND_SECONDS / seconds)))
    rounds, seen = {n: [] for n in engines}, {n: [] for n in engines}
    for _ in range(args.rounds):
        for n, engine in engines.items():
            rounds[n].append(engine.run(warm, runs))
        for n in engines:
            seen[n].append(limits(args.limits, n))
    passes = [dataclasses.asdict(p) for p in cost.passes(w.config(args.checkpoints), w)]
    return [dict(workload=name, format=format, seconds=rounds, limits=seen, passes=passes)]


@dataclasses.dataclass
class Line:
    """A row, worked out."""

    threads: tuple[int, int]
    medians: tuple[float, float]
    speedup: float
    machine: float
    """The quotient of the floors."""
    peak: float
    """The quotient of the peaks of what the row's products are made of."""
    bandwidth: float
    operations: float

    @classmethod
    def of(cls, row: dict) -> "Line":
        one, many = sorted(row["seconds"], key=int)
        rounds = [[statistics.median(r) for r in row["seconds"][n]] for n in (one, many)]
        first, second = (cost.over_rounds(row["limits"][n]) for n in (one, many))
        passes, format = [cost.Pass(**p) for p in row["passes"]], row["format"]
        # A pass that only multiplies, so that the formula knows at which peak.
        product = cost.Pass(1, 1, 1)
        peaks = [product.parts(format, limits)[0] for limits in (first, second)]
        floors = [cost.floor(passes, format, limits) for limits in (first, second)]
        return cls(
            threads=(int(one), int(many)),
            medians=(statistics.median(rounds[0]), statistics.median(rounds[1])),
            speedup=statistics.median(a / b for a, b in zip(*rounds, strict=True)),
            machine=floors[0] / floors[1],
            peak=peaks[0] / peaks[1],
            bandwidth=second["bandwidth"] / first["bandwidth"],
            operations=cost.bound_by_operations(passes, format, second),
        )


def markdown(lines: list[dict]) -> str:
    """The table of a record."""
    head, *rows = lines
    m = head["machine"]
    text = [
        f"{m['cpu']}, {m['cores']} cores, {m['memory_gib']} GiB; {m['os']}; {m['compiler']}; {m['date'][:10]}. seq2seq {head['version']}.",
        "",
        f"One thread beside {head['threads']}, alternating. The machine's: what the floor gains, that is peaks and bandwidths measured at both",
        "numbers of threads. Operations: the share of the floor that is operations over peak; the rest is reading weights.",
        "",
        f"| workload | format | 1 thread, ms | {head['threads']}, ms | speedup | the machine's | of its peak | of its bandwidth | operations |",
        "|---|---|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for row in rows:
        if "error" in row:
            continue
        line = Line.of(row)
        parts = [row["workload"], row["format"], *(f"{s * 1e3:.1f}" for s in line.medians), f"**{line.speedup:.2f}**"]
        parts += [f"{q:.2f}" for q in (line.machine, line.peak, line.bandwidth)] + [f"{line.operations:.0%}"]
        text.append(f"| {' | '.join(parts)} |")
    text += commands.not_measured([f"{r['workload']}, {r['format']}: {r['error']}" for r in rows if "error" in r])
    return "\n".join(text) + "\n"


def main() -> int:
    if len(sys.argv) == 2 and sys.argv[1].endswith(".jsonl"):
        print(markdown(commands.lines(pathlib.Path(sys.argv[1]))), end="")
        return 0
    p = commands.parser(__doc__, ".md is")
    p.add_argument("--workloads", nargs="+", default=WORKLOADS, metavar="W", help=" | ".join(WORKLOADS))
    args = p.parse_args()
    args.program = args.program.resolve()
    args.limits = args.program.parent / "limits"
    commands.check(p, args, [Workload.parse(name).model for name in args.workloads], threads=2)
    head = {"machine": machine.describe(), "version": Ours(args.program, 1).version, "threads": args.threads}
    return commands.tabulate(args, head, "workload", args.workloads, functools.partial(measure, args), markdown)


if __name__ == "__main__":
    sys.exit(main())
