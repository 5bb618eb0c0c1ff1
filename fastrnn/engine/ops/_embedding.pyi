from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

_Array = TypeVar("_Array", NDArray[np.float32], NDArray[np.float64])

def gather(out: _Array, table: _Array, ids: NDArray[np.int64]) -> None: ...
def scatter_add(dtable: _Array, dout: _Array, ids: NDArray[np.int64]) -> None: ...
