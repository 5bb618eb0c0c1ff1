from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

_Array = TypeVar("_Array", NDArray[np.float32], NDArray[np.float64])

def forward(scaled: _Array, rstd: _Array, x: _Array, eps: float) -> None: ...
def backward(
    dx: _Array, dweight: _Array, dbias: _Array, dy: _Array, scaled: _Array, rstd: _Array, weight: _Array
) -> None: ...
