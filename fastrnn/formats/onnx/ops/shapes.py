"""Operators that make arrays, change their shapes and types, or put them together."""

import math

import numpy as np

from ....check.values import shown
from ..tensors import dtype_of
from .registry import Reshaped, axes_of, axis_of, claim, operator, reshaped, same, vector


@operator("Constant", 0)
def build_constant(node, infos):
    value = node.attribute("value", np.ndarray)
    if value is None:
        for name, read, dtype in (("value_float", node.float, np.float32), ("value_floats", node.floats, np.float32),
                                  ("value_int", node.int, np.int64), ("value_ints", node.ints, np.int64)):
            if name in node.attributes:
                value = np.array(read(name), dtype)
    if value is None or len(node.attributes) != 1:
        raise ValueError(f"{node.where}: expected one value of numbers, found {', '.join(node.attributes) or 'none'}")
    return lambda: value.view()


@operator("ConstantOfShape", needs=(0,), grows=True)
def build_constant_of_shape(node, infos):
    value = node.attribute("value", np.ndarray, np.zeros(1, np.float32))
    if value.size != 1:
        raise ValueError(f"{node.where}: value: expected one element, found {value.size}")

    def call(shape):
        shape = vector(shape, node.where, "shape")
        claim(shape, value.dtype, node.where)
        return np.full(shape, value.reshape(-1)[0])
    return call


