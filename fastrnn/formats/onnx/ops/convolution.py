"""Convolution in any number of axes: windows, laid out as rows, times packed weights.

Inside, channels come last, so that a row is made of long contiguous pieces, and the product's rows are the result; the
array that a call returns is a view of it in ONNX's order, which the next convolution reads without a copy.
"""

import numpy as np

from .products import Packed, matmul, packs
from .registry import memo, operator
from .windows import Windows, count, padded_last, windows_of

MOST_ROWS = 1 << 21     # values of rows that are laid out at a time


def laid_out(weight):
    """The weight (O, C, ...) as a matrix (O, ... * C)."""
    return np.moveaxis(weight, 1, -1).reshape(weight.shape[0], -1)


def rows_product(weight, bias):
    """A function of rows (R, K) that writes rows weight^T + bias into y (R, O)."""
    matrix = laid_out(weight)
    if packs(matrix, bias):
        return Packed(matrix, bias).rows

    def multiply(y, rows):
        found = matmul(rows, matrix.T)
        y[...] = found if bias is None else found + bias
    return multiply


@operator("Conv", 2, 3)
def build_conv(node, infos):
    return convolution(node, infos, None)


@operator("ConvRelu", 2, 3, domain="fastrnn")
def build_conv_relu(node, infos):
    """A convolution and max(x, 0)."""
    zeros = {}

    def rectify(y):
        zero = zeros.get(y.dtype)
        if zero is None:    # an array: a number would be converted in each call
            zero = zeros[y.dtype] = np.zeros((), y.dtype)
        np.maximum(y, zero, out=y)
    return convolution(node, infos, rectify)


def convolution(node, infos, after):
    """The call of a convolution; `after` acts on the rows of the result in place."""
    windows, groups = Windows(node), node.int("group", 1, 1)
    weight, bias = infos[1].known, infos[2].known
    ready = None
    if weight is not None and (bias is not None or not infos[2].present) and weight.ndim > 2 \
            and not weight.shape[0] % groups:
        check_dtypes(node, weight, bias)
        ready = memo(node, "products", weight, lambda array: products_of(array, bias, groups))
    shape = infos[0].shape
    fixed = None
    if ready is not None and shape is not None and len(shape) == weight.ndim and shape[1] == weight.shape[1] * groups \
            and infos[0].dtype == weight.dtype:
        fixed = windows.sizes(shape[2:], weight.shape[2:])
        if groups == 1 and 0 not in shape:
            quick = rows_of_shape(node, weight, bias, shape, fixed, after)
            if quick is not None:
                return quick

    def call(x, w, b=None):
        if x.ndim < 3 or w.ndim != x.ndim or x.shape[1] != w.shape[1] * groups or w.shape[0] % groups:
            raise ValueError(f"{node.where}: expected x (N, {groups} * C, ...) and a weight ({groups} * O, C, ...), "
                             "found "
                             f"shapes {x.shape} and {w.shape}")
        if x.dtype != w.dtype:
            raise ValueError(f"{node.where}: expected x of {w.dtype} as the weight, found {x.dtype}")
        sizes = fixed or windows.sizes(x.shape[2:], w.shape[2:])
        products = ready or products_of(w, b, groups)
        outputs = tuple([one[-1] for one in sizes])
        padded = padded_last(x, sizes, 0, node.where)
        y = np.empty((x.shape[0], *outputs, w.shape[0]), x.dtype)
        if groups == 1:
            fill(y, padded, sizes, products[0])
        elif w.shape[1] == 1 and w.shape[0] == groups:
            depthwise(y, windows_of(padded, sizes), w, b)
        else:
            share, wide = w.shape[0] // groups, w.shape[1]
            for k, one in enumerate(products):
                part = np.empty((*y.shape[:-1], share), y.dtype)
                fill(part, np.ascontiguousarray(padded[..., k * wide : (k + 1) * wide]), sizes, one)
                y[..., k * share : (k + 1) * share] = part
        if after is not None:
            after(y)
        return y.transpose(0, y.ndim - 1, *range(1, y.ndim - 1))
    return call


def taps_read(size, kernel, stride, dilation, before, after, output):
    """The first and last place of a kernel that reads more than padding, for some output."""
    places = [k for k in range(kernel) if any(0 <= o * stride + k * dilation - before < size for o in range(output))]
    return (places[0], places[-1] + 1) if places else (0, kernel)


