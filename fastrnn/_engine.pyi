from typing import Any

from numpy import ndarray

from ._weights import Weights

_Array = ndarray[Any, Any]
_Maybe = _Array | None

class Activations:
    served: bool

class Engine:
    weights: Weights
    layers: int
    directions: int
    def __init__(self, weights: Weights) -> None: ...
    def plan(self, batch: int, steps: int) -> tuple[int, int, int]: ...
    def infer(self, x: _Array, y: _Array, h0: _Maybe, c0: _Maybe, hn: _Maybe, cn: _Maybe,
              lengths: _Maybe = ...) -> None: ...
    def forward(self, x: _Array, y: _Array, h0: _Maybe, c0: _Maybe, hn: _Maybe, cn: _Maybe, lengths: _Maybe = ...,
                dropout: float = ..., seed: int = ..., first: int = ...) -> Activations: ...
    def backward(self, act: Activations, dy: _Maybe, dhn: _Maybe, dcn: _Maybe, dx: _Maybe, dh0: _Maybe,
                 dc0: _Maybe, dh: _Maybe = ...) -> None: ...
    def activations(self, act: Activations, gates: _Maybe, h: _Maybe, c: _Maybe) -> None: ...
