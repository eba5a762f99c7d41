"""The tokenizer of the default model: a Unigram vocabulary laid out by hand rather than learned.

Every word of the grammar is one piece, every digit one token, German compounds fall into their parts
(`▁einhundert` `dreiund` `zwanzig`), Roman numerals into letters, and anything else into characters or bytes, so that
no text fails. Short targets made of whole words train several times faster than bytes and leave nothing to spell.
"""

import json
import re

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors

SPACE = "▁"
PAD, EOS, UNK = "<pad>", "</s>", "<unk>"

_UNITS = "ein zwei drei vier fünf sechs sieben acht neun".split()
GERMAN = (
    _UNITS
    + "eins eine zehn elf zwölf dreizehn vierzehn fünfzehn sechzehn siebzehn achtzehn neunzehn zwanzig dreißig".split()
    + "vierzig fünfzig sechzig siebzig achtzig neunzig tausend hundert".split()
    + [unit + "hundert" for unit in _UNITS]
    + [unit + "und" for unit in _UNITS]
)
_COMPOUND = re.compile("|".join(sorted(GERMAN, key=len, reverse=True)))
_RUNS = re.compile(r"-?[^\W\d_]+|.")
_ROMAN = re.compile(r"[mdclxvi]+|[MDCLXVI]+")


def _pieces(text):
    for word in text.split(" "):
        if len(_COMPOUND.sub("", word)) == 0:
            continue
        for index, run in enumerate(_RUNS.findall(word)):
            if _ROMAN.fullmatch(run.lstrip("-")) and run.lstrip("-") != "dix":
                continue  # letter by letter, so that "mi" is a thousand and one as well as miles
            if index == 0 and run[0].isalpha():
                yield SPACE + run
            elif len(run) > 1:
                yield run


def build(rows):
    """A tokenizer whose words are those of `rows`, an iterable of texts."""
    words = sorted({piece for text in rows for piece in _pieces(text)})
    words = [word for word in words if word != "dix"]  # "▁dix" and "-dix" are French, the rest is Roman
    words += [space + part for part in GERMAN for space in ("", SPACE)]
    words += [f"{SPACE}{task}:" for task in ("speak", "write", "french", "german")]
    characters = [SPACE] + [chr(c) for c in range(0x21, 0x7F)] + list("€£¥°²½¼¾⅓⅔éûäöüß−–’")
    words = [word for word in dict.fromkeys(words) if word not in characters]
    # Viterbi takes the best sum: a whole word beats its parts, fewer parts beat more, characters come last.
    vocabulary = [(PAD, 0.0), (EOS, 0.0), (UNK, -100.0)]
    vocabulary += [(f"<0x{byte:02X}>", -100.0) for byte in range(256)]
    vocabulary += [(character, -20.0) for character in characters]
    vocabulary += [(word, -10.0 + 0.01 * len(word)) for word in words]

    tokenizer = Tokenizer(models.Unigram(vocabulary, unk_id=2, byte_fallback=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(replacement=SPACE, prepend_scheme="always", split=True)
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace(SPACE, " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in (PAD, EOS, UNK)])
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"$A {EOS}", pair=f"$A {EOS} $B {EOS}", special_tokens=[(EOS, 1)]
    )
    return tokenizer


def save(tokenizer, folder):
    """tokenizer.json, and the settings that transformers reads beside it."""
    tokenizer.save(f"{folder}/tokenizer.json")
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "pad_token": PAD,
        "eos_token": EOS,
        "unk_token": UNK,
        "model_max_length": 512,
        "clean_up_tokenization_spaces": False,
    }
    with open(f"{folder}/tokenizer_config.json", "w", encoding="utf-8") as file:
        json.dump(settings, file, indent=2)
        file.write("\n")
