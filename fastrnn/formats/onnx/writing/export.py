"""`to_onnx`: networks, cells, and the parts of `Seq2Seq` as ONNX files."""

from typing import TYPE_CHECKING

import numpy as np

from ...._version import __version__
from ....check.values import check_bool, shown
from ....files.wholefile import as_path, write_whole
from ....models.seq2seq import Seq2Seq
from ....nn.cells import Cell
from ....nn.container import Container
from ....nn.module import Module
from ....nn.runners import Runner
from ...plain import check_float_weights
from ..wire import encode
from . import overtime  # noqa: F401  enters its modules
from .graph import Graph
from .modules import Flow, States, write_module
from .runners import write_layers
from .seq2seq import write_decoder, write_encoder

if TYPE_CHECKING:
    from typing import Literal

    from ...._types import PathLike


def features_of(module):
    """How many features a network reads at a step; a name where it may be any number."""
    if isinstance(module, Container):
        found = [features_of(one) for one in module.modules]
        # what keeps the features leaves the number to what follows
        known = next((n for one, n in zip(module.modules, found)
                      if isinstance(n, int) or not getattr(one, "keeps_features", False)), "features")
        return known
    for name in ("input_size", "in_features", "in_channels", "num_features", "features"):
        if isinstance(getattr(module, name, None), int):
            return getattr(module, name)
    return "features"


def write_network(graph, model, states, lengths):
    """A network over whole sequences: x, with lengths and states if they are asked for, to y."""
    batch_first = bool(getattr(model, "batch_first", False))
    axes = ("batch", "steps") if batch_first else ("steps", "batch")
    if getattr(model, "takes_ids", False):
        x = graph.input("x", np.int64, axes)
        x = graph.transposed(x, 1, 0) if batch_first else x
    else:
        x = graph.input("x", graph.dtype, (*axes, features_of(model)))
        x = graph.transposed(x, 1, 0, 2) if batch_first else x
    length = graph.input("lengths", np.int32, ("batch",)) if lengths else None
    kept = States(states)
    flow = write_module(graph, model, "", Flow(x, length), kept)
    y = flow.value
    if flow.steps:
        if length is not None:
            y = graph.add("Where", graph.valid(y, length), y, graph.number(0))
        y = graph.transposed(y, 1, 0, 2) if batch_first else y
    graph.output(y, "y", graph.dtype, (*axes, "outputs") if flow.steps else ("batch", "outputs"))
    for value, name, shape in kept.outputs:
        graph.output(value, name, graph.dtype, shape)
    if states and not kept.outputs:
        raise ValueError(f"states: expected False for a network without a state, {shown(model)}, found True")


def write_cell(graph, cell):
    """A cell: x (B, I) and its state to its new state."""
    x = graph.add("Unsqueeze", graph.input("x", graph.dtype, ("batch", cell.input_size)), graph.ints(0))
    parts = [graph.add("Unsqueeze", graph.input(f"{part}_in", graph.dtype, ("batch", cell.hidden_size)), graph.ints(0))
             for part in cell._state]
    _, final = write_layers(graph, cell, "", x, None, parts, suffix="")
    for part, value in zip(cell._state, final):
        graph.output(graph.add("Squeeze", value, graph.ints(0)), f"{part}_out", graph.dtype, ("batch",
                                                                                              cell.hidden_size))


def to_onnx(model: Module, path: "PathLike", *, states: bool = False, lengths: bool = False,
            part: "Literal['encoder', 'decoder'] | None" = None) -> None:
    """Write a network as an ONNX file, of operator set 17, for inference.

    Parameters
    ----------
    model : Module
        A runner, cell, layer or network of these, or a `Seq2Seq`. It becomes RNN, LSTM and GRU nodes where these mean
        the same; layer-normalised and projected cells, zoneout and cells with elementwise recurrences become a Scan.
    path : str or path-like
        Written whole or not at all.
    states : bool
        Whether the states are inputs and outputs, for streams: "h_in" (L*D, B, H) and "h_out" of a runner, and for the
        LSTM "c_in" and "c_out"; in a network with the runner's place before it, "1.h_in".
    lengths : bool
        Whether the number of valid steps is an input, "lengths" (B,) of int32.
    part : "encoder" or "decoder", optional
        Of a `Seq2Seq`. The encoder takes "x" and "lengths" and gives the decoder's first states "h" and "c", and with
        attention "memory" and, for additive attention, "keys". The decoder makes one step: it takes "id" (B,), "h_in",
        "c_in", "memory", "keys" and "lengths" and gives "logits" (B, V), "h_out", "c_out" and "weights" (B, S).

    Notes
    -----
    Sequences are "x" and "y" in the network's own layout. A cell has "x" (B, I), "h_in" and "h_out", "c_in" and
    "c_out".
    Parameters keep their bits. Those that nodes take as they are have their names in ``model.params``.

    Raises
    ------
    TypeError, ValueError
        For a module that no nodes are known for, or options that do not fit it; nothing is written.
    """
    path = as_path(path)
    states, lengths = check_bool(states, "states"), check_bool(lengths, "lengths")
    if not isinstance(model, Module):
        raise TypeError(f"model: expected a fastrnn module, found {type(model).__name__}")
    check_float_weights(model)
    if (part is not None) != isinstance(model, Seq2Seq) or part not in (None, "encoder", "decoder"):
        wanted = "'encoder' or 'decoder' for a Seq2Seq" if isinstance(model, Seq2Seq) else \
            f"None for a {type(model).__name__}"
        raise ValueError(f"part: expected {wanted}, found {shown(part)}")
    if (isinstance(model, (Seq2Seq, Cell))) and (states or lengths):
        raise ValueError(f"states, lengths: expected False for a {type(model).__name__}, whose states are inputs "
                         "always, "
                         "found True")
    if states:
        check_forward(model)
    graph = Graph(model.dtype)
    if isinstance(model, Seq2Seq):
        (write_encoder if part == "encoder" else write_decoder)(graph, model)
    elif isinstance(model, Cell):
        write_cell(graph, model)
    else:
        write_network(graph, model, states, lengths)
    write_whole(path, encode(graph.model(type(model).__name__, __version__)))


def check_forward(module):
    """Raise for what has no stream."""
    for one in getattr(module, "modules", ()):
        check_forward(one)
    if isinstance(module, Runner) and (module.bidirectional or module.direction == "reverse"):
        raise ValueError(f"states: expected False for a runner that reads backwards, found True for direction="
                         f"{module.direction!r}")
    if getattr(module, "needs_whole_sequences", False):
        raise ValueError(f"states: expected False with {type(module).__name__}, which needs whole sequences, found "
                         "True")
