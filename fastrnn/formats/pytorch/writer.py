"""`to_torch`: models as state dicts of PyTorch, and files of them that `torch.load` reads."""

import io
import struct
import zipfile
from typing import TYPE_CHECKING

import numpy as np

from ...files.wholefile import as_path, write_whole
from ...nn.layers import BatchNorm1d, Conv1d, Embedding, LayerNorm, Linear
from ...nn.module import Compound, Module, walk
from ...nn.recurrent import Recurrent
from ...nn.sequential import Sequential
from .. import build
from ..plain import check_float_weights, check_plain

if TYPE_CHECKING:
    from ..._types import Array, PathLike

KNOWN = (*build.RUNNERS.values(), *build.CELLS.values(), Embedding, Linear, LayerNorm, Conv1d, BatchNorm1d)
STORAGES = {"float32": "FloatStorage", "float64": "DoubleStorage"}
ALIGNED = 64  # bytes at which the storages of a file begin


def to_torch(model: "Module") -> "dict[str, Array]":
    """The parameters of a model as a state dict that the same modules of torch.nn load, strictly and bit for bit.

    Parameters
    ----------
    model : Module
        Runners, cells, Embedding, Linear, LayerNorm, Conv1d and BatchNorm1d, and networks of them with modules that
        have no parameters: what stands at place k of a `Sequential` has the names "k.weight" and so on, as in
        torch.nn.Sequential.

    Returns
    -------
    dict of str to array
        Copies. torch.nn.Module.load_state_dict takes tensors:
        ``module.load_state_dict({name: torch.from_numpy(array) for name, array in to_torch(model).items()})``.

    Raises
    ------
    ValueError
        For a module or an option that torch.nn does not have, by its name: layer normalisation, peepholes, other
        activations, clipping, coupled gates, a reset before the product, one reverse direction, zoneout.
    """
    if not isinstance(model, Module):
        raise TypeError(f"model: expected a fastrnn module, found {type(model).__name__}")
    check_float_weights(model)
    for module in walk(model):
        if isinstance(module, Recurrent):
            check_plain(module, "torch.nn", direction="forward", reset_after=True)
        if type(module) not in KNOWN and module.params and not isinstance(module, Compound):
            raise ValueError(f"model: expected modules that torch.nn has, found {type(module).__name__}")
    found = model.state_dict()
    if isinstance(model, Sequential) and model.tie_embeddings:  # torch.nn has the weight of both
        weight = found["0.weight"]
        last = len(model.modules) - 1
        bias = found.pop(f"{last}.bias", None)
        found[f"{last}.weight"] = weight.copy()
        if bias is not None:
            found[f"{last}.bias"] = bias
    return found


def write_torch(path: "PathLike", arrays: "dict[str, Array]") -> None:
    """Write named arrays as a state dict that ``torch.load(path, weights_only=True)`` reads, in one step."""
    arrays = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    memory = io.BytesIO()
    with zipfile.ZipFile(memory, "w", zipfile.ZIP_STORED) as archive:
        _add(archive, memory, "data.pkl", _pickled(arrays))
        _add(archive, memory, "byteorder", b"little")
        for k, array in enumerate(arrays.values()):
            _add(archive, memory, f"data/{k}", array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes())
        _add(archive, memory, "version", b"3\n")
    write_whole(as_path(path), memory.getvalue())


def _add(archive, memory, name, data):
    """Add a member whose bytes begin at a multiple of `ALIGNED`."""
    entry = zipfile.ZipInfo(f"archive/{name}", (1980, 1, 1, 0, 0, 0))  # the same bytes each time
    begin = memory.tell() + 30 + len(entry.filename) + 4
    gap = -begin % ALIGNED
    entry.extra = b"FB" + struct.pack("<H", gap) + b"Z" * gap
    archive.writestr(entry, data)


def _pickled(arrays):
    """The pickle (protocol 2) of an OrderedDict of name -> tensor, with the storages' keys in their order."""
    parts = [b"\x80\x02", _global("collections", "OrderedDict"), b")R("]
    for k, (name, array) in enumerate(arrays.items()):
        strides = [n // array.itemsize for n in array.strides]
        parts += [
            _text(name), _global("torch._utils", "_rebuild_tensor_v2"), b"((", _text("storage"),
            _global("torch", STORAGES[array.dtype.name]), _text(str(k)), _text("cpu"), _int(array.size), b"tQ",
            _int(0), b"(", *map(_int, array.shape), b"t(", *map(_int, strides), b"t\x89",
            _global("collections", "OrderedDict"), b")RtR",
        ]  # fmt: skip
    return b"".join([*parts, b"u."])


def _global(module, name):
    return b"c" + f"{module}\n{name}\n".encode()


def _text(text):
    data = text.encode()
    return b"X" + struct.pack("<I", len(data)) + data


def _int(value):
    if value < 2**31:
        return b"J" + struct.pack("<i", value)
    return b"\x8a\x08" + struct.pack("<q", value)
