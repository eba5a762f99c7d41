"""Prints the constants of reference/values.rs: the operations as PyTorch and transformers 5.23.0 compute them.

    python reference.py > reference/values.rs
"""

import torch
import torch.nn.functional as F
from transformers import LlamaConfig, T5Config
from transformers.activations import ACT2FN
from transformers.generation.logits_process import (
    EpsilonLogitsWarper,
    EtaLogitsWarper,
    ExponentialDecayLengthPenalty,
    MinPLogitsWarper,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
    TypicalLogitsWarper,
)
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding, apply_rotary_pos_emb
from transformers.models.t5.modeling_t5 import T5Attention, T5LayerNorm
from transformers.optimization import Adafactor


def wave(seed, *shape):
    """The inputs, also made by the test: 2 sin(0.7 i + seed)."""
    i = torch.arange(torch.Size(shape).numel(), dtype=torch.float64)
    return (2 * torch.sin(0.7 * i + seed)).float().reshape(shape)


def show(name, values):
    number = lambda v: "f32::NEG_INFINITY" if v == float("-inf") else repr(float(f"{v:.7g}"))
    numbers = ", ".join(map(number, values.flatten().tolist()))
    print(f"pub(crate) const {name}: &[f32] = &[{numbers}];")


def norms():
    show("LAYER_NORM", F.layer_norm(wave(1, 2, 5), (5,), wave(2, 5), wave(3, 5), 1e-5))
    rms = T5LayerNorm(5, 1e-6)
    rms.weight.data = wave(2, 5)
    show("RMS_NORM", rms(wave(1, 2, 5)))


def linear():
    x, gate, up, b = wave(1, 2, 6), wave(2, 3, 6), wave(3, 3, 6), wave(4, 3)
    show("GATED", ACT2FN["gelu_new"](F.linear(x, gate, b)) * F.linear(x, up) + wave(5, 2, 3))
    for name in ["relu", "gelu", "gelu_new", "quick_gelu", "silu", "tanh"]:
        show(name.upper(), ACT2FN[name](wave(1, 6)))


def split(qkv, heads, kv_heads, dim):
    """[T, (H + 2 G) D] to three [1, heads, T, D]."""
    parts = qkv.split([heads * dim, kv_heads * dim, kv_heads * dim], dim=1)
    return [p.reshape(1, p.shape[0], -1, dim).transpose(1, 2) for p in parts]


def merge(x):
    return x.transpose(1, 2).reshape(x.shape[2], -1)


def llama_attention():
    heads, kv_heads, dim, length = 4, 2, 6, 5
    config = LlamaConfig(hidden_size=24, num_attention_heads=4, num_key_value_heads=2, head_dim=6)
    q, k, v = split(wave(1, length, (heads + 2 * kv_heads) * dim), heads, kv_heads, dim)
    cos, sin = LlamaRotaryEmbedding(config)(v, torch.arange(length)[None])
    q, k = apply_rotary_pos_emb(q, k, cos, sin)
    out = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
    show("LLAMA_ATTENTION", merge(out))


def t5_attention():
    heads, dim, length = 2, 3, 20
    for bidirectional in [True, False]:
        config = T5Config(num_heads=heads, d_kv=dim, relative_attention_num_buckets=8,
                          relative_attention_max_distance=12, is_decoder=not bidirectional)
        attention = T5Attention(config, has_relative_attention_bias=True, layer_idx=0)
        attention.relative_attention_bias.weight.data = wave(7, 8, heads)
        q, k, v = split(wave(1, length, 3 * heads * dim), heads, heads, dim)
        bias = attention.compute_bias(length, length)
        causal = torch.ones(length, length).tril().log() if not bidirectional else 0
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=bias + causal, scale=1.0)
        show("T5_ENCODER" if bidirectional else "T5_DECODER", merge(out))


def recurrent():
    """Two directions with a first state; the end of each is h and c, directions side by side."""
    for name, kind, gates in [("LSTM", torch.nn.LSTM, 4), ("GRU", torch.nn.GRU, 3)]:
        width, size = 3, 5
        layer = kind(size, width, bidirectional=True)
        for d, end in enumerate(["", "_reverse"]):
            getattr(layer, f"weight_ih_l0{end}").data = wave(2 + 10 * d, gates * width, size) / 4
            getattr(layer, f"weight_hh_l0{end}").data = wave(3 + 10 * d, gates * width, width) / 4
            getattr(layer, f"bias_ih_l0{end}").data = wave(4 + 10 * d, gates * width)
            getattr(layer, f"bias_hh_l0{end}").data = wave(5 + 10 * d, gates * width)
        h, c = wave(6, 2, width), wave(7, 2, width)
        out, end = layer(wave(1, 4, size), (h, c) if kind is torch.nn.LSTM else h)
        show(name, out)
        show(f"{name}_END", torch.cat([e.flatten() for e in end]))


def additive():
    q, keys, values, v = wave(1, 2, 4), wave(2, 5, 4), wave(3, 5, 3), wave(4, 4)
    weights = torch.tanh(q[:, None] + keys[None]).matmul(v).softmax(-1)
    show("ADDITIVE", weights @ values)
    show("ADDITIVE_WEIGHTS", weights)


