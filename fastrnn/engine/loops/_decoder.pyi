from typing import Any

from numpy import ndarray

from ._attention import AttentionWeights
from ._weights import Weights

_Array = ndarray[Any, Any]
_Maybe = _Array | None
_Memory = tuple[_Array, _Array, _Array, _Maybe] | None

class DecoderTape:
    @property
    def served(self) -> bool: ...

class Decoder:
    weights: Weights
    attention: AttentionWeights | None
    def __new__(cls, weights: Weights, attention: AttentionWeights | None, before: bool) -> Decoder: ...
    def infer(self, x: _Array, lengths: _Array, memory: _Memory, h0: _Array, c0: _Maybe, y: _Array, context: _Maybe,
              weights: _Maybe, hn: _Array, cn: _Maybe) -> None: ...
    def forward(self, x: _Array, lengths: _Array, memory: _Memory, h0: _Array, c0: _Maybe, y: _Array, context: _Maybe,
                weights: _Maybe, hn: _Array, cn: _Maybe) -> DecoderTape: ...
    def backward(self, tape: DecoderTape, dy: _Maybe, dcontext: _Maybe, dx: _Array, dh0: _Array, dc0: _Maybe,
                 dvalues: _Maybe, dkeys: _Maybe) -> None: ...
