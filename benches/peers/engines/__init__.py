"""The peers in Python: a module each, with `VERSION` and `load(job) -> Loaded`."""

import dataclasses
import json
import pathlib
from collections.abc import Callable
from typing import Any


class Unsupported(Exception):
    """The engine does not offer this model or format, or it is not measured in it."""


@dataclasses.dataclass(frozen=True)
class Job:
    folder: pathlib.Path
    converted: pathlib.Path
    """Where `convert.py` has put other engines' files of this checkpoint."""
    format: str
    ids: list[list[int]]
    new: int
    beams: int
    threads: int

    @property
    def family(self) -> str:
        return json.loads((self.folder / "config.json").read_text())["model_type"]

    @property
    def causal(self) -> bool:
        return self.family in ("gpt2", "llama")


@dataclasses.dataclass(frozen=True)
class Loaded:
    run: Callable[[], Any]
    check: Callable[[Any], None]
    """Raises where an output of `run` is not the whole work; not timed."""


def expect(what: str, got: object, wanted: object) -> None:
    if got != wanted:
        raise ValueError(f"{what}: {got} in place of {wanted}")
