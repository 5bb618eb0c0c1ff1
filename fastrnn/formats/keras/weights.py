"""A recurrent layer's weights, from Keras' order, layout and gates to PyTorch's, which are the engine's, and back."""

from typing import TYPE_CHECKING

import numpy as np

from ...engine.kinds import KINDS

if TYPE_CHECKING:
    from ..._types import Array


def blocks(kind: str) -> "list[int]":
    """Where the engine's gates, in their order, are among Keras'."""
    cell = KINDS[kind]
    return [cell.orders["keras"].index(gate.symbol) for gate in cell.gates]


def from_keras_weights(kind: str, weights: "list[Array]", where: str) -> "tuple[dict[str, Array], bool]":
    """({"weight_ih": ..., "weight_hh": ..., and biases}, whether a GRU's second bias stands alone).

    Keras has one bias, which becomes the first here beside a second of zeros. A GRU with reset_after has two, in two
    rows; so have layers of cuDNN's layout, one behind the other, whose matrices are laid out otherwise, too.
    """
    order = blocks(kind)
    gates = len(order)
    if len(weights) not in (2, 3) or weights[0].ndim != 2 or weights[1].ndim != 2:
        raise ValueError(f"{where}: expected a kernel, a recurrent kernel and perhaps a bias, found {len(weights)} "
                         f"arrays of shapes {[array.shape for array in weights][:5]}")
    kernel, recurrent, *bias = weights
    hidden = len(recurrent)
    if kernel.shape[1] != gates * hidden or recurrent.shape[1] != gates * hidden or not hidden or not len(kernel):
        raise ValueError(f"{where}: expected kernels of {gates} gates for {hidden} units, found shapes {kernel.shape} "
                         f"and {recurrent.shape}")
    found = {"weight_ih": _gated(kernel.T, order), "weight_hh": _gated(recurrent.T, order)}
    if not bias:
        return found, False
    bias, size = bias[0], gates * hidden
    if kind != "RNN" and bias.shape == (2 * size,):  # of cuDNN
        parts = np.split(kernel, gates, axis=1), np.split(recurrent, gates, axis=1)
        inputs, states = ([part.reshape(-1).reshape(hidden, -1) for part in one] for one in parts)
        found = {"weight_ih": np.concatenate([inputs[k] for k in order]),
                 "weight_hh": np.concatenate([states[k] for k in order])}
        bias = bias.reshape(2, size)
    if bias.shape == (2, size) and kind != "RNN":
        first, second = bias
    elif bias.shape == (size,):
        first, second = bias, np.zeros_like(bias)
    else:
        raise ValueError(f"{where}: expected a bias of {size} values, or two, found shape {bias.shape}")
    return {**found, "bias_ih": _gated(first, order), "bias_hh": _gated(second, order)}, bias.ndim == 2


def to_keras_weights(kind: str, arrays: "dict[str, Array]", two_biases: bool) -> "list[Array]":
    """What a layer of Keras takes: the kernel, the recurrent kernel, and the bias.

    arrays: as `from_keras_weights` gives them. Where Keras has one bias it is the sum of two.
    """
    order = list(np.argsort(blocks(kind)))
    found = [_gated(arrays[name], order).T.copy() for name in ("weight_ih", "weight_hh")]
    if "bias_ih" not in arrays:
        return found
    first, second = (_gated(arrays[name], order) for name in ("bias_ih", "bias_hh"))
    return [*found, np.stack([first, second]) if two_biases else first + second]


def _gated(rows, order):
    """Blocks of rows in another order, a copy."""
    parts = np.split(rows, len(order))
    return np.concatenate([parts[k] for k in order])