@operator("Range", 3, needs=(0, 1, 2), grows=True)
def build_range(node, infos):
    def call(start, limit, delta):
        start, limit, delta = (np.asarray(one).reshape(()) for one in (start, limit, delta))
        if not delta:
            raise ValueError(f"{node.where}: delta: expected another number than 0")
        count = max(0, int(np.ceil((limit.astype(np.float64) - start) / delta))) if start.dtype.kind == "f" else \
            max(0, -((int(start) - int(limit)) // int(delta)))
        claim((count,), start.dtype, node.where)
        return (start + np.arange(count, dtype=start.dtype) * delta).astype(start.dtype)
    return call


@operator("EyeLike", of_shape=True)
def build_eye_like(node, infos):
    dtype, k = node.int("dtype"), node.int("k", 0)
    return lambda x: np.eye(*x.shape, k=k, dtype=x.dtype if dtype is None else dtype_of(dtype, node.where))


@operator("Shape", of_shape=True)
def build_shape(node, infos):
    start, end = node.int("start", 0), node.int("end")
    return lambda x: np.array(x.shape[start:end], np.int64)


@operator("Size", of_shape=True)
def build_size(node, infos):
    return lambda x: np.array(x.size, np.int64)


@operator("Cast")
def build_cast(node, infos):
    dtype = dtype_of(node.int("to", 0), f"{node.where}: to")
    node.int("saturate"), node.attribute("round_mode", str)     # of types of 8 and fewer bits
    return same if infos[0].dtype == dtype else lambda x: cast(x, dtype)


@operator("CastLike", 2)
def build_cast_like(node, infos):
    node.int("saturate"), node.attribute("round_mode", str)
    return lambda x, like: cast(x, like.dtype)


def cast(x, dtype):
    """A new array, or a view where the dtype is the same; bools come from all that is not 0."""
    return x.view() if x.dtype == dtype else x.astype(dtype)


def whole(known, shape):
    """A shape with its -1 resolved for an array of a known shape, as far as that is possible."""
    rest = math.prod(n for n in shape if n != -1)
    if shape.count(-1) != 1 or rest <= 0 or math.prod(known) % rest:
        return shape
    return tuple(math.prod(known) // rest if n == -1 else n for n in shape)


@operator("Reshape", 2, needs=(1,))
def build_reshape(node, infos):
    keep_zero = node.flag("allowzero")

    def resolved(x_shape, shape):
        sizes = list(shape)
        if not keep_zero:
            for k, n in enumerate(sizes):
                if n == 0:
                    if k >= len(x_shape):
                        raise ValueError(f"{node.where}: expected a shape whose 0 stands for an axis, found "
                                         f"{shown(shape)}")
                    sizes[k] = x_shape[k]
        return sizes

    if infos[1].known is not None:
        shape = vector(infos[1].known, node.where, "shape")
        if infos[0].shape is not None or 0 not in shape or keep_zero:
            fixed = tuple(resolved(infos[0].shape or (), shape))
            return Reshaped(fixed) if infos[0].shape is None else reshaped(whole(infos[0].shape, fixed), infos[0].shape)
    return lambda x, shape: x.reshape(resolved(x.shape, vector(shape, node.where, "shape")))


@operator("Flatten")
def build_flatten(node, infos):
    axis = node.int("axis", 1)

    def call(x):
        if not -x.ndim <= axis <= x.ndim:
            raise ValueError(f"{node.where}: axis: expected -{x.ndim} .. {x.ndim}, found {axis}")
        at = axis + x.ndim if axis < 0 else axis
        rows = int(np.prod(x.shape[:at], dtype=np.int64))
        return x.reshape(rows, int(np.prod(x.shape[at:], dtype=np.int64)))
    return call


def axes_source(node, infos, since, place=1):
    """A function of the optional input of axes: the attribute before set `since`, or the input, as a tuple or None."""
    if node.version < since:
        axes = node.ints("axes")
        if infos[place].present:
            raise ValueError(f"{node.where}: axes: expected an attribute before operator set {since}, found an input")
        return lambda given: axes
    if infos[place].known is not None:
        fixed = vector(infos[place].known, node.where, "axes")
        return lambda given: fixed
    return lambda given: None if given is None else vector(given, node.where, "axes")


@operator("Squeeze", 1, 2, needs=(1,))
def build_squeeze(node, infos):
    source = axes_source(node, infos, 13)

    def call(x, axes=None):
        axes = source(axes)
        return np.squeeze(x, None if axes is None else axes_of(axes, x.ndim, node.where))
    if infos[0].shape is not None and (infos[1].known is not None or not infos[1].present):
        axes = source(None)
        shape = np.squeeze(np.empty(infos[0].shape, np.bool_) if 0 in infos[0].shape else np.broadcast_to(
            False, infos[0].shape), None if axes is None else axes_of(axes, len(infos[0].shape), node.where)).shape
        return reshaped(shape, infos[0].shape)
    return call


@operator("Unsqueeze", 1, 2, needs=(1,))
def build_unsqueeze(node, infos):
    source = axes_source(node, infos, 13)
    if (node.version < 13 and node.attributes.get("axes") is None) or (node.version >= 13 and not infos[1].present):
        raise ValueError(f"{node.where}: axes: expected some, found none")

    def resolved(shape, axes):
        axes = set(axes_of(axes, len(shape) + len(axes), node.where))
        rest = iter(shape)
        return tuple(1 if k in axes else next(rest) for k in range(len(shape) + len(axes)))

    if infos[0].shape is not None and (infos[1].known is not None or node.version < 13):
        shape = resolved(infos[0].shape, source(None))
        return reshaped(shape, infos[0].shape)
    return lambda x, axes=None: x.reshape(resolved(x.shape, source(axes)))


@operator("Transpose")
def build_transpose(node, infos):
    perm = node.ints("perm")
    if perm is not None and sorted(perm) != list(range(len(perm))):
        raise ValueError(f"{node.where}: perm: expected each axis once, found {shown(perm)}")
    shape = infos[0].shape
    if shape is not None and (perm is None or len(perm) == len(shape)):
        order = range(len(shape))[::-1] if perm is None else perm
        moved = [k for k in order if shape[k] != 1]
        if moved == sorted(moved):      # only axes of size 1 move
            return reshaped(tuple(shape[k] for k in order), shape)
    return lambda x: x.transpose(perm)


@operator("Concat", 1, 2**31)
def build_concat(node, infos):
    axis = node.int("axis", 1 if node.version < 4 else None)
    if axis is None:
        raise ValueError(f"{node.where}: axis: expected an int, found none")
    return lambda *inputs: np.concatenate(inputs, axis_of(axis, inputs[0].ndim, node.where))


@operator("Split", 1, 2, outputs=2**31, needs=(1,))
def build_split(node, infos):
    axis, count = node.int("axis", 0), len(node.outputs)
    fixed = node.ints("split") if node.version < 13 else None
    told = node.int("num_outputs") if node.version >= 18 else None
    if told is not None and told != count:
        raise ValueError(f"{node.where}: num_outputs: expected {count}, found {told}")

    def ends(n, split):
        if split is None:
            if told is None and n % count:
                raise ValueError(f"{node.where}: expected an axis of a multiple of {count}, found {n}")
            size = -(-n // count)
            split = [min(size, max(0, n - k * size)) for k in range(count)]
        if len(split) != count or sum(split) != n or min(split) < 0:
            raise ValueError(f"{node.where}: split: expected {count} sizes with the sum {n}, found {shown(split)}")
        return np.cumsum(split).tolist()

    def call(x, split=None):
        at = axis_of(axis, x.ndim, node.where)
        split = fixed if split is None else vector(split, node.where, "split")
        before = (slice(None),) * at
        stops = ends(x.shape[at], split)
        return tuple(x[(*before, slice(start, stop))] for start, stop in zip([0, *stops], stops))

    if infos[0].shape is not None and (infos[1].known is not None or not infos[1].present):
        at = axis_of(axis, len(infos[0].shape), node.where)
        given = fixed if not infos[1].present else vector(infos[1].known, node.where, "split")
        stops = ends(infos[0].shape[at], given)
        cuts = [(*(slice(None),) * at, slice(start, stop)) for start, stop in zip([0, *stops], stops)]
        return lambda x, _=None: tuple([x[cut] for cut in cuts])
    return call


@operator("Expand", 2, needs=(1,), grows=True)
def build_expand(node, infos):
    def call(x, shape):
        shape = np.broadcast_shapes(x.shape, vector(shape, node.where, "shape"))
        claim(shape, x.dtype, node.where)
        return np.array(np.broadcast_to(x, shape))
    return call


@operator("Tile", 2, needs=(1,), grows=True)
def build_tile(node, infos):
    def call(x, repeats):
        repeats = vector(repeats, node.where, "repeats")
        if len(repeats) != x.ndim or min(repeats, default=0) < 0:
            raise ValueError(f"{node.where}: repeats: expected {x.ndim} numbers of at least 0, found {shown(repeats)}")
        claim([n * k for n, k in zip(x.shape, repeats)], x.dtype, node.where)
        return np.tile(x, repeats)
    return call


@operator("Pad", 1, 4, needs=(1, 3), grows=True)
def build_pad(node, infos):
    mode = node.option("mode", "constant", ("constant", "reflect", "edge", "wrap"))
    pads, value = (node.ints("pads"), node.float("value", 0.0)) if node.version < 11 else (None, 0)
    if (node.version < 11 and pads is None) or (node.version >= 11 and not infos[1].present):
        raise ValueError(f"{node.where}: pads: expected some, found none")

    def resolved(ndim, given, axes):
        amounts = pads if given is None else vector(given, node.where, "pads")
        axes = range(ndim) if axes is None else axes_of(vector(axes, node.where, "axes"), ndim, node.where)
        if len(amounts) != 2 * len(axes):
            raise ValueError(f"{node.where}: pads: expected {2 * len(axes)} for {len(axes)} axes, found "
                             f"{shown(amounts)}")
        found = [(0, 0)] * ndim
        for k, axis in enumerate(axes):
            found[axis] = amounts[k], amounts[k + len(axes)]
        return found

    def call(x, given=None, fill=None, axes=None):
        return apply(x, resolved(x.ndim, given, axes), fill)

    def apply(x, amounts, fill):
        shape = [n + before + after for n, (before, after) in zip(x.shape, amounts)]
        claim(shape, x.dtype, node.where)
        if mode == "constant":
            fill = value if fill is None else np.asarray(fill).reshape(())
            return padded(x, amounts, shape, fill)
        for axis, pair in enumerate(amounts):
            if pair != (0, 0):
                x = x.take(places(x.shape[axis], *pair), axis)
        return x.view()

    def places(n, before, after):
        if n == 0 or (mode == "reflect" and n == 1 and max(before, after) > 0):
            raise ValueError(f"{node.where}: expected an axis to {mode} of more values, found {n}")
        at = np.arange(-before, n + after)
        if mode == "edge":
            return at.clip(0, n - 1)
        if mode == "wrap":
            return at % n
        at = at % max(2 * n - 2, 1)
        return np.minimum(at, 2 * n - 2 - at)

    if infos[0].shape is not None and mode != "constant" and all(
            info.known is not None or not info.present for info in (infos[1], infos[3])):
        amounts = resolved(len(infos[0].shape), infos[1].known, infos[3].known)
        padding = [(axis, pair) for axis, pair in enumerate(amounts) if pair != (0, 0)]
        claim([n + sum(pair) for n, pair in zip(infos[0].shape, amounts)], np.float64, node.where)
        if len(padding) == 1:
            axis, pair = padding[0]
            found = places(infos[0].shape[axis], *pair)
            return lambda x, *_: x.take(found, axis)
    return call


def padded(x, amounts, shape, fill):
    """x within an array of `fill`, or cut where an amount is below 0."""
    y = np.empty(shape, x.dtype) if fill is None else np.full(shape, fill, x.dtype)
    inside = tuple(slice(max(before, 0), n - max(after, 0)) for n, (before, after) in zip(shape, amounts))
    cut = tuple(slice(max(-before, 0), n - max(-after, 0)) for n, (before, after) in zip(x.shape, amounts))
    y[inside] = x[cut]
    return y


@operator("Trilu", 1, 2)
def build_trilu(node, infos):
    keep = np.triu if node.flag("upper", 1) else np.tril
    return lambda x, k=None: keep(x, 0 if k is None else int(k))
