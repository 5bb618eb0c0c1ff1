"""Weight matrices with few bits: 8-bit integers or bfloat16 numbers in place of float32."""

import numpy as np

from ..engine.runtime._arrays import room
from ..engine.runtime._stored import FORMATS as FORMATS  # other files take both from here
from ..engine.runtime._stored import SCALE, store
from ..files.bfloat16 import from_bfloat16


def stored(params, names, weight_format):
    """The arrays of `params`, with the matrices of these names in the format, as a dict."""
    arrays = {}
    for name, array in params.items():
        if name not in names:
            arrays[name] = array
            continue
        if array.dtype != np.float32:
            raise ValueError(f"model: expected float32 weights, found {array.dtype} in {name}")
        few, scale = store(array, weight_format)
        arrays[name] = _owned(few)
        if scale is not None:
            arrays[name + SCALE] = _owned(scale)
    return arrays


def restored(rows, scale):
    """float32 rows of a stored matrix: [..., columns], of int8 with their scales [...] or of bfloat16 bits."""
    return from_bfloat16(rows) if scale is None else rows * scale[..., None]


def _owned(array):
    kept = room(array.shape, array.dtype)
    kept[...] = array
    return kept
