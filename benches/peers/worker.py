"""A peer in Python as a worker of `run.py`: `worker.py ENGINE --threads N`.

Requests come on standard input, answers go to standard output, one JSON object a line:

    {"do": "load", "folder", "converted", "format", "ids", "new", "beams"}
                                          {"loaded": true} or {"skipped": why}
    {"do": "run", "warm": w, "runs": n}   {"seconds": [...]}: w runs that are not timed, then n that are
    {"do": "unload"}                      {"unloaded": true}

The first answer, before any request, is {"version"} or {"unavailable": why}. What goes wrong is {"error": why}.
"""

import argparse
import ctypes
import gc
import importlib
import json
import os
import pathlib
import sys
import time

from engines import Job, Loaded, Unsupported


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("engine")
    parser.add_argument("--threads", type=int, required=True)
    args = parser.parse_args()
    # Libraries print; the answers get a pipe of their own.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def say(answer: dict) -> None:
        print(json.dumps(answer), file=answers, flush=True)

    try:
        engine = importlib.import_module(f"engines.{args.engine}")
    except ImportError as e:
        return say({"unavailable": f"not importable: {e}"})
    say({"version": engine.VERSION})
    loaded: Loaded | None = None
    for line in sys.stdin:
        request = json.loads(line)
        try:
            match request.pop("do"):
                case "load":
                    paths = {k: pathlib.Path(request.pop(k)) for k in ("folder", "converted")}
                    loaded = engine.load(Job(threads=args.threads, **paths, **request))
                    say({"loaded": True})
                case "run":
                    say({"seconds": timed(loaded, **request)})
                case "unload":
                    loaded = None
                    gc.collect()
                    ctypes.CDLL(None).malloc_trim(0)  # glibc keeps freed memory otherwise
                    say({"unloaded": True})
        except Unsupported as e:
            say({"skipped": str(e)})
        except Exception as e:  # an engine may raise anything; run.py records it and fails in the end
            say({"error": f"{type(e).__name__}: {e}"[:500]})


def timed(loaded: Loaded, warm: int, runs: int) -> list[float]:
    seconds = []
    for _ in range(warm + runs):
        start = time.perf_counter()
        output = loaded.run()
        seconds.append(time.perf_counter() - start)
        loaded.check(output)
    return seconds[warm:]


if __name__ == "__main__":
    main()
