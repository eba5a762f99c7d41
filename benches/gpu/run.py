"""Checks and times the CUDA backend on a machine with a GPU, with what carry.sh put beside this file.

    python3 run.py OUT [--device cuda:0] [--models FOLDER] [--seconds 420]

Writes to OUT: suite.txt (the conformance suite on the GPU), sanitizer.txt (a part of it under compute-sanitizer, where that works),
texts.json (the default model's texts on the GPU, with kernels of a graph that do not overlap, without graphs, and on the
processor), steps.json (a step of decoding in the same three ways, for each model in FOLDER: checkpoints of
benches/peers/make_checkpoints.py), ops.jsonl (every operation), torch.jsonl (the same work in PyTorch, in the same minutes),
and summary.md. It ends within --seconds: what did not fit is named in the summary.
With --device cpu it rehearses all but the suite and the sanitizer.
"""

import argparse
import json
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
# How the kernels of a step are asked for: variables of the environment.
WAYS = {
    "as a graph": {},
    "waiting for ids": {"SEQ2SEQ_CUDA_AHEAD": "0"},
    "without overlap": {"SEQ2SEQ_CUDA_OVERLAP": "0"},
    "without graphs": {"SEQ2SEQ_CUDA_GRAPHS": "0"},
}
TEXTS = ["speak: $1,250.75", "speak: 3:45", "write: twenty-one", "german: 99", "french: 71", "speak: MCMXCIV"]


class Clock:
    """How much of the time is left."""

    def __init__(self, seconds: float) -> None:
        self.end = time.monotonic() + seconds

    def left(self, at_most: float) -> float:
        return max(0.0, min(at_most, self.end - time.monotonic()))


def call(command: list, seconds: float, **variables: str) -> tuple[str, str]:
    """What a program prints, and how it ended: `ok`, `status N`, `no time`, `missing`."""
    if seconds <= 1:
        return "", "no time"
    try:
        p = subprocess.run(
            list(map(str, command)), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            timeout=seconds, env=os.environ | variables,
        )  # fmt: skip
    except subprocess.TimeoutExpired as e:
        out = e.stdout or b""
        return out.decode(errors="replace") if isinstance(out, bytes) else out, "no time"
    except FileNotFoundError:
        return "", "missing"
    return p.stdout, "ok" if p.returncode == 0 else f"status {p.returncode}"


def suite(out: pathlib.Path, number: str, clock: Clock) -> str:
    """The conformance suite on the GPU, one check after another."""
    text, end = call([HERE / "suite", "--test-threads=1"], clock.left(180), SEQ2SEQ_GPU=number)
    (out / "suite.txt").write_text(text)
    passed, failed = text.count(" ... ok"), text.count(" ... FAILED")
    return f"{passed} checks passed, {failed} failed ({end})"


def sanitizer(out: pathlib.Path, number: str, clock: Clock) -> str:
    """A part of the suite under the memory checker and under the race checker."""
    if shutil.which("compute-sanitizer") is None:
        return "compute-sanitizer is not there"
    parts, texts = [], []
    for tool in ("memcheck", "racecheck"):
        command = ["compute-sanitizer", "--tool", tool, HERE / "suite", "--test-threads=1", "matches_reference"]
        text, end = call(command, clock.left(50), SEQ2SEQ_GPU=number, PROPTEST_CASES="8")
        texts.append(text)
        summary = [line for line in text.splitlines() if "ERROR SUMMARY" in line or "RACECHECK SUMMARY" in line]
        parts.append(f"{tool}: {summary[-1].strip('= ') if summary else end}")
    (out / "sanitizer.txt").write_text("\n".join(texts))
    return "; ".join(parts)


def texts(out: pathlib.Path, device: str, clock: Clock) -> str:
    """The same texts as on the processor and in all other ways, greedy and with 4 beams, in f32, bf16 and f16."""
    places = {way: (device, variables) for way, variables in WAYS.items()} | {"cpu": ("cpu", {})}
    found, equal, ends = {}, {}, set()
    for format in ("f32", "bf16", "f16"):
        for beams in ("1", "4"):
            written = {}
            for place, (d, variables) in places.items():
                options = ["--device", d, "--format", format, "--num-beams", beams]
                text, end = call([HERE / "seq2seq", "generate", *options, *TEXTS], clock.left(60), **variables)
                written[place] = text.splitlines()
                ends.add(end)
            found[f"{format}, beams {beams}"] = written
            others = ("cpu", "waiting for ids", "without overlap", "without graphs")
            same = [sum(map(str.__eq__, written["as a graph"], written[other])) for other in others]
            equal[f"{format}, beams {beams}"] = f"{', '.join(map(str, same))} of {len(TEXTS)}"
    (out / "texts.json").write_text(json.dumps(found, indent=1))
    return f"equal to the processor's, waiting for ids, without overlap, without graphs: {equal} ({', '.join(sorted(ends))})"


