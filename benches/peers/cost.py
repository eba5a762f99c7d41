"""What a workload asks of the machine at least, from the shapes in config.json.

The floor is the sum over passes of max(operations / peak of the format, weight bytes / memory bandwidth). A pass is one
walk over some weights with some rows. f16 is multiplied at the peak of f32. Attention has no weights and is added at the peak
of f32, or of bf16 for the formats that round rows. Not counted, so that the floor stays a floor: embeddings looked up, norms, activations, the KV cache, attention
of decode steps, sampling.
"""

import dataclasses
import statistics

from workloads import Workload

BYTES = {"f32": 4, "bf16": 2, "f16": 2, "int8": 1, "int4": 0.5 + 2 / 32}
"""Of a weight; in int4 with its part of the scale of 32."""


@dataclasses.dataclass(frozen=True)
class Pass:
    times: int
    weights: int
    rows: int
    attention: int = 0
    """Operations."""
    few_rows: bool = True
    """Whether it reads its weights for a few rows at a time. The weights of all others are in int8 in place of int4."""

    def seconds(self, format: str, limits: dict[str, float]) -> float:
        """`limits`: operations a second by format, and `bandwidth` in bytes a second."""
        products, reading, attention = self.parts(format, limits)
        return max(products, reading) + attention

    def parts(self, format: str, limits: dict[str, float]) -> tuple[float, float, float]:
        """Seconds of products, of reading weights, and of attention."""
        if format == "int4":  # multiplied as int8 is
            limits = limits | {"int4": limits.get("int8", limits["f32"])}
            format = format if self.few_rows else "int8"
        exact_rows = format in ("f32", "f16")
        peak = limits["f32"] if exact_rows else limits.get(format, limits["f32"])
        attention_peak = limits.get("f32" if exact_rows else "bf16", limits["f32"])
        products = 2 * self.weights * self.rows / peak
        reading = self.weights * BYTES[format] / limits["bandwidth"]
        return self.times * products, self.times * reading, self.times * self.attention / attention_peak


@dataclasses.dataclass(frozen=True)
class Shape:
    width: int
    heads_width: int
    key_value_width: int
    feed_forward: int
    feed_forward_matrices: int
    encoder_layers: int
    decoder_layers: int
    vocabulary: int

    @property
    def layer(self) -> int:
        """Weights of self-attention and feed-forward."""
        attention = 2 * self.width * (self.heads_width + self.key_value_width)
        return attention + self.feed_forward_matrices * self.width * self.feed_forward


def shape(config: dict) -> Shape:
    c = config
    match c["model_type"]:
        case "bert":
            m = c["hidden_size"]
            return Shape(m, m, m, c["intermediate_size"], 2, c["num_hidden_layers"], 0, 0)
        case "gpt2":
            m = c["n_embd"]
            return Shape(m, m, m, c["n_inner"] or 4 * m, 2, 0, c["n_layer"], c["vocab_size"])
        case "llama":
            m, head = c["hidden_size"], c["hidden_size"] // c["num_attention_heads"]
            key_value = head * c["num_key_value_heads"]
            return Shape(m, m, key_value, c["intermediate_size"], 3, 0, c["num_hidden_layers"], c["vocab_size"])
        case "t5":
            heads, matrices = c["num_heads"] * c["d_kv"], 3 if c["is_gated_act"] else 2
            layers = c["num_layers"], c["num_decoder_layers"]
            return Shape(c["d_model"], heads, heads, c["d_ff"], matrices, *layers, c["vocab_size"])
        case "bart" | "marian":
            m, layers = c["d_model"], (c["encoder_layers"], c["decoder_layers"])
            return Shape(m, m, m, c["encoder_ffn_dim"], 2, *layers, c["vocab_size"])
        case family:
            raise ValueError(f"no cost is written for the family '{family}'")


def passes(config: dict, w: Workload) -> list[Pass]:
    s, rows = shape(config), w.batch * w.source
    hypotheses, head = w.batch * w.beams, s.vocabulary * s.width
    decoder = s.decoder_layers * s.layer
    if not s.encoder_layers:
        # A causal prompt: a position sees half of the others on average, and only the last one needs logits.
        seen = 2 * rows * (w.source + 1) * s.heads_width * s.decoder_layers
        prompt = [Pass(1, decoder, rows, seen), Pass(1, head, w.batch)]
        return [*prompt, Pass(w.new - 1, decoder + head, hypotheses)]
    seen = 4 * rows * w.source * s.heads_width * s.encoder_layers
    encoder = Pass(1, s.encoder_layers * s.layer, rows, seen, few_rows=False)
    if not s.decoder_layers:
        return [encoder]
    cross = s.decoder_layers * 2 * s.width * s.heads_width
    return [encoder, Pass(1, cross, rows, few_rows=False), Pass(w.new, decoder + cross + head, hypotheses)]


def floor(passes: list[Pass], format: str, limits: dict[str, float]) -> float:
    """Seconds."""
    return sum(p.seconds(format, limits) for p in passes)


def bound_by_operations(passes: list[Pass], format: str, limits: dict[str, float]) -> float:
    """The share of the floor that is time of operations, in place of that of reading weights."""
    parts = [p.parts(format, limits) for p in passes]
    computing = sum(attention + (products if products > reading else 0) for products, reading, attention in parts)
    return computing / floor(passes, format, limits)


def over_rounds(limits: list[dict[str, float]]) -> dict[str, float]:
    """What holds for a whole row: a peak is the largest that was seen, for it can only be missed; a bandwidth moves."""
    most = {k: max(seen[k] for seen in limits) for k in limits[0]}
    return most | {"bandwidth": statistics.median(seen["bandwidth"] for seen in limits)}
