"""PyTorch in a process of its own: `torch_worker.py KIND --device D [--rehearsal] [--plain]`, for KINDS.

It says `{"ready", "version"}` when all of its jobs have run once and been compiled, or `{"unavailable": why}`. Then each request on standard
input is a line, and so is each row of the answer, which ends with `{"done": true}`:

    {"do": "copy"}                    the bandwidth of a copy within the device            (kind ops)
    {"do": "ops", "cases": [...]}     a row a case of `report --targets --list`            (kind ops)
    {"do": "rest"}                    some cases of all operations                         (kind ops)
    {"do": "checkpoints", "folder"}   writes the models of the targets to the folder       (kind ops)
    {"do": "time", "op": OP}          the jobs of that operation                           (all other kinds)
"""

import argparse
import json
import os
import pathlib
import signal
import sys
import time
from collections.abc import Iterator

import sizes as all_sizes
from timing import whole

HERE = pathlib.Path(__file__).resolve().parent
LIMIT, PATIENT = 130, 280
"""Seconds that a job may take to be built and compiled, on a GPU and in a rehearsal: who compiles for ever keeps its siblings waiting."""
KINDS = ["ops", "tinyllama-1.1b", "t5-base", "training", "tinyllama-1.1b hub", "t5-base hub", "training hub"]


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("kind", choices=KINDS)
    p.add_argument("--device", required=True)
    p.add_argument("--rehearsal", action="store_true", help="small models and batches")
    args = p.parse_args()
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print is no answer

    def say(answer: dict) -> None:
        print(json.dumps(answer), file=answers, flush=True)

    try:
        import torch

        version = f"torch {torch.__version__}"
        if args.kind.endswith(" hub"):
            import transformers

            version += f", transformers {transformers.__version__}"
        place = torch.device(args.device)
        torch.zeros(1, device=place)
    except Exception as e:  # not there, or without this device
        return say({"unavailable": f"{type(e).__name__}: {e}"[:300]})
    work = Ops if args.kind == "ops" else Models
    worker = work(torch, place, all_sizes.REHEARSAL if args.rehearsal else all_sizes.GPU, args.kind)
    say({"ready": True, "version": version})
    for line in sys.stdin:
        try:
            for row in worker.answer(json.loads(line)):
                say(row)
        except Exception as e:  # PyTorch may raise anything
            say({"error": f"{type(e).__name__}: {e}"[:300]})
        say({"done": True})


def late(*_) -> None:
    raise TimeoutError("was not compiled in time")


class Ops:
    def __init__(self, torch, place, sizes: all_sizes.Sizes, kind: str) -> None:
        self.torch, self.place, self.sizes = torch, place, sizes

    def answer(self, request: dict) -> Iterator[dict]:
        import checkpoints
        import timing
        import torch_ops
        import torch_rest

        match request["do"]:
            case "copy":
                yield torch_ops.copy(self.torch, self.place, self.sizes.copied)
            case "ops":
                yield from torch_ops.rows(self.torch, self.place, request["cases"])
            case "rest":
                yield from torch_rest.rows(self.torch, self.place, timing.measure)
            case "checkpoints":
                for name, config in self.sizes.models.items():
                    begin, folder = time.monotonic(), pathlib.Path(request["folder"]) / name
                    half = config["model_type"] == "llama"
                    size = checkpoints.write(folder, config, self.torch, self.place, half)
                    seconds = time.monotonic() - begin
                    yield {"op": "checkpoint", "case": name, "bytes": size, "text": f"{size / 1e6:.0f} MB in {seconds:.1f} s"}


class Models:
    """Jobs that have run once, and why others have not."""

    def __init__(self, torch, place, sizes: all_sizes.Sizes, kind: str) -> None:
        import torch_models

        self.torch, self.place, self.sizes = torch, place, sizes
        self.jobs, self.failed = [], []
        name, hub = kind.removesuffix(" hub"), kind.endswith(" hub")
        if name == "training":
            builders = torch_models.training(torch, place, sizes, hub)
        else:
            decode = torch_models.hub_decode if hub else torch_models.plain_decode
            builders = decode(torch, place, sizes, name)
        signal.signal(signal.SIGALRM, late)
        for side, build in builders:
            begin = time.monotonic()
            signal.alarm(LIMIT if place.type == "cuda" else PATIENT)
            try:
                for job in build():
                    # The longest first: a static cache that is made for it serves the others.
                    job.run(self.longest(job.op))
                    job.run(self.longest(job.op))
                    self.jobs.append(job)
            except Exception as e:  # the compiler may raise anything
                op = "training step" if name == "training" else "beam search" if "beams" in side else "decode"
                named = {"op": op, "case": sizes.case(op, name), "side": side.removesuffix(", beams")}
                self.failed.append(named | {"error": f"{type(e).__name__}: {e}"[:300]})
            finally:
                signal.alarm(0)
            print(f"{kind}: {side}: {time.monotonic() - begin:.1f} s", file=sys.stderr, flush=True)

    def longest(self, op: str) -> int:
        return {"decode": max(self.sizes.new), "beam search": self.sizes.beam_new}.get(op, 0)

    def answer(self, request: dict) -> Iterator[dict]:
        yield from (row for row in self.failed if row["op"] == request["op"])
        for job in self.jobs:
            if job.op == request["op"]:
                yield {"op": job.op, "case": job.case, "side": job.side} | self.time(job)

    def time(self, job) -> dict:
        if job.op != "decode":
            runs = 5 if job.op == "training step" else 3
            return {"seconds": whole(self.torch, self.place, lambda: job.run(self.longest(job.op)), runs)}
        few, many = self.sizes.new
        job.run(few)
        seconds = [whole(self.torch, self.place, lambda new=new: job.run(new), 5 if "compiled" in job.side else 3) for new in (few, many)]
        return {"seconds": (seconds[1] - seconds[0]) / (many - few), "whole": seconds}


if __name__ == "__main__":
    main()
