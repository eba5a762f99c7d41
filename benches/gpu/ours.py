"""Our programs, timed: what they print becomes rows."""

import json
import pathlib

from clock import Clock, call, last_line
from rows import OURS, Rows
from sizes import Sizes, decode_case

HERE = pathlib.Path(__file__).resolve().parent
# How the kernels of a step are asked for: variables of the environment.
WAYS = {
    "as a graph": {},
    "waiting for ids": {"SEQ2SEQ_CUDA_AHEAD": "0"},
    "without overlap": {"SEQ2SEQ_CUDA_OVERLAP": "0"},
    "without graphs": {"SEQ2SEQ_CUDA_GRAPHS": "0"},
}


def cases(device: str) -> list[dict]:
    """What the targets are measured on; the program needs no GPU to say it."""
    text, end = call([HERE / "report", "--targets", "--list", "--device", device], 20)
    if end != "ok":
        raise RuntimeError(f"report --targets --list: {last_line(text) or end}")
    return [json.loads(line) for line in text.splitlines()]


def report(rows: Rows, device: str, record: pathlib.Path, seconds: float, *options: str) -> None:
    """Operations, each with its time; those that come before time is up count."""
    for path in (record, record.with_suffix(".md"), record.with_suffix(".svg")):
        path.unlink(missing_ok=True)
    text, end = call([HERE / "report", "--device", device, "--milliseconds", "10", "--record", record, *options], seconds)
    lines = record.read_text().splitlines() if record.exists() else []
    failed = 0
    for row in (json.loads(line) for line in lines if line.endswith("}")):
        if "error" in row:
            failed += 1
            rows.add(op=row["op"], case=row["case"], side=OURS, error=row["error"])
        elif "median" in row:
            times = {key: row[key] for key in ("asking", "replayed", "not_replayed", "operations", "bytes") if row.get(key)}
            rows.add(op=row["op"], case=row["case"], side=OURS, seconds=row["median"], **times)
            if "not_replayed" in times:
                failed += 1
                rows.add(op=row["op"], case=row["case"], side=f"{OURS}, in a graph", error=times["not_replayed"])
    name = " ".join(("report", *options))
    if end == "no time":
        rows.add(op="program", case=name, absent=f"no time for the rest behind {len(lines)} lines")
    elif end != "ok" and not failed:
        rows.add(op="program", case=name, error=last_line(text) or end)


def bench(model: pathlib.Path, device: str, format: str, options: list, seconds: float, **way: str) -> tuple[list[dict], str]:
    """The cases that `seq2seq bench` timed, and what went wrong behind them."""
    command = [HERE / "seq2seq", "bench", "--model", model, "--device", device, "--format", format, "--json", *options]
    text, end = call(command, seconds, **way)
    found = [json.loads(line) for line in text.splitlines() if line.startswith("{")]
    return found, "" if end == "ok" else "no time" if end == "no time" else last_line(text) or end


def steps(found: list[dict], sizes: Sizes, beams: int = 1) -> float | None:
    """Seconds of a step of decoding: what the more new tokens take beyond the fewer, over their difference."""
    by_new = {case["new"]: case["seconds"] for case in found if case["num_beams"] == beams}
    few, many = sizes.new
    return (by_new[many] - by_new[few]) / (many - few) if few in by_new and many in by_new else None


def failure(why: str) -> dict:
    return {"absent": why} if why == "no time" else {"error": why or "no times came"}


def decode(rows: Rows, models: pathlib.Path, device: str, model: str, format: str, sizes: Sizes, seconds: float) -> None:
    options = ["--source", sizes.source, "--new", ",".join(map(str, sizes.new)), "--runs", "7"]
    found, why = bench(models / model, device, format, options, seconds)
    step = steps(found, sizes)
    more = {"seconds": step, "load": found[0]["load_seconds"], "whole": [case["seconds"] for case in found]} if step else failure(why)
    rows.add(op="decode", case=decode_case(model, format), side=OURS, **more)


def beams(rows: Rows, models: pathlib.Path, device: str, sizes: Sizes, seconds: float) -> None:
    options = ["--batch", sizes.beam_batch, "--source", sizes.source, "--new", sizes.beam_new, "--num-beams", sizes.beams]
    found, why = bench(models / "t5-base", device, "bf16", [*options, "--runs", "5"], seconds)
    more = {"seconds": found[0]["seconds"]} if found else failure(why)
    rows.add(op="beam search", case=sizes.beam_case, side=OURS, **more)


def train(rows: Rows, models: pathlib.Path, device: str, sizes: Sizes, seconds: float) -> None:
    batch, source, target = sizes.train
    command = [HERE / "train_step", models / "t5-base", f"{batch}x{source}->{target}", "--device", device, "--format", "bf16", "--json"]
    text, end = call([*command, "--runs", "7"], seconds)
    if end == "ok":
        found = json.loads(text.splitlines()[-1])
        middle = sorted(found["seconds"])[len(found["seconds"]) // 2]
        more = {"seconds": middle, "operations": found["operations"]}
    else:
        more = failure("no time" if end == "no time" else last_line(text) or end)
    rows.add(op="training step", case=sizes.train_case, side=OURS, **more)


def ways(rows: Rows, models: pathlib.Path, device: str, format: str, sizes: Sizes, clock: Clock, but: float) -> None:
    """A step in all ways that its kernels can be asked for, greedy and with 4 beams; the model is loaded once a way."""
    options = ["--source", sizes.source, "--new", ",".join(map(str, sizes.new)), "--num-beams", "1,4", "--runs", "5"]
    for model in sizes.models:
        for way, variables in WAYS.items():
            found, why = bench(models / model, device, format, options, clock.left(40, but), **variables)
            for beams in (1, 4):
                step = steps(found, sizes, beams)
                case = f"{model}, {format}, beams {beams}, {way}"
                rows.add(op="step", case=case, side=OURS, **({"seconds": step} if step else failure(why)))
