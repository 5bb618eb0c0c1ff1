"""Pooling over windows or over all of the spatial axes."""

import numpy as np

from .registry import operator
from .windows import Windows, padded_last, windows_of


def lowest(dtype):
    return -np.inf if dtype.kind == "f" else np.iinfo(dtype).min


def to_first(y):
    """(N, ..., C) as (N, C, ...)."""
    return np.moveaxis(y, -1, 1)


@operator("MaxPool", outputs=2)
def build_max_pool(node, infos):
    windows, by_column = Windows(node, pooling=True), node.flag("storage_order")
    wanted = len(node.outputs) > 1 and node.outputs[1]

    def call(x):
        sizes = windows.sizes(x.shape[2:])
        axes = tuple(range(-1 - len(sizes), -1))
        view = windows_of(padded_last(x, sizes, lowest(x.dtype), node.where, extra=True), sizes)
        if not wanted:
            return to_first(view.max(axes)), None
        places = np.arange(np.prod(x.shape, dtype=np.int64)).reshape(x.shape)
        if by_column:
            spatial = np.arange(np.prod(x.shape[2:], dtype=np.int64)).reshape(x.shape[2:], order="F")
            places = places[(slice(None), slice(None), *(slice(0, 1),) * len(sizes))] + spatial
        there = windows_of(padded_last(places, sizes, -1, node.where, extra=True), sizes)
        flat = (*view.shape[: 1 + len(sizes)], -1, view.shape[-1])
        view, there = view.reshape(flat), there.reshape(flat)
        best = view.argmax(-2)[..., None, :]
        return (to_first(np.take_along_axis(view, best, -2)[..., 0, :]),
                to_first(np.take_along_axis(there, best, -2)[..., 0, :]))
    return call


@operator("AveragePool")
def build_average_pool(node, infos):
    windows, with_padding = Windows(node, pooling=True), node.flag("count_include_pad")

    def call(x):
        sizes = windows.sizes(x.shape[2:])
        axes = tuple(range(-1 - len(sizes), -1))
        total = windows_of(padded_last(x, sizes, 0, node.where, extra=True), sizes).sum(axes, dtype=x.dtype)
        ones = np.ones((1, 1, *x.shape[2:]), x.dtype)
        if with_padding:    # of what the attributes add, not of what a last window hangs over
            ones = np.ones((1, 1, *(one[0] + one[4] + one[5] for one in sizes)), x.dtype)
            sizes = [(one[0] + one[4] + one[5], *one[1:4], 0, 0, one[6]) for one in sizes]
        return to_first(total / windows_of(padded_last(ones, sizes, 0, node.where, extra=True), sizes).sum(axes))
    return call


@operator("LpPool")
def build_lp_pool(node, infos):
    windows, p = Windows(node, pooling=True), node.int("p", 2, 1)

    def call(x):
        sizes = windows.sizes(x.shape[2:])
        view = windows_of(padded_last(np.abs(x) ** p, sizes, 0, node.where, extra=True), sizes)
        return to_first(view.sum(tuple(range(-1 - len(sizes), -1)),
                                 dtype=x.dtype) ** x.dtype.type(1 / p)).astype(x.dtype)
    return call


def over_all(function):
    return lambda node, infos: lambda x: function(x, axis=tuple(range(2, x.ndim)), keepdims=True)


operator("GlobalAveragePool")(over_all(np.mean))
operator("GlobalMaxPool")(over_all(np.max))
