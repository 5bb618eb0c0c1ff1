from collections.abc import Callable
from typing import Any, final

from numpy import ndarray

from ._weights import Weights

_Array = ndarray[Any, Any]

@final
class StreamCore:
    h: _Array
    c: _Array | None
    w: _Array | None
    def __new__(cls, weights: Weights, batch: int,
                coerce: Callable[[Any, Any], tuple[_Array, _Array | None]]) -> StreamCore: ...
    def __enter__(self) -> None: ...
    def __exit__(self, *_: object) -> None: ...
    def step(self, x: Any, out: _Array | None = ...) -> _Array: ...
