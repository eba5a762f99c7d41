"""The engines that take part, each behind `load`, `run` and `unload`."""

import ctypes
import dataclasses
import json
import os
import pathlib
import signal
import subprocess
import sys
from typing import Protocol

from workloads import Workload

HERE = pathlib.Path(__file__).resolve().parent
ENGINES = {"torch": "pytorch", "onnxruntime": "ort", "openvino": "ov", "ctranslate2": "ct2", "llama.cpp": "llama"}
OURS = "seq2seq"
PEERS = [*ENGINES, "candle", OURS]
WARM_BELOW = 0.5
"""Seconds: a shorter run is preceded, in each round, by one that is not timed. In a longer one it does not show."""


class Skipped(Exception):
    """The engine does not do this work."""


class Failed(Exception):
    """The engine should have done this work."""


@dataclasses.dataclass(frozen=True)
class Task:
    workload: Workload
    format: str
    folder: pathlib.Path
    converted: pathlib.Path
    vocabulary: int


class Peer(Protocol):
    name: str
    version: str

    def load(self, task: Task) -> float:
        """Loads, warms up, and gives the seconds of a run."""

    def run(self, warm: int, runs: int) -> list[float]: ...

    def unload(self) -> None: ...

    def close(self) -> None: ...


def die_with_parent() -> None:
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG: also ends a worker that is stopped


class Worker:
    """A process that speaks the protocol of `worker.py`. While it has nothing to do it is stopped by a signal, so that
    no thread of its pools spins in another's time."""

    def __init__(self, name: str, command: list[str], threads: int) -> None:
        counts = {k: str(threads) for k in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "RAYON_NUM_THREADS")}
        self.name = name
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env=os.environ | counts, preexec_fn=die_with_parent,
        )  # fmt: skip
        try:
            self.version = self.answer()["version"]
        except Exception:
            self.close()
            raise

    def answer(self) -> dict:
        line = self.process.stdout.readline()
        if not line:
            raise Failed(f"{self.name} ended with status {self.process.wait()}")
        answer = json.loads(line)
        for key in ("skipped", "unavailable"):
            if key in answer:
                raise Skipped(answer[key])
        if "error" in answer:
            raise Failed(answer["error"])
        return answer

    def ask(self, **request: object) -> dict:
        self.process.send_signal(signal.SIGCONT)
        try:
            print(json.dumps(request), file=self.process.stdin, flush=True)
            return self.answer()
        except BrokenPipeError:
            raise Failed(f"{self.name} has ended") from None
        finally:
            self.process.send_signal(signal.SIGSTOP)

    def load(self, task: Task) -> float:
        w = task.workload
        paths = dict(folder=str(task.folder), converted=str(task.converted))
        self.ask(do="load", format=task.format, ids=w.ids(task.vocabulary), new=w.new, beams=w.beams, **paths)
        seconds = self.run(0, 1)[0]
        return seconds if seconds > 2 * WARM_BELOW else min(seconds, *self.run(0, 1))

    def run(self, warm: int, runs: int) -> list[float]:
        return self.ask(do="run", warm=warm, runs=runs)["seconds"]

    def unload(self) -> None:
        self.ask(do="unload")

    def close(self) -> None:
        self.process.send_signal(signal.SIGCONT)
        self.process.stdin.close()
        self.process.wait()


class Ours:
    """`seq2seq bench`, a process a round: it loads, warms up with one run, and reports the runs after it."""

    def __init__(self, program: pathlib.Path, threads: int) -> None:
        version = subprocess.run([program, "--version"], capture_output=True, text=True, check=True)
        self.name, self.version = OURS, version.stdout.split()[-1]
        self.program, self.threads, self.task = program, threads, None

    def load(self, task: Task) -> float:
        self.task = task
        return self.run(1, 1)[0]

    def run(self, warm: int, runs: int) -> list[float]:
        task, w = self.task, self.task.workload
        options = dict(model=task.folder, batch=w.batch, source=w.source, new=w.new, num_beams=w.beams)
        options |= dict(format=task.format, threads=self.threads, runs=runs)
        flags = [part for k, v in options.items() for part in (f"--{k.replace('_', '-')}", str(v))]
        p = subprocess.run([self.program, "bench", "--json", *flags], capture_output=True, text=True)
        if p.returncode != 0:
            raise Failed(last_line(p.stderr))
        report = json.loads(p.stdout.splitlines()[-1])
        # It fails by itself where a sequence has fewer new tokens.
        for key, wanted in dict(batch=w.batch, source=w.source, new=w.new, num_beams=w.beams, format=task.format).items():
            if report[key] != wanted:
                raise Failed(f"{key}: {report[key]} in place of {wanted}")
        return report["runs"]

    def unload(self) -> None:
        self.task = None

    def close(self) -> None:
        pass


def start(name: str, program: pathlib.Path, candle: pathlib.Path, threads: int) -> Peer:
    """Raises `Skipped` where the engine is not installed."""
    if name == OURS:
        return Ours(program, threads)
    if name == "candle":
        if not candle.exists():
            raise Skipped(f"{candle.name} is not built")
        return Worker(name, [str(candle)], threads)
    return Worker(name, [sys.executable, str(HERE / "worker.py"), ENGINES[name], "--threads", str(threads)], threads)


CONVERSIONS = {
    ("onnxruntime", "f32"): [("onnx", "model.onnx")],
    ("onnxruntime", "int8"): [("onnx", "model.onnx"), ("onnx-int8", "model.int8.onnx")],
    ("openvino", "f32"): [("onnx", "model.onnx")],
    ("openvino", "bf16"): [("onnx", "model.onnx")],
    ("ctranslate2", "f32"): [("ctranslate2", "ctranslate2")],
    ("ctranslate2", "int8"): [("ctranslate2", "ctranslate2")],
    ("llama.cpp", "bf16"): [("gguf", "f16.gguf")],
    ("llama.cpp", "f16"): [("gguf", "f16.gguf")],
    ("llama.cpp", "int8"): [("gguf", "f16.gguf"), ("gguf-q8_0", "q8_0.gguf")],
    ("llama.cpp", "int4"): [("gguf", "f16.gguf"), ("gguf-q4_0", "q4_0.gguf")],
}


def last_line(stderr: str) -> str:
    """What went wrong; the lines before name folders of the machine, which have no place in a record."""
    return (stderr.strip().splitlines() or ["no message"])[-1]


def convert(peer: str, task: Task) -> None:
    """Writes, once, what the peer reads in place of the checkpoint."""
    family = task.workload.config(task.folder.parent)["model_type"]
    for kind, name in CONVERSIONS.get((peer, task.format), []):
        if (kind.startswith("onnx") and family != "bert") or (kind.startswith("gguf") and family != "llama"):
            continue
        command = [sys.executable, HERE / "convert.py", kind, task.folder, task.converted / name]
        p = subprocess.run(command, capture_output=True, text=True)
        if p.returncode != 0:
            raise Failed(f"{kind}: {last_line(p.stderr)}")
