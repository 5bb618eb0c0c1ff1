from collections.abc import Collection, Mapping
from typing import Any

from numpy import ndarray

from ..cells._kind import Kind
from ..runtime._watch import Watched

class Packed:
    def __new__(cls, count: int) -> Packed: ...

class Weights(Watched):
    count: int
    directions: int
    itemsize: int
    reverse: bool
    general: bool
    def __new__(cls, kind: Kind, words: Collection[str], params: Mapping[str, ndarray[Any, Any]],
                grads: Mapping[str, ndarray[Any, Any]], suffixes: list[str], input_sizes: list[int], hidden: int,
                directions: int, projection: int = ..., relu: bool = ..., window: int = ..., skip_scale: float = ...,
                activations: Any = ..., clip: float = ..., coupled: bool = ..., reverse: bool = ...,
                weight_format: str = ...) -> Weights: ...
    def set_dropout(self, recurrent: float, zone_h: float, zone_c: float, weight: float) -> None: ...
