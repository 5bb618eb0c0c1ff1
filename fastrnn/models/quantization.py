"""Models with fewer bits a weight."""

from typing import TYPE_CHECKING

from ..nn.module import Module

if TYPE_CHECKING:
    from typing import Any, Literal


def quantize(model: "Any", weight_format: "Literal['int8', 'bf16']") -> "Any":
    """A copy of a model for inference whose weight matrices have fewer bits.

    The matrices of recurrent layers, `Linear` and `Embedding` are stored in the format; biases, other parameters,
    states and gate arithmetic stay float32. A call, a stream, a decoder, `save` and `load` work as with the model
    itself, and a sequence still gives the same bits alone, in a batch, streamed or on any number of threads. Training
    needs the model itself.

    Parameters
    ----------
    model : Module
        Of float32.
    weight_format : "int8" or "bf16"
        "int8": a quarter of the bytes. A row of a matrix has one scale, w = q s with s = max |w| / 127; each row of
        inputs and of hidden states is scaled the same way in each product, and the sums are of 32-bit integers.
        "bf16": half of the bytes, the upper half of each float32; sums are of float32.

    Returns
    -------
    Module
        Of the same type. `params` holds a matrix as int8 (rows, columns) with the float32 scales "<name>_scale"
        (rows,), or as the uint16 bits of bfloat16 numbers.

    Raises
    ------
    TypeError, ValueError
        If the model is no module of float32 weights, or no module inside has a matrix to store. NaN or infinity among
        the weights is refused too.
    """
    if not isinstance(model, Module):
        raise TypeError(f"model: expected a fastrnn module, found {type(model).__name__}")
    return model.quantize(weight_format)
