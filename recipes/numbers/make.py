"""Numbers below a thousand and their names: 500 rows to learn from, 100 others to be measured by.

    python recipes/numbers/make.py
"""

import pathlib
import random

ONES = """zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen
eighteen nineteen""".split()
TENS = "twenty thirty forty fifty sixty seventy eighty ninety".split()


def name(n):
    if n < 20:
        return ONES[n]
    if n < 100:
        return TENS[n // 10 - 2] + (f"-{ONES[n % 10]}" if n % 10 else "")
    return f"{ONES[n // 100]} hundred" + (f" {name(n % 100)}" if n % 100 else "")


def main():
    numbers = list(range(1000))
    random.Random(1).shuffle(numbers)
    folder = pathlib.Path(__file__).parent
    for file, rows in [("train.tsv", numbers[:500]), ("valid.tsv", numbers[500:600])]:
        (folder / file).write_text("".join(f"{n}\t{name(n)}\n" for n in rows))


if __name__ == "__main__":
    main()
