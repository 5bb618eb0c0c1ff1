"""The table of operators, and what their builders use.

A builder takes a node and what is known about its inputs, checks the attributes, and returns the call: a function of
the node's inputs, None for those left out, that returns a new array or a view, never an argument itself; an operator of
several outputs returns a tuple. A builder may use `Info.known` and `Info.shape`: the call then serves these only.
"""

import threading
from typing import Any, NamedTuple

import numpy as np

from .... import memory
from ....check.values import shown

OPERATORS = {}          # (domain, operator) -> Operator
MOST_BYTES = 1 << 44    # of an array; beyond, NumPy's own arithmetic of sizes might overflow
_limit = threading.local()


class Info(NamedTuple):
    """What is known of a value before a run: its array, or its shape, or its dtype; None for what is not."""

    known: Any = None
    shape: tuple | None = None
    dtype: Any = None
    present: bool = True


ABSENT = Info(present=False)


class Operator(NamedTuple):
    """How an operator is built.

    low, high, outputs: how many inputs and outputs it may have, at least, at most and at most. many: whether the call
    returns a tuple. needs: the inputs whose values decide the outputs' shapes; None where all values do. grows: whether
    outputs may be much larger than the inputs. of_shape: whether the first input's shape alone decides the outputs.
    """

    build: Any
    low: int
    high: int
    outputs: int
    many: bool
    needs: tuple | None
    since: int
    grows: bool
    of_shape: bool


def operator(name, low=1, high=None, *, outputs=1, needs=(), since=1, grows=False, of_shape=False, domain=""):
    """Enter the builder that follows into the table; high is `low` by default."""
    def enter(build):
        for one in name.split():
            OPERATORS[domain, one] = Operator(build, low, low if high is None else high, outputs, outputs > 1, needs,
                                              since,
                                              grows, of_shape)
        return build
    return enter


def find(node) -> Operator:
    """The operator of a node, which has as many inputs and outputs as it may have."""
    found = OPERATORS.get((node.domain, node.op))
    if found is None:
        raise ValueError(f"{node.where}: expected an operator that fastrnn knows, found "
                         f"{node.domain + '.' if node.domain else ''}{node.op}")
    if node.version < found.since and not node.domain:
        raise ValueError(f"{node.where}: expected operator set {found.since} or newer, found {node.version}")
    if not found.low <= len(node.inputs) <= found.high or not 1 <= len(node.outputs) <= found.outputs:
        raise ValueError(f"{node.where}: expected {found.low} to {found.high} inputs and 1 to {found.outputs} "
                         "outputs, found "
                         f"{len(node.inputs)} and {len(node.outputs)}")
    if not all(node.inputs[: found.low]) and (node.op, node.version) != ("Scan", 8):
        raise ValueError(f"{node.where}: expected the first {found.low} inputs, found an empty name")
    return found


def build(node, infos):
    """The call of a node; `infos` has one entry for each input, `ABSENT` for those left out."""
    found = find(node)
    call = found.build(node, [*infos, *[ABSENT] * (found.high - len(infos) if found.high < 100 else 0)])
    node.finish()
    return call


def same(x, *_):
    """The call of a node whose output is its first input here; a plan leaves it out."""
    return x.view()


class Reshaped:
    """The call that gives an array this shape; of several in a row a plan makes one."""

    __slots__ = ("shape",)

    def __init__(self, shape):
        self.shape = shape

    def __call__(self, x, *_):
        return x.reshape(self.shape)


def reshaped(shape, known):
    """`Reshaped`, or `same` for an input of the known shape."""
    return same if shape == known else Reshaped(shape)


class TooLarge(Exception):
    """An array that is not worth being made before a run."""


def claim(shape, dtype, where):
    """Raise where an array of this shape does not fit into memory."""
    nbytes = np.dtype(dtype).itemsize
    for n in shape:
        if n < 0:
            raise ValueError(f"{where}: expected sizes of at least 0, found {shown(shape)}")
        nbytes *= n
    if nbytes > getattr(_limit, "nbytes", MOST_BYTES):
        if nbytes <= MOST_BYTES:
            raise TooLarge
        raise ValueError(f"{where}: expected an array that fits into memory, found shape {shown(shape)}")
    memory.require(nbytes, where, f"an array of shape {shown(shape)}", "use smaller inputs")


class limited:
    """A context in which `claim` raises `TooLarge` beyond some bytes."""

    def __init__(self, nbytes):
        self.nbytes = nbytes

    def __enter__(self):
        self.before = getattr(_limit, "nbytes", MOST_BYTES)
        _limit.nbytes = min(self.nbytes, self.before)

    def __exit__(self, *_):
        _limit.nbytes = self.before


def axis_of(axis, ndim, where, name="axis"):
    """An axis counted from the front."""
    axis = int(axis)
    if not -ndim <= axis < ndim:
        raise ValueError(f"{where}: {name}: expected -{ndim} .. {ndim - 1} for {ndim} axes, found {axis}")
    return axis % ndim if ndim else 0


def axes_of(axes, ndim, where, name="axes"):
    """Axes counted from the front, each once."""
    found = tuple(axis_of(axis, ndim, where, name) for axis in axes)
    if len(set(found)) != len(found):
        raise ValueError(f"{where}: {name}: expected each axis once, found {shown(tuple(axes))}")
    return found


def vector(value, where, name):
    """The ints of a one-dimensional input as a tuple."""
    value = np.asarray(value)
    if value.dtype.kind not in "iu" or value.ndim > 1:
        raise ValueError(f"{where}: {name}: expected a vector of ints, found {value.dtype} of shape {value.shape}")
    return tuple(value.reshape(-1).tolist())


def memo(node, name, array, make):
    """What `make(array)` returned the first time for this node and array: packed weights serve all plans."""
    kept = node.memos.setdefault(name, [])
    for source, made in kept:
        if source is array:
            return made
    kept.append((array, make(array)))
    return kept[-1][1]
