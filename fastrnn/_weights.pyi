from collections.abc import Mapping
from typing import Any

from numpy import ndarray

class Packed:
    def __init__(self, count: int) -> None: ...

class Weights:
    count: int
    directions: int
    itemsize: int
    exposed: bool
    def __init__(self, cell: str, params: Mapping[str, ndarray[Any, Any]], grads: Mapping[str, ndarray[Any, Any]],
                 names: list[list[str | None]], input_sizes: list[int], hidden: int, directions: int,
                 relu: bool = ..., reset_after: bool = ...) -> None: ...
    def expose(self) -> dict[str, ndarray[Any, Any]]: ...
