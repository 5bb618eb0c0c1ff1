from collections.abc import Collection, Mapping
from typing import NamedTuple

class Gate(NamedTuple):
    symbol: str
    name: str
    function: str | None = ...
    keeps: bool = ...
    complement: bool = ...

class Parameter(NamedTuple):
    name: str
    shape: tuple[str, ...]
    start: str
    words: str = ...

class Placed(NamedTuple):
    shape: tuple[int, ...]
    start: str
    blocks: int
    opening: int | None

class Kind:
    name: str
    opening: str | None
    gates: tuple[Gate, ...]
    states: tuple[str, ...]
    activations: tuple[str, ...]
    parameters: tuple[Parameter, ...]
    orders: Mapping[str, tuple[str, ...]]
    def knows(self, word: str) -> bool: ...
    def completed(self, words: Collection[str], features: int, hidden: int) -> frozenset[str]: ...
    def layout(self, words: Collection[str], features: int, hidden: int, out: int, window: int = ...,
               ) -> dict[str, Placed]: ...
