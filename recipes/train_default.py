"""Trains the default model: a small T5 on the rows of the grammar in `expressions/`.

    cargo build --release --manifest-path recipes/expressions/Cargo.toml
    python recipes/train_default.py --grammar PATH/TO/expressions --out FOLDER --minutes 70

Needs requirements.txt. Every row is fresh: the grammar runs beside the training and no row is drawn twice on purpose.
The schedule follows the time spent in steps, not their number, so a machine busy with something else still ends its
decay where it should; a pause longer than twenty seconds does not count.

The forward pass is written out below rather than taken from transformers: batches hold sources of one length, so there
is no mask, and attention is fused. `--check` compares it with transformers' own before training starts.
"""

import argparse
import copy
import json
import math
import os
import queue
import random
import subprocess
import sys
import threading
import time

# Before torch is loaded: room for the kernels of every batch shape, and no spinning on a machine shared with others.
os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "20000")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np
import torch
import torch.nn.functional as F
from transformers import T5Config, T5ForConditionalGeneration

import expressions_tokenizer
from muon import Muon


def options():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--grammar", required=True, help="the built `expressions` program")
    parser.add_argument("--out", required=True, help="folder for the model and its checkpoints")
    parser.add_argument("--minutes", type=float, default=70)
    parser.add_argument("--start", help="folder of a checkpoint to start from")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--weights", default="", help="--weights of the grammar")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--batch-tokens", type=int, default=3072, help="source tokens in a step")
    parser.add_argument("--rate", type=float, default=2e-3, help="peak learning rate of AdamW")
    parser.add_argument("--muon-rate", type=float, default=0, help="peak learning rate of Muon for the matrices; 0: AdamW")
    parser.add_argument("--warmup", type=float, default=0.03, help="part of the time")
    parser.add_argument("--save-minutes", type=float, default=5)
    parser.add_argument("--f32", action="store_true", help="no bf16 autocast")
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--width", type=int, default=192)
    parser.add_argument("--ffn", type=int, default=768)
    parser.add_argument("--heads", type=int, default=6)
    parser.add_argument("--layers", type=int, nargs=2, default=[4, 3], help="encoder, decoder")
    return parser.parse_args()


def rows(grammar, split, count, seed, *more):
    command = [grammar, "--split", split, "--count", str(count), "--seed", str(seed), "--with-class", *more]
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return [line.split("\t") for line in text.splitlines()]


