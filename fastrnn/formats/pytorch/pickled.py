"""Pickled values as plain values and records, without running anything: no class is looked up, no function called.

Python's unpickler calls whatever a file names. Here a name stays a `Name`, an object stays an `Instance` with the state
that the file has for it, and a call is a look-up in the caller's table of `calls`, which gives the value of a few known
ones; any other call is refused.
"""

import io
import pickletools
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

# Most opcodes of a file: these, and one for each so many bytes. A tensor takes about 60.
MOST_OPCODES, BYTES_AN_OPCODE = 120_000, 32
MOST_BITS = 1024  # of an int
PROTOCOLS = 6  # 0 to 5
KEYS = str, int, float, bytes, type(None)  # bool is an int; hashing a deep tuple would overflow the stack


class Name(NamedTuple):
    """What a pickle names: a class or a function, neither of which is looked up."""

    module: str
    name: str

    def __str__(self):
        return f"{self.module}.{self.name}"


class Instance:
    """An object of a class that is not looked up, with the state that the file has for it."""

    __slots__ = ("cls", "state")

    def __init__(self, cls: Name) -> None:
        self.cls, self.state = cls, {}


class Other:
    """A value of which nothing but its kind is known."""

    __slots__ = ("kind",)

    def __init__(self, kind: str) -> None:
        self.kind = kind


def load_pickle(data: "bytes | bytearray", begin: int, size: int, calls: "Mapping[Name, Callable[..., Any]]",
                persistent: "Callable[[Any], Any]") -> "tuple[Any, int]":
    """The value of the pickle in `data` at `begin`, and where it ends.

    Parameters
    ----------
    data : bytes
    begin : int
    size : int
        Of the file that `data` belongs to; it bounds the number of opcodes.
    calls : mapping of Name to function
        What each known call gives for its arguments.
    persistent : function
        What a persistent id stands for.

    Raises
    ------
    ValueError
        For all that is not understood: a damaged pickle, another call, a value of another kind than is needed.
    """
    file = io.BytesIO(data)
    file.seek(begin)
    reader = _Reader(calls, persistent)
    left = MOST_OPCODES + size // BYTES_AN_OPCODE
    try:
        for opcode, value, _ in pickletools.genops(file):
            left -= 1
            if left < 0:
                raise ValueError("expected a description in proportion to the file, found a far longer one")
            if opcode.name == "STOP":
                break
            step = _STEPS.get(opcode.name)
            if step is None:
                raise ValueError(f"expected plain values, found the opcode {opcode.name}")
            step(reader, value)
    except IndexError:
        raise ValueError("expected a whole pickle, found one that takes more values than it has") from None
    value = reader.pop()
    if reader.stack:
        raise ValueError("expected one value, found several")
    return value, file.tell()


class _Reader:
    """The stack and the memo of one pickle."""

    def __init__(self, calls, persistent):
        self.calls, self.persistent = calls, persistent
        self.stack, self.memo, self.marks = [], {}, []

    def pop(self):
        if self.marks and self.marks[-1] >= len(self.stack):
            raise ValueError("expected a whole pickle, found one that takes more values than it has")
        return self.stack.pop()

    def top(self):
        value = self.pop()
        self.stack.append(value)
        return value

    def from_mark(self):
        """The values since the last mark, off the stack."""
        begin = self.marks.pop()
        if begin > len(self.stack):
            raise ValueError("expected a whole pickle, found one that takes more values than it has")
        values = self.stack[begin:]
        del self.stack[begin:]
        return values

    def keep(self, place):
        if place < 0:
            raise ValueError(f"expected a place from 0 in the memo, found {place}")
        self.memo[place] = self.top()

    def remembered(self, place):
        if place not in self.memo:
            raise ValueError("expected a value that was kept, found a reference to none")
        self.stack.append(self.memo[place])


def _push(reader, value):
    if isinstance(value, int) and value.bit_length() > MOST_BITS:
        raise ValueError(f"expected ints of at most {MOST_BITS} bits, found a longer one")
    reader.stack.append(value)


def _constant(value):
    return lambda reader, _: reader.stack.append(value)


def _new(kind):
    return lambda reader, _: reader.stack.append(kind())


def _tuple_of(count):
    def step(reader, _):
        values = [reader.pop() for _ in range(count)]
        reader.stack.append(tuple(reversed(values)))

    return step


def _gathered(kind):
    return lambda reader, _: reader.stack.append(kind(reader.from_mark()))


def _pairs(values):
    if len(values) % 2:
        raise ValueError("expected names and values in turn, found a name without a value")
    return _add_items({}, values)


def _add_items(items, values):
    for key, value in zip(values[::2], values[1::2]):
        if isinstance(key, Name) or not isinstance(key, KEYS):
            raise ValueError(f"expected names that are strings or numbers, found a {type(key).__name__}")
        items[key] = value
    return items


