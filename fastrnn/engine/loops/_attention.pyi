from collections.abc import Mapping
from typing import Any

from numpy import ndarray

from ..runtime._watch import Watched

class Packing:
    def __new__(cls) -> Packing: ...

class AttentionWeights(Watched):
    def __new__(cls, params: Mapping[str, ndarray[Any, Any]], grads: Mapping[str, ndarray[Any, Any]], query: int,
                width: int, values: int, itemsize: int) -> AttentionWeights: ...