def batches(option, tokenizer, seed, weights):
    """Endless batches (source [B, S], target [B, T], -100 beyond its end), all sources of one length."""
    shuffle = random.Random(seed)
    left = {}
    while True:
        extra = ["--weights", weights()] if weights() else []
        pool = rows(option.grammar, "train", 20_000, seed, *extra)
        seed += 1
        sources = tokenizer.encode_batch([row[1] for row in pool])
        targets = tokenizer.encode_batch([row[2] for row in pool])
        for source, target in zip(sources, targets):
            left.setdefault(len(source.ids), []).append((source.ids, target.ids))
        ready = []
        for length, pairs in left.items():
            size = option.batch_tokens // length
            # Neighbours in target length, yet another neighbour every time.
            pairs.sort(key=lambda pair: len(pair[1]) + shuffle.random() * 1.5)
            while len(pairs) >= size:
                ready.append(pairs[:size])
                del pairs[:size]
        shuffle.shuffle(ready)
        for pairs in ready:
            # Few distinct shapes: oneDNN compiles a kernel for each.
            longest = -(-max(len(target) for _, target in pairs) // 2) * 2
            target = np.full((len(pairs), longest), -100, dtype=np.int64)
            for row, (_, ids) in enumerate(pairs):
                target[row, : len(ids)] = ids
            yield torch.tensor([source for source, _ in pairs]), torch.from_numpy(target)


def background(iterator, depth=64):
    """Runs an iterator in a thread, a few items ahead."""
    ahead = queue.Queue(depth)

    def run():
        for item in iterator:
            ahead.put(item)

    threading.Thread(target=run, daemon=True).start()
    while True:
        yield ahead.get()


def position_bias(block, rows_, columns):
    return block.layer[0].SelfAttention.compute_bias(rows_, columns)


def attend(attention, query, memory, heads, bias, causal=False):
    batch, length, _ = query.shape
    split = lambda x: x.view(batch, -1, heads, x.shape[-1] // heads).transpose(1, 2)
    q, k, v = split(attention.q(query)), split(attention.k(memory)), split(attention.v(memory))
    if bias is not None:
        bias = bias.to(q.dtype)
    out = F.scaled_dot_product_attention(q, k, v, attn_mask=bias, scale=1.0)
    return attention.o(out.transpose(1, 2).reshape(batch, length, -1))


def norm(layer, x):
    return F.rms_norm(x, (x.shape[-1],), layer.weight, layer.variance_epsilon)


def feed_forward(layer, x):
    dense = layer.DenseReluDense
    return dense.wo(F.relu(dense.wi(norm(layer.layer_norm, x))))


def forward(model, source, target):
    """The loss of a batch; the same function as transformers' T5 on sources without padding."""
    config, heads = model.config, model.config.num_heads
    x = model.shared(source)
    bias = position_bias(model.encoder.block[0], source.shape[1], source.shape[1])
    for block in model.encoder.block:
        hidden = norm(block.layer[0].layer_norm, x)
        x = x + attend(block.layer[0].SelfAttention, hidden, hidden, heads, bias)
        x = x + feed_forward(block.layer[1], x)
    memory = norm(model.encoder.final_layer_norm, x)

    length = target.shape[1]
    shifted = torch.cat([torch.zeros_like(target[:, :1]), target[:, :-1].clamp(min=0)], dim=1)
    x = model.shared(shifted)
    bias = position_bias(model.decoder.block[0], length, length)
    bias = bias + torch.full((length, length), -1e9).triu(1)
    for block in model.decoder.block:
        hidden = norm(block.layer[0].layer_norm, x)
        x = x + attend(block.layer[0].SelfAttention, hidden, hidden, heads, bias)
        hidden = norm(block.layer[1].layer_norm, x)
        x = x + attend(block.layer[1].EncDecAttention, hidden, memory, heads, None)
        x = x + feed_forward(block.layer[2], x)
    x = norm(model.decoder.final_layer_norm, x) * config.d_model**-0.5
    return F.cross_entropy(model.lm_head(x).float().flatten(0, 1), target.flatten(), ignore_index=-100)


@torch.no_grad()
def exact_match(model, tokenizer, table, half=False, size=256):
    """Greedy exact match by class: {class: (right, of)}, and the wrong rows."""
    from collections import defaultdict

    result, wrong = defaultdict(lambda: [0, 0]), []
    encoded = [(tokenizer.encode(row[1]).ids, row) for row in table]
    encoded.sort(key=lambda pair: len(pair[0]))
    model.eval()
    start = 0
    while start < len(encoded):
        length = len(encoded[start][0])
        end = start
        while end < len(encoded) and end - start < size and len(encoded[end][0]) == length:
            end += 1
        source = torch.tensor([ids for ids, _ in encoded[start:end]])
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            ids = model.generate(source, attention_mask=torch.ones_like(source), max_new_tokens=40, do_sample=False, num_beams=1)
        for (_, (name, text, target)), out in zip(encoded[start:end], ids.tolist()):
            got = tokenizer.decode(out, skip_special_tokens=True)
            result[name][0] += got == target
            result[name][1] += 1
            if got != target:
                wrong.append((name, text, target, got))
        start = end
    return result, wrong


def save(model, tokenizer, folder):
    os.makedirs(folder, exist_ok=True)
    half = copy.deepcopy(model).half()
    half.config.dtype = torch.float16
    half.save_pretrained(folder)
    expressions_tokenizer.save(tokenizer, folder)


def new_model(option, vocabulary):
    config = T5Config(
        vocab_size=vocabulary,
        d_model=option.width,
        d_kv=option.width // option.heads,
        d_ff=option.ffn,
        num_heads=option.heads,
        num_layers=option.layers[0],
        num_decoder_layers=option.layers[1],
        relative_attention_num_buckets=48,
        relative_attention_max_distance=64,
        dropout_rate=0.0,
        feed_forward_proj="relu",
        tie_word_embeddings=True,
        pad_token_id=0,
        eos_token_id=1,
        decoder_start_token_id=0,
    )
    model = T5ForConditionalGeneration(config)
    model.generation_config.max_new_tokens = 64
    return model


def optimisers(model, option):
    matrices = [p for n, p in model.named_parameters() if p.ndim == 2 and "block" in n and "relative" not in n]
    chosen = {id(p) for p in matrices}
    # Position biases start near zero and have to reach several units before a head can tell neighbours apart; at the
    # common rate that alone takes a thousand steps, and nothing is copied in order before.
    biases = [p for n, p in model.named_parameters() if "relative" in n]
    chosen |= {id(p) for p in biases}
    rest = [p for p in model.parameters() if id(p) not in chosen]
    adam = lambda group, rate, decay: (torch.optim.AdamW(group, betas=(0.9, 0.98), weight_decay=decay, fused=True), rate)
    matrix = (Muon(matrices, lr=option.muon_rate), option.muon_rate) if option.muon_rate else adam(matrices, option.rate, 0.01)
    return [matrix, adam(rest, option.rate, 0.0), adam(biases, 10 * option.rate, 0.0)]


def main():
    option = options()
    torch.set_num_threads(option.threads)
    torch.manual_seed(option.seed)
    os.makedirs(option.out, exist_ok=True)
    with open(f"{option.out}/pid", "w") as file:
        print(os.getpid(), file=file)

    if option.start:
        from tokenizers import Tokenizer

        tokenizer = Tokenizer.from_file(f"{option.start}/tokenizer.json")
        model = T5ForConditionalGeneration.from_pretrained(option.start, dtype=torch.float32)
    else:
        corpus = rows(option.grammar, "train", 400_000, 1_000_000)
        tokenizer = expressions_tokenizer.build({text for row in corpus for text in row[1:]})
        model = new_model(option, tokenizer.get_vocab_size())
        del corpus
    print("vocabulary", tokenizer.get_vocab_size(), "parameters", sum(p.numel() for p in model.parameters()), flush=True)
    valid = rows(option.grammar, "valid", 440, 7)

    def setting(name, default):
        """A file `weights`, `minutes` or `threads` in the output folder changes an option under way."""
        try:
            with open(f"{option.out}/{name}") as file:
                return file.read().strip()
        except FileNotFoundError:
            return default

    seed = option.seed * 10_000_000
    stream = background(batches(option, tokenizer, seed, lambda: setting("weights", option.weights)))
    if option.check:
        source, target = next(stream)
        theirs = model(input_ids=source, labels=target).loss
        print("loss", forward(model, source, target).item(), "transformers", theirs.item(), flush=True)

    average = copy.deepcopy(model)
    optims = optimisers(model, option)
    compute = torch.compile(forward, dynamic=True) if option.compile else forward
    model.train()
    total, active, saved, step, examples = option.minutes * 60, 0.0, 0.0, 0, 0
    losses, last = [], time.monotonic()
    while active < total:
        source, target = next(stream)
        part = active / total
        scale = min(part / option.warmup, 1.0) if part < option.warmup else (1 - part) / (1 - option.warmup)
        for optim, rate in optims:
            for group in optim.param_groups:
                group["lr"] = rate * max(scale, 1e-3)
        with torch.autocast("cpu", torch.bfloat16, enabled=not option.f32):
            loss = compute(model, source, target)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optim, _ in optims:
            optim.step()
            optim.zero_grad(set_to_none=True)
        step += 1
        if step % 4 == 0:
            with torch.no_grad():
                decay = min(0.992, step / (step + 40))
                torch._foreach_lerp_(list(average.parameters()), list(model.parameters()), 1 - decay)
        examples += len(source)
        losses.append(loss.item())
        now = time.monotonic()
        active += now - last if now - last < 20 else 0
        last = now
        if step % 50 == 0:
            total = float(setting("minutes", option.minutes)) * 60
            torch.set_num_threads(int(setting("threads", option.threads)))
        if step % 50 == 0 or step < 50 and step % 10 == 0:
            print(f"{active / 60:.2f} min  step {step}  examples {examples}  loss {np.mean(losses):.5f}  rate {scale:.3f}", flush=True)
            losses = []
        if active - saved > option.save_minutes * 60 and total - active > 30:
            saved = active
            report(average, tokenizer, valid, f"{option.out}/checkpoint", option, active)
            model.train()
            last = time.monotonic()
    report(average, tokenizer, valid, f"{option.out}/final", option, active)


def report(average, tokenizer, valid, folder, option, active):
    save(average, tokenizer, folder)
    result, wrong = exact_match(average, tokenizer, valid, half=not option.f32)
    right, of = (sum(r[i] for r in result.values()) for i in (0, 1))
    print(f"{active / 60:.1f} min  valid {right / of:.4f} ", end="")
    print("  ".join(f"{name} {r / n:.3f}" for name, (r, n) in sorted(result.items()) if r < n), flush=True)
    with open(f"{option.out}/wrong.tsv", "w") as file:
        for row in wrong:
            print(*row, sep="\t", file=file)


if __name__ == "__main__":
    main()