def steps(out: pathlib.Path, device: str, models: pathlib.Path | None, clock: Clock) -> str:
    """A step of decoding one sequence, in microseconds: what 64 more tokens take, over 64. Greedy in all ways, and with 4 beams as
    they come and waiting for ids."""
    if models is None:
        return "no models were given"
    found, missing = {}, 0
    for model in sorted(path for path in models.iterdir() if (path / "config.json").exists()):
        for format in ("bf16", "f16", "f32", "int8", "int4"):
            for count, way in [*(("1", way) for way in WAYS), ("4", "as a graph"), ("4", "waiting for ids")]:
                seconds = []
                for new in ("16", "80"):
                    command = [HERE / "seq2seq", "bench", "--model", model, "--device", device, "--format", format]
                    command += ["--num-beams", count, "--new", new, "--json"]
                    text, end = call(command, clock.left(60), **WAYS[way])
                    seconds += [json.loads(text.splitlines()[-1])["seconds"]] if end == "ok" else []
                if len(seconds) == 2:
                    case = f"{model.name}, {format}" + (f", {count} beams" if count != "1" else "")
                    found.setdefault(case, {})[way] = (seconds[1] - seconds[0]) / 64 * 1e6
                else:
                    missing += 1
    (out / "steps.json").write_text(json.dumps(found, indent=1))
    told = "; ".join(f"{case}: " + ", ".join(f"{us:.1f} us {way}" for way, us in of.items()) for case, of in found.items())
    return f"{told} ({missing} not timed)"


def operations(out: pathlib.Path, device: str, clock: Clock) -> str:
    """Every operation of the report, inference and training; 10 ms of each in a round are enough where none takes longer."""
    record = out / "ops.jsonl"
    record.unlink(missing_ok=True)
    text, end = call([HERE / "report", "--device", device, "--milliseconds", "10", "--record", record], clock.left(150))
    rows = sum(1 for line in text.splitlines() if line.endswith(" us"))
    return f"{rows} cases timed ({end})"


def torch_work(torch, place):
    """The report's work in PyTorch: name and case as there, and what one call does."""
    F = torch.nn.functional
    g = torch.Generator().manual_seed(1)

    def tensor(*shape: int):
        return torch.randn(*shape, generator=g).to(place)

    linears = {
        "bert-base qkv": (768, 2304), "bert-base output": (768, 768), "bert-base up": (768, 3072),
        "bert-base down": (3072, 768), "t5-small vocabulary": (512, 32128),
    }  # fmt: skip
    # Ours in f16 keeps rows and sums in f32; PyTorch's rounds rows, too, and has the matrix units.
    dtypes = {"": torch.float32, ", bf16": torch.bfloat16, ", f16": torch.float16}
    for suffix, dtype in dtypes.items():
        for name, (wide, out) in linears.items():
            w, b = tensor(out, wide).to(dtype), tensor(out).to(dtype)
            for rows in (1, 4, 16, 128):
                x = tensor(rows, wide).to(dtype)
                yield "linear", f"{name}, {rows} rows{suffix}", lambda x=x, w=w, b=b: F.linear(x, w, b)
    for length, heads in ((128, 12), (512, 12)):
        q, k, v = (tensor(1, heads, length, 64) for _ in range(3))
        yield "attend", f"bert-base, {length}", lambda q=q, k=k, v=v: F.scaled_dot_product_attention(q, k, v)
    q, k, v = (tensor(1, 12, 512, 64).bfloat16() for _ in range(3))
    yield "attend", "bert-base, 512, bf16", lambda q=q, k=k, v=v: F.scaled_dot_product_attention(q, k, v)
    # Padded to the longest; keys of the padding are not seen.
    lengths = torch.arange(16, 513, 16, device=place)
    seen = (torch.arange(512, device=place) < lengths[:, None])[:, None, None, :]
    q, k, v = (tensor(len(lengths), 12, 512, 64).bfloat16() for _ in range(3))
    padded = lambda q=q, k=k, v=v: F.scaled_dot_product_attention(q, k, v, attn_mask=seen)  # noqa: E731
    yield "attend", "bert-base, 32 of 16 to 512, bf16", padded
    for rows in (1, 128):
        x, w, b = tensor(rows, 768), tensor(768), tensor(768)
        yield "norm", f"bert-base, {rows} rows", lambda x=x, w=w, b=b: F.layer_norm(x, (768,), w, b)
    # cuDNN's, products of the input included, as in the report's.
    x = tensor(64, 128, 1024)
    for format, dtype in (("f32", torch.float32), ("bf16", torch.bfloat16), ("f16", torch.float16)):
        lstm, own = torch.nn.LSTM(1024, 1024, num_layers=2, batch_first=True).to(place, dtype), x.to(dtype)
        lstm.flatten_parameters()
        yield "lstm", f"2 x 1024, 64 of 128, {format}", lambda lstm=lstm, own=own: lstm(own)
    logits = tensor(1, 32128)
    yield "top_k", "t5, greedy", lambda: F.log_softmax(logits, -1).topk(1)


