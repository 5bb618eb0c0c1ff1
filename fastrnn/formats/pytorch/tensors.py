"""Tensors in a file: views of its storages, checked against what the storages hold."""

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ...files.bfloat16 import from_bfloat16
from .pickled import Name, Other, call

if TYPE_CHECKING:
    from typing import Any

BFLOAT16 = "bfloat16"
MOST_AXES = 32
# type of number -> that of NumPy; a bfloat16 is read as its bits
DTYPES = {
    "Float": "f4", "Double": "f8", "Half": "f2", "BFloat16": BFLOAT16, "Long": "i8", "Int": "i4", "Short": "i2",
    "Char": "i1", "Byte": "u1", "Bool": "?",
}  # fmt: skip
BY_NAME = {
    "float32": "f4", "float64": "f8", "float16": "f2", "bfloat16": BFLOAT16, "int64": "i8", "int32": "i4",
    "int16": "i2", "int8": "i1", "uint8": "u1", "bool": "?", "float": "f4", "double": "f8", "half": "f2",
}  # fmt: skip


class Storage(NamedTuple):
    """A block of numbers in a file. dtype is None where the tensor says it; count is then one of bytes."""

    key: str
    dtype: "str | None"
    count: int


class Tensor(NamedTuple):
    """A tensor that has not been read yet."""

    storage: Storage
    dtype: str
    offset: int
    shape: tuple
    strides: tuple


def storage_of(key: "Any") -> Storage:
    """The storage that a persistent id names."""
    if not isinstance(key, tuple) or len(key) not in (5, 6) or key[0] != "storage":
        raise ValueError("expected the id of a storage, found another")
    _, kind, key, _, count, *view = key
    if view and view[0] is not None:
        raise ValueError("expected whole storages, found a view of one, as PyTorch wrote them before 0.4")
    if not isinstance(kind, Name) or not kind.name.endswith("Storage"):
        raise ValueError(f"expected the type of a storage, found a {type(kind).__name__}")
    if not isinstance(key, str) or not _is_count(count):
        raise ValueError("expected the key and the size of a storage, found others")
    name = kind.name.removesuffix("Storage")
    if name == "Untyped":
        return Storage(key, None, count)
    if name not in DTYPES:
        raise ValueError(f"expected a storage of {', '.join(DTYPES)}; found {kind}")
    return Storage(key, DTYPES[name], count)


