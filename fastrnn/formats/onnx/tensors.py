"""Tensors of ONNX files as arrays, from the file itself or from data files beside it; and arrays as tensors."""

import math
import os
import sys
from pathlib import Path

import numpy as np

from ...check.values import shown
from ...files.wholefile import FileError, opened, read_into
from .messages import TENSOR

MOST_AXES = 32
DTYPES = {
    1: np.dtype(np.float32), 2: np.dtype(np.uint8), 3: np.dtype(np.int8), 4: np.dtype(np.uint16),
    5: np.dtype(np.int16), 6: np.dtype(np.int32), 7: np.dtype(np.int64), 9: np.dtype(np.bool_),
    10: np.dtype(np.float16), 11: np.dtype(np.float64), 12: np.dtype(np.uint32), 13: np.dtype(np.uint64),
}  # fmt: skip
NUMBERS = {dtype: number for number, dtype in DTYPES.items()}
OTHERS = {8: "string", 14: "complex64", 15: "complex128", 16: "bfloat16"}
EXTERNAL = 1    # TensorProto.data_location
# The field of numbers that holds each type where there are no raw bytes
HOLDERS = {1: "float_data", 11: "double_data", 7: "int64_data", 12: "uint64_data", 13: "uint64_data"}


def dtype_of(number, where):
    """The dtype of a type's number in ONNX files."""
    if number not in DTYPES:
        raise ValueError(f"{where}: expected numbers or bools of a type that NumPy has, found "
                         f"{OTHERS.get(number, f'type {number}')}")
    return DTYPES[number]


class DataFiles:
    """The data files of one model, which lie in its folder. `folder` is None where the model came as bytes."""

    def __init__(self, folder):
        self.folder = None if folder is None else Path(os.path.realpath(folder))

    def read(self, entries, size, where):
        """`size` bytes of the file that a tensor's external_data names."""
        told = {entry.key: entry.value for entry in entries}
        if len(told) != len(entries) or "location" not in told:
            raise ValueError(f"{where}: expected the location of its data file once, found "
                             f"{shown([entry.key for entry in entries])}")
        location = told["location"]
        if self.folder is None:
            raise ValueError(f"{where}: expected the path of a model whose data lie in the file {location!r}, found "
                             "bytes")
        offset, length = self.number(told, "offset", 0, where), self.number(told, "length", size, where)
        if length != size:
            raise ValueError(f"{where}: expected {size} bytes for its shape, found length {length}")
        with opened(self.inside(location, where)) as (file, whole):
            if offset + size > whole:
                raise ValueError(f"{where}: expected {size} bytes at {offset} of {location!r}, found a file of {whole}")
            data = bytearray(size)
            file.seek(offset)
            if read_into(file, memoryview(data)) < size:
                raise FileError(f"{where}: {location!r} ended while it was read")
        return data

    def inside(self, location, where):
        """The path of a data file, which may not leave the folder, not even by a link."""
        parts = Path(location).parts
        path = Path(os.path.realpath(self.folder / location)) if "\0" not in location else self.folder
        if not parts or Path(location).is_absolute() or ".." in parts or self.folder not in path.parents:
            raise ValueError(f"{where}: expected a data file in the model's folder, found {shown(location)}")
        return path

    @staticmethod
    def number(told, key, default, where):
        text = told.get(key, str(default))
        if not (text.isascii() and text.isdigit() and len(text) < 19):
            raise ValueError(f"{where}: expected a number of bytes as {key} of its data, found {shown(text)}")
        return int(text)


def to_array(tensor, files, where):
    """A read-only array of a tensor's values."""
    dtype = dtype_of(tensor.data_type, where)
    shape = tuple(tensor.dims)
    if len(tensor.segment):
        raise ValueError(f"{where}: expected a whole tensor, found a segment of one")
    if len(shape) > MOST_AXES or any(n < 0 for n in shape):
        raise ValueError(f"{where}: expected at most {MOST_AXES} sizes of at least 0, found {shown(shape)}")
    size, extent = math.prod((dtype.itemsize, *shape)), dtype.itemsize
    for n in shape:
        extent *= max(n, 1)
        if extent >= 2**48:     # of an empty array, too: NumPy makes none of such sizes
            raise ValueError(f"{where}: expected a tensor that fits into memory, found shape {shown(shape)}")
    if tensor.data_location == EXTERNAL:
        raw = files.read(tensor.external_data, size, where)
    elif len(tensor.raw_data) or not size:
        raw = tensor.raw_data
    else:
        raw = _from_numbers(tensor, dtype, where)
    if len(raw) != size:
        raise ValueError(f"{where}: expected {size} bytes for shape {shown(shape)} of {dtype}, found {len(raw)}")
    array = np.empty(shape, dtype)
    array.reshape(-1).view(np.uint8)[...] = np.frombuffer(raw, np.uint8) if size else 0
    if sys.byteorder == "big" and len(tensor.raw_data):
        array = array.byteswap()
    if dtype == np.bool_ and array.size and array.view(np.uint8).max() > 1:
        raise ValueError(f"{where}: expected bools of 0 or 1, found {int(array.view(np.uint8).max())}")
    array.flags.writeable = False
    return array


def _from_numbers(tensor, dtype, where):
    """Bytes of the values that stand as numbers in one of the fields."""
    values = getattr(tensor, HOLDERS.get(tensor.data_type, "int32_data"))
    values = np.empty(0, dtype) if values is None else values
    if dtype == np.float16:
        values, dtype = values.astype(np.int64), np.dtype(np.uint16)    # their bits
    if dtype.kind in "iu" and dtype.itemsize < 8 and values.size:
        limits = np.iinfo(dtype)
        if values.min() < limits.min or values.max() > limits.max:
            raise ValueError(f"{where}: expected values of {dtype}, found {values.min()} .. {values.max()}")
    if dtype == np.bool_ and values.size and not 0 <= values.min() <= values.max() <= 1:
        raise ValueError(f"{where}: expected bools of 0 or 1, found {values.min()} .. {values.max()}")
    if dtype == np.uint64:
        values = values.view(np.uint64)
    return values.astype(dtype).tobytes()


def to_tensor(array, name):
    """The tensor message of an array."""
    array = np.asarray(array)
    little = array.astype(array.dtype.newbyteorder("<"), copy=False)
    return TENSOR(dims=list(array.shape), data_type=NUMBERS[array.dtype.newbyteorder("=")], name=name,
                  raw_data=little.tobytes())
