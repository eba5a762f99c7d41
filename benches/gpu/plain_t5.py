"""T5 in plain PyTorch with a cache of a fixed length, for machines without transformers: greedy, in beams, and under training.

The function is that of `transformers.T5ForConditionalGeneration` (Raffel et al. 2020), to which test_models.py holds it.
"""

import math

import torch
from torch import nn

F = nn.functional


def buckets(c: dict, distance: torch.Tensor, both_ways: bool) -> torch.Tensor:
    """The bucket of key position minus query position."""
    n, furthest = c["relative_attention_num_buckets"], c["relative_attention_max_distance"]
    base = torch.zeros_like(distance)
    if both_ways:
        n //= 2
        base, distance = (distance > 0) * n, distance.abs()
    else:
        distance = (-distance).clamp(min=0)
    exact = n // 2
    far = torch.log(distance.clamp(min=1).float() / exact) / math.log(furthest / exact) * (n - exact)
    return base + torch.where(distance < exact, distance, (exact + far.long()).clamp(max=n - 1))


class Attention(nn.Module):
    def __init__(self, c: dict) -> None:
        super().__init__()
        self.width, inner = c["d_kv"], c["num_heads"] * c["d_kv"]
        self.q, self.k, self.v = (nn.Linear(c["d_model"], inner, bias=False) for _ in range(3))
        self.o = nn.Linear(inner, c["d_model"], bias=False)

    def heads_of(self, x: torch.Tensor) -> torch.Tensor:
        return x.unflatten(-1, (-1, self.width)).transpose(1, 2)

    def keys_of(self, x: torch.Tensor) -> list[torch.Tensor]:
        return [self.heads_of(self.k(x)), self.heads_of(self.v(x))]

    def forward(self, x, keys, values, bias):
        if bias is not None:
            bias = bias.to(keys.dtype)
        y = F.scaled_dot_product_attention(self.heads_of(self.q(x)), keys, values, attn_mask=bias, scale=1.0)
        return self.o(y.transpose(1, 2).flatten(2))


class Block(nn.Module):
    def __init__(self, c: dict, crosses: bool) -> None:
        super().__init__()
        wide, eps = c["d_model"], c["layer_norm_epsilon"]
        self.attention, self.attention_norm = Attention(c), nn.RMSNorm(wide, eps)
        self.cross, self.cross_norm = (Attention(c), nn.RMSNorm(wide, eps)) if crosses else (None, None)
        self.wi, self.wo = nn.Linear(wide, c["d_ff"], bias=False), nn.Linear(c["d_ff"], wide, bias=False)
        self.norm = nn.RMSNorm(wide, eps)

    def forward(self, x, bias, memory=None, cache=None, at=None):
        """`cache`: keys and values of this layer, to which those of x go at the positions `at`; without it x is all there is."""
        n = self.attention_norm(x)
        keys, values = self.attention.keys_of(n)
        if cache is not None:
            cache[0].index_copy_(2, at, keys)
            cache[1].index_copy_(2, at, values)
            keys, values = cache
        x = x + self.attention(n, keys, values, bias)
        if self.cross is not None:
            x = x + self.cross(self.cross_norm(x), *memory, None)
        return x + self.wo(F.relu(self.wi(self.norm(x))))