def rows_of_shape(node, weight, bias, shape, sizes, after):
    """The call for x of one known shape, with all sizes computed before; None if the rows would take much memory.

    A place of the kernel that reads only padding is left out of the product.
    """
    if any(one[6] > 64 for one in sizes):
        taps = [(0, one[1]) for one in sizes]
    else:
        taps = [taps_read(*one) for one in sizes]
    kept = [(size, stop - start, stride, dilation, before - start * dilation, 0, output) for
            (size, _, stride, dilation, before, _, output), (start, stop) in zip(sizes, taps)]
    ends = [(output - 1) * stride + (kernel - 1) * dilation + 1 for _, kernel, stride, dilation, _, _, output in kept]
    outputs, kernel, channels = [one[6] for one in kept], [one[1] for one in kept], shape[1]
    rows, width = shape[0] * count(outputs), count(kernel) * channels
    if rows * width > MOST_ROWS or shape[0] * count(ends) * channels > MOST_ROWS:
        return None
    key = f"products {taps}" if any((start, stop) != (0, one[1]) for (start, stop), one in zip(taps,
                                                                                               sizes)) else "products"
    part = weight[(slice(None), slice(None), *(slice(start, stop) for start, stop in taps))]
    multiply = memo(node, key, weight, lambda _: products_of(part, bias, 1))[0]
    # where x lies in what the windows read, and which part of x that is
    inside = (slice(None), *(slice(max(one[4], 0), min(one[4] + one[0], end)) for one, end in zip(kept, ends)))
    cut = (slice(None), *(slice(max(-one[4], 0), max(-one[4], 0) + place.stop - place.start)
                          for one, place in zip(kept, inside[1:])))
    exact = all(one[4] == 0 and one[0] == end for one, end in zip(kept, ends))
    filled = all(place.start == 0 and place.stop == end for place, end in zip(inside[1:], ends))
    read, dtype = (shape[0], *ends, channels), weight.dtype
    if exact and rows == shape[0] and kernel == list(shape[2:]):
        return whole_windows(multiply, (shape[0], width), (shape[0], weight.shape[0], *outputs), dtype, after,
                             None if width == channels else last_axis(len(shape)))
    view = windows_of(np.empty(read, dtype), kept)
    window_shape, strides = view.shape, view.strides
    last, first = last_axis(len(shape)), (0, len(shape) - 1, *range(1, len(shape) - 1))
    result = (shape[0], *outputs, weight.shape[0])
    empty, zeros, ndarray = np.empty, np.zeros, np.ndarray

    def call(x, *_):
        x = x.transpose(last)
        if exact:
            padded = np.asarray(x, order="C")
        else:
            padded = empty(read, dtype) if filled else zeros(read, dtype)
            padded[inside] = x[cut]
        windows = ndarray(window_shape, dtype, padded, 0, strides).reshape(rows, width)
        y = empty((rows, weight.shape[0]), dtype)
        multiply(y, windows if windows.flags.c_contiguous else windows.copy())
        if after is not None:
            after(y)
        return y.reshape(result).transpose(first)
    return call


def last_axis(ndim):
    """The order of axes that puts the channels, the second, last."""
    return (0, *range(2, ndim), 1)


def whole_windows(multiply, rows, result, dtype, after, order):
    """The call where a sequence is one window without padding: x is the rows, but for the order of its axes."""
    made = rows[0], result[1]
    empty = np.empty

    def call(x, *_):
        x = x.reshape(rows) if order is None else x.transpose(order).reshape(rows)
        y = empty(made, dtype)
        multiply(y, x if x.flags.c_contiguous else x.copy())
        if after is not None:
            after(y)
        return y.reshape(result)
    return call


def check_dtypes(node, weight, bias):
    if weight.dtype.kind != "f" or (bias is not None and (bias.dtype, bias.shape) != (weight.dtype, weight.shape[:1])):
        raise ValueError(f"{node.where}: expected a float weight and a bias of its dtype for each output, found "
                         f"{weight.dtype} of shape "
                         f"{weight.shape}{'' if bias is None else f' and {bias.dtype} of shape '}"
                         f"{'' if bias is None else bias.shape}")


def products_of(weight, bias, groups):
    """One product for each group; none where `depthwise` does it."""
    if weight.shape[1] == 1 and weight.shape[0] == groups > 1:
        return [None]
    share = weight.shape[0] // groups
    return [rows_product(weight[k * share : (k + 1) * share],
                         None if bias is None else bias[k * share : (k + 1) * share])
            for k in range(groups)]


def fill(y, x, sizes, multiply):
    """y (N, outputs..., O) = windows of x (N, ..., C), as rows, times the weight."""
    view = windows_of(x, sizes)
    width, channels = count(one[1] for one in sizes) * x.shape[-1], y.shape[-1]
    if view.size <= MOST_ROWS:
        multiply(y.reshape(-1, channels), np.asarray(view.reshape(-1, width), order="C"))
        return
    inner = count(y.shape[2:-1])
    step = max(1, MOST_ROWS // max(width * inner, 1))
    for n in range(len(y)):
        for start in range(0, y.shape[1], step):
            piece = y[n, start : start + step]
            multiply(piece.reshape(-1, channels), np.asarray(view[n, start : start + step].reshape(-1, width),
                                                             order="C"))


def depthwise(y, view, weight, bias):
    """y (N, outputs..., C) = the sum over a window (N, outputs..., kernel..., C) times weight (C, 1, kernel...)."""
    total = y if y.dtype != np.float16 else np.empty(y.shape, np.float32)
    total[...] = 0 if bias is None else bias
    for place in np.ndindex(*weight.shape[2:]):
        total += view[(..., *place, slice(None))].astype(total.dtype, copy=False) * weight[(slice(None), 0, *place)]
    if total is not y:
        y[...] = total
