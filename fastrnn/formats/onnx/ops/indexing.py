"""Operators that take elements by place or put them there."""

import numpy as np

from ....check.values import shown
from .registry import axes_of, axis_of, claim, operator, same, vector


@operator("Slice", 1, 5, needs=(1, 2, 3, 4))
def build_slice(node, infos):
    if node.version < 10:
        given = [node.ints(name) for name in ("starts", "ends", "axes")]
        if given[0] is None or given[1] is None:
            raise ValueError(f"{node.where}: expected starts and ends, found none")

        def source(_):
            return (*given, None)
    else:
        if not infos[2].present:
            raise ValueError(f"{node.where}: expected starts and ends, found none")

        def source(inputs):
            return [None if one is None else vector(one, node.where, name)
                    for one, name in zip(inputs, ("starts", "ends", "axes", "steps"))]

    def cuts(ndim, inputs):
        starts, ends, axes, steps = source(inputs)
        axes = range(len(starts)) if axes is None else axes
        steps = [1] * len(starts) if steps is None else steps
        if not len(starts) == len(ends) == len(axes) == len(steps):
            raise ValueError(f"{node.where}: expected as many starts as ends, axes and steps, found {len(starts)}, "
                             f"{len(ends)}, {len(axes)} and {len(steps)}")
        if 0 in steps:
            raise ValueError(f"{node.where}: steps: expected other numbers than 0")
        found = [slice(None)] * ndim
        for start, end, axis, step in zip(starts, ends, axes_of(axes, ndim, node.where), steps):
            found[axis] = slice(start, end, step)
        return tuple(found)

    if infos[0].shape is not None and all(info.known is not None or not info.present for info in infos[1:5]):
        fixed = cuts(len(infos[0].shape), [info.known for info in infos[1:5]])
        if all(len(range(*cut.indices(n))) == n and (cut.step or 1) > 0 for cut, n in zip(fixed, infos[0].shape)):
            return same
        return lambda x, *_: x[fixed]
    return lambda x, starts=None, ends=None, axes=None, steps=None: x[cuts(x.ndim, (starts, ends, axes, steps))]


@operator("Gather", 2)
def build_gather(node, infos):
    axis = node.int("axis", 0)
    place = infos[1].known
    if place is not None and place.ndim == 0 and infos[0].shape is not None:
        at = (*(slice(None),) * axis_of(axis, len(infos[0].shape), node.where), int(place))
        return lambda x, _: x[at]
    return lambda x, places: np.take(x, places, axis_of(axis, x.ndim, node.where))


@operator("GatherElements", 2)
def build_gather_elements(node, infos):
    axis = node.int("axis", 0)
    return lambda x, places: np.take_along_axis(x, places, axis_of(axis, x.ndim, node.where)) \
        if x.shape == places.shape else x[grid(x, places, axis, node.where)]


def grid(x, places, axis, where):
    """Indices of x that have `places` along one axis and their own place along all others."""
    axis = axis_of(axis, x.ndim, where)
    if places.ndim != x.ndim:
        raise ValueError(f"{where}: indices: expected {x.ndim} axes, found {places.ndim}")
    found = list(np.ogrid[tuple(map(slice, places.shape))])
    found[axis] = places
    return tuple(found)


@operator("GatherND", 2)
def build_gather_nd(node, infos):
    batch = node.int("batch_dims", 0, 0)

    def call(x, places):
        if not places.ndim or places.shape[-1] + batch > x.ndim or x.shape[:batch] != places.shape[:batch]:
            raise ValueError(f"{node.where}: expected indices of data of shape {x.shape}, found shape {places.shape}")
        before = np.ogrid[tuple(map(slice, x.shape[:batch]))] if batch else []
        before = [one.reshape(one.shape + (1,) * (places.ndim - 1 - batch)) for one in before]
        return x[(*before, *np.moveaxis(places, -1, 0))]
    return call


UPDATES = {"none": None, "add": np.add, "mul": np.multiply, "max": np.maximum, "min": np.minimum}


def put(x, at, updates, reduction):
    """A copy of x with updates at some places; where a place comes twice, both act, or the last one."""
    y = np.array(x)
    if UPDATES[reduction] is None:
        y[at] = updates
    else:
        UPDATES[reduction].at(y, at, updates)
    return y


@operator("ScatterElements Scatter", 3)
def build_scatter_elements(node, infos):
    axis, reduction = node.int("axis", 0), node.option("reduction", "none", tuple(UPDATES))

    def call(x, places, updates):
        if updates.shape != places.shape:
            raise ValueError(f"{node.where}: updates: expected shape {places.shape} as indices, found {updates.shape}")
        return put(x, grid(x, places, axis, node.where), updates, reduction)
    return call


@operator("ScatterND", 3)
def build_scatter_nd(node, infos):
    reduction = node.option("reduction", "none", tuple(UPDATES))

    def call(x, places, updates):
        if not places.ndim or places.shape[-1] > x.ndim:
            raise ValueError(f"{node.where}: expected indices of data of shape {x.shape}, found shape {places.shape}")
        return put(x, tuple(np.moveaxis(places, -1, 0)), updates, reduction)
    return call


@operator("OneHot", 3, needs=(1,), grows=True)
def build_one_hot(node, infos):
    axis = node.int("axis", -1)

    def call(places, depth, values):
        n, (off, on) = int(np.asarray(depth).reshape(())), values
        at = axis_of(axis, places.ndim + 1, node.where)
        claim((*places.shape, n), values.dtype, node.where)
        places = places.astype(np.int64)
        y = np.full((*places.shape, n), off, values.dtype)
        inside = (places >= -n) & (places < n)
        y[(*np.nonzero(inside), places[inside] % max(n, 1))] = on
        return np.moveaxis(y, -1, at)
    return call


@operator("NonZero", needs=None)
def build_non_zero(node, infos):
    return lambda x: np.array(np.nonzero(np.atleast_1d(x)), np.int64)


@operator("Compress", 2, needs=None)
def build_compress(node, infos):
    axis = node.int("axis")
    return lambda x, keep: np.compress(keep, x, axis)


@operator("ReverseSequence", 2)
def build_reverse_sequence(node, infos):
    time, batch = node.int("time_axis", 0, 0, 1), node.int("batch_axis", 1, 0, 1)
    if time == batch:
        raise ValueError(f"{node.where}: time_axis: expected another axis than batch_axis, found {time}")

    def call(x, lengths):
        y = x.copy()
        source, target = (x, y) if time == 0 else (x.swapaxes(0, 1), y.swapaxes(0, 1))
        if lengths.shape != source.shape[1:2] or (
                lengths.size and not 0 <= lengths.min() <= lengths.max() <= len(source)):
            raise ValueError(f"{node.where}: sequence_lens: expected {source.shape[1]} lengths of 0 to {len(source)}, "
                             "found "
                             f"{shown(lengths)}")
        for b, n in enumerate(lengths.tolist()):
            target[:n, b] = source[:n, b][::-1]
        return y
    return call
