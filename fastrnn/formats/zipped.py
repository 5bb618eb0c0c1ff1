"""Zip archives whose members are stored as they are, as PyTorch and Keras write them."""

import zipfile
import zlib
from typing import TYPE_CHECKING

import numpy as np

from ..files.wholefile import error_text, read_into

if TYPE_CHECKING:
    from typing import Any

# A directory has at most so many bytes plus this part of its file's.
MOST_DIRECTORY, DIRECTORY_PART = 1_000_000, 16
LOCAL_HEADER = 30
MAGIC = b"PK\x03\x04"


class StoredZip:
    """The members of an archive by name. Those that are read are not compressed, so that none is larger than the file.

    Parameters
    ----------
    file : unbuffered file
    size : int
    """

    def __init__(self, file: "Any", size: int) -> None:
        self.file, self.size = file, size
        try:
            with zipfile.ZipFile(_Guarded(file, size)) as found:
                entries = found.infolist()
        except (zipfile.BadZipFile, ValueError, NotImplementedError, OSError, EOFError, ArithmeticError, LookupError,
                zlib.error) as error:
            raise ValueError(f"expected a zip archive, found one that is truncated or damaged: "
                             f"{error_text(error)}") from None
        self.entries = {entry.filename: entry for entry in entries}
        if len(self.entries) != len(entries):
            raise ValueError("expected each name once in the archive, found one twice")

    def length(self, name: str) -> int:
        """The number of bytes of a member."""
        if name not in self.entries:
            raise ValueError(f"expected a member {name[:200]} of the archive, found none")
        return self.entries[name].file_size

    def read(self, name: str) -> np.ndarray:
        """A member's bytes, which its checksum fits."""
        length, entry = self.length(name), self.entries[name]
        if entry.compress_type != zipfile.ZIP_STORED or length != entry.compress_size or entry.flag_bits & 1:
            raise ValueError(f"{name[:200]}: expected a member that is stored as it is, found a compressed one")
        begin = self._place(name)
        if begin + length > self.size:
            raise ValueError(f"{name[:200]}: expected {length} bytes, found a truncated file")
        data = np.empty(length, np.uint8)
        self.file.seek(begin)
        if read_into(self.file, memoryview(data)) < length:
            raise ValueError(f"{name[:200]}: expected {length} bytes, found a truncated file")
        if zlib.crc32(data) != entry.CRC:
            raise ValueError(f"{name[:200]}: expected bytes that fit their checksum, found damaged ones")
        return data

    def _place(self, name):
        """Where a member's bytes begin, behind a header of their own."""
        entry = self.entries[name]
        if not 0 <= entry.header_offset < self.size:
            raise ValueError(f"{name[:200]}: expected a member within the file, found one at {entry.header_offset}")
        self.file.seek(entry.header_offset)
        header = bytearray(LOCAL_HEADER)
        if read_into(self.file, memoryview(header)) < LOCAL_HEADER or header[:4] != MAGIC:
            raise ValueError(f"{name[:200]}: expected a member of the archive, found none at its place")
        lengths = int.from_bytes(header[26:28], "little") + int.from_bytes(header[28:30], "little")
        return entry.header_offset + LOCAL_HEADER + lengths


class _Guarded:
    """A file for `zipfile`, which reads a whole directory at once: no more than a directory may have."""

    def __init__(self, file, size):
        self.file, self.size = file, size
        self.seek, self.tell = file.seek, file.tell
        self.most = MOST_DIRECTORY + size // DIRECTORY_PART

    def read(self, count=-1):
        if count < 0:
            count = max(self.size - self.file.tell(), 0)
        if count > self.most:
            raise ValueError(f"expected a directory of at most {self.most} bytes, found one of {count}")
        return self.file.read(count)

    def seekable(self):
        return True
