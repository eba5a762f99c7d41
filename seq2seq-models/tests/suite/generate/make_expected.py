"""What transformers' generate() makes of a scripted language model, under some hundred random settings.

    pip install -r ../../../fixtures/requirements.txt && python make_expected.py

The model is a hash of the source and of the last ids, so that `scripted.rs` computes the very same logits. With logits
equal to the bit, only decoding is compared. A case holds what each row gives alone. In a batch the rows of an
encoder-decoder must give the same, which is asserted here (PARITY trap 51).
"""

import json
import math
import random

import numpy as np
import torch
import transformers
from transformers import GenerationMixin, LogitsProcessor, LogitsProcessorList, PretrainedConfig, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutput, CausalLMOutput, Seq2SeqLMOutput

CASES = 480
NOISE = 1e-5


def mix(x):
    """The finaliser of SplitMix64, on arrays of u64."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def logits(source, history, window, vocab):
    """Numbers in [-4, 4), exact in f32."""
    with np.errstate(over="ignore"):
        state = np.uint64(len(history) if window == 0 else 0)
        for t in [*source, 999, *history[-window:]]:
            state = mix(state + np.uint64(0x9E3779B97F4A7C15) + np.uint64(t))
        x = mix(state ^ (np.arange(1, vocab + 1, dtype=np.uint64) * np.uint64(0xD1342543DE82EF95)))
    return ((x >> np.uint64(40)).astype(np.int64) - (1 << 23)).astype(np.float32) * np.float32(2.0**-21)


class ScriptedConfig(PretrainedConfig):
    model_type = "scripted"

    def __init__(self, vocab_size=8, window=0, **kwargs):
        super().__init__(**kwargs)
        self.vocab_size, self.window = vocab_size, window


class Encoder(torch.nn.Module):
    main_input_name = "input_ids"

    def forward(self, input_ids=None, attention_mask=None, **_):
        return BaseModelOutput(last_hidden_state=input_ids[..., None].float())


class Scripted(PreTrainedModel, GenerationMixin):
    config_class = ScriptedConfig
    main_input_name = "input_ids"

    def __init__(self, config):
        super().__init__(config)
        self.anchor = torch.nn.Parameter(torch.zeros(1))
        self.encoder = Encoder()

    def get_encoder(self, *_, **__):
        return self.encoder

    def script(self, sources, histories):
        rows = [logits(s, h, self.config.window, self.config.vocab_size) for s, h in zip(sources, histories)]
        return torch.from_numpy(np.stack(rows))[:, None]

    def forward(
        self, input_ids=None, attention_mask=None, decoder_input_ids=None, encoder_outputs=None, return_dict=True, **_
    ):
        if decoder_input_ids is None:
            return CausalLMOutput(logits=self.script([[]] * len(input_ids), input_ids.tolist()))
        sources = encoder_outputs.last_hidden_state[..., 0].long().tolist()
        return Seq2SeqLMOutput(logits=self.script(sources, decoder_input_ids.tolist()))

    def prepare_inputs_for_generation(self, input_ids, encoder_outputs=None, attention_mask=None, **kwargs):
        if self.config.is_encoder_decoder:
            return {"decoder_input_ids": input_ids, "encoder_outputs": encoder_outputs}
        return {"input_ids": input_ids}


class Noise(LogitsProcessor):
    def __init__(self, seed):
        self.g = torch.Generator().manual_seed(seed)

    def __call__(self, input_ids, scores):
        return scores + NOISE * (2 * torch.rand(scores.shape, generator=self.g) - 1)


def some(r, p):
    return r.random() < p


def draw(r):
    """A random case: vocabulary, window, kind, rows and settings."""
    vocab = r.randint(5, 14)
    beams = r.choice([1, 1, 2, 3, 4, 4, 5])
    case = {"vocab": vocab, "window": r.choice([0, 0, 1, 2, 3]), "encoder_decoder": some(r, 0.6)}
    ids = lambda n: [r.randrange(vocab) for _ in range(n)]
    length = r.randint(1, 5)
    case["rows"] = [ids(length) for _ in range(3)]
    prompt = 1 if case["encoder_decoder"] else length
    if case["encoder_decoder"] and some(r, 0.2):
        case["decoder_rows"] = [ids(r.randint(1, 3)) for _ in range(3)]
        prompt = 1 + max(map(len, case["decoder_rows"]))
    kw = {"num_beams": beams, "pad_token_id": r.choice([0, vocab - 1])}
    eos = r.sample(range(vocab), r.choice([0, 1, 1, 1, 2, 3]))
    if eos:
        kw["eos_token_id"] = eos[0] if len(eos) == 1 else eos
    if case["encoder_decoder"]:
        kw["decoder_start_token_id"] = r.randrange(vocab)
    if some(r, 0.75):
        kw["max_new_tokens"] = r.randint(1, 12)
    elif some(r, 0.6):
        kw["max_length"] = prompt + r.randint(1, 12)
    if beams > 1:
        kw["early_stopping"] = r.choice([False, False, True, "never"])
        kw["length_penalty"] = r.choice([1.0, 1.0, 0.6, 2.0, 0.0, -0.5, 1.7])
        kw["num_return_sequences"] = r.randint(1, beams)
        if some(r, 0.15):  # where the last of the best depends on when the search ends
            kw |= {"num_return_sequences": beams, "max_new_tokens": 12, "length_penalty": r.choice([-1.0, -0.3, 1.0])}
            kw["early_stopping"] = r.choice([False, "never"])
        if some(r, 0.2):
            kw["renormalize_logits"] = True
    options = [
        lambda: kw.update(min_length=prompt + r.randint(1, 6)),
        lambda: kw.update(min_new_tokens=r.randint(1, 6)),
        lambda: kw.update(repetition_penalty=r.choice([1.3, 0.7, 2.0])),
        lambda: kw.update(encoder_repetition_penalty=r.choice([1.4, 0.8])),
        lambda: kw.update(no_repeat_ngram_size=r.randint(1, 3)),
        lambda: kw.update(encoder_no_repeat_ngram_size=r.randint(1, 3)),
        lambda: kw.update(bad_words_ids=[ids(r.choice([1, 1, 2, 3])) for _ in range(r.randint(1, 3))]),
        lambda: kw.update(
            sequence_bias=[[ids(r.choice([1, 1, 2, 3])), r.choice([-3.0, -1.25, 2.5])] for _ in range(r.randint(1, 4))]
        ),
        lambda: kw.update(forced_bos_token_id=r.randrange(vocab)),
        lambda: kw.update(forced_eos_token_id=eos[0] if eos else r.randrange(vocab)),
        lambda: kw.update(suppress_tokens=ids(r.randint(1, 2))),
        lambda: kw.update(begin_suppress_tokens=ids(r.randint(1, 3))),
        lambda: eos and kw.update(exponential_decay_length_penalty=[r.randint(0, 4), r.choice([1.1, 1.5])]),
    ]
    for option in r.sample(options, r.choice([0, 1, 1, 2, 3, 4])):
        option()
    case["kwargs"] = kw
    return case


def generate(model, rows, decoder_rows, kwargs, noise=None):
    extra = {} if decoder_rows is None else {"decoder_input_ids": torch.tensor(decoder_rows)}
    if noise is not None:
        extra["logits_processor"] = LogitsProcessorList([Noise(noise)])
    out = model.generate(
        input_ids=torch.tensor(rows),
        attention_mask=torch.ones(len(rows), len(rows[0]), dtype=torch.long),
        use_cache=False,
        return_dict_in_generate=True,
        output_scores=True,
        **extra,
        **json.loads(json.dumps(kwargs)),
    )
    eos = kwargs.get("eos_token_id", [])
    eos = eos if isinstance(eos, list) else [eos]
    encoder_decoder = model.config.is_encoder_decoder
    prompt = out.sequences.shape[1] - len(out.scores) if kwargs["num_beams"] == 1 else None
    if prompt is None:
        if not encoder_decoder:
            prompt = len(rows[0])
        elif decoder_rows is None:
            prompt = 1
        else:
            prompt = len(decoder_rows[0]) + (decoder_rows[0][0] != kwargs["decoder_start_token_id"])
    beams = getattr(out, "sequences_scores", None)
    results = []
    for i, row in enumerate(out.sequences.tolist()):
        new = row[prompt:]
        if beams is not None and -1 in out.beam_indices[i].tolist():
            new = new[: out.beam_indices[i].tolist().index(-1)]
        end = next((k + 1 for k, t in enumerate(new) if t in eos), len(new))
        if beams is not None:
            score = beams[i].item()
        else:
            steps = [torch.log_softmax(out.scores[k][i].double(), -1)[new[k]].item() for k in range(end)]
            score = sum(steps) / end ** kwargs.get("length_penalty", 1.0)
        results.append([(row[:prompt] if encoder_decoder else []) + new[:end], score])
    return results


def sound(rows):
    return all(math.isfinite(score) and score > -1e6 for row in rows for _, score in row)


def expected(case):
    """What each row gives; None where that is not worth a test (all ids banned, hypotheses that never finished)."""
    config = ScriptedConfig(
        vocab_size=case["vocab"], window=case["window"], is_encoder_decoder=case["encoder_decoder"]
    )
    model = Scripted(config).eval()
    returned = case["kwargs"].get("num_return_sequences", 1)
    decoder_rows = case.get("decoder_rows") or [None] * len(case["rows"])

    def one_by_one(noise=None):
        return [
            generate(model, [row], None if d is None else [d], case["kwargs"], noise)
            for row, d in zip(case["rows"], decoder_rows)
        ]

    try:
        alone = one_by_one()
    except ValueError as e:
        assert "suppress_tokens" in str(e) or "`max_length`" in str(e), e
        return None
    if not sound(alone):
        return None
    ids = lambda rows: [[ids for ids, _ in row] for row in rows]
    if any(ids(one_by_one(noise)) != ids(alone) for noise in range(3)):
        return None
    if "decoder_rows" not in case:
        flat = generate(model, case["rows"], None, case["kwargs"])
        together = [flat[i : i + returned] for i in range(0, len(flat), returned)]
        if not sound(together):  # a row that could have stopped went on, with nothing left but banned ids
            return None
        assert ids(together) == ids(alone), (case, alone, together)
    return alone


def main():
    assert transformers.__version__ == "5.23.0", "see fixtures/requirements.txt"
    transformers.logging.set_verbosity_error()
    torch.set_num_threads(1)
    r = random.Random(20260314)
    lines, drawn = [], 0
    while len(lines) < CASES:
        case = draw(r)
        drawn += 1
        result = expected(case)
        if result is not None:
            case["expected"] = [[[ids, float(f"{score:.8g}")] for ids, score in row] for row in result]
            lines.append(json.dumps(case, separators=(",", ":")))
    with open("expected.json", "w") as f:
        f.write("[\n" + ",\n".join(lines) + "\n]\n")
    print(f"{len(lines)} of {drawn} cases kept")


if __name__ == "__main__":
    main()
