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
import json
import pathlib
import statistics
import sys

import cost
import machine
from peers import WARM_BELOW, Failed, Ours, Task
from run import MOST_RUNS, ROUND_SECONDS, limits
from workloads import FORMATS, WORKLOADS, Workload


def measure(args: argparse.Namespace, name: str, format: str) -> dict:
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
    return dict(workload=name, format=format, seconds=rounds, limits=seen, passes=passes)


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
    failures = [f"- {r['workload']}, {r['format']}: {r['error']}" for r in rows if "error" in r]
    if failures:
        text += ["", "Not measured:", "", *failures]
    return "\n".join(text) + "\n"


def read(path: pathlib.Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def arguments() -> argparse.Namespace:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--program", type=pathlib.Path, required=True, help="the built seq2seq; `limits` is beside it")
    p.add_argument("--checkpoints", type=pathlib.Path, required=True, help="the folder that make_checkpoints.py filled")
    p.add_argument("--record", type=pathlib.Path, required=True, help="a new .jsonl; .md is put beside it")
    p.add_argument("--workloads", nargs="+", default=WORKLOADS, metavar="W", help=" | ".join(WORKLOADS))
    p.add_argument("--formats", nargs="+", default=FORMATS, choices=FORMATS)
    p.add_argument("--rounds", type=int, default=5)
    p.add_argument("--threads", type=int, default=2, help="beside one")
    args = p.parse_args()
    args.program = args.program.resolve()
    args.limits = args.program.parent / "limits"
    for path, how in (
        (args.program, "cargo build --release"),
        (args.limits, "cargo build --release -p seq2seq-benches --bin limits"),
    ):
        if not path.is_file():
            p.error(f"{path} does not exist: {how}")
    if args.record.exists():
        p.error(f"{args.record} exists; a record is not written over")
    if args.rounds < 1 or args.threads < 2:
        p.error("--rounds starts at 1, --threads at 2")
    return args


def main() -> int:
    if len(sys.argv) == 2 and sys.argv[1].endswith(".jsonl"):
        print(markdown(read(pathlib.Path(sys.argv[1]))), end="")
        return 0
    args = arguments()
    args.record.parent.mkdir(parents=True, exist_ok=True)
    failed = False
    with args.record.open("x") as out:

        def write(line: dict) -> None:
            print(json.dumps(line), file=out, flush=True)

        version = Ours(args.program, 1).version
        write({"machine": machine.describe(), "version": version, "threads": args.threads})
        for name in args.workloads:
            for format in args.formats:
                try:
                    row = measure(args, name, format)
                except Failed as e:
                    row, failed = dict(workload=name, format=format, error=str(e)), True
                    print(f"{name} {format}: {e}", file=sys.stderr)
                write(row)
    text = markdown(read(args.record))
    args.record.with_suffix(".md").write_text(text)
    print(text)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
