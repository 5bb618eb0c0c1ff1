from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

_Array = TypeVar("_Array", NDArray[np.float32], NDArray[np.float64])

def cross_entropy(
    dlogits: _Array,
    logits: _Array,
    target: NDArray[np.int64],
    weight: NDArray[np.float64] | None,
    class_weight: NDArray[np.float64] | None,
    smoothing: float,
    scale: float,
) -> float: ...
def log_likelihood(out: NDArray[np.float64], logits: _Array, target: NDArray[np.int64]) -> None: ...
def binary_cross_entropy(
    dlogits: _Array,
    logits: _Array,
    target: _Array,
    weight: NDArray[np.float64] | None,
    positive: float,
    scale: float,
) -> float: ...
