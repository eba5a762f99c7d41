"""Checkpoints of seeded random weights in Hugging Face's layout, written with PyTorch alone.

A safetensors file is the length of its header (8 bytes, little-endian), the header (JSON: of each tensor its type, its shape and
where its bytes lie behind the header), and those bytes (github.com/huggingface/safetensors, README, "Format").
"""

import ctypes
import json
import math
import pathlib


def tensors(config: dict) -> list[tuple[str, list[int], float]]:
    """Name, shape and deviation of each tensor; those of deviation 0 are ones."""
    if config["model_type"] == "llama":
        return llama(config)
    return t5(config)


def matrix(name: str, out: int, wide: int) -> tuple[str, list[int], float]:
    return name, [out, wide], 1 / math.sqrt(wide)


def llama(c: dict) -> list[tuple[str, list[int], float]]:
    wide, half = c["hidden_size"], c["intermediate_size"]
    key = wide // c["num_attention_heads"] * c["num_key_value_heads"]
    all = [("model.embed_tokens.weight", [c["vocab_size"], wide], 1.0)]
    for i in range(c["num_hidden_layers"]):
        layer = f"model.layers.{i}"
        all += [
            (f"{layer}.input_layernorm.weight", [wide], 0.0),
            (f"{layer}.post_attention_layernorm.weight", [wide], 0.0),
            matrix(f"{layer}.self_attn.q_proj.weight", wide, wide),
            matrix(f"{layer}.self_attn.k_proj.weight", key, wide),
            matrix(f"{layer}.self_attn.v_proj.weight", key, wide),
            matrix(f"{layer}.self_attn.o_proj.weight", wide, wide),
            matrix(f"{layer}.mlp.gate_proj.weight", half, wide),
            matrix(f"{layer}.mlp.up_proj.weight", half, wide),
            matrix(f"{layer}.mlp.down_proj.weight", wide, half),
        ]
    return [*all, ("model.norm.weight", [wide], 0.0), matrix("lm_head.weight", c["vocab_size"], wide)]


def t5(c: dict) -> list[tuple[str, list[int], float]]:
    wide, inner, half = c["d_model"], c["num_heads"] * c["d_kv"], c["d_ff"]
    all = [("shared.weight", [c["vocab_size"], wide], 1.0)]

    def attention(name: str) -> list:
        # Queries are narrower by the square root of a head's width: T5 does not scale its scores.
        query = (f"{name}.q.weight", [inner, wide], 1 / math.sqrt(wide * c["d_kv"]))
        keys = [matrix(f"{name}.{part}.weight", inner, wide) for part in "kv"]
        return [query, *keys, matrix(f"{name}.o.weight", wide, inner)]

    for stack, layers in (("encoder", c["num_layers"]), ("decoder", c["num_decoder_layers"])):
        for i in range(layers):
            block = f"{stack}.block.{i}.layer"
            halves = [f"{block}.0.SelfAttention"] + [f"{block}.1.EncDecAttention"] * (stack == "decoder")
            for place, name in enumerate(halves):
                all += [*attention(name), (f"{block}.{place}.layer_norm.weight", [wide], 0.0)]
            last = f"{block}.{len(halves)}"
            all += [
                matrix(f"{last}.DenseReluDense.wi.weight", half, wide),
                matrix(f"{last}.DenseReluDense.wo.weight", wide, half),
                (f"{last}.layer_norm.weight", [wide], 0.0),
            ]
        heads = [c["relative_attention_num_buckets"], c["num_heads"]]
        all.append((f"{stack}.block.0.layer.0.SelfAttention.relative_attention_bias.weight", heads, 0.5))
        all.append((f"{stack}.final_layer_norm.weight", [wide], 0.0))
    return all


def header(named: list[tuple[str, list[int], float]], type: str, size: int) -> bytes:
    """Padded with spaces, so that what follows is aligned."""
    head, begin = {}, 0
    for name, shape, _ in named:
        end = begin + math.prod(shape) * size
        head[name] = {"dtype": type, "shape": shape, "data_offsets": [begin, end]}
        begin = end
    text = json.dumps(head).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def write(folder: pathlib.Path, config: dict, torch, place, half: bool) -> int:
    """Writes a folder in bf16 where `half`, else in f32, and says how many bytes its weights are."""
    folder.mkdir(parents=True, exist_ok=True)
    dtype, type = (torch.bfloat16, "BF16") if half else (torch.float32, "F32")
    draw = torch.Generator(place).manual_seed(1)
    named = tensors(config)
    with (folder / "model.safetensors").open("wb") as file:
        file.write(header(named, type, dtype.itemsize))
        for _, shape, deviation in named:
            values = torch.randn(shape, generator=draw, device=place) * deviation if deviation else torch.ones(shape, device=place)
            values = values.to(dtype).cpu().contiguous()
            file.write((ctypes.c_char * values.nbytes).from_address(values.data_ptr()))
        size = file.tell()
    (folder / "config.json").write_text(json.dumps(config | {"dtype": str(dtype).removeprefix("torch.")}, indent=1) + "\n")
    return size
