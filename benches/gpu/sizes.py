"""The models and batches of the targets; and the same in a small way, for a rehearsal on a processor."""

import dataclasses

IDS = {"pad_token_id": 0, "eos_token_id": 1, "bos_token_id": 3}
TINYLLAMA = {
    "model_type": "llama", "architectures": ["LlamaForCausalLM"], "vocab_size": 32000, "hidden_size": 2048,
    "intermediate_size": 5632, "num_hidden_layers": 22, "num_attention_heads": 32, "num_key_value_heads": 4,
    "max_position_embeddings": 2048, "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "hidden_act": "silu",
    "tie_word_embeddings": False, **IDS,
}  # fmt: skip
T5_BASE = {
    "model_type": "t5", "architectures": ["T5ForConditionalGeneration"], "vocab_size": 32128, "d_model": 768, "d_kv": 64,
    "d_ff": 3072, "num_layers": 12, "num_decoder_layers": 12, "num_heads": 12, "feed_forward_proj": "relu", "dropout_rate": 0.0,
    "is_gated_act": False, "dense_act_fn": "relu", "relative_attention_num_buckets": 32, "relative_attention_max_distance": 128,
    "layer_norm_epsilon": 1e-6, "tie_word_embeddings": True, "is_encoder_decoder": True, "decoder_start_token_id": 0, **IDS,
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Sizes:
    """`new` are two numbers of new tokens: what the second takes beyond the first, over their difference, is a step."""

    models: dict[str, dict]
    source: int
    new: tuple[int, int]
    beam_batch: int
    beam_new: int
    beams: int
    train: tuple[int, int, int]
    """Sequences, positions of each source, and of each target."""
    copied: int
    """Bytes of what is copied to measure the bandwidth."""

    @property
    def train_case(self) -> str:
        batch, source, target = self.train
        return f"t5-base, {batch}x{source}->{target}, bf16"

    @property
    def beam_case(self) -> str:
        return f"t5-base, beam {self.beams}, {self.beam_batch}x{self.source}->{self.beam_new}, bf16"

    def case(self, op: str, model: str) -> str:
        """What rows of these operations are called, whoever does them."""
        named = {"decode": decode_case(model, "bf16"), "beam search": self.beam_case, "training step": self.train_case}
        return named[op]


GPU = Sizes(
    {"tinyllama-1.1b": TINYLLAMA, "t5-base": T5_BASE}, 64, (16, 80), 32, 64, 4, (32, 128, 64), 1 << 30,
)  # fmt: skip
SMALL = {
    "tinyllama-1.1b": TINYLLAMA | {
        "vocab_size": 512, "hidden_size": 128, "intermediate_size": 352, "num_hidden_layers": 2, "num_attention_heads": 8,
        "num_key_value_heads": 2,
    },
    "t5-base": T5_BASE | {
        "vocab_size": 512, "d_model": 96, "d_kv": 16, "d_ff": 192, "num_layers": 2, "num_decoder_layers": 2, "num_heads": 6,
    },
}  # fmt: skip
REHEARSAL = Sizes(SMALL, 8, (2, 10), 2, 6, 4, (2, 8, 6), 1 << 20)


def decode_case(model: str, format: str, batch: int = 1) -> str:
    return f"{model}, {batch} sequence{'s' if batch > 1 else ''}, {format}"
