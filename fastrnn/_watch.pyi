from collections.abc import Mapping
from typing import Any

from numpy import ndarray

class Watched:
    exposed: bool
    def __init__(self, params: Mapping[str, ndarray[Any, Any]]) -> None: ...
    def expose(self) -> dict[str, ndarray[Any, Any]]: ...
