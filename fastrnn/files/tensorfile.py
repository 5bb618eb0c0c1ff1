"""Safetensors files that are written whole or not at all, and checked when they are read. Never pickle.

Nobody knows who made a file, and its checksum is no secret: it reveals damage, not intent. So this module's own strict
reader checks the header before it reads any tensor: its size, its depth, how much memory its values take, names, types,
shapes and offsets. Tensors then take as much memory as the file has bytes.
"""

import contextlib
import hashlib
import json
from typing import TYPE_CHECKING

import numpy as np

from .bfloat16 import from_bfloat16
from .wholefile import FileError, as_path, error_text, opened, read_into, write_whole

if TYPE_CHECKING:
    from typing import Any

    from .._types import Array, PathLike

VERSION = 1
KEY = "fastrnn"  # of the file's metadata
METADATA = "__metadata__"
PREFIX = 8  # bytes that hold the length of the header
# A header has at most so many bytes plus this part of its file's: reading one takes twelve times its size
# (bench/NOTES.md, Headers of files).
MOST_HEADER, HEADER_PART = 3_000_000, 16
DEEPEST = 256  # lists and dicts inside each other
MOST_AXES = 32
CHUNK = 1 << 20  # characters that are checked at a time

DTYPES = {
    "BOOL": np.dtype(np.bool_), "U8": np.dtype(np.uint8), "I8": np.dtype(np.int8), "I16": np.dtype(np.int16),
    "U16": np.dtype(np.uint16), "F16": np.dtype(np.float16), "I32": np.dtype(np.int32), "U32": np.dtype(np.uint32),
    "F32": np.dtype(np.float32), "I64": np.dtype(np.int64), "U64": np.dtype(np.uint64), "F64": np.dtype(np.float64),
    "C64": np.dtype(np.complex64),
}  # fmt: skip
NAMES = {dtype: name for name, dtype in DTYPES.items()}
BFLOAT16 = "BF16"  # of other programs alone, read as its bits

# Approximate bytes of memory of a dict, a list, an entry of a dict and an entry of a list. Together they may take
# ALLOWED bytes plus ALLOWED_A_BYTE for each byte of text: a file that needs more is an attempt to fill the memory.
PER_DICT, PER_LIST, PER_ITEM, PER_ENTRY = 250, 90, 160, 48
ALLOWED, ALLOWED_A_BYTE = 20_000_000, 8
_OTHERS = bytes(set(range(256)) - set(b"[]{}"))


def write_tensors(path: "PathLike", kind: str, tensors: "dict[str, Array]", state: "Any", *,
                  readable: bool = False) -> None:
    """Write `tensors` and `state` to `path`, and replace an old file in one step; see `write_whole`.

    Parameters
    ----------
    path : str or path-like
    kind : str
        Kind of the file, for example "model"; `read_tensors` checks it.
    tensors : dict of str to array
    state : JSON-able
        Kept in the file's metadata.
    readable : bool
        Whether to refuse, with a ValueError, a state that is too deep or too large to be read again.

    Raises
    ------
    FileError
        An OSError and a ValueError; `path` is as it was.
    TypeError
        For a value that a file cannot hold.
    """
    from safetensors.numpy import save

    path = as_path(path)
    tensors = {name: _storable(name, array) for name, array in tensors.items()}
    header = {"kind": kind, "version": VERSION, "state": state}
    try:
        header["sha256"] = _checksum(tensors, header)
        text = json.dumps(header)
    except TypeError as error:
        raise TypeError(f"{path}: expected numbers, strings, lists and dicts to write, found others: {error}") from None
    if readable:
        try:
            _judge(text)
        except ValueError as error:
            raise ValueError(f"{path}: expected what can be read again, found {error}") from None
    data = save(tensors, {KEY: text})  # one entry, because the order of several changes from run to run
    length = int.from_bytes(data[:PREFIX], "little")
    if readable and length > most_header(len(data)):
        raise ValueError(f"{path}: expected what can be read again, found a description of {length} bytes in a file of "
                         f"{len(data)}")
    write_whole(path, data)


def read_tensors(path: "PathLike", kind: str) -> "tuple[dict[str, Array], Any]":
    """The tensors and the state that `write_tensors` wrote to `path`.

    Returns
    -------
    tensors : dict of str to array
    state : JSON-able

    Raises
    ------
    ValueError
        Naming the path, what was expected and what was found; also a FileNotFoundError if there is no file, and an
        OSError if it cannot be read.
    """
    path = as_path(path)
    expected = f"{path}: expected a fastrnn {kind}, found"
    with _reading(path, expected) as (file, size):
        raw = _read_header(file, size, expected)
        with _judging(expected):
            metadata = raw.pop(METADATA, None)
            header = _read_metadata(metadata)
        if header is None:
            raise ValueError(f"{expected} a safetensors file of another program")
        if header["version"] != VERSION or isinstance(header["version"], bool):
            raise ValueError(f"{path}: expected format version {VERSION}, found {_brief(header['version'])}")
        if header["kind"] != kind:
            raise ValueError(f"{expected} a fastrnn {_brief(header['kind'])}")
        tensors = _read_all(file, size, raw, expected)
    with _judging(expected):
        checksum = _checksum(tensors, header)
    if checksum != header["sha256"]:
        raise ValueError(f"{expected} a damaged one: its checksum does not fit its contents")
    return tensors, header["state"]


