"""Named arrays in files of no program's own: .safetensors and .npz, read within the memory that the file has."""

import math
import tokenize
import zipfile
import zlib
from typing import TYPE_CHECKING

import numpy as np

from ..files.tensorfile import read_foreign
from ..files.wholefile import read_into
from .zipped import StoredZip

if TYPE_CHECKING:
    from typing import Any

    from .._types import Array

# Deflated arrays take at most so many times the file's bytes, and a little.
INFLATED, LITTLE = 4, 1_000_000
LOCAL_NAME = ".npy"


def is_arrays(file: "Any", size: int) -> bool:
    """Whether an open file begins as one of named arrays, and not as one of PyTorch or Keras."""
    head = bytearray(9)
    file.seek(0)
    count = read_into(file, memoryview(head))
    if head[:4] == b"PK\x03\x04":
        names = StoredZip(file, size).entries
        return bool(names) and all(name.endswith(LOCAL_NAME) for name in names)
    return count == 9 and head[8:] == b"{"


def read_arrays(file: "Any", size: int, path: "Any") -> "dict[str, Array]":
    """The arrays of an open file by name."""
    file.seek(0)
    head = bytearray(2)
    read_into(file, memoryview(head))
    return _read_npz(file, size) if head == b"PK" else read_foreign(path)


def _read_npz(file, size):
    names = StoredZip(file, size).entries  # whose check of the directory comes first
    left = INFLATED * size + LITTLE
    found = {}
    try:
        with zipfile.ZipFile(file) as archive:
            for name, entry in names.items():
                left -= entry.file_size
                if left < 0:
                    raise ValueError(f"expected arrays of at most {INFLATED} times the file's bytes, found more")
                with archive.open(entry) as member:
                    found[name.removesuffix(LOCAL_NAME)] = _read_npy(member, entry.file_size, name)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, OSError) as error:
        raise ValueError(f"a damaged archive: {error}") from None
    return found


def _read_npy(member, size, name):
    version = np.lib.format.read_magic(member)
    reader = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}.get(version)
    if reader is None:
        raise ValueError(f"{name[:200]}: expected version 1 or 2 of .npy, found {version}")
    try:
        shape, by_columns, dtype = reader(member)
    except (SyntaxError, tokenize.TokenError, TypeError, RecursionError) as error:  # of a dict in Python's words
        raise ValueError(f"{name[:200]}: a damaged header: {error}") from None
    if dtype.kind not in "biufc" or any(type(n) is not int or n < 0 for n in shape) or len(shape) > 32:
        raise ValueError(f"{name[:200]}: expected an array of numbers, found {dtype} of shape {shape}")
    if math.prod(shape) * dtype.itemsize > size:
        raise ValueError(f"{name[:200]}: expected an array within its {size} bytes, found shape {shape}")
    data = bytearray(math.prod(shape) * dtype.itemsize)
    done = 0
    while done < len(data):
        chunk = member.read(min(1 << 20, len(data) - done))
        if not chunk:
            raise ValueError(f"{name[:200]}: expected {len(data)} bytes, found {done}")
        data[done:done + len(chunk)] = chunk
        done += len(chunk)
    return np.frombuffer(data, dtype).reshape(shape, order="F" if by_columns else "C")