def _hashable(values):
    for value in values:
        if not isinstance(value, KEYS):
            raise ValueError(f"expected a set of strings or numbers, found a {type(value).__name__} in it")
    return set(values)


def _of(reader, kind):
    value = reader.top()
    if type(value) is not kind:
        raise ValueError(f"expected a {kind.__name__} to add to, found a {type(value).__name__}")
    return value


def _mark(reader, _):
    reader.marks.append(len(reader.stack))


def _append(reader, _):
    value = reader.pop()
    _of(reader, list).append(value)


def _appends(reader, _):
    values = reader.from_mark()
    _of(reader, list).extend(values)


def _set_item(reader, _):
    value, key = reader.pop(), reader.pop()
    _add_items(_of(reader, dict), [key, value])


def _set_items(reader, _):
    values = reader.from_mark()
    if len(values) % 2:
        raise ValueError("expected names and values in turn, found a name without a value")
    _add_items(_of(reader, dict), values)


def _add_to_set(reader, _):
    values = reader.from_mark()
    _of(reader, set).update(_hashable(values))


def _global(reader, value):
    module, _, name = value.partition(" ")
    reader.stack.append(Name(module, name))


def _stack_global(reader, _):
    name, module = reader.pop(), reader.pop()
    if not isinstance(name, str) or not isinstance(module, str):
        raise ValueError("expected a name of strings, found others")
    reader.stack.append(Name(module, name))


def _reduce(reader, _):
    arguments, function = reader.pop(), reader.pop()
    reader.stack.append(call(reader.calls, function, arguments))


def call(calls: "Mapping[Name, Callable[..., Any]]", function: "Any", arguments: "Any") -> "Any":
    """What a known call gives; any other is refused by its name."""
    if not isinstance(function, Name) or function not in calls:
        found = str(function)[:200] if isinstance(function, Name) else f"a {type(function).__name__}"
        raise ValueError(f"expected tensors, modules and plain values, found a call of {found}, which is not run")
    if not isinstance(arguments, tuple):
        raise ValueError(f"expected a tuple of arguments of {function}, found a {type(arguments).__name__}")
    return calls[function](*arguments)


def _new_object(reader, _):
    arguments, cls = reader.pop(), reader.pop()
    if not isinstance(cls, Name):
        raise ValueError(f"expected a class to make an object of, found a {type(cls).__name__}")
    if arguments != ():
        raise ValueError(f"expected an object of {str(cls)[:200]} without arguments, found some")
    reader.stack.append(Instance(cls))


def _build(reader, _):
    state, value = reader.pop(), reader.top()
    if isinstance(value, Instance):
        if isinstance(state, tuple) and len(state) == 2:  # (attributes, those in slots)
            state = state[0]
        value.state = state
    elif not isinstance(value, (dict, Other)):  # attributes of an OrderedDict tell of versions only
        raise ValueError(f"expected an object to give a state to, found a {type(value).__name__}")


_STEPS = {
    **dict.fromkeys(("PROTO", "FRAME"), lambda reader, value: None),
    "NONE": _constant(None), "NEWTRUE": _constant(True), "NEWFALSE": _constant(False),
    **dict.fromkeys((
        "INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT", "STRING", "BINSTRING",
        "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "BINBYTES", "SHORT_BINBYTES",
        "BINBYTES8"), _push),
    "EMPTY_LIST": _new(list), "EMPTY_TUPLE": _new(tuple), "EMPTY_DICT": _new(dict), "EMPTY_SET": _new(set),
    "TUPLE1": _tuple_of(1), "TUPLE2": _tuple_of(2), "TUPLE3": _tuple_of(3), "MARK": _mark,
    "TUPLE": _gathered(tuple), "LIST": _gathered(list), "DICT": _gathered(_pairs), "FROZENSET": _gathered(_hashable),
    "APPEND": _append, "APPENDS": _appends, "SETITEM": _set_item, "SETITEMS": _set_items, "ADDITEMS": _add_to_set,
    "POP": lambda reader, _: reader.pop(), "POP_MARK": lambda reader, _: reader.from_mark() and None,
    "DUP": lambda reader, _: reader.stack.append(reader.top()),
    **dict.fromkeys(("PUT", "BINPUT", "LONG_BINPUT"), _Reader.keep),
    "MEMOIZE": lambda reader, _: reader.keep(len(reader.memo)),
    **dict.fromkeys(("GET", "BINGET", "LONG_BINGET"), _Reader.remembered),
    "GLOBAL": _global, "STACK_GLOBAL": _stack_global, "REDUCE": _reduce, "NEWOBJ": _new_object, "BUILD": _build,
    "BINPERSID": lambda reader, _: reader.stack.append(reader.persistent(reader.pop())),
}  # fmt: skip
