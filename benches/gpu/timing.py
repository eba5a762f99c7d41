"""How PyTorch's work is timed: as ours is in `report`.

`seconds`: the host's clock around as many calls as fill a round, with one wait behind them. `asking`: until the last of them has been
asked for; where it is near to `seconds`, the host is what was measured. `replayed`: a call among others in a CUDA graph, in which the
host has no part.
"""

import statistics
import time
from collections.abc import Callable

ROUNDS, ROUND = 7, 0.01
STEP, CALLS = 500e-6, 20
"""A graph is about so long, and of no more calls."""


def waiter(torch, place) -> Callable[[], None]:
    return torch.cuda.synchronize if place.type == "cuda" else lambda: None


def measure(torch, place, work: Callable[[], object], graph: bool = True) -> dict:
    wait = waiter(torch, place)
    for _ in range(3):
        work()
    wait()
    # A single call takes the time to ask for it, too: several tell more.
    one = turn(work, wait, 2)[0]
    one = turn(work, wait, max(1, min(16, int(ROUND / 4 / one))))[0]
    calls = max(1, int(ROUND / one))
    turns = [turn(work, wait, calls) for _ in range(ROUNDS)]
    row = {"seconds": statistics.median(t for t, _ in turns), "asking": statistics.median(a for _, a in turns)}
    if graph and place.type == "cuda":
        try:
            row["replayed"] = replayed(torch, work, max(1, min(CALLS, int(STEP / one))), calls)
        except Exception as e:  # capture may raise anything; the loop's times stand
            row["not_replayed"] = f"{type(e).__name__}: {e}"[:200]
    return row


def turn(work: Callable[[], object], wait: Callable[[], None], calls: int) -> tuple[float, float]:
    """Seconds a call, and what part of them it took to ask."""
    begin = time.perf_counter()
    for _ in range(calls):
        work()
    asked = time.perf_counter() - begin
    wait()
    return (time.perf_counter() - begin) / calls, asked / calls


def replayed(torch, work: Callable[[], object], in_graph: int, calls: int) -> float:
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(2):
            work()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for _ in range(in_graph):
            work()
    graph.replay()
    torch.cuda.synchronize()
    replays = max(1, calls // in_graph)
    return statistics.median(turn(graph.replay, torch.cuda.synchronize, replays)[0] for _ in range(ROUNDS)) / in_graph


def whole(torch, place, work: Callable[[], object], runs: int) -> float:
    """The host's clock around one piece of work that waits for its own end: a decoding, a step of training."""
    wait = waiter(torch, place)
    seconds = []
    for _ in range(runs):
        begin = time.perf_counter()
        work()
        wait()
        seconds.append(time.perf_counter() - begin)
    return statistics.median(seconds)
