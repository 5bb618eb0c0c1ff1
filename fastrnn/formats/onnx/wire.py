"""The wire format of protocol buffers: messages by tables, read strictly and written.

Nobody knows who made a file. So a message has a limited depth and a limited number of parts for its size, each length
must lie within the message around it, each field must have the type of its table, and a field that may stand once
stands once. Bytes are views of the file's own, so that reading takes little memory beside it.

Source: https://protobuf.dev/programming-guides/encoding/
"""

import struct
from typing import ClassVar

import numpy as np

VARINT, FIXED64, LENGTH, FIXED32 = 0, 1, 2, 5
WIRE_TYPES = {"int": VARINT, "int32": VARINT, "float": FIXED32, "double": FIXED64, "string": LENGTH, "bytes": LENGTH}
ITEMS = {"float": np.dtype("<f4"), "double": np.dtype("<f8"), "int": np.dtype("<i8"), "int32": np.dtype("<i4")}
DEEPEST = 100  # messages inside each other, as in Google's own readers
# Approximate bytes of memory of a message, and of another part. Together they may take ALLOWED bytes plus
# ALLOWED_A_BYTE for each byte of the file.
PER_MESSAGE, PER_PART = 500, 90
ALLOWED, ALLOWED_A_BYTE = 40_000_000, 3
PIECE = 1 << 16  # bytes of packed numbers that are decoded at a time

MESSAGES = {}  # name -> class


class Message:
    """One message: its fields are attributes; a field that is absent has its default."""

    # number -> (name, type, how): how is "", "*" repeated, "[]" an array, or "?" None if absent
    fields: ClassVar = {}

    def __init__(self, **values):
        self.__dict__.update(values)


def message(name, fields):
    """A class of messages with these fields, a dict of number -> "name type", which `MESSAGES` keeps."""
    table, defaults = {}, {}
    for number, text in fields.items():
        field, kind = text.split()
        how = next((mark for mark in ("[]", "*", "?") if kind.endswith(mark)), "")
        kind = kind.removesuffix(how)
        table[number] = field, kind, how
        plain = {"string": "", "bytes": b"", "int": 0, "float": 0.0}.get(kind)
        defaults[field] = () if how == "*" else None if how else plain
    MESSAGES[name] = type(name, (Message,), {"fields": table, **defaults})
    return MESSAGES[name]


class Reader:
    """Reads one file's bytes; see `decode`."""

    def __init__(self, data):
        self.data = memoryview(data).cast("B")
        self.left = ALLOWED + ALLOWED_A_BYTE * len(self.data)

    def charge(self, cost):
        self.left -= cost
        if self.left < 0:
            raise ValueError(f"expected parts that take little more memory than the {len(self.data)} bytes of the "
                             "file, "
                             "found more of them")

    def varint(self, at, end):
        """(an unsigned number, where the next part begins)."""
        value = shift = 0
        while at < end:
            byte = self.data[at]
            at += 1
            value |= (byte & 127) << shift
            if byte < 128:
                if value >> 64:
                    break
                return value, at
            shift += 7
            if shift > 63:
                break
        raise ValueError(f"expected a number of at most 64 bits at byte {at}, found one that is longer or cut off")

    def read(self, kind, at, end, depth=0):
        """The message of class `kind` that lies in bytes `at` .. `end`."""
        if depth > DEEPEST:
            raise ValueError(f"expected at most {DEEPEST} messages inside each other, found more")
        self.charge(PER_MESSAGE)
        found = kind.__new__(kind)
        values, fields = found.__dict__, kind.fields
        while at < end:
            tag, at = self.varint(at, end)
            number, wire = tag >> 3, tag & 7
            if not 0 < number < 2**29:
                raise ValueError(f"{kind.__name__}: expected a field number at byte {at}, found {number}")
            start, at = self.extent(kind, wire, at, end)
            if number in fields:
                self.put(kind, values, fields[number], wire, start, at, depth)
        for name, part in values.items():
            if type(part) is Pieces:
                values[name] = part.joined()
        return found

    def extent(self, kind, wire, at, end):
        """(first byte of a field's value, the byte after it)."""
        if wire == VARINT:
            return at, self.varint(at, end)[1]
        if wire == LENGTH:
            length, at = self.varint(at, end)
        elif wire in (FIXED32, FIXED64):
            length = 4 if wire == FIXED32 else 8
        else:
            raise ValueError(f"{kind.__name__}: expected a known wire type at byte {at}, found {wire}")
        if length > end - at:
            raise ValueError(f"{kind.__name__}: expected {length} bytes at byte {at}, found {end - at}")
        return at, at + length

    def put(self, kind, values, field, wire, start, end, depth):
        """Read one field's value into `values`."""
        name, type_, how = field
        packed = wire == LENGTH and how in ("*", "[]") and type_ in ITEMS
        if wire != WIRE_TYPES.get(type_, LENGTH) and not packed:
            raise ValueError(f"{kind.__name__}.{name}: expected wire type {WIRE_TYPES.get(type_, LENGTH)}, found "
                             f"{wire}")
        if packed:
            pieces = self.packed(type_, start, end)
            if how == "*":
                self.charge(PER_PART * len(pieces))
                values.setdefault(name, []).extend(pieces.tolist())
            else:
                values.setdefault(name, Pieces(type_)).arrays.append(pieces)
            return
        self.charge(PER_PART)
        value = self.value(kind, name, type_, start, end, depth)
        if how == "*":
            values.setdefault(name, []).append(value)
        elif how == "[]":
            values.setdefault(name, Pieces(type_)).single.append(value)
        elif name in values:
            raise ValueError(f"{kind.__name__}.{name}: expected it once, found it twice")
        else:
            values[name] = value

    def value(self, kind, name, type_, start, end, depth):
        if type_ in ("int", "int32"):
            return _signed(self.varint(start, end)[0])
        data = self.data[start:end]
        if type_ == "bytes":
            return data
        if type_ == "string":
            try:
                return str(data, "utf-8")
            except UnicodeDecodeError:
                raise ValueError(f"{kind.__name__}.{name}: expected UTF-8 text, found other bytes") from None
        if type_ in ("float", "double"):
            return struct.unpack("<f" if type_ == "float" else "<d", data)[0]
        return self.read(MESSAGES[type_], start, end, depth + 1)

    def packed(self, type_, start, end):
        """An array of the numbers in a packed field."""
        if type_ in ("float", "double"):
            if (end - start) % ITEMS[type_].itemsize:
                raise ValueError(f"expected whole numbers of {ITEMS[type_].itemsize} bytes, found {end - start} bytes")
            return np.frombuffer(self.data[start:end], ITEMS[type_])
        found = [np.empty(0, ITEMS[type_])]
        while start < end:
            raw = np.frombuffer(self.data[start : min(start + PIECE, end)], np.uint8)
            last = np.flatnonzero(raw < 128)
            if not len(last):
                raise ValueError(f"expected a number of at most 64 bits at byte {start}, found one that is longer or "
                                 "cut "
                                 "off")
            self.charge(ITEMS[type_].itemsize * len(last))
            found.append(_varints(raw[: last[-1] + 1], last, start).astype(ITEMS[type_]))
            start += int(last[-1]) + 1
        return np.concatenate(found)