def warps():
    scores = torch.cat([wave(1, 1, 12), wave(2, 1, 12).round()])
    for name, warpers in {
        "TEMPERATURE": [TemperatureLogitsWarper(0.7)],
        "TOP_K": [TopKLogitsWarper(3)],
        "TOP_P": [TopPLogitsWarper(0.8)],
        "MIN_P": [MinPLogitsWarper(0.3)],
        "TYPICAL": [TypicalLogitsWarper(0.6)],
        "EPSILON": [EpsilonLogitsWarper(0.05)],
        "ETA": [EtaLogitsWarper(0.1)],
        "ALL_WARPS": [TemperatureLogitsWarper(1.3), TopKLogitsWarper(9), TopPLogitsWarper(0.95),
                      MinPLogitsWarper(0.1), TypicalLogitsWarper(0.9), EpsilonLogitsWarper(0.06),
                      EtaLogitsWarper(0.2)],
    }.items():
        warped = scores
        for warper in warpers:
            warped = warper(None, warped)
        show(name, warped.log_softmax(-1))


def rules():
    ids = torch.tensor([[0, 3, 5]])
    show("PENALISED", RepetitionPenaltyLogitsProcessor(1.5)(ids, wave(1, 1, 8)))
    decay = ExponentialDecayLengthPenalty((1, 1.5), 4, 1)  # 3 tokens, so 1.5^(3 - 2) - 1 for id 4
    show("GROWN", decay(ids, wave(1, 1, 8)))


def optimisers():
    """Three steps from wave(1), with the gradients wave(2), wave(3), wave(4)."""
    adafactor = {"eps": (1e-30, 1e-3), "clip_threshold": 1.0, "relative_step": False, "lr": 0.02}
    for name, shape, make in [
        ("ADAMW", (2, 3), lambda p: torch.optim.AdamW(p, lr=0.1, betas=(0.8, 0.95), eps=1e-6, weight_decay=0.03)),
        ("SGD", (2, 3), lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.7, weight_decay=0.03)),
        ("ADAFACTOR", (2, 3), lambda p: Adafactor(p, scale_parameter=False, weight_decay=0.03, **adafactor)),
        ("ADAFACTOR_SCALED", (2, 3), lambda p: Adafactor(p, scale_parameter=True, **adafactor)),
        ("ADAFACTOR_VECTOR", (6,), lambda p: Adafactor(p, scale_parameter=False, **adafactor)),
    ]:
        p = wave(1, *shape).requires_grad_()
        optimiser = make([p])
        for seed in [2, 3, 4]:
            p.grad = wave(seed, *shape)
            optimiser.step()
        show(name, p.detach())


def muon():
    """As `optimisers`, tall and wide. PyTorch multiplies in bf16; here in f64, to compare more than three digits."""
    torch.bfloat16, bf16 = torch.float64, torch.bfloat16
    for name, shape in [("MUON", (2, 3)), ("MUON_TALL", (3, 2))]:
        p = wave(1, *shape).requires_grad_()
        optimiser = torch.optim.Muon([p], lr=0.1, momentum=0.7, weight_decay=0.03, adjust_lr_fn="match_rms_adamw")
        for seed in [2, 3, 4]:
            p.grad = wave(seed, *shape)
            optimiser.step()
        show(name, p.detach())
    torch.bfloat16 = bf16


def convolutions():
    """The front ends of a speech and of an image encoder, of the sizes of a test; kernels have their channels last there."""
    turned = lambda x: x.permute(0, 2, 1)
    kernels = wave(1, 4, 3, 2) / 4, wave(2, 3, 3, 4) / 4
    lines = []
    for seed, length in [(3, 5), (4, 2)]:
        x = wave(seed, 1, length, 2)
        for kernel, bias, stride in zip(kernels, [wave(5, 4), wave(6, 3)], [1, 2]):
            x = turned(F.gelu(F.conv1d(turned(x), turned(kernel), bias, stride=stride, padding=1)))
        lines.append(x.flatten())
    show("SOUND", torch.cat(lines))
    image, kernel = wave(1, 1, 4, 6, 2), wave(2, 3, 2, 2, 2)
    show("PATCHES", F.conv2d(image.permute(0, 3, 1, 2), kernel.permute(0, 3, 1, 2), stride=2).permute(0, 2, 3, 1))


def convolution_back():
    x, kernel = wave(1, 1, 5, 6, 2).requires_grad_(), wave(2, 3, 3, 2, 2)
    y = F.conv2d(x.permute(0, 3, 1, 2), kernel.permute(0, 3, 1, 2), stride=(2, 1), padding=(1, 2), dilation=(1, 3))
    y = y.permute(0, 2, 3, 1)
    show("CONVOLUTION", y.detach())
    y.backward(wave(3, *y.shape))
    show("CONVOLUTION_BACK", x.grad)


torch.set_num_threads(1)
print("//! Written by `reference.py`.\n")
with torch.no_grad():
    norms()
    linear()
    llama_attention()
    t5_attention()
    recurrent()
    additive()
    convolutions()
    warps()
    rules()
convolution_back()
optimisers()
muon()
