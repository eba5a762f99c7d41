"""LLaMA's decoder in plain PyTorch with a cache of a fixed length, for machines without transformers.

The function is that of `transformers.LlamaForCausalLM` (Touvron et al. 2023), to which test_models.py holds it.
"""

import torch
from torch import nn

F = nn.functional


class Layer(nn.Module):
    def __init__(self, c: dict, positions: int) -> None:
        super().__init__()
        wide, self.heads, self.groups = c["hidden_size"], c["num_attention_heads"], c["num_key_value_heads"]
        self.width = wide // self.heads
        linear = lambda a, b: nn.Linear(a, b, bias=False)
        self.input_layernorm, self.post_attention_layernorm = (nn.RMSNorm(wide, c["rms_norm_eps"]) for _ in range(2))
        key = self.groups * self.width
        self.q_proj, self.k_proj, self.v_proj = linear(wide, wide), linear(wide, key), linear(wide, key)
        self.o_proj = linear(wide, wide)
        self.gate_proj, self.up_proj = (linear(wide, c["intermediate_size"]) for _ in range(2))
        self.down_proj = linear(c["intermediate_size"], wide)
        for name in ("keys", "values"):
            self.register_buffer(name, torch.zeros(1, self.groups, positions, self.width))

    def heads_of(self, x: torch.Tensor) -> torch.Tensor:
        return x.view(1, -1, x.shape[-1] // self.width, self.width).transpose(1, 2)

    def forward(self, x, at, cos, sin, mask):
        n = self.input_layernorm(x)
        q, k, v = (self.heads_of(part(n)) for part in (self.q_proj, self.k_proj, self.v_proj))
        turn = lambda t: t * cos + torch.cat([-t[..., self.width // 2 :], t[..., : self.width // 2]], -1) * sin
        self.keys.index_copy_(2, at, turn(k))
        self.values.index_copy_(2, at, v)
        y = F.scaled_dot_product_attention(turn(q), self.keys, self.values, attn_mask=mask, enable_gqa=True)
        x = x + self.o_proj(y.transpose(1, 2).flatten(2))
        n = self.post_attention_layernorm(x)
        return x + self.down_proj(F.silu(self.gate_proj(n)) * self.up_proj(n))


class Llama(nn.Module):
    """One sequence."""

    def __init__(self, c: dict, positions: int) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(c["vocab_size"], c["hidden_size"])
        self.layers = nn.ModuleList(Layer(c, positions) for _ in range(c["num_hidden_layers"]))
        self.norm = nn.RMSNorm(c["hidden_size"], c["rms_norm_eps"])
        self.lm_head = nn.Linear(c["hidden_size"], c["vocab_size"], bias=False)
        width = c["hidden_size"] // c["num_attention_heads"]
        angles = torch.arange(positions)[:, None] * c["rope_theta"] ** (-torch.arange(0, width, 2) / width)
        self.register_buffer("cos", angles.cos().repeat(1, 2))
        self.register_buffer("sin", angles.sin().repeat(1, 2))
        self.register_buffer("positions", torch.arange(positions))

    def step(self, ids: torch.Tensor, at: torch.Tensor) -> torch.Tensor:
        """The next id after ids `[1, T]` at the positions `[T]`: `[1, 1]`."""
        return self.logits(ids, at).argmax(-1, keepdim=True)

    def logits(self, ids: torch.Tensor, at: torch.Tensor) -> torch.Tensor:
        x, mask = self.embed_tokens(ids), self.positions <= at[:, None]
        for layer in self.layers:
            x = layer(x, at, self.cos[at], self.sin[at], mask)
        return self.lm_head(self.norm(x[:, -1]))

    def generate(self, ids: torch.Tensor, new: int, step) -> torch.Tensor:
        """`step` is that of this model, as it is or compiled; the prompt is read as it is."""
        length = ids.shape[1]
        at = torch.arange(length + new, device=ids.device)
        found = [self.step(ids, at[:length])]
        for i in range(length, length + new - 1):
            found.append(step(found[-1], at[i : i + 1]).clone())
        return torch.cat(found, 1)
