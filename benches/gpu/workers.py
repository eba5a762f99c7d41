"""Processes of torch_worker.py, which get ready beside each other while something that is not timed runs, and then wait to be asked."""

import json
import os
import pathlib
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator

from clock import Clock

HERE = pathlib.Path(__file__).resolve().parent


class Worker:
    """One process, with those that it starts. After it has failed or was too slow it answers nothing more, and says why."""

    def __init__(self, kind: str, device: str, rehearsal: bool, log: pathlib.Path) -> None:
        self.kind, self.version, self.why = kind, "", ""
        self.ready = self.absent = self.closed = False
        command = [sys.executable, str(HERE / "torch_worker.py"), kind, "--device", device]
        # Several compile at the same time. Why a compiled step is not replayed as a graph is written to the log.
        threads = {"TORCHINDUCTOR_COMPILE_THREADS": "1" if rehearsal else "4", "TORCH_LOGS": "perf_hints", "TOKENIZERS_PARALLELISM": "false"}
        with log.open("a") as errors:
            self.process = subprocess.Popen(
                [*command, "--rehearsal"] if rehearsal else command, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                stderr=errors, text=True, start_new_session=True, env=os.environ | threads,
            )  # fmt: skip
        self.lines: queue.Queue[str | None] = queue.Queue()
        threading.Thread(target=self.read, daemon=True).start()

    def read(self) -> None:
        with self.process.stdout as answers:
            for line in answers:
                self.lines.put(line)
        self.lines.put(None)

    def next(self, seconds: float) -> dict:
        """The next answer; where none comes, why."""
        try:
            line = self.lines.get(timeout=max(0.0, seconds))
        except queue.Empty:
            return {"late": True}
        if line is None:
            return {"error": f"the process ended ({self.process.wait()})"}
        try:
            return json.loads(line)
        except json.JSONDecodeError:
            return {"error": f"not an answer: {line[:100]}"}

    def wait(self, seconds: float) -> bool:
        """Whether it is ready by then. It may be asked again."""
        if self.ready or self.why:
            return self.ready
        answer = self.next(seconds)
        if "late" in answer:
            return False
        if answer.get("ready"):
            self.ready, self.version = True, answer["version"]
        else:
            self.absent = "unavailable" in answer
            self.why = answer.get("unavailable") or answer.get("error") or "no answer"
            self.close()
        return self.ready

    def signal(self, number: int) -> None:
        """To the process and those that it has started to compile with."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, number)

    def pause(self) -> None:
        self.signal(signal.SIGSTOP)

    def go_on(self) -> None:
        self.signal(signal.SIGCONT)

    def ask(self, seconds: float, **request) -> Iterator[dict]:
        """The rows of the answer. Where it does not end in time the last one says so, and the worker is no more."""
        if not self.wait(min(seconds, 1.0)):
            yield {"absent" if self.absent or not self.why else "error": self.why or "not ready in time"}
            return
        clock = Clock(seconds)
        try:
            print(json.dumps(request), file=self.process.stdin, flush=True)
        except OSError as e:
            self.why = str(e)
            yield {"error": self.why}
            return
        while True:
            answer = self.next(clock.left())
            if answer.get("done"):
                return
            ended = "late" in answer or self.process.poll() is not None and "error" in answer
            if "late" in answer:
                answer = {"absent": "no time"}
            yield answer
            if ended:
                self.ready, self.why = False, answer.get("error") or "was too slow before"
                self.close()
                return

    def close(self) -> None:
        """Ends the process and those that it has started; once, as its number may be another's then."""
        if self.closed:
            return
        self.closed = True
        self.go_on()
        self.signal(signal.SIGKILL)
        self.process.wait()
        self.process.stdin.close()


class Workers:
    """By their kinds. On a processor each is started when it is first asked, as cores are few; on a GPU all at once."""

    def __init__(self, kinds: list[str], device: str, rehearsal: bool, log: pathlib.Path) -> None:
        self.make = lambda kind: Worker(kind, device, rehearsal, log)
        self.kinds, self.made, self.patience = kinds, {}, 300.0 if rehearsal else 15.0
        if not rehearsal:
            self.made = {kind: self.make(kind) for kind in kinds}

    def gather(self, clock: Clock, seconds: float) -> str:
        """Waits until all are ready, but no longer than this; who is not is held still, so as to disturb no measurement."""
        end = Clock(clock.left(seconds))
        slow = [kind for kind, worker in self.made.items() if not worker.wait(end.left()) and not worker.why]
        for kind in slow:
            self.made[kind].pause()
        return ", ".join(slow)

    def ask(self, kind: str, seconds: float, **request) -> Iterator[dict]:
        worker = self.made.get(kind)
        if worker is None:
            worker = self.made[kind] = self.make(kind)
        worker.go_on()
        # The one that everything else needs is waited for, however long PyTorch takes to be loaded for the first time.
        worker.wait(min(seconds, max(self.patience, 90.0) if kind == "ops" else self.patience))
        yield from worker.ask(seconds, **request)
        if not worker.ready and not worker.why:
            worker.pause()

    def versions(self) -> str:
        said = {worker.version for worker in self.made.values() if worker.version}
        return "; ".join(sorted(said)) or "; ".join(sorted({worker.why for worker in self.made.values()})) or "not asked"

    def close(self, but: str = "") -> None:
        for kind, worker in self.made.items():
            if kind != but:
                worker.close()