def view_of(tensor: Tensor, data: np.ndarray, big_endian: bool = False) -> np.ndarray:
    """The tensor's numbers, a view of its storage's bytes (a copy of a bfloat16 one)."""
    bits = np.dtype("u2" if tensor.dtype == BFLOAT16 else tensor.dtype)
    bits = bits.newbyteorder(">" if big_endian else "<")
    numbers = data[: len(data) // bits.itemsize * bits.itemsize].view(bits)
    check_extent(tensor, len(numbers))
    strides = [stride * bits.itemsize for stride in tensor.strides]
    view = np.lib.stride_tricks.as_strided(numbers[tensor.offset:], tensor.shape, strides, writeable=False)
    if tensor.dtype == BFLOAT16:
        return from_bfloat16(view)
    return view


def check_extent(tensor: Tensor, count: int) -> None:
    """Raise unless the tensor lies within a storage of `count` numbers and is no larger than it."""
    size, last = 1, tensor.offset
    for n, stride in zip(tensor.shape, tensor.strides):
        size *= n
        last += (n - 1) * stride
    if size == 0:
        return
    if last >= count or size > count:
        raise ValueError(f"a tensor of shape {tensor.shape}, offset {tensor.offset} and strides {tensor.strides}: "
                         f"expected it within its storage of {count} numbers")


def _is_count(value):
    return type(value) is int and 0 <= value < 2**62


def _tensor(storage, offset, shape, strides, dtype=None):
    if not isinstance(storage, Storage):
        raise ValueError(f"expected a storage, found a {type(storage).__name__}")
    if not _is_count(offset) or not all(
            isinstance(one, (tuple, list)) and len(one) <= MOST_AXES and all(map(_is_count, one))
            for one in (shape, strides)) or len(shape) != len(strides):
        raise ValueError("expected a tensor's offset, shape and strides, ints from 0; found others")
    dtype = dtype or storage.dtype
    if dtype is None:
        raise ValueError("expected the type of a tensor's numbers, found none")
    return Tensor(storage, dtype, offset, tuple(shape), tuple(strides))


def _tensor_v2(storage, offset, shape, strides, requires_grad=False, hooks=None, metadata=None):
    return _tensor(storage, offset, shape, strides)


def _tensor_v3(storage, offset, shape, strides, requires_grad, hooks, dtype, metadata=None):
    if not isinstance(dtype, Name) or dtype.module != "torch" or dtype.name not in BY_NAME:
        raise ValueError(f"expected a tensor of {', '.join(BY_NAME)}; found "
                         f"{dtype if isinstance(dtype, Name) else type(dtype).__name__}")
    return _tensor(storage, offset, shape, strides, BY_NAME[dtype.name])


def _parameter(data, requires_grad=True, hooks=None, state=None):
    if not isinstance(data, Tensor):
        raise ValueError(f"expected a parameter of a tensor, found one of a {type(data).__name__}")
    return data


def _of_type(function, cls, arguments, state=None):
    if cls not in (Name("torch", "Tensor"), Name("torch._tensor", "Tensor"), Name("torch.nn.parameter", "Parameter")):
        raise ValueError(f"expected a plain tensor, found one of {cls if isinstance(cls, Name) else 'another class'}")
    return call(CALLS, function, arguments)


def _ordered(pairs=()):
    found = {}
    for pair in pairs if isinstance(pairs, (list, tuple)) else ():
        if not isinstance(pair, (list, tuple)) or len(pair) != 2 or not isinstance(pair[0], str):
            raise ValueError("expected pairs of a name and a value, found others")
        found[pair[0]] = pair[1]
    return found


def _set(values=()):
    if not isinstance(values, list) or not all(isinstance(value, (str, int)) for value in values):
        raise ValueError("expected a set of strings or ints, found others")
    return set(values)


def _encoded(text, encoding="latin1"):
    if not isinstance(text, str) or encoding not in ("latin1", "utf-8"):
        raise ValueError("expected bytes as text, found others")
    return text.encode(encoding)


def _kept_as(kind):
    """A value that no model needs, of which only its kind is kept."""
    return lambda *_: Other(kind)


def _first_of(value=None, *_):
    """What a program's list is made of, without the type that stands beside it."""
    return value


def _numbers(values=()):
    if not isinstance(values, (tuple, list)) or not all(map(_is_count, values)):
        raise ValueError("expected sizes, ints from 0; found others")
    return tuple(values)


CALLS = {
    Name("torch._utils", "_rebuild_tensor"): _tensor,
    Name("torch._utils", "_rebuild_tensor_v2"): _tensor_v2,
    Name("torch._utils", "_rebuild_tensor_v3"): _tensor_v3,
    Name("torch._utils", "_rebuild_parameter"): _parameter,
    Name("torch._utils", "_rebuild_parameter_with_state"): _parameter,
    Name("torch._tensor", "_rebuild_from_type_v2"): _of_type,
    Name("torch", "Size"): _numbers,
    **{Name(module, name): _kept_as(name) for module, names in (
        ("torch", ("device", "Generator")), ("datetime", ("datetime", "date", "time", "timedelta", "timezone")),
        *((module, ("Path", "PosixPath", "WindowsPath", "PurePath", "PurePosixPath", "PureWindowsPath"))
          for module in ("pathlib", "pathlib._local")),
        ("decimal", ("Decimal",)), ("uuid", ("UUID",)), ("collections", ("Counter",)),
        ("builtins", ("complex", "slice", "range", "bytearray")), ("__builtin__", ("complex", "bytearray")),
        ("torch._utils", ("_rebuild_qtensor",)),
    ) for name in names},
    **{Name("torch.jit._pickle", name): _first_of for name in (
        "restore_type_tag", "build_intlist", "build_tensorlist", "build_doublelist", "build_boollist")},
    Name("collections", "OrderedDict"): _ordered,
    Name("collections", "defaultdict"): lambda *_: {}, Name("collections", "deque"): lambda *_: [],
    **{Name(module, "set"): _set for module in ("builtins", "__builtin__")},
    Name("_codecs", "encode"): _encoded,
    **{Name(f"numpy.{core}.multiarray", name): _kept_as("array")
       for core in ("core", "_core") for name in ("scalar", "_reconstruct")},
    Name("numpy", "dtype"): _kept_as("dtype"),
}  # fmt: skip
