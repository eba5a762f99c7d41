"""What is measured: a checkpoint, a batch, a length, new tokens, beams; and the ids that every peer reads."""

import dataclasses
import json
import pathlib
import random
import re

WORKLOADS = [
    "bert-base 1x128",
    "bert-base 8x128",
    "bert-base 1x512",
    "t5-small greedy 1x64->64",
    "t5-base greedy 1x64->64",
    "t5-base greedy 8x64->64",
    "bart-base beam4 8x32->32",
    "marian beam4 8x32->32",
    "gpt2 greedy 1x32->128",
    "tinyllama-1.1b greedy 1x32->64",
]
FORMATS = ["f32", "bf16", "f16", "int8", "int4"]

NAME = re.compile(r"(?P<model>\S+) (?:(?:greedy|beam(?P<beams>\d+)) )?(?P<batch>\d+)x(?P<source>\d+)(?:->(?P<new>\d+))?")


@dataclasses.dataclass(frozen=True)
class Workload:
    """`MODEL [greedy|beamK] BATCHxSOURCE[->NEW]`; without NEW, one forward pass."""

    name: str
    model: str
    batch: int
    source: int
    new: int
    beams: int

    @classmethod
    def parse(cls, name: str) -> "Workload":
        match = NAME.fullmatch(name)
        if match is None:
            raise ValueError(f"workload '{name}' is not MODEL [greedy|beamK] BATCHxSOURCE[->NEW]")
        part = match.groupdict()
        numbers = {k: int(part[k] or default) for k, default in dict(batch=1, source=1, new=0, beams=1).items()}
        return cls(name=name, model=part["model"], **numbers)

    def config(self, checkpoints: pathlib.Path) -> dict:
        return json.loads((checkpoints / self.model / "config.json").read_text())

    def ids(self, vocabulary: int) -> list[list[int]]:
        """Seeded ids `[batch][source]` that are no special tokens (see `make_checkpoints.py`)."""
        draw = random.Random(0)
        return [[draw.randrange(4, vocabulary - 1) for _ in range(self.source)] for _ in range(self.batch)]
