"""Modules made of arrays that another system trained."""

import re
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ..engine.kinds import KINDS
from ..nn._init import left_at_zero
from ..nn.cells import GRUCell, LSTMCell, RNNCell
from ..nn.runners import GRU, LSTM, RNN

if TYPE_CHECKING:
    from typing import Any

    from .._types import Array

RUNNERS = {"RNN": RNN, "LSTM": LSTM, "GRU": GRU}
CELLS = {"RNN": RNNCell, "LSTM": LSTMCell, "GRU": GRUCell}
GATES = {len(KINDS[kind].gates): kind for kind in RUNNERS}
_LAYER = re.compile(r"(weight_ih|weight_hh|weight_hr|bias_ih|bias_hh)(?:_l(\d{1,4}))?(_reverse)?\Z")


def build(cls: type, arrays: "dict[str, Array]", where: str, **arguments: "Any") -> "Any":
    """A module with these parameters, bit for bit: float64 if any of them is, else float32.

    Parameters
    ----------
    cls : type
    arrays : dict of str to array
        Exactly the module's parameters.
    where : str
        What an error names.
    **arguments
        Of the constructor, less dtype.
    """
    try:
        for name, array in arrays.items():
            if array.dtype.kind != "f" or array.dtype.itemsize > 8:
                raise TypeError(f"{name}: expected floats of at most 64 bits, found {array.dtype}")
        dtype = np.dtype("float64" if any(array.dtype.itemsize == 8 for array in arrays.values()) else "float32")
        arrays = {name: array.astype(dtype, copy=False) for name, array in arrays.items()}
        if arrays:
            arguments["dtype"] = dtype.name
        with left_at_zero(arrays.values()):
            module = cls(**arguments)
        module.load_state_dict(arrays)
    except (ValueError, TypeError) as error:
        raise ValueError(f"{where}: {error}") from None
    return module


class Shape(NamedTuple):
    """What the parameters of a recurrent layer tell of it."""

    kind: str
    input_size: int
    hidden_size: int
    num_layers: "int | None"  # None for a cell
    bidirectional: bool
    proj_size: int
    bias: bool


def shape_of(arrays: "dict[str, Array]", where: str) -> Shape:
    """The kind and the sizes of the recurrent layer, or cell, with parameters of PyTorch's names."""
    places = set()
    for name, array in arrays.items():
        match = _LAYER.match(name)
        if match is None:
            raise ValueError(f"{where}: expected the parameters of a recurrent layer, found {name}")
        if array.ndim != (2 if name.startswith("weight") else 1) or not array.size:
            raise ValueError(f"{where}.{name}: expected a matrix of weights or a vector of biases, found shape "
                             f"{array.shape}")
        places.add((match[2], match[3]))
    layers = {layer for layer, _ in places}
    cell = layers == {None}
    end = "" if cell else "_l0"
    if f"weight_ih{end}" not in arrays or f"weight_hh{end}" not in arrays:
        raise ValueError(f"{where}: expected weight_ih{end} and weight_hh{end}, found {', '.join(arrays)[:200]}")
    projected = arrays.get(f"weight_hr{end}")
    hidden = (arrays[f"weight_hh{end}"] if projected is None else projected).shape[1]
    kind = GATES.get(len(arrays[f"weight_ih{end}"]) / hidden)
    if kind is None:
        raise ValueError(f"{where}: expected {', '.join(f'{n}*H ({kind})' for n, kind in GATES.items())} rows of "
                         f"weights for H {hidden}, found {len(arrays[f'weight_ih{end}'])}")
    return Shape(kind, arrays[f"weight_ih{end}"].shape[1], hidden, None if cell else len(layers),
                 any(way for _, way in places), 0 if projected is None else len(projected),
                 any(name.startswith("bias") for name in arrays))


def build_recurrent(arrays: "dict[str, Array]", where: str, *, batch_first: bool = False,
                    nonlinearity: "str | None" = None) -> "Any":
    """The runner or the cell that parameters of PyTorch's names and layouts belong to."""
    shape = shape_of(arrays, where)
    options = {"bias": shape.bias}
    if shape.kind == "RNN":
        options["nonlinearity"] = nonlinearity or "tanh"
    if shape.num_layers is None:
        return build(CELLS[shape.kind], arrays, where, input_size=shape.input_size, hidden_size=shape.hidden_size,
                     **options)
    if shape.proj_size:
        options["proj_size"] = shape.proj_size
    return build(RUNNERS[shape.kind], arrays, where, input_size=shape.input_size, hidden_size=shape.hidden_size,
                 num_layers=shape.num_layers, bidirectional=shape.bidirectional, batch_first=batch_first, **options)
