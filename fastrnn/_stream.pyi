from collections.abc import Callable
from typing import Any

from numpy import ndarray

from ._weights import Weights

Array = ndarray[Any, Any]

class StreamCore:
    h: Array
    c: Array | None
    def __init__(self, weights: Weights, h: Array, c: Array | None,
                 coerce: Callable[[Any, Any], tuple[Array, Array | None]]) -> None: ...
    def step(self, x: Any, out: Array | None = ...) -> Array: ...
