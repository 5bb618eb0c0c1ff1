from collections.abc import Mapping
from typing import Any

from numpy import ndarray

from ..runtime._watch import Watched

class Packed:
    def __new__(cls, count: int) -> Packed: ...

class Weights(Watched):
    count: int
    directions: int
    itemsize: int
    reverse: bool
    general: bool
    def __new__(cls, cell: str, params: Mapping[str, ndarray[Any, Any]], grads: Mapping[str, ndarray[Any, Any]],
                names: list[list[str | None]], input_sizes: list[int], hidden: int, directions: int,
                relu: bool = ..., reset_after: bool = ..., layer_norm: bool = ..., window: int = ...,
                skip_scale: float = ..., activations: Any = ..., clip: float = ..., coupled: bool = ...,
                reverse: bool = ...) -> Weights: ...
    def set_dropout(self, recurrent: float, zone_h: float, zone_c: float, weight: float) -> None: ...
