"""Operators that reduce axes, sort them or run along them."""

import numpy as np

from ....check.values import shown
from .registry import axes_of, axis_of, operator, reshaped
from .shapes import axes_source


def log_sum_exp(x, axis, keepdims):
    top = np.max(x, axis, keepdims=True, initial=-np.inf)
    top = np.where(np.isfinite(top), top, 0).astype(x.dtype)
    found = np.log(np.sum(np.exp(x - top), axis, keepdims=True)) + top
    return found if keepdims else np.squeeze(found, axis)


def extreme(function, low):
    """max or min, which of nothing is the dtype's end."""
    def call(x, axis, keepdims):
        if x.size:
            return function(x, axis, keepdims=keepdims)
        if x.dtype == np.bool_:
            end = not low
        elif x.dtype.kind == "f":
            end = -np.inf if low else np.inf
        else:
            end = np.iinfo(x.dtype).min if low else np.iinfo(x.dtype).max
        return function(x, axis, keepdims=keepdims, initial=end)
    return call


def by_sum(before=None, after=None):
    def call(x, axis, keepdims):
        found = np.sum(x if before is None else before(x), axis, keepdims=keepdims, dtype=x.dtype)
        return found if after is None else after(found)
    return call


def mean(x, axis, keepdims):
    if x.dtype.kind != "f" or x.dtype == np.float16:
        return np.mean(x, axis, keepdims=keepdims)
    total = np.add.reduce(x, axis, keepdims=keepdims)
    return total / x.dtype.type(x.size // total.size if total.size else 1)


REDUCTIONS = {
    "ReduceSum": by_sum(), "ReduceSumSquare": by_sum(np.square), "ReduceL1": by_sum(np.abs),
    "ReduceL2": by_sum(np.square, np.sqrt), "ReduceLogSum": by_sum(None, np.log), "ReduceLogSumExp": log_sum_exp,
    "ReduceMean": mean,
    "ReduceProd": lambda x, axis, keepdims: np.prod(x, axis, keepdims=keepdims, dtype=x.dtype),
    "ReduceMax": extreme(np.max, True), "ReduceMin": extreme(np.min, False),
}


ALONE = frozenset({"ReduceSum", "ReduceMean", "ReduceProd", "ReduceMax", "ReduceMin"})     # of one value, the value


def build_reduce(node, infos):
    function = REDUCTIONS[node.op]
    source = axes_source(node, infos, 13 if node.op == "ReduceSum" else 18)
    keepdims, noop = node.flag("keepdims", 1), node.flag("noop_with_empty_axes")

    def reduced(x, axes):
        return function(x, axes, keepdims).astype(x.dtype, copy=False)

    def call(x, axes=None):
        axes = source(axes)
        if not axes:
            # with noop the operator still acts on each element alone
            return function(x, (), keepdims).astype(x.dtype) if noop else reduced(x, None)
        return reduced(x, axes_of(axes, x.ndim, node.where))
    if infos[0].shape is not None and (infos[1].known is not None or (node.version < 18 and not infos[1].present)):
        fixed = source(None)
        if fixed:
            fixed = axes_of(fixed, len(infos[0].shape), node.where)
            if node.op in ALONE and all(infos[0].shape[k] == 1 for k in fixed):
                return reshaped(tuple(n for k, n in enumerate(infos[0].shape) if keepdims or k not in fixed),
                                infos[0].shape)
            return lambda x, _=None: reduced(x, fixed)
    return call


for _name in REDUCTIONS:
    operator(_name, 1, 2, needs=(1,))(build_reduce)


@operator("ArgMax ArgMin")
def build_arg(node, infos):
    axis, keepdims, last = node.int("axis", 0), node.flag("keepdims", 1), node.flag("select_last_index")
    function = np.argmax if node.op == "ArgMax" else np.argmin

    def call(x):
        at = axis_of(axis, x.ndim, node.where)
        found = x.shape[at] - 1 - function(np.flip(x, at), at) if last else function(x, at)
        return np.expand_dims(found, at).astype(np.int64) if keepdims else np.asarray(found, np.int64)
    return call


@operator("TopK", 1, 2, outputs=2, needs=(1,))
def build_top_k(node, infos):
    axis, largest = node.int("axis", -1), node.flag("largest", 1)
    node.flag("sorted", 1)  # sorted either way
    fixed = node.int("k", low=0) if node.version < 10 else None
    if fixed is None and not infos[1].present:
        raise ValueError(f"{node.where}: k: expected an int, found none")

    def call(x, k=None):
        at = axis_of(axis, x.ndim, node.where)
        k, n = fixed if k is None else int(np.asarray(k).reshape(())), x.shape[at]
        if not 0 <= k <= n:
            raise ValueError(f"{node.where}: k: expected 0 to {n}, found {k}")
        order = np.flip(n - 1 - np.argsort(np.flip(x, at), at, kind="stable"), at) if largest else \
            np.argsort(x, at, kind="stable")        # of equal values the first comes first
        order = np.take(order, np.arange(k), at)
        return np.take_along_axis(x, order, at), order.astype(np.int64)
    return call


@operator("CumSum", 2)
def build_cum_sum(node, infos):
    exclusive, reverse = node.flag("exclusive"), node.flag("reverse")

    def call(x, axis):
        at = axis_of(np.asarray(axis).reshape(()), x.ndim, node.where)
        x = np.flip(x, at) if reverse else x
        y = np.cumsum(x, at, dtype=x.dtype)
        y = y - x if exclusive else y
        return np.flip(y, at) if reverse else y
    return call


def soft(function):
    """The builder of Softmax and its like: along one axis, or before set 13 over all axes from one on."""
    def build(node, infos):
        axis = node.int("axis", -1 if node.version >= 13 else 1)

        def call(x):
            at = axis_of(axis, x.ndim, node.where)
            if node.version >= 13:
                return function(x, at)
            flat = x.reshape(int(np.prod(x.shape[:at], dtype=np.int64)), -1)
            return function(flat, 1).reshape(x.shape)
        return call
    return build


def softmax(x, axis):
    y = np.exp(x - np.max(x, axis, keepdims=True, initial=-np.inf).astype(x.dtype))
    y /= np.sum(y, axis, keepdims=True)
    return y


def log_softmax(x, axis):
    y = x - np.max(x, axis, keepdims=True, initial=-np.inf).astype(x.dtype)
    y -= np.log(np.sum(np.exp(y), axis, keepdims=True))
    return y


def hardmax(x, axis):
    y = np.zeros_like(x)
    np.put_along_axis(y, np.expand_dims(np.argmax(x, axis), axis), 1, axis)
    return y


operator("Softmax")(soft(softmax))
operator("LogSoftmax")(soft(log_softmax))
operator("Hardmax")(soft(hardmax))


@operator("Einsum", 1, 2**31)
def build_einsum(node, infos):
    equation = node.attribute("equation", str)
    if equation is None or not all(c.isalpha() or c in ",.-> " for c in equation) or len(equation) > 200:
        raise ValueError(f"{node.where}: equation: expected letters, commas, dots and an arrow, found "
                         f"{shown(equation)}")
    return lambda *inputs: np.array(np.einsum(equation, *inputs))
