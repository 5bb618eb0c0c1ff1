"""The operators by kind; importing this fills `registry.OPERATORS`."""

from . import (
    convolution,
    elementwise,
    indexing,
    normalization,
    pooling,
    products,
    quantized,
    recurrent,
    recurrent_quantized,
    reduction,
    shapes,
)

__all__ = ["convolution", "elementwise", "indexing", "normalization", "pooling", "products", "quantized", "recurrent",
           "recurrent_quantized", "reduction", "shapes"]
