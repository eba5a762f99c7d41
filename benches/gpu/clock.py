"""How much time is left, and programs that get a part of it."""

import os
import subprocess
import time


class Clock:
    """Counts down from when it is made."""

    def __init__(self, seconds: float) -> None:
        self.begin = time.monotonic()
        self.end = self.begin + seconds

    def left(self, at_most: float = float("inf"), but: float = 0.0) -> float:
        """What is left, no more than `at_most`, and with `but` kept back for what comes later."""
        return max(0.0, min(at_most, self.end - but - time.monotonic()))

    def passed(self) -> float:
        return time.monotonic() - self.begin


def call(command: list, seconds: float, **variables: str) -> tuple[str, str]:
    """What a program prints, and how it ended: `ok`, `status N`, `no time`, `missing`."""
    if seconds <= 1:
        return "", "no time"
    try:
        p = subprocess.run(
            list(map(str, command)), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
            timeout=seconds, env=os.environ | variables,
        )  # fmt: skip
    except subprocess.TimeoutExpired as e:
        return (e.stdout or b"").decode(errors="replace"), "no time"
    except OSError as e:
        return str(e), "missing"
    return p.stdout.decode(errors="replace"), "ok" if p.returncode == 0 else f"status {p.returncode}"


def last_line(text: str) -> str:
    """The last line that says something: of a program that failed, mostly why."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:300] if lines else ""
