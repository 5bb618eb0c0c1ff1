"""bfloat16 numbers as NumPy has none: the upper half of a float32."""

import numpy as np


def from_bfloat16(bits: np.ndarray) -> np.ndarray:
    """The numbers whose bits an array of uint16 holds, as float32, exactly."""
    wide = bits.astype(np.uint32)
    wide <<= 16
    return wide.view(np.float32)
