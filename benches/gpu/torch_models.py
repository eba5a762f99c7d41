"""PyTorch's models, as jobs that torch_worker.py times: plain ones, and those of transformers where it is there.

A job is a name (`side` of its rows), what it does, and whether it waits to be compiled. All are built and have run once before the worker
says that it is ready, so that what is compiled is compiled while nothing is timed.
"""

import dataclasses
from collections.abc import Callable

from sizes import Sizes, decode_case


@dataclasses.dataclass(frozen=True)
class Job:
    op: str
    case: str
    side: str
    run: Callable[[int], object]
    """With so many new tokens; of a step of training, which has none, 0."""


def compiled(torch, place, function):
    """As `generate` compiles a step: on a GPU its kernels are replayed as a graph."""
    return torch.compile(function, fullgraph=True, mode="reduce-overhead" if place.type == "cuda" else None)


def random_ids(torch, place, vocabulary: int, *shape: int):
    return torch.randint(4, vocabulary, shape, generator=torch.Generator().manual_seed(0)).to(place)


def plain(torch, model, place, dtype):
    """Weights as the checkpoint's: deviation 1/√in, so that ids vary and nothing overflows."""
    with torch.no_grad():
        for name, p in model.named_parameters():
            if p.dim() > 1 and "shared" not in name and "embed" not in name:
                p.normal_(0, p.shape[1] ** -0.5)
    model = model.to(place)
    return model.to(dtype) if dtype else model


def plain_decode(torch, place, sizes: Sizes, name: str) -> list[tuple[str, Callable[[], list[Job]]]]:
    """Builders, each of which gives its jobs: what one of them fails at is not the others' business."""
    config, positions, made = sizes.models[name], sizes.source + max(sizes.new), {}
    ids = random_ids(torch, place, config["vocab_size"], 1, sizes.source)
    case = decode_case(name, "bf16")

    def model():
        if not made:
            if config["model_type"] == "llama":
                from plain_llama import Llama as Plain

                with torch.device(place):
                    made["model"] = plain(torch, Plain(config, positions), place, torch.bfloat16)
            else:
                from plain_t5 import T5 as Plain

                with torch.device(place):
                    made["model"] = plain(torch, Plain(config, 1, sizes.source, positions), place, torch.bfloat16)
        return made["model"].eval()

    def job(side: str, step) -> list[Job]:
        def run(new: int):
            with torch.no_grad():
                return model().generate(ids, new, step)

        return [Job("decode", case, side, run)]

    def replaying(step):
        """Each step is told apart from the one before, whose result it takes the place of."""
        for buffer in step.__self__.buffers():  # a cache stays where it is: only then may a graph write to it
            torch._dynamo.mark_static_address(buffer)
        compiled_step = compiled(torch, place, step)

        def of(*arguments):
            torch.compiler.cudagraph_mark_step_begin()
            return compiled_step(*arguments)

        return of

    builders = [("plain PyTorch, eager", lambda: job("plain PyTorch, eager", model().step))]
    if config["model_type"] == "t5":
        builders.append(("plain PyTorch, eager, beams", lambda: plain_beams(torch, place, sizes, config)))
    return [*builders, ("plain PyTorch, compiled", lambda: job("plain PyTorch, compiled", replaying(model().step)))]


def plain_beams(torch, place, sizes: Sizes, config: dict) -> list[Job]:
    from plain_t5 import T5

    ids = random_ids(torch, place, config["vocab_size"], sizes.beam_batch, sizes.source)
    with torch.device(place):
        room = T5(config, sizes.beam_batch * sizes.beams, sizes.source, sizes.beam_new)
    model = plain(torch, room, place, torch.bfloat16).eval()

    def run(new: int):
        with torch.no_grad():
            return model.beam(ids, new, sizes.beams)

    return [Job("beam search", sizes.beam_case, "plain PyTorch, eager", run)]


def hub_model(torch, place, sizes: Sizes, name: str, dtype):
    """The model of transformers, with random weights."""
    import transformers

    transformers.logging.set_verbosity_error()
    config = transformers.AutoConfig.for_model(**sizes.models[name])
    kind = transformers.AutoModelForCausalLM if config.model_type == "llama" else transformers.AutoModelForSeq2SeqLM
    with torch.device(place):
        return kind.from_config(config, dtype=dtype)


def hub_decode(torch, place, sizes: Sizes, name: str) -> list[tuple[str, Callable[[], list[Job]]]]:
    """`generate`, eager, and with a static cache, with which it compiles the steps by itself."""
    config, made = sizes.models[name], {}

    def model():
        if not made:
            made["model"] = hub_model(torch, place, sizes, name, torch.bfloat16).eval()
        return made["model"]

    def job(op: str, case: str, side: str, batch: int, **options) -> list[Job]:
        ids = random_ids(torch, place, config["vocab_size"], batch, sizes.source)

        def run(new: int):
            lengths = dict(min_new_tokens=new, max_new_tokens=new)
            with torch.no_grad():
                return model().generate(ids, attention_mask=torch.ones_like(ids), do_sample=False, **lengths, **options)

        return [Job(op, case, side, run)]

    def static() -> list[Job]:
        from transformers import CompileConfig

        compile = CompileConfig(mode="reduce-overhead" if place.type == "cuda" else "default", fullgraph=True)
        compile._compile_all_devices = True  # GPUs are by themselves
        options = dict(cache_implementation="static", compile_config=compile)
        return job("decode", decode_case(name, "bf16"), "transformers, compiled", 1, **options)

    decode = lambda: job("decode", decode_case(name, "bf16"), "transformers, eager", 1)
    builders = [("transformers, eager", decode)]
    if config["model_type"] == "t5":
        many = lambda: job("beam search", sizes.beam_case, "transformers, eager", sizes.beam_batch, num_beams=sizes.beams)
        builders.append(("transformers, eager, beams", many))
    return [*builders, ("transformers, compiled", static)]


def training(torch, place, sizes: Sizes, hub: bool) -> list[tuple[str, Callable[[], list[Job]]]]:
    """A step: forward, back, clipping by the norm of all gradients, AdamW; bf16 by autocast over weights in f32, nothing dropped."""
    config = sizes.models["t5-base"]
    batch, source, target = sizes.train
    ids = random_ids(torch, place, config["vocab_size"], batch, source)
    labels = random_ids(torch, place, config["vocab_size"], batch, target)
    who = "transformers" if hub else "plain PyTorch"

    def job(side: str, compile: bool) -> list[Job]:
        if hub:
            model = hub_model(torch, place, sizes, "t5-base", torch.float32)
        else:
            from plain_t5 import T5

            with torch.device(place):
                model = plain(torch, T5(config), place, None)
        model.train()
        optimiser = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=place.type == "cuda")
        forward = torch.compile(model) if compile else model

        def run(_: int):
            with torch.autocast(place.type, dtype=torch.bfloat16):
                out = forward(input_ids=ids, labels=labels)
            loss = out.loss if hub else out
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimiser.step()
            optimiser.zero_grad()
            return loss.detach()

        return [Job("training step", sizes.train_case, side, run)]

    sides = ((f"{who}, eager", False), (f"{who}, compiled", True))
    return [(side, lambda side=side, compile=compile: job(side, compile)) for side, compile in sides]
