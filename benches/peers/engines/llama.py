"""llama.cpp on a converted GGUF: f16 (also set beside bf16: as many bytes), q8_0 (beside int8) and q4_0 (beside int4)."""

import llama_cpp
import numpy

from . import Job, Loaded, Unsupported, expect

VERSION = f"llama-cpp-python {llama_cpp.__version__}"
FILES = {"bf16": "f16.gguf", "f16": "f16.gguf", "int8": "q8_0.gguf", "int4": "q4_0.gguf"}


def load(job: Job) -> Loaded:
    if job.family != "llama" or job.format not in FILES:
        raise Unsupported("LLaMA in f16, q8_0 and q4_0 only is measured")
    threads = dict(n_threads=job.threads, n_threads_batch=job.threads)
    model = llama_cpp.Llama(str(job.converted / FILES[job.format]), n_ctx=256, verbose=False, **threads)
    (prompt,) = job.ids
    vocabulary = model.n_vocab()

    def run() -> list[int]:
        model.reset()
        model.eval(prompt)
        new: list[int] = []
        while True:
            logits = numpy.ctypeslib.as_array(model._ctx.get_logits(), shape=(vocabulary,))
            new.append(int(logits.argmax()))
            if len(new) == job.new:
                return new
            model.eval(new[-1:])

    return Loaded(run, lambda new: expect("new tokens", len(new), job.new))