class T5(nn.Module):
    """`rows` hypotheses of up to `positions` positions, over sources of `source` positions, are room for decoding; none to train."""

    def __init__(self, c: dict, rows: int = 0, source: int = 0, positions: int = 0) -> None:
        super().__init__()
        self.c, wide, heads = c, c["d_model"], c["num_heads"]
        self.shared = nn.Embedding(c["vocab_size"], wide)
        self.encoder = nn.ModuleList(Block(c, False) for _ in range(c["num_layers"]))
        self.decoder = nn.ModuleList(Block(c, True) for _ in range(c["num_decoder_layers"]))
        table = lambda: nn.Embedding(c["relative_attention_num_buckets"], heads)
        self.encoder_bias, self.decoder_bias = table(), table()
        self.encoder_norm, self.decoder_norm = (nn.RMSNorm(wide, c["layer_norm_epsilon"]) for _ in range(2))
        if rows:
            self.register_buffer("positions", torch.arange(positions))
            for i in range(c["num_decoder_layers"]):
                for name, length in (("k", positions), ("v", positions), ("mk", source), ("mv", source)):
                    self.register_buffer(f"{name}{i}", torch.zeros(rows, heads, length, c["d_kv"]))

    def bias(self, table: nn.Embedding, queries: torch.Tensor, keys: torch.Tensor, both_ways: bool) -> torch.Tensor:
        """`[1, H, queries, keys]`; what comes later is hidden unless it is seen both ways."""
        distance = keys[None] - queries[:, None]
        bias = table(buckets(self.c, distance, both_ways)).permute(2, 0, 1)[None]
        return bias if both_ways else bias.masked_fill(distance > 0, float("-inf"))

    def encode(self, ids: torch.Tensor) -> torch.Tensor:
        x, at = self.shared(ids), torch.arange(ids.shape[1], device=ids.device)
        bias = self.bias(self.encoder_bias, at, at, True)
        for block in self.encoder:
            x = block(x, bias)
        return self.encoder_norm(x)

    def head(self, x: torch.Tensor) -> torch.Tensor:
        return F.linear(self.decoder_norm(x) * self.c["d_model"] ** -0.5, self.shared.weight)

    def forward(self, input_ids: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """The mean cross-entropy."""
        memory = self.encode(input_ids)
        before = F.pad(labels[:, :-1], (1, 0), value=self.c["decoder_start_token_id"])
        x, at = self.shared(before), torch.arange(labels.shape[1], device=labels.device)
        bias = self.bias(self.decoder_bias, at, at, False)
        for block in self.decoder:
            x = block(x, bias, block.cross.keys_of(memory))
        return F.cross_entropy(self.head(x).flatten(0, 1).float(), labels.flatten())

    def remember(self, ids: torch.Tensor, beams: int) -> None:
        """Reads the sources `[B, S]`, whose keys and values are laid down for each beam."""
        memory = self.encode(ids)
        for i, block in enumerate(self.decoder):
            for name, values in zip(("mk", "mv"), block.cross.keys_of(memory)):
                getattr(self, f"{name}{i}").copy_(values.repeat_interleave(beams, 0))

    def logits(self, ids: torch.Tensor, at: torch.Tensor) -> torch.Tensor:
        """Behind ids `[rows, 1]` at the position `[1]`."""
        x, bias = self.shared(ids), self.bias(self.decoder_bias, at, self.positions, False)
        for i, block in enumerate(self.decoder):
            part = lambda name: getattr(self, f"{name}{i}")
            x = block(x, bias, [part("mk"), part("mv")], [part("k"), part("v")], at)
        return self.head(x[:, -1])

    def step(self, ids: torch.Tensor, at: torch.Tensor) -> torch.Tensor:
        return self.logits(ids, at).argmax(-1, keepdim=True)

    def generate(self, ids: torch.Tensor, new: int, step) -> torch.Tensor:
        """`step` is that of this model, as it is or compiled."""
        self.remember(ids, 1)
        at = torch.arange(new, device=ids.device)
        found = [torch.full((ids.shape[0], 1), self.c["decoder_start_token_id"], device=ids.device)]
        for i in range(new):
            found.append(step(found[-1], at[i : i + 1]).clone())
        return torch.cat(found[1:], 1)

    def beam(self, ids: torch.Tensor, new: int, beams: int) -> torch.Tensor:
        """The best hypothesis of exactly `new` ids for each source: nothing ends, so the best beams are all that there is to keep."""
        self.remember(ids, beams)
        at, batch = torch.arange(new, device=ids.device), ids.shape[0]
        last = torch.full((batch * beams, 1), self.c["decoder_start_token_id"], device=ids.device)
        scores = torch.full((batch, beams), float("-inf"), device=ids.device)
        scores[:, 0] = 0.0
        found = last[:, :0]
        first = torch.arange(batch, device=ids.device)[:, None] * beams
        for i in range(new):
            logits = self.logits(last, at[i : i + 1]).float()
            logits[:, self.c["eos_token_id"]] = float("-inf")
            all = (F.log_softmax(logits, -1).view(batch, beams, -1) + scores[..., None]).flatten(1)
            scores, best = all.topk(beams)
            parents = (first + best // logits.shape[-1]).flatten()
            last = (best % logits.shape[-1]).view(-1, 1)
            found = torch.cat([found[parents], last], 1)
            for name in (f"{part}{layer}" for layer in range(len(self.decoder)) for part in "kv"):
                getattr(self, name).copy_(getattr(self, name)[parents])
        return found.view(batch, beams, new)[:, 0]