class Pieces:
    """The parts of an array that may stand in one field or in many."""

    def __init__(self, type_):
        self.dtype, self.arrays, self.single = ITEMS[type_], [], []

    def joined(self):
        if self.arrays and self.single:
            raise ValueError("expected packed numbers or single ones, found both in one field")
        if self.single:
            return np.array(self.single, np.int64 if self.dtype.kind == "i" else self.dtype).astype(self.dtype)
        return self.arrays[0] if len(self.arrays) == 1 else np.concatenate(self.arrays)


def _signed(value):
    return value - (1 << 64) if value >> 63 else value


def _varints(raw, last, start):
    """int64 values of whole variable-length numbers, whose last bytes are at `last`."""
    first = np.concatenate([[0], last[:-1] + 1])
    lengths = last - first + 1
    longest = int(lengths.max())
    if longest > 10 or (longest == 10 and raw[last[lengths == 10]].max() > 1):
        raise ValueError(f"expected numbers of at most 64 bits from byte {start}, found a longer one")
    values = np.zeros(len(last), np.uint64)
    for k in range(longest):
        rows = lengths > k
        values[rows] |= (raw[first[rows] + k] & 127).astype(np.uint64) << np.uint64(7 * k)
    return values.view(np.int64)


def decode(data: "bytes | memoryview", kind: "type[Message]") -> Message:
    """The message of class `kind` in `data`.

    Raises
    ------
    ValueError
        If the bytes are no such message, or one that would take far more memory than the file.
    """
    reader = Reader(data)
    return reader.read(kind, 0, len(reader.data))


def encode(found: Message) -> bytes:
    """The bytes of a message: its fields in the order of their numbers."""
    return b"".join(_chunks(found)[1])


def _number(value):
    value = int(value) & (1 << 64) - 1
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def _chunks(found):
    """(how many bytes, their parts in order)."""
    size, chunks = 0, []

    def add(*parts):
        nonlocal size
        size += sum(map(len, parts))
        chunks.extend(parts)

    for number, (name, type_, how) in sorted(type(found).fields.items()):
        value = found.__dict__.get(name)
        if value is None:
            continue
        if how == "[]" or (how == "*" and type_ in ITEMS):
            body = b"".join(map(_number, value)) if type_ in ("int", "int32") else \
                np.asarray(value, ITEMS[type_]).tobytes()
            if len(value):
                add(_number(number << 3 | LENGTH), _number(len(body)), body)
            continue
        for one in value if how == "*" else (value,):
            add(_number(number << 3 | WIRE_TYPES.get(type_, LENGTH)))
            if type_ in ("int", "int32"):
                add(_number(one))
            elif type_ in ("float", "double"):
                add(struct.pack("<f" if type_ == "float" else "<d", one))
            elif type_ in ("string", "bytes"):
                body = one.encode() if type_ == "string" else bytes(one) if isinstance(one, memoryview) else one
                add(_number(len(body)), body)
            else:
                length, parts = _chunks(one)
                add(_number(length), *parts)
    return size, chunks
