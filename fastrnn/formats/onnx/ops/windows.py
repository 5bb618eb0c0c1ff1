"""Windows over the spatial axes of (N, C, ...) arrays: what convolution and pooling read."""

import math

import numpy as np

from ....check.values import shown
from .registry import claim

AUTO_PADS = "NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER"


class Windows:
    """The window attributes of a node, for any number of spatial axes."""

    def __init__(self, node, pooling=False):
        self.where = node.where
        self.kernel = node.ints("kernel_shape")
        self.strides, self.dilations, self.pads = node.ints("strides"), node.ints("dilations"), node.ints("pads")
        self.auto = node.option("auto_pad", "NOTSET", AUTO_PADS)
        self.ceil = node.flag("ceil_mode") if pooling else False
        if pooling and self.kernel is None:
            raise ValueError(f"{node.where}: kernel_shape: expected a size for each axis, found none")
        for name, values, low in (("kernel_shape", self.kernel, 1), ("strides", self.strides, 1),
                                  ("dilations", self.dilations, 1), ("pads", self.pads, 0)):
            if values is not None and (min(values, default=1) < low or max(values, default=1) >= 2**31):
                raise ValueError(f"{node.where}: {name}: expected numbers from {low}, found {shown(values)}")

    def sizes(self, spatial, kernel=None):
        """[(size, kernel, stride, dilation, before, after, output)] of each axis."""
        kernel = self.kernel if kernel is None else tuple(kernel)
        n = len(spatial)
        if self.kernel is not None and kernel != self.kernel:
            raise ValueError(f"{self.where}: kernel_shape: expected {kernel} as the weight has, found {self.kernel}")
        strides, dilations = self.strides or (1,) * n, self.dilations or (1,) * n
        pads = self.pads or (0,) * 2 * n
        if not len(kernel) == len(strides) == len(dilations) == n or len(pads) != 2 * n:
            raise ValueError(f"{self.where}: expected kernel_shape, strides and dilations for {n} axes and {2 * n} "
                             "pads, "
                             f"found {len(kernel)}, {len(strides)}, {len(dilations)} and {len(pads)}")
        return [self.axis(*one) for one in zip(spatial, kernel, strides, dilations, pads[:n], pads[n:])]

    def axis(self, size, kernel, stride, dilation, before, after):
        extent = (kernel - 1) * dilation + 1
        if self.auto == "VALID":
            before = after = 0
        elif self.auto != "NOTSET":
            total = max((-(-size // stride) - 1) * stride + extent - size, 0)
            before = total // 2 if self.auto == "SAME_UPPER" else total - total // 2
            after = total - before
        room = size + before + after - extent
        if room < 0:
            raise ValueError(f"{self.where}: expected an axis of at least {extent - before - after}, found {size}")
        output = room // stride + 1
        if self.ceil and room % stride and output * stride < size + before:     # no window may begin in the padding
            output += 1
        return size, kernel, stride, dilation, before, after, output


def padded_last(x, sizes, fill, where, extra=False):
    """A C-contiguous (N, ..., C) copy or view of x (N, C, ...), with padding; `extra` for windows that hang over."""
    x = np.moveaxis(x, 1, -1)
    ends = []
    for size, kernel, stride, dilation, before, after, output in sizes:
        needed = (output - 1) * stride + (kernel - 1) * dilation + 1
        ends.append(max(size + before + after, needed) if extra else size + before + after)
    if all(before == 0 and end == size for (size, *_, before, _, _), end in zip(sizes, ends)):
        return np.asarray(x, order="C")
    shape = (x.shape[0], *ends, x.shape[-1])
    claim(shape, x.dtype, where)
    y = np.zeros(shape, x.dtype) if fill == 0 else np.full(shape, fill, x.dtype)
    y[(slice(None), *(slice(before, before + size) for size, *_, before, _, _ in sizes))] = x
    return y


def windows_of(x, sizes):
    """A view (N, outputs..., kernel..., C) of x (N, ..., C)."""
    steps = x.strides[1:-1]
    shape = (x.shape[0], *(one[-1] for one in sizes), *(one[1] for one in sizes), x.shape[-1])
    strides = (x.strides[0], *(one[2] * step for one, step in zip(sizes, steps)),
               *(one[3] * step for one, step in zip(sizes, steps)), x.strides[-1])
    if 0 in shape:
        return np.empty(shape, x.dtype)
    return np.ndarray(shape, x.dtype, x, 0, strides)


def count(values):
    return math.prod(values)
