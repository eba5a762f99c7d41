"""Measures the way to the first token and the memory that it takes; a record and its table.

    python benches/peers/load.py --program target/release/seq2seq --checkpoints DIR --record benches/record/FILE.jsonl

For each model and format, from the checkpoint and from the folder that `seq2seq convert` makes of it, round after round:

- the files of the weights are read once from the page cache, by read() into a buffer of 1 MiB;
- a new process loads the model and gives the first token of one source of 64 tokens (BERT, which writes none: its forward pass).

Times are of the process itself, by its clock: from the start of loading, and of the first run, for which nothing is warm but the
page cache. Starting and linking the program, milliseconds, and the tokenizer, which `bench` does without, are not in them. A run
more follows, which peak memory has seen too.

**Peak memory** is `ru_maxrss` of that process: the most pages that it had at one time, its own (weights, caches, activations, the
allocator's), those of its program, and those of the mapped files that it had touched and not released. The last belong to the page
cache, and the system may take them back. **Weights** are what the model packs, in the formats of its layers; tables of embeddings
stay in the file, and those that are no output layer are told apart. Converted folders are made in a temporary folder (`--temporary`), one at a time.

`load.py RECORD.jsonl` makes the table again.
"""

import argparse
import dataclasses
import functools
import json
import os
import pathlib
import resource
import statistics
import subprocess
import sys
import tempfile
import time

import commands
import machine
from peers import Failed, last_line

MODELS = ["bert-base", "t5-base", "gpt2", "bart-base", "marian", "tinyllama-1.1b"]
FORMATS = ["f32", "bf16", "int8", "int4"]
CHECKPOINT, CONVERTED = "checkpoint", "converted"
SOURCE = 64
BUFFER = 1 << 20


@dataclasses.dataclass(frozen=True)
class Start:
    """What a new process says, and what it took."""

    load: float
    first: float
    weight_bytes: int
    table_bytes: int
    peak: int
    """Bytes."""


def weights(folder: pathlib.Path) -> list[pathlib.Path]:
    return sorted(folder.glob("*.safetensors"))


def read_once(files: list[pathlib.Path]) -> float:
    """Seconds."""
    buffer = bytearray(BUFFER)
    start = time.perf_counter()
    for path in files:
        with path.open("rb", buffering=0) as file:
            while file.readinto(buffer):
                pass
    return time.perf_counter() - start


def own_peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def start(program: pathlib.Path, folder: pathlib.Path, format: str, threads: int) -> Start:
    options = dict(model=folder, batch=1, source=SOURCE, new=1, runs=1, format=format, threads=threads)
    flags = [part for k, v in options.items() for part in (f"--{k}", str(v))]
    with tempfile.TemporaryFile("w+") as said, tempfile.TemporaryFile("w+") as complaints:
        p = subprocess.Popen([program, "bench", "--json", *flags], stdout=said, stderr=complaints)
        _, status, usage = os.wait4(p.pid, 0)
        p.returncode = os.waitstatus_to_exitcode(status)
        said.seek(0), complaints.seek(0)
        if p.returncode != 0:
            raise Failed(last_line(complaints.read()))
        report = json.loads(said.read().splitlines()[-1])
    peak = usage.ru_maxrss * 1024
    if peak <= own_peak():
        # A process that has just been forked has the pages of this one, which count.
        raise Failed(f"its peak memory, {peak} bytes, is no more than that of the program that measures")
    named = {name: report[f"{name}_seconds"] for name in ("load", "first")}
    return Start(**named, weight_bytes=report["weight_bytes"], table_bytes=report["table_bytes"], peak=peak)


def convert(program: pathlib.Path, folder: pathlib.Path, format: str, output: pathlib.Path) -> None:
    command = [program, "convert", "--model", folder, "--format", format, "--output", output]
    p = subprocess.run(command, capture_output=True, text=True)
    if p.returncode != 0:
        raise Failed(last_line(p.stderr))
    for path in weights(output):
        # Nothing shall be left to be written while others are measured.
        with path.open("rb") as file:
            os.fsync(file.fileno())


