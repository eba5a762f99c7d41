"""PyTorch as a worker of `train.py`: `train_worker.py FOLDER BATCH SOURCE TARGET FORMAT eager|compile --threads N`.

TARGET is 0 where there is no decoder. Requests and answers are those of `worker.py`, where `load` takes nothing, and
`run` also answers with the most memory that the process has held.
"""

import argparse
import json
import os
import pathlib
import resource
import sys
import time


def main() -> None:
    p = argparse.ArgumentParser()
    p.add_argument("folder")
    for name in ("batch", "source", "target"):
        p.add_argument(name, type=int)
    p.add_argument("format", choices=["f32", "bf16"])
    p.add_argument("mode", choices=["eager", "compile"])
    p.add_argument("--threads", type=int, required=True)
    args = p.parse_args()
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def say(answer: dict) -> None:
        print(json.dumps(answer), file=answers, flush=True)

    try:
        import torch
        import transformers
    except ImportError as e:
        return say({"unavailable": f"not importable: {e}"})
    torch.set_num_threads(args.threads)
    transformers.logging.set_verbosity_error()
    say({"version": f"torch {torch.__version__}, transformers {transformers.__version__}"})
    step = None
    for line in sys.stdin:
        request = json.loads(line)
        try:
            if request["do"] == "load":
                step = build(args, torch, transformers)
                say({"loaded": True})
            else:
                say({"seconds": timed(step, request["warm"], request["runs"]), "peak_bytes": peak()})
        except Exception as e:  # the compiler may raise anything; train.py records it
            say({"error": f"{type(e).__name__}: {e}"[:500]})


def build(args: argparse.Namespace, torch, transformers):
    """A step: forward, backward, clipping, AdamW. Nothing is dropped; the values of weights and ids are any."""
    draw = torch.Generator().manual_seed(0)
    ids = lambda vocabulary, length: torch.randint(2, vocabulary, (args.batch, length), generator=draw)
    settings = json.loads((pathlib.Path(args.folder) / "config.json").read_text())
    model = recurrent(settings) if settings["model_type"] == "rnn_seq2seq" else transformer(args, torch, transformers)
    model.train()
    batch = {"input_ids": ids(settings["vocab_size"], args.source)}
    batch["labels"] = ids(settings["vocab_size"], args.target) if args.target else batch["input_ids"]
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-4)
    forward = torch.compile(model) if args.mode == "compile" else model

    def step() -> None:
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=args.format == "bf16"):
            out = forward(**batch)
        (out if isinstance(out, torch.Tensor) else out.loss).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        optimiser.zero_grad()

    return step


def recurrent(settings: dict):
    from lstm import Lstm

    return Lstm(settings)


def transformer(args: argparse.Namespace, torch, transformers):
    """The model of a folder, without dropout."""
    config = transformers.AutoConfig.from_pretrained(args.folder)
    kind = transformers.AutoModelForSeq2SeqLM if args.target else transformers.AutoModelForCausalLM
    for key in ("dropout_rate", "dropout", "attn_pdrop", "embd_pdrop", "resid_pdrop"):
        if hasattr(config, key):
            setattr(config, key, 0.0)
    return kind.from_pretrained(args.folder, config=config, dtype=torch.float32)


def timed(step, warm: int, runs: int) -> list[float]:
    seconds = []
    for _ in range(warm + runs):
        start = time.perf_counter()
        step()
        seconds.append(time.perf_counter() - start)
    return seconds[warm:]


def peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


if __name__ == "__main__":
    main()
