from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

_Array = TypeVar("_Array", NDArray[np.float32], NDArray[np.float64])

def ctc(
    losses: NDArray[np.float64],
    dlogits: _Array,
    logits: _Array,
    labels: NDArray[np.int64],
    starts: NDArray[np.int64],
    lengths: NDArray[np.int64],
    weight: NDArray[np.float64] | None,
    blank: int,
    zero_infinity: bool,
    scale: float,
    batch_first: bool,
) -> None: ...