def read_foreign(path: "PathLike") -> "dict[str, Array]":
    """The tensors of a safetensors file of any program, bfloat16 ones as float32.

    Raises
    ------
    ValueError
        As of `read_tensors`.
    """
    path = as_path(path)
    expected = f"{path}: expected a safetensors file, found"
    with _reading(path, expected) as (file, size):
        raw = _read_header(file, size, expected)
        raw.pop(METADATA, None)
        return _read_all(file, size, raw, expected, foreign=True)


def is_own(path: "PathLike") -> bool:
    """Whether a safetensors file is one of `write_tensors`."""
    path = as_path(path)
    expected = f"{path}: expected a safetensors file, found"
    with _reading(path, expected) as (file, size):
        metadata = _read_header(file, size, expected).get(METADATA)
    return isinstance(metadata, dict) and KEY in metadata


@contextlib.contextmanager
def _reading(path, expected):
    """An open file and its size; its errors name it."""
    with opened(path) as (file, size):
        try:
            if not size:
                raise ValueError(f"{expected} an empty file")
            yield file, size
        except OSError as error:
            if isinstance(error, FileError):
                raise
            raise FileError(f"{path}: cannot be read: {error.strerror or error}") from error
        except MemoryError:
            raise ValueError(f"{expected} one of {size} bytes, for which there is not enough memory") from None


def _read_all(file, size, raw, expected, foreign=False):
    """The tensors that a header's entries describe."""
    with _judging(expected):
        places = _read_places(raw, foreign)
    if size - file.tell() != (places[-1][-1] if places else 0):
        raise ValueError(f"{expected} a truncated or damaged safetensors file of {size} bytes")
    tensors = {}
    for name, dtype, shape, _, _ in places:
        array = _read_tensor(file, dtype, shape, expected)
        tensors[name] = from_bfloat16(array) if foreign and raw[name]["dtype"] == BFLOAT16 else array
    return tensors


def parse_json(text: str | bytes) -> "Any":
    """The value of JSON text, after a check of its depth and size.

    Raises
    ------
    ValueError
        Also if a dict has a name twice.
    """
    _judge(text)
    return json.loads(text, object_pairs_hook=_without_twins)


def _judge(text):
    """Raise a ValueError for JSON text that would be too deep or too large."""
    depth, inside, needed = 0, 0, 0
    for chunk in _chunks(text):
        codes = np.frombuffer(chunk, np.uint8)
        within = np.cumsum(codes == ord('"'), dtype=np.uint8)  # odd in a string
        within += np.uint8(inside)
        within &= 1
        inside = int(within[-1]) if len(within) else inside
        outside = codes[within == 0].tobytes()
        brackets = np.frombuffer(outside.translate(None, _OTHERS), np.uint8)
        steps = np.cumsum(np.where((brackets == ord("[")) | (brackets == ord("{")), 1, -1), dtype=np.int64)
        if len(steps) and depth + int(steps.max()) > DEEPEST:
            raise ValueError(f"expected at most {DEEPEST} lists and dicts inside each other, found more")
        depth += int(steps[-1]) if len(steps) else 0
        needed += sum(outside.count(mark) * cost for mark, cost in
                      ((b"{", PER_DICT), (b"[", PER_LIST), (b":", PER_ITEM), (b",", PER_ENTRY)))
    if needed > ALLOWED + ALLOWED_A_BYTE * len(text):
        raise ValueError(f"expected values that take little more memory than their {len(text)} characters of text, "
                         f"found such as would take {needed}")


def _chunks(text):
    """The bytes of text, in chunks, without escaped characters: every quote then begins or ends a string."""
    start = 0
    while start < len(text):
        chunk = text[start : start + CHUNK]
        if (len(chunk) - len(chunk.rstrip("\\"))) % 2:
            chunk = text[start : start + CHUNK + 1]
        start += len(chunk)
        yield chunk.encode("utf-8", "surrogatepass").replace(b"\\\\", b"").replace(b'\\"', b"")


def _without_twins(pairs):
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("expected each name once, found one twice")
    return found


@contextlib.contextmanager
def _judging(expected):
    """Turn the errors of a bad header into a ValueError that names the file."""
    try:
        yield
    except (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RecursionError) as error:
        raise ValueError(f"{expected} a damaged one: {error_text(error)}") from error


def most_header(size: int) -> int:
    """The most bytes of a header in a file of this size."""
    return MOST_HEADER + size // HEADER_PART


