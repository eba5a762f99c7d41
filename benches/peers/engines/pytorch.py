"""PyTorch through transformers, eager: f32 and bf16."""

import numpy
import torch
import transformers

from . import Job, Loaded, Unsupported, expect

VERSION = f"{torch.__version__.split('+')[0]}, transformers {transformers.__version__}"
DTYPES = {"f32": torch.float32, "bf16": torch.bfloat16}
transformers.logging.set_verbosity_error()
transformers.utils.logging.disable_progress_bar()


def load(job: Job) -> Loaded:
    if job.format not in DTYPES:
        raise Unsupported(f"no {job.format} in eager mode")
    torch.set_num_threads(job.threads)
    ids = torch.from_numpy(numpy.array(job.ids))
    if job.new == 0:
        kind = transformers.AutoModel
    else:
        kind = transformers.AutoModelForCausalLM if job.causal else transformers.AutoModelForSeq2SeqLM
    model = kind.from_pretrained(job.folder, dtype=DTYPES[job.format]).eval()
    return encoder(model, ids) if job.new == 0 else writer(model, ids, job)


def encoder(model: torch.nn.Module, ids: torch.Tensor) -> Loaded:
    def run() -> torch.Tensor:
        with torch.inference_mode():
            return model(ids).last_hidden_state

    return Loaded(run, lambda hidden: expect("rows", hidden.shape[:2], ids.shape))


def writer(model: torch.nn.Module, ids: torch.Tensor, job: Job) -> Loaded:
    given = ids.shape[1] if job.causal else 1
    ends = torch.tensor(model.generation_config.eos_token_id)
    options = dict(min_new_tokens=job.new, max_new_tokens=job.new, num_beams=job.beams, do_sample=False)

    def run() -> torch.Tensor:
        with torch.inference_mode():
            return model.generate(ids, attention_mask=torch.ones_like(ids), **options)

    def check(output: torch.Tensor) -> None:
        expect("sequences and tokens", tuple(output.shape), (ids.shape[0], given + job.new))
        expect("ends among the new tokens", torch.isin(output[:, given:], ends).any().item(), False)

    return Loaded(run, check)
