"""PyTorch at some of the report's other cases, under their names there: products of few rows in three formats, norms, the choice of an id.

Products in f16 round rows, too, and have the matrix units; ours keeps rows and sums in f32.
"""

from collections.abc import Callable, Iterator

LINEARS = {
    "bert-base qkv": (768, 2304), "bert-base output": (768, 768), "bert-base up": (768, 3072),
    "bert-base down": (3072, 768), "t5-small vocabulary": (512, 32128),
}  # fmt: skip


def works(torch, place) -> Iterator[tuple[str, str, Callable[[], object]]]:
    """Operation, case, and what one call does."""
    F = torch.nn.functional
    draw = torch.Generator(place).manual_seed(1)

    def tensor(*shape: int):
        return torch.randn(*shape, generator=draw, device=place)

    for suffix, dtype in {"": torch.float32, ", bf16": torch.bfloat16, ", f16": torch.float16}.items():
        for name, (wide, out) in LINEARS.items():
            w, b = tensor(out, wide).to(dtype), tensor(out).to(dtype)
            for rows in (1, 4, 16, 128):
                x = tensor(rows, wide).to(dtype)
                yield "linear", f"{name}, {rows} rows{suffix}", lambda x=x, w=w, b=b: F.linear(x, w, b)
    for length, suffix, dtype in ((128, "", torch.float32), (512, "", torch.float32), (512, ", bf16", torch.bfloat16)):
        qkv = [tensor(1, 12, length, 64).to(dtype) for _ in range(3)]
        yield "attend", f"bert-base, {length}{suffix}", lambda qkv=qkv: F.scaled_dot_product_attention(*qkv)
    for rows in (1, 128):
        x, w, b = tensor(rows, 768), tensor(768), tensor(768)
        yield "norm", f"bert-base, {rows} rows", lambda x=x, w=w, b=b: F.layer_norm(x, (768,), w, b)
    logits = tensor(1, 32128)
    yield "top_k", "t5, greedy", lambda: F.log_softmax(logits, -1).topk(1)


def rows(torch, place, measure) -> Iterator[dict]:
    """`measure` is that of timing.py."""
    with torch.no_grad():
        for op, case, work in works(torch, place):
            named = {"op": op, "case": case, "side": "PyTorch"}
            try:
                yield named | measure(torch, place, work)
            except Exception as e:  # a format that a processor lacks, say
                yield named | {"error": f"{type(e).__name__}: {e}"[:300]}
