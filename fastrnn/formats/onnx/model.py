"""ONNX graphs as models: `from_onnx`, and what it returns."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ...check.values import check_mapping, shown
from ...files.wholefile import as_path, naming, read_whole
from . import control  # noqa: F401  enters its operators
from .graph import build_graph
from .messages import MODEL
from .program import Program
from .sequential import Chain
from .stream import OnnxStream
from .tensors import DataFiles
from .wire import decode

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from ..._types import Array, ArrayLike, PathLike
    from ...nn.sequential import Sequential


class OnnxModel:
    """A graph that runs; made by `from_onnx`. Threads may share one.

    Attributes
    ----------
    inputs, outputs : dict of str to (dtype, shape)
        What the graph declares. A size is an int, a name, which stands for one size everywhere, or None for any.
    """

    def __init__(self, graph):
        self._program = Program(graph, owned=True)
        self._declared = graph.inputs
        self.inputs = {value.name: (value.dtype, value.shape) for value in graph.inputs}
        self.outputs = {value.name: (value.dtype, value.shape) for value in graph.outputs}
        self._names = list(self.inputs)
        self._made = list(self.outputs)
        self._dtypes = [value.dtype for value in graph.inputs]
        self._seen = set()      # shapes that were checked

    def __repr__(self):
        return f"OnnxModel(inputs={', '.join(self._names)}; outputs={', '.join(self._made)})"

    def run(self, feeds: "Mapping[str, ArrayLike]") -> "dict[str, Array]":
        """The outputs for these inputs.

        Parameters
        ----------
        feeds : dict of str to array
            An array for each of `inputs`, of its dtype and shape. A list or number becomes an array of that dtype, if
            that loses nothing.

        Returns
        -------
        dict of str to array
            New arrays, one for each of `outputs`.

        Raises
        ------
        ValueError, TypeError
            Naming the input, or the node and its operator.
        """
        return dict(zip(self._made, self._run(self._arguments(feeds))))

    def stream(self, batch_size: int = 1, *, states: "Mapping[str, str] | None" = None,
               initial: "Mapping[str, ArrayLike] | None" = None) -> OnnxStream:
        """A session that carries the graph's state from run to run.

        Parameters
        ----------
        batch_size : int
            The size that the declared shape of a state leaves open.
        states : dict of str to str, optional
            The inputs that are states, each with the output that is its next value. By default they are found by their
            names, in any case: h -> hn, h_n, h_out, h_new, h_next, new_h, next_h, out_h; and h_in -> h_out,
            past_h -> present_h, initial_h -> final_h, prev_h -> next_h, old_h -> new_h, h0 -> hn, h0 -> h1, of one
            dtype and shape.
        initial : dict of str to array, optional
            States at the start, by the names of their inputs; zeros by default.

        Raises
        ------
        ValueError
            If no names pair, or if an input pairs with several outputs.
        """
        return OnnxStream(self, batch_size, states, initial)

    def to_module(self) -> "Sequential":
        """The graph as a `Sequential` with the same weights, which trains, streams and is saved as any other.

        The graph must be one chain: an input, of features or of ids, layers one after another (RNN, LSTM, GRU, MatMul
        or Gemm with a bias, Embedding, LayerNormalization, activations, Softmax, the last step or the mean over steps,
        Dropout), and an output.

        Raises
        ------
        ValueError
            Naming the first node that is none of these.
        """
        return Chain(self._program).run()

    def _run(self, arguments):
        with np.errstate(all="ignore"):
            return self._program.run(arguments)

    def _arguments(self, feeds):
        """The checked arrays in the order of the inputs."""
        try:
            found = [feeds[name] for name in self._names]
            if len(feeds) != len(found):
                raise KeyError
        except (KeyError, TypeError, IndexError):
            check_mapping(feeds, "feeds")
            raise ValueError(f"feeds: expected arrays for {', '.join(map(repr, self._names)) or 'no inputs'}, found "
                             f"{', '.join(map(shown, feeds)) or 'none'}") from None
        for k, dtype in enumerate(self._dtypes):
            if found[k].__class__ is not np.ndarray or found[k].dtype != dtype:
                found[k] = as_fed(found[k], dtype, self._names[k])
        shapes = tuple([value.shape for value in found])
        if shapes not in self._seen:
            check_shapes(self._declared, shapes)
            if len(self._seen) < 1000:
                self._seen.add(shapes)
        return found


def as_fed(value, dtype, name):
    """An array of the declared dtype; arrays of another dtype are refused, as a conversion might change them."""
    if isinstance(value, np.ndarray) or not isinstance(value, (list, tuple, int, float, np.generic)):
        found = np.asarray(value)
        if found.dtype != dtype or np.ma.isMaskedArray(value):
            raise TypeError(f"{name}: expected an array of {dtype}, found {shown(type(value).__name__)} of "
                            f"{found.dtype}")
        return found
    try:
        found = np.asarray(value)
        exact = found.astype(dtype, casting="same_kind" if found.dtype.kind != "i" or dtype.kind != "u" else "unsafe")
    except (TypeError, ValueError, OverflowError):
        raise TypeError(f"{name}: expected an array of {dtype}, found {shown(value)}") from None
    if found.dtype.kind in "iu" and found.size and not (exact == found).all():
        raise ValueError(f"{name}: expected values that {dtype} holds, found {shown(value)}")
    return exact


def check_shapes(declared, shapes):
    """Raise unless the shapes are the declared ones; a name stands for one size everywhere."""
    sizes = {}
    for (name, _, expected), found in zip(declared, shapes):
        if expected is None:
            continue
        wanted = f"({', '.join('any' if n is None else str(n) for n in expected)}{',' if len(expected) == 1 else ''})"
        if len(expected) != len(found):
            raise ValueError(f"{name}: expected shape {wanted} as the file declares, found {found}")
        for n, size in zip(expected, found):
            if isinstance(n, int) and n != size:
                raise ValueError(f"{name}: expected shape {wanted} as the file declares, found {found}")
            if isinstance(n, str) and sizes.setdefault(n, (size, name))[0] != size:
                raise ValueError(f"{name}: expected shape {wanted} with {n} = {sizes[n][0]} as {sizes[n][1]} has, "
                                 "found "
                                 f"{found}")


def opened_graph(model, build):
    """What `build` makes of the checked graph of a path, of bytes or of an onnx.ModelProto."""
    folder = None
    if hasattr(model, "SerializeToString"):
        data, where = model.SerializeToString(), "model"
    elif isinstance(model, (bytes, bytearray, memoryview)):
        data, where = model, "model"
    else:
        where = as_path(model)
        data, folder = read_whole(where), Path(where).parent
    with naming(where, "an ONNX model"):
        return build(build_graph(decode(data, MODEL), DataFiles(folder)))


def from_onnx(model: "PathLike | bytes | Any") -> OnnxModel:
    """A model that runs an ONNX graph, on the engine, without the `onnx` package.

    Parameters
    ----------
    model : path, bytes or onnx.ModelProto
        Of operator set 7 or newer. Tensors may lie in data files in the model's folder, if a path is given.

    Returns
    -------
    OnnxModel
        ``run(feeds)`` takes and returns arrays by the graph's names.

    Raises
    ------
    ValueError, TypeError
        If this is no ONNX model, or one with an operator or attribute that fastrnn does not know; the error names the
        node and the operator.
    """
    return opened_graph(model, OnnxModel)