def torch_times(out: pathlib.Path, device: str, clock: Clock) -> str:
    """PyTorch at the same work: in f32 without TF32, in bf16 and float16, and attention in bf16 too; an LSTM is cuDNN's."""
    try:
        import torch
    except ImportError:
        return "PyTorch is not there"
    place = torch.device(device)
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    wait = torch.cuda.synchronize if place.type == "cuda" else (lambda: None)
    rows = []
    with torch.inference_mode():
        for op, case, work in torch_work(torch, place):
            if clock.left(1) < 1:
                return f"{len(rows)} cases; no time for the rest"
            for _ in range(3):
                work()
            wait()
            seconds = []
            for _ in range(7):
                begin, calls = time.perf_counter(), 0
                while time.perf_counter() - begin < 0.01:
                    work()
                    calls += 1
                wait()
                seconds.append((time.perf_counter() - begin) / calls)
            rows.append(dict(op=op, case=case, device=f"torch {torch.__version__}", median=statistics.median(seconds), seconds=seconds))
    (out / "torch.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    return f"{len(rows)} cases"


def table(out: pathlib.Path) -> str:
    """Ours beside PyTorch's, where both have a case."""
    def read(name: str) -> dict:
        path = out / name
        lines = path.read_text().splitlines() if path.exists() else []
        rows = [json.loads(line) for line in lines]
        return {(r["op"], r["case"]): r["median"] for r in rows if "op" in r}

    ours, theirs = read("ops.jsonl"), read("torch.jsonl")
    lines = ["| operation | case | ours, us | PyTorch, us | × |", "|---|---|---:|---:|---:|"]
    for key, seconds in ours.items():
        other = theirs.get(key)
        beside = f"{other * 1e6:.1f} | {other / seconds:.2f}" if other else " | "
        lines.append(f"| {key[0]} | {key[1]} | {seconds * 1e6:.1f} | {beside} |")
    return "\n".join(lines)


def main() -> int:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("out", type=pathlib.Path)
    p.add_argument("--device", default="cuda:0")
    p.add_argument("--models", type=pathlib.Path, help="a folder of checkpoints, whose steps are timed")
    p.add_argument("--seconds", type=float, default=420)
    args = p.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    clock = Clock(args.seconds)
    lines = []

    def note(name: str, text: str) -> None:
        lines.append(f"- {name}: {text}")
        print(lines[-1], flush=True)

    note("devices", call([HERE / "seq2seq", "devices"], 20)[0].strip().replace("\n", "; "))
    if args.device.startswith("cuda:"):
        query = ["nvidia-smi", "--query-gpu=name,driver_version,clocks.sm,clocks.mem", "--format=csv,noheader"]
        note("GPU", call(query, 20)[0].strip())
        note("conformance", suite(args.out, args.device[5:], clock))
        note("sanitizer", sanitizer(args.out, args.device[5:], clock))
    note("texts", texts(args.out, args.device, clock))
    note("steps", steps(args.out, args.device, args.models, clock))
    note("operations", operations(args.out, args.device, clock))
    note("PyTorch", torch_times(args.out, args.device, clock))
    (args.out / "summary.md").write_text("\n".join(lines) + "\n\n" + table(args.out) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
