"""Files of `torch.save`, read without PyTorch: the zip archives of today, and what was written before 1.6."""

from typing import TYPE_CHECKING

import numpy as np

from ...files.tensorfile import most_header
from ...files.wholefile import read_into
from ..zipped import StoredZip
from .pickled import Name, load_pickle
from .tensors import BFLOAT16, CALLS, Storage, Tensor, check_extent, storage_of, view_of

if TYPE_CHECKING:
    from typing import Any

MAGIC_NUMBER, PROTOCOL = 0x1950A86A20F9469CFC6C, 1001
COUNT = 8  # bytes of the size in front of a storage
# All tensors of a model together take at most so many times the file's bytes, and a little: some share a storage.
SHARING, LITTLE = 2, 1_000_000


class TorchFile:
    """An open file of `torch.save`.

    Parameters
    ----------
    file : unbuffered file
    size : int

    Attributes
    ----------
    value
        What was saved, as `pickled.load_pickle` gives it, with a `Tensor` for each tensor.
    """

    def __init__(self, file: "Any", size: int) -> None:
        self.left = SHARING * size + LITTLE
        self.cached = {}

    def array(self, tensor: Tensor) -> np.ndarray:
        """The tensor's numbers. They are read when they are asked for, and not to be written to."""
        width = 4 if tensor.dtype == BFLOAT16 else np.dtype(tensor.dtype).itemsize
        check_extent(tensor, self._bytes_of(tensor.storage) // (2 if tensor.dtype == BFLOAT16 else width))
        self.left -= width * int(np.prod(tensor.shape, dtype=object))
        if self.left < 0:
            raise ValueError("expected tensors that the file has bytes for, found more")
        key = tensor.storage.key
        if key not in self.cached:
            self.cached[key] = self._read(tensor.storage)
        return view_of(tensor, self.cached[key], self.big_endian)

    big_endian = False

    def _bytes_of(self, storage: Storage) -> int:
        raise NotImplementedError

    def _read(self, storage: Storage) -> np.ndarray:
        raise NotImplementedError


class ZipFile(TorchFile):
    """An archive: a pickle, and a member for each storage."""

    def __init__(self, file, size):
        super().__init__(file, size)
        self.zip = StoredZip(file, size)
        pickles = [name for name in self.zip.entries if name.count("/") == 1 and name.endswith("/data.pkl")]
        if len(pickles) != 1:
            raise ValueError(f"expected an archive of PyTorch, with one data.pkl; found {len(pickles)}")
        self.folder = pickles[0].partition("/")[0]
        order = f"{self.folder}/byteorder"
        if order in self.zip.entries:
            if self.zip.length(order) > 6:
                raise ValueError("byteorder: expected 'little' or 'big', found a longer one")
            found = self.zip.read(order).tobytes()
            if found not in (b"little", b"big"):
                raise ValueError(f"byteorder: expected 'little' or 'big', found {found!r}")
            self.big_endian = found == b"big"
        if self.zip.length(pickles[0]) > most_header(size):
            raise ValueError(f"data.pkl: expected at most {most_header(size)} bytes, found "
                             f"{self.zip.length(pickles[0])}")
        self.value, _ = load_pickle(self.zip.read(pickles[0]).tobytes(), 0, size, CALLS, storage_of)

    def _bytes_of(self, storage):
        return self.zip.length(f"{self.folder}/data/{storage.key}")

    def _read(self, storage):
        return self.zip.read(f"{self.folder}/data/{storage.key}")


class EarlierFile(TorchFile):
    """Pickles one after another, and the storages behind them."""

    def __init__(self, file, size):
        super().__init__(file, size)
        file.seek(0)
        data = bytearray(min(size, most_header(size)))
        data = bytes(data[: read_into(file, memoryview(data))])
        storages, values, end = {}, [], 0

        def remember(key):
            if isinstance(key, tuple) and len(key) == 4 and key[0] == "module" and isinstance(key[1], Name):
                return key[1]  # a class, with the text of its source
            storage = storage_of(key)
            if storage.dtype is None:
                raise ValueError("expected storages of a type, found one of bytes")
            if storages.setdefault(storage.key, storage) != storage:
                raise ValueError("expected one type and size of a storage, found two")
            return storage

        for _ in range(5):  # magic number, protocol, system, the value, the keys of its storages
            value, end = load_pickle(data, end, size, CALLS, remember)
            values.append(value)
        magic, protocol, system, self.value, keys = values
        if magic != MAGIC_NUMBER or protocol != PROTOCOL or not isinstance(system, dict):
            raise ValueError("expected a file of torch.save, found one with another beginning")
        self.big_endian = system.get("little_endian") is False
        if not isinstance(keys, list) or len(keys) != len(storages) or not all(
                isinstance(key, str) and key in storages for key in keys):
            raise ValueError("expected the keys of the storages that are used, found others")
        self.file, self.places = file, {}
        for key in keys:
            self.places[key] = end + COUNT
            end += COUNT + self._bytes_of(storages[key])
            if end > size:
                raise ValueError("expected storages within the file, found a truncated one")

    def _bytes_of(self, storage):
        return storage.count * (2 if storage.dtype == BFLOAT16 else np.dtype(storage.dtype).itemsize)

    def _read(self, storage):
        self.file.seek(self.places[storage.key] - COUNT)
        count = bytearray(COUNT)
        data = np.empty(self._bytes_of(storage), np.uint8)
        if read_into(self.file, memoryview(count)) < COUNT or read_into(self.file, memoryview(data)) < len(data):
            raise ValueError("expected a whole storage, found a truncated file")
        if int.from_bytes(count, "big" if self.big_endian else "little") != storage.count:
            raise ValueError("expected a storage of the size that the file names, found another")
        return data


def open_torch(file: "Any", size: int) -> TorchFile:
    """The reader of an open file, by how it begins."""
    head = bytearray(2)
    file.seek(0)
    read_into(file, memoryview(head))
    if head == b"PK":
        return ZipFile(file, size)
    if head[:1] == b"\x80":
        return EarlierFile(file, size)
    raise ValueError(f"expected a file of torch.save, found one that begins with {bytes(head)!r}")
