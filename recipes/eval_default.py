"""Exact match of a model folder on held-out expressions, by class, with transformers' greedy search in f32.

    python recipes/eval_default.py --model seq2seq-cli/default-model --grammar PATH/TO/expressions --count 11000
    python recipes/eval_default.py --model seq2seq-cli/default-model --rows rows.tsv

The weights are the rounded ones of the folder. Exit code 1 if a class is below 95% or all together below 98%.
"""

import argparse
import sys

import torch
from tokenizers import Tokenizer
from transformers import T5ForConditionalGeneration

from train_default import exact_match, rows


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--grammar", help="the built `expressions` program")
    parser.add_argument("--rows", help="a file of rows class, source, target instead")
    parser.add_argument("--split", default="test", choices=["valid", "test"])
    parser.add_argument("--count", type=int, default=11_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--bf16", action="store_true", help="autocast: quicker, a hair less exact")
    parser.add_argument("--wrong", help="write the rows that went wrong to this file")
    option = parser.parse_args()
    torch.set_num_threads(option.threads)

    if option.rows:
        with open(option.rows, encoding="utf-8") as file:
            table = [line.rstrip("\n").split("\t") for line in file]
    else:
        table = rows(option.grammar, option.split, option.count, option.seed)
    tokenizer = Tokenizer.from_file(f"{option.model}/tokenizer.json")
    model = T5ForConditionalGeneration.from_pretrained(option.model, dtype=torch.float32)
    result, wrong = exact_match(model, tokenizer, table, half=option.bf16)
    if option.wrong:
        with open(option.wrong, "w", encoding="utf-8") as file:
            for row in wrong:
                print(*row, sep="\t", file=file)

    right, of = (sum(entry[i] for entry in result.values()) for i in (0, 1))
    print("| class | right | of | exact match |\n|---|---:|---:|---:|")
    for name, (good, n) in sorted(result.items()):
        print(f"| {name} | {good} | {n} | {100 * good / n:.2f}% |")
    print(f"| **all** | {right} | {of} | {100 * right / of:.2f}% |")
    worst = min(good / n for good, n in result.values())
    sys.exit(0 if right / of >= 0.98 and worst >= 0.95 else 1)


if __name__ == "__main__":
    main()