def measure(args: argparse.Namespace, model: str, format: str) -> list[dict]:
    """The rows of a model in a format; both folders are in every round."""
    with tempfile.TemporaryDirectory(dir=args.temporary) as temporary:
        folders = {CHECKPOINT: args.checkpoints / model}
        if format != "f32":  # which is what checkpoints are
            folders[CONVERTED] = pathlib.Path(temporary) / "model"
            convert(args.program, folders[CHECKPOINT], format, folders[CONVERTED])
        for folder in folders.values():
            read_once(weights(folder))
        reads, starts = {name: [] for name in folders}, {name: [] for name in folders}
        for _ in range(args.rounds):
            for name, folder in folders.items():
                reads[name].append(read_once(weights(folder)))
                starts[name].append(start(args.program, folder, format, args.threads))
        sizes = {name: sum(path.stat().st_size for path in weights(folder)) for name, folder in folders.items()}
    head = dict(model=model, format=format, threads=args.threads)
    return [head | row(name, sizes[name], reads[name], starts[name]) for name in folders]


def row(folder: str, file_bytes: int, reads: list[float], starts: list[Start]) -> dict:
    """Each round, and the medians over them; a ratio is of one round."""
    over_reading = [(s.load + s.first) / read for read, s in zip(reads, starts, strict=True)]
    peak = statistics.median(s.peak for s in starts)
    weight_bytes, table_bytes = starts[0].weight_bytes, starts[0].table_bytes
    return {
        "folder": folder,
        "file_bytes": file_bytes,
        "weight_bytes": weight_bytes,
        "table_bytes": table_bytes,
        "read_seconds": reads,
        "load_seconds": [s.load for s in starts],
        "first_seconds": [s.first for s in starts],
        "peak_bytes": [s.peak for s in starts],
        "medians": {
            "read": statistics.median(reads),
            "load": statistics.median(s.load for s in starts),
            "first": statistics.median(s.first for s in starts),
            "peak": peak,
            "over_reading": statistics.median(over_reading),
            "over_weights": peak / weight_bytes,
        },
    }


def markdown(lines: list[dict]) -> str:
    """The table of a record."""
    (head, *rows), text = lines, []
    m = head["machine"]
    text += [
        f"{m['cpu']}, {m['cores']} cores, {m['memory_gib']} GiB; {m['os']}; {m['compiler']}; {m['date'][:10]}. seq2seq {head['version']}.",
        "",
        f"A new process, {head['threads']} threads: load the model and give the first token of {SOURCE}, over reading the files of the weights",
        "once from the page cache; and its peak memory over the weights that it packs (tables stay in the file). MB are 10⁶ bytes, medians.",
        "`benches/peers/load.py` says what is counted.",
        "",
        "| model | format | from | file, MB | read once, ms | load, ms | first token, ms | over reading once | weights, MB | tables, MB | peak, MB | over weights |",
        "|---|---|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for r in rows:
        if "error" in r:
            continue
        o, sizes = r["medians"], [f"{r[key] / 1e6:.1f}" for key in ("file_bytes", "weight_bytes", "table_bytes")]
        parts = [r["model"], r["format"], r["folder"], sizes[0]]
        parts += [f"{o[key] * 1e3:.0f}" for key in ("read", "load", "first")]
        parts += [f"**{o['over_reading']:.2f}**", *sizes[1:], f"{o['peak'] / 1e6:.1f}", f"**{o['over_weights']:.2f}**"]
        text.append(f"| {' | '.join(parts)} |")
    text += commands.not_measured([f"{r['model']} in {r['format']}: {r['error']}" for r in rows if "error" in r])
    return "\n".join(text) + "\n"


def main() -> int:
    if len(sys.argv) == 2 and sys.argv[1].endswith(".jsonl"):
        print(markdown(commands.lines(pathlib.Path(sys.argv[1]))), end="")
        return 0
    p = commands.parser(__doc__, ".md is")
    p.set_defaults(formats=FORMATS)
    p.add_argument("--models", nargs="+", default=MODELS)
    p.add_argument("--temporary", type=pathlib.Path, help="where converted folders are made [default: the system's]")
    args = p.parse_args()
    args.program = args.program.resolve()
    commands.check(p, args, args.models)
    said = subprocess.run([args.program, "--version"], capture_output=True, text=True, check=True).stdout
    head = {"machine": machine.describe(), "version": said.split()[-1], "threads": args.threads}
    return commands.tabulate(args, head, "model", args.models, functools.partial(measure, args), markdown)


if __name__ == "__main__":
    sys.exit(main())
