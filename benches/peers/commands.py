"""What the commands that measure have in common: their options, what is checked of them, and the files of their records."""

import argparse
import contextlib
import json
import pathlib
import sys
from collections.abc import Callable, Iterable, Iterator

from peers import Failed
from workloads import FORMATS

BUILT_BY = {"program": "cargo build --release", "limits": "cargo build --release -p seq2seq-benches --bin limits"}


def parser(doc: str, beside: str, rounds: int = 5) -> argparse.ArgumentParser:
    """With the options of all; `beside` says what is put beside the record."""
    p = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--program", type=pathlib.Path, required=True, help="the built seq2seq")
    p.add_argument("--checkpoints", type=pathlib.Path, required=True, help="the folder that make_checkpoints.py filled")
    p.add_argument("--record", type=pathlib.Path, required=True, help=f"a new .jsonl; {beside} put beside it")
    p.add_argument("--formats", nargs="+", default=FORMATS, choices=FORMATS)
    p.add_argument("--rounds", type=int, default=rounds)
    p.add_argument("--threads", type=int, default=2)
    return p


def check(p: argparse.ArgumentParser, args: argparse.Namespace, models: Iterable[str], threads: int = 1) -> None:
    """Ends with a message where a program or a checkpoint is missing, the record exists, or a number is too small."""
    for name, how in BUILT_BY.items():
        path = getattr(args, name, None)
        if path is not None and not path.is_file():
            p.error(f"{path} does not exist: {how}")
    for model in models:
        if not (args.checkpoints / model / "config.json").is_file():
            p.error(f"{args.checkpoints / model} holds no checkpoint: python benches/peers/make_checkpoints.py {args.checkpoints}")
    if args.record.exists():
        p.error(f"{args.record} exists; a record is not written over")
    if args.rounds < 1 or args.threads < threads:
        p.error(f"--rounds starts at 1, --threads at {threads}")


@contextlib.contextmanager
def recording(path: pathlib.Path) -> Iterator[Callable[[dict], None]]:
    """Writes a new record, line by line."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("x") as out:
        yield lambda line: print(json.dumps(line), file=out, flush=True)


def lines(path: pathlib.Path) -> list[dict]:
    """Those of a record."""
    return [json.loads(line) for line in path.read_text().splitlines()]


def not_measured(failures: list[str]) -> list[str]:
    """The end of a table: what is missing in it, and why."""
    return ["", "Not measured:", "", *(f"- {text}" for text in failures)] if failures else []


def tabulate(
    args: argparse.Namespace, head: dict, kind: str, names: list[str], measure: Callable[[str, str], list[dict]],
    markdown: Callable[[list[dict]], str],
) -> int:  # fmt: skip
    """Writes a head and the rows of each of `names` in each format, and then their table. What fails is a row with its error, under
    `kind`; then the status that is given is 1."""
    failed = False
    with recording(args.record) as write:
        write(head)
        for name in names:
            for format in args.formats:
                try:
                    rows = measure(name, format)
                except Failed as e:
                    rows, failed = [{kind: name, "format": format, "error": str(e)}], True
                    print(f"{name} {format}: {e}", file=sys.stderr)
                for row in rows:
                    write(row)
    text = markdown(lines(args.record))
    args.record.with_suffix(".md").write_text(text)
    print(text)
    return 1 if failed else 0
