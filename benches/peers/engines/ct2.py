"""CTranslate2 on its converted folder: f32 and int8."""

import ctranslate2

from . import Job, Loaded, Unsupported, expect

VERSION = ctranslate2.__version__
TYPES = {"f32": "float32", "int8": "int8"}


def load(job: Job) -> Loaded:
    if job.format not in TYPES:
        raise Unsupported(f"no {job.format} on the CPU")
    settings = dict(compute_type=TYPES[job.format], intra_threads=job.threads)
    folder = str(job.converted / "ctranslate2")
    if job.new == 0:
        encoder = ctranslate2.Encoder(folder, **settings)
        rows = [len(job.ids), len(job.ids[0])]
        return Loaded(
            lambda: encoder.forward_batch(job.ids).last_hidden_state,
            lambda hidden: expect("rows", hidden.shape[:2], rows),
        )
    tokens = [[f"w{id}" for id in row] for row in job.ids]
    if job.causal:
        generator = ctranslate2.Generator(folder, **settings)
        options = dict(min_length=job.new, max_length=job.new, beam_size=job.beams, include_prompt_in_result=False)
        run, field = lambda: generator.generate_batch(tokens, **options), "sequences"
    else:
        translator = ctranslate2.Translator(folder, inter_threads=1, **settings)
        options = dict(min_decoding_length=job.new, max_decoding_length=job.new, beam_size=job.beams)
        run, field = lambda: translator.translate_batch(tokens, **options), "hypotheses"

    def check(results: list) -> None:
        lengths = [len(getattr(r, field)[0]) for r in results]
        expect("new tokens", lengths, [job.new] * len(job.ids))

    return Loaded(run, check)
