from typing import Any

from numpy import ndarray

from ._weights import Weights

Array = ndarray[Any, Any]
Maybe = Array | None

class Activations:
    served: bool

class Engine:
    weights: Weights
    layers: int
    directions: int
    def __init__(self, weights: Weights) -> None: ...
    def plan(self, batch: int, steps: int) -> tuple[int, int, int]: ...
    def infer(self, x: Array, y: Array, h0: Maybe, c0: Maybe, hn: Maybe, cn: Maybe, lengths: Maybe = ...) -> None: ...
    def forward(self, x: Array, y: Array, h0: Maybe, c0: Maybe, hn: Maybe, cn: Maybe, lengths: Maybe = ...,
                dropout: float = ..., seed: int = ...) -> Activations: ...
    def backward(self, act: Activations, dy: Maybe, dhn: Maybe, dcn: Maybe, dx: Maybe, dh0: Maybe,
                 dc0: Maybe) -> None: ...
