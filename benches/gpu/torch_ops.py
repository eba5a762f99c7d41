"""PyTorch at the cases of `report --targets --list`, and the bandwidth of a copy.

Rows and results are bf16 here, weights too: a product reads 2 bytes a value and writes 2, each kernel behind it reads and writes as
many again. Ours reads rows in f32 and writes results in f32, and what its epilogue does reads and writes nothing but the rows that are added.
Attention is padded to the longest sequence, whose mask is an operand; its queries, keys and values lie apart as `[B, H, L, D]` in bf16.
"""

from collections.abc import Callable, Iterator

from timing import measure


def linear(torch, tensor, layer: dict) -> Callable[[], object]:
    """What is done to x, or to the rows of the case: each step a kernel of its own, but for the bias, which is cuBLAS's epilogue."""
    F = torch.nn.functional
    out, half = sum(layer["parts"]), sum(layer["parts"]) // 2
    w = tensor(out, layer["input"]) * layer["input"] ** -0.5
    b = tensor(out) if layer["bias"] else None
    rows = tensor(layer["rows"], layer["input"])
    r = tensor(layer["rows"], half if layer["gated"] else out) if layer["residual"] else None
    act = {"relu": F.relu, "gelu": F.gelu, "silu": F.silu, None: None}[layer["activation"]]

    def work(x=rows):
        y = F.linear(x, w, b)
        if layer["gated"]:
            y = act(y[:, :half]) * y[:, half:]
        elif act is not None:
            y = act(y)
        return y if r is None else y + r

    return work


def products(torch, tensor, case: dict) -> Iterator[tuple[str, Callable[[], object]]]:
    if case["op"] == "linear":
        yield "cuBLAS", linear(torch, tensor, case["layer"])
    else:
        inner, outer = (linear(torch, tensor, case[part]) for part in ("inner", "outer"))
        yield "cuBLAS", lambda: outer(inner())


def attention(torch, place, tensor, case: dict) -> Iterator[tuple[str, Callable[[], object]]]:
    attend = torch.nn.functional.scaled_dot_product_attention
    lengths = torch.tensor(case["lengths"], device=place)
    longest = max(case["lengths"])
    mask = None
    if min(case["lengths"]) < longest:
        mask = (torch.arange(longest, device=place) < lengths[:, None])[:, None, None, :]
    qkv = [tensor(len(lengths), case["heads"], longest, case["head_dim"]) for _ in range(3)]
    if case["op"] == "attend":
        yield "SDPA, bf16", lambda: attend(*qkv, attn_mask=mask)
        return
    # Back alone: the graph of the forward is kept.
    for name, dtype in (("SDPA, bf16", torch.bfloat16), ("SDPA, f32", torch.float32)):
        with torch.enable_grad():
            leaves = [t.to(dtype).detach().requires_grad_() for t in qkv]
            y = attend(*leaves, attn_mask=mask)
            dy = torch.ones_like(y)
        yield name, lambda y=y, leaves=leaves, dy=dy: torch.autograd.grad(y, leaves, dy, retain_graph=True)
        del y, leaves, dy


def lstm(torch, place, tensor, case: dict) -> Iterator[tuple[str, Callable[[], object]]]:
    """cuDNN's, products of the input included, as in ours. In f32 without TF32."""
    dtype = {"f32": torch.float32, "bf16": torch.bfloat16, "f16": torch.float16}[case["format"]]
    width = case["width"]
    layers = torch.nn.LSTM(width, width, num_layers=case["layers"], batch_first=True).to(place, dtype)
    layers.flatten_parameters()
    x = tensor(case["sequences"], case["length"], width).to(dtype)
    yield "cuDNN", lambda: layers(x)


def copy(torch, place, bytes: int) -> dict:
    """Bytes read and written a second by a copy within the device, of more than any cache holds."""
    a = torch.empty(bytes, dtype=torch.uint8, device=place).fill_(1)
    b = torch.empty_like(a)
    row = measure(torch, place, lambda: b.copy_(a), graph=False)
    return {"op": "copy", "case": f"{bytes} bytes", "side": "PyTorch", **row, "bandwidth": 2 * bytes / row["seconds"]}


def rows(torch, place, cases: list[dict]) -> Iterator[dict]:
    """A row a case and kernel of PyTorch's; one that fails is a row with its error."""
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    draw = torch.Generator(place).manual_seed(1)

    def tensor(*shape: int):
        return torch.randn(*shape, generator=draw, device=place, dtype=torch.float32).bfloat16()

    for case in cases:
        named = {"op": case["op"], "case": case["case"]}
        try:
            with torch.no_grad():
                if case["op"] in ("linear", "feed_forward"):
                    works = products(torch, tensor, case)
                elif case["op"] == "lstm":
                    works = lstm(torch, place, tensor, case)
                else:
                    works = attention(torch, place, tensor, case)
                # What goes back runs on the stream of what went forward, and is no part of a graph; both are long enough without.
                graph = case["op"] not in ("attend_backward", "lstm")
                for side, work in works:
                    yield named | {"side": side} | measure(torch, place, work, graph)
        except Exception as e:  # PyTorch may raise anything; the other cases are timed all the same
            yield named | {"side": "PyTorch", "error": f"{type(e).__name__}: {e}"[:300]}
