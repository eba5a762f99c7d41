"""What is right, before and beside how fast it is: the conformance suite on the device, tools that watch kernels, texts."""

import pathlib
import shutil

from clock import Clock, call, last_line
from ours import WAYS
from rows import Rows

HERE = pathlib.Path(__file__).resolve().parent
TEXTS = ["speak: $1,250.75", "speak: 3:45", "write: twenty-one", "german: 99", "french: 71", "speak: MCMXCIV"]
WORDS = ("Invalid", "Race", "hazard", "Uninitialized", "Barrier error")
TOOLS = ["memcheck", "racecheck", "synccheck", "initcheck"]


def suite(rows: Rows, out: pathlib.Path, number: str, seconds: float, cases: int) -> None:
    """The conformance suite on the GPU, one check after another, with so many cases each."""
    text, end = call([HERE / "suite", "--test-threads=1"], seconds, SEQ2SEQ_GPU=number, PROPTEST_CASES=str(8 * cases))
    with (out / "suite.txt").open("a") as file:
        file.write(f"=== {cases} cases a check ===\n{text}\n")
    passed, failed = text.count(" ... ok"), text.count(" ... FAILED")
    told = f"{passed} checks passed, {failed} failed, {cases} cases each"
    name = {"op": "conformance", "case": f"{cases} cases a check"}
    if failed or end not in ("ok", "no time"):
        names = [line.split()[1] for line in text.splitlines() if line.endswith("... FAILED")]
        rows.add(**name, error=f"{told} ({end}): {' '.join(names) or last_line(text)}"[:600])
    elif end == "no time":
        # A check that waits for a grid for ever looks the same: its name is the last one in suite.txt.
        rows.add(**name, absent=f"{told}; no time for the rest, at: {last_line(text)}")
    else:
        rows.add(**name, text=told)


def sanitizer_program() -> str | None:
    found = shutil.which("compute-sanitizer")
    return found or next((str(p) for p in sorted(pathlib.Path("/usr/local").glob("cuda*/bin/compute-sanitizer"))), None)


def sanitizer(rows: Rows, out: pathlib.Path, number: str, clock: Clock, each: float) -> None:
    """A part of the suite under each tool of compute-sanitizer."""
    program = sanitizer_program()
    if program is None:
        rows.add(op="compute-sanitizer", case="all", absent="not on the PATH, nor under /usr/local/cuda*/bin")
        return
    for tool in TOOLS:
        command = [program, "--tool", tool, "--error-exitcode", "9", HERE / "suite", "--test-threads=1", "matches_reference"]
        text, end = call(command, clock.left(each), SEQ2SEQ_GPU=number, PROPTEST_CASES="8")
        with (out / "sanitizer.txt").open("a") as file:
            file.write(f"=== {tool} ===\n{text[-400_000:]}\n")
        summary = [line for line in text.splitlines() if "ERROR SUMMARY" in line or "RACECHECK SUMMARY" in line]
        checks = f"{text.count(' ... ok')} checks"
        if end == "ok":
            rows.add(op="compute-sanitizer", case=tool, text=f"{summary[-1].strip('= ') if summary else end}, {checks}")
        elif end == "no time":
            # What was found until then stands in its lines, as there is no summary.
            found = [line for line in text.splitlines() if line.startswith("=========") and any(word in line for word in WORDS)]
            more = {"error": f"{len(found)} lines such as {found[0]}"} if found else {"absent": f"no time for the rest; {checks}"}
            rows.add(op="compute-sanitizer", case=tool, **more)
        else:
            rows.add(op="compute-sanitizer", case=tool, error=f"{summary[-1].strip('= ') if summary else last_line(text)} ({end})")


def texts(rows: Rows, device: str, clock: Clock, but: float) -> None:
    """The same texts as on the processor and in all other ways, greedy and with 4 beams. In f32 they are to be equal; in formats that round, how
    many are is told; and however kernels are asked for, they are to be the same."""
    for format in ("f32", "bf16", "f16"):
        for beams in ("1", "4"):
            # f16 has the kernels of f32 in other words: one way is enough.
            ways = WAYS if format != "f16" else {"as a graph": {}}
            written = {}
            for place, (where, way) in ({way: (device, v) for way, v in ways.items()} | {"cpu": ("cpu", {})}).items():
                options = ["--device", where, "--format", format, "--num-beams", beams]
                text, end = call([HERE / "seq2seq", "generate", *options, *TEXTS], clock.left(20, but), **way)
                written[place] = text.splitlines() if end == "ok" else f"{last_line(text)} ({end})"
            name = {"op": "texts", "case": f"{format}, beams {beams}", "written": written}
            wrong = [f"{place}: {said}" for place, said in written.items() if isinstance(said, str)]
            if wrong:
                rows.add(**name, **{"absent" if all("no time" in w for w in wrong) else "error": "; ".join(wrong)[:300]})
                continue
            first = written["as a graph"]
            differ = [way for way in ways if written[way] != first]
            equal = sum(map(str.__eq__, first, written["cpu"]))
            told = f"{equal} of {len(TEXTS)} as on the processor"
            if differ or format == "f32" and equal < len(TEXTS):
                rows.add(**name, error=f"{told}; other texts: {', '.join(differ) or 'none'}")
            else:
                rows.add(**name, text=told)


def gpu() -> str:
    query = ["nvidia-smi", "--query-gpu=name,driver_version,clocks.sm,clocks.mem,temperature.gpu", "--format=csv,noheader"]
    return call(query, 20)[0].strip()
