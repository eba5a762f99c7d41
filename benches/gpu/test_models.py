"""The plain models are the functions of transformers, where that is there: `python test_models.py`, with PyTorch and transformers.

Both read one checkpoint of checkpoints.py; in f32 they write the same ids.
"""

import pathlib
import tempfile
import unittest

import torch
import transformers

import checkpoints
from plain_llama import Llama
from plain_t5 import T5
from sizes import REHEARSAL

NEW, BEAMS = 12, 4
PARTS = {
    "layer.0.SelfAttention.relative_attention_bias": "relative", "layer.0.SelfAttention": "attention", "layer.0.layer_norm": "attention_norm",
    "layer.1.EncDecAttention": "cross", "layer.1.DenseReluDense.": "", "layer.2.DenseReluDense.": "", "layer.2.layer_norm": "norm",
}  # fmt: skip


def llama_name(name: str) -> str:
    return name.removeprefix("model.").replace("self_attn.", "").replace("mlp.", "")


def t5_name(name: str) -> str:
    for theirs, plain in PARTS.items():
        name = name.replace(theirs, plain)
    decoder = name.startswith("decoder")
    name = name.replace("layer.1.layer_norm", "cross_norm" if decoder else "norm").replace(".block.", ".")
    return name.replace(".0.relative", "_bias").replace(".final_layer_norm", "_norm")


class Models(unittest.TestCase):
    def setUp(self) -> None:
        transformers.logging.set_verbosity_error()
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)

    def theirs(self, name: str, kind):
        config = REHEARSAL.models[name]
        checkpoints.write(self.folder / name, config, torch, torch.device("cpu"), half=False)
        return kind.from_pretrained(self.folder / name, dtype=torch.float32).eval(), config

    def load(self, model, theirs, rename) -> None:
        tied = {"lm_head.weight", "encoder.embed_tokens.weight", "decoder.embed_tokens.weight"} if rename is t5_name else set()
        found = model.load_state_dict({rename(k): v for k, v in theirs.state_dict().items() if k not in tied}, strict=False)
        self.assertEqual(found.unexpected_keys, [])
        parameters = {name for name, _ in model.named_parameters()}
        self.assertEqual([name for name in found.missing_keys if name in parameters], [])

    def ids(self, theirs, ids, **options) -> list:
        options |= dict(attention_mask=torch.ones_like(ids), min_new_tokens=NEW, max_new_tokens=NEW, do_sample=False)
        return theirs.generate(ids, **options)[:, -NEW:].tolist()

    @torch.no_grad()
    def test_llama(self) -> None:
        theirs, config = self.theirs("tinyllama-1.1b", transformers.AutoModelForCausalLM)
        plain, ids = Llama(config, 8 + NEW).eval(), torch.randint(4, config["vocab_size"], (1, 8))
        self.load(plain, theirs, llama_name)
        torch.testing.assert_close(plain.logits(ids, torch.arange(8)), theirs(ids).logits[:, -1])
        self.assertEqual(plain.generate(ids, NEW, plain.step).tolist(), self.ids(theirs, ids))

    @torch.no_grad()
    def test_t5(self) -> None:
        theirs, config = self.theirs("t5-base", transformers.AutoModelForSeq2SeqLM)
        ids, labels = (torch.randint(4, config["vocab_size"], (2, n)) for n in (8, 40))
        one, many = T5(config, 2, 8, NEW).eval(), T5(config, 2 * BEAMS, 8, NEW).eval()
        for plain in (one, many):
            self.load(plain, theirs, t5_name)
        torch.testing.assert_close(one(ids, labels), theirs(input_ids=ids, labels=labels).loss)
        self.assertEqual(one.generate(ids, NEW, one.step).tolist(), self.ids(theirs, ids))
        self.assertEqual(many.beam(ids, NEW, BEAMS).tolist(), self.ids(theirs, ids, num_beams=BEAMS))


if __name__ == "__main__":
    unittest.main()