def _read_header(file, size, expected):
    """The JSON of a file's header."""
    head = bytearray(PREFIX + 8)
    head = bytes(head[: read_into(file, memoryview(head))])
    length = int.from_bytes(head[:PREFIX], "little")
    if head[PREFIX : PREFIX + 1] != b"{":
        raise ValueError(f"{expected} a file of {size} bytes that is not safetensors (it begins with {head[:4]!r})")
    if not 2 <= length <= size - PREFIX:
        raise ValueError(f"{expected} a truncated or damaged safetensors file of {size} bytes")
    if length > most_header(size):
        raise ValueError(f"{expected} one whose header of {length} bytes is longer than {most_header(size)}")
    file.seek(PREFIX)
    text = bytearray(length)
    if read_into(file, memoryview(text)) < length:
        raise ValueError(f"{expected} a truncated or damaged safetensors file of {size} bytes")
    with _judging(expected):
        found = parse_json(text.decode())
        if not isinstance(found, dict):
            raise ValueError("its header is no dict")
    return found


def _read_metadata(metadata):
    """Kind, version, state and checksum; None in a file of another program."""
    if metadata is not None and not (
        isinstance(metadata, dict) and all(isinstance(value, str) for value in metadata.values())
    ):
        raise ValueError("its metadata are no strings")
    if metadata is None or KEY not in metadata:
        return None
    try:
        header = parse_json(metadata[KEY])
    except ValueError as error:
        raise ValueError(f"its metadata cannot be read, {error_text(error)}") from error
    if not isinstance(header, dict) or header.keys() != {"kind", "version", "state", "sha256"}:
        raise ValueError("its metadata cannot be read")
    return header


def _read_places(entries, foreign=False):
    """(name, dtype, shape, begin, end) of each tensor, in their order in the file, without gaps."""
    places = []
    for name, entry in entries.items():
        name.encode()  # raises for a name that is no text, which the checksum cannot cover
        if not isinstance(entry, dict) or entry.keys() != {"dtype", "shape", "data_offsets"}:
            raise ValueError(f"the tensor {name!r:.80} is not described")
        kind = entry["dtype"]
        if not isinstance(kind, str) or (kind not in DTYPES and not (foreign and kind == BFLOAT16)):
            raise ValueError(f"the tensor {name!r:.80} is of no known type, {_brief(kind)}")
        dtype = DTYPES[kind] if kind in DTYPES else np.dtype(np.uint16)
        shape, offsets = _sizes(entry["shape"], name), _sizes(entry["data_offsets"], name)
        if len(shape) > MOST_AXES or len(offsets) != 2:
            raise ValueError(f"the tensor {name!r:.80} has {len(shape)} axes and {len(offsets)} offsets")
        count, extent = 1, dtype.itemsize
        for n in shape:
            count *= n
            extent *= max(n, 1)
        if extent >= 2**62 or offsets[1] - offsets[0] != count * dtype.itemsize:
            raise ValueError(f"the tensor {name!r:.80} of shape {shape} is not as long as its offsets say")
        places.append((name, dtype, tuple(shape), *offsets))
    places.sort(key=lambda place: place[3:])
    end = 0
    for name, _, _, begin, after in places:
        if begin != end:
            raise ValueError(f"the tensor {name!r:.80} does not lie behind the one before")
        end = after
    return places


def _sizes(values, name):
    """A list of ints from 0 to 2^62."""
    if not isinstance(values, list) or not all(type(n) is int and 0 <= n < 2**62 for n in values):
        raise ValueError(f"the tensor {name!r:.80} has a size that is none")
    return values


def _read_tensor(file, dtype, shape, expected):
    array = np.empty(shape, dtype)
    data = array.reshape(-1).view(np.uint8)
    if read_into(file, memoryview(data)) < data.size:
        raise ValueError(f"{expected} a truncated one: it ended while it was read")
    if dtype == np.bool_ and data.size and data.max() > 1:
        raise ValueError(f"{expected} a damaged one: a bool that is neither true nor false")
    return array


def _storable(name, array):
    """A copy of an array in a file's form: C-contiguous, of a type and byte order that files have.

    A copy, because another thread may train on while the checksum and the file are made.
    """
    array = np.asarray(array, order="C")
    dtype = array.dtype.newbyteorder("=")
    if dtype not in NAMES:
        raise TypeError(f"{name}: expected an array of numbers or bools to write, found {array.dtype}")
    return np.array(array, dtype)


def _checksum(tensors, header):
    described = {key: value for key, value in header.items() if key != "sha256"}
    digest = hashlib.sha256(json.dumps(described).encode())
    for name in sorted(tensors):
        array = tensors[name]
        digest.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
        digest.update(array.reshape(-1).view(np.uint8))
    return digest.hexdigest()


def _brief(value):
    return error_text(value[:80] if isinstance(value, str) else f"{value!r:.80}")
