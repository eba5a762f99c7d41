"""`stop_strings.json`: when transformers' StopStringCriteria ends a sequence, with the tokenizers of the fixtures.

    python make_stop_strings.py
"""

import json
import random
from pathlib import Path

import torch
import transformers
from transformers import AutoTokenizer
from transformers.generation.stopping_criteria import StopStringCriteria

FIXTURES = Path(__file__).resolve().parents[3] / "fixtures"
TOKENIZERS = ["bert", "gpt2_text", "roberta", "llama", "t5_v1_0"]
TEXTS = [
    "the quick brown fox jumps over the lazy dog.",
    "One, two, three... and 4 naïve cafés – 日本 🙂 again.",
    "stop here\nor there; stopped. unstoppable",
]


def stop_strings(r, tokenizer, ids):
    """Pieces of the text of `ids`, and some that are not there."""
    text = tokenizer.decode(ids)
    pieces = []
    for _ in range(2):
        start = r.randrange(max(1, len(text)))
        pieces.append(text[start : start + r.choice([1, 2, 3, 5, 8])])
    pieces.append(r.choice(["zz", "é", " the", "\n", "top"]))
    return sorted({p for p in pieces if p and "\ufffd" not in p})


def main():
    assert transformers.__version__ == "5.23.0", "see fixtures/requirements.txt"
    transformers.logging.set_verbosity_error()
    r = random.Random(5)
    out = []
    for name in TOKENIZERS:
        tokenizer = AutoTokenizer.from_pretrained(FIXTURES / name)
        kinds = {True: 0, False: 0}
        for _ in range(80):
            ids = tokenizer(r.choice(TEXTS), add_special_tokens=False).input_ids
            start = r.randrange(len(ids))
            ids = ids[start : start + r.randint(1, 24)]
            if r.random() < 0.3:  # any ids at all, special ones too
                ids = [r.randrange(len(tokenizer)) for _ in range(r.randint(1, 12))]
            strings = stop_strings(r, tokenizer, ids)
            if not strings:
                continue
            try:
                criteria = StopStringCriteria(tokenizer, strings)
            except ValueError:  # no token could be part of them
                continue
            # One of the sequence's beginnings, rather one that ends it.
            ends = [bool(criteria(torch.tensor([ids[: n + 1]]), None)[0]) for n in range(len(ids))]
            chosen = {r.randrange(len(ids)), *[n for n, end in enumerate(ends) if end][:1]}
            for n in sorted(chosen):
                kinds[ends[n]] += 1
                out.append({"tokenizer": name, "strings": strings, "ids": ids[: n + 1], "ends": ends[n]})
        print(name, kinds)
    lines = [json.dumps(c, ensure_ascii=False, separators=(",", ":")) for c in out]
    Path(__file__).with_name("stop_strings.json").write_text("[\n" + ",\n".join(lines) + "\n]\n")


if __name__ == "__main__":
    main()
