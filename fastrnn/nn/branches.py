"""Modules over one input: a way around a module, and outputs side by side."""

from typing import TYPE_CHECKING

import numpy as np

from .container import Container
from .containerstream import ContainerStream, streams_of
from .layers import written
from .sequential import direction_at_end

if TYPE_CHECKING:
    from .._types import Array, Ints
    from .module import Module


class Branches(Container, base=True):
    """Modules that all take the same x. A subclass defines

    ``_merged(outputs, x) -> y``
        One output of those of the modules.
    ``_parted(dy, outputs) -> (list of the gradients of the outputs, gradient that goes past the modules or None)``
        `outputs` are of the shapes and dtypes that `_merged` was given.
    """

    def _take(self, modules, batch_first):
        super()._take(modules, batch_first)
        for name in "needs_time", "needs_whole_sequences":
            setattr(self, name, any(getattr(module, name) for module in modules))

    @property
    def direction(self) -> str:
        """How the last runners of all modules read: "forward", "reverse", "bidirectional", or "mixed"."""
        return self._direction_after(None) or "forward"

    def _direction_after(self, direction):
        """The same behind a runner that reads in this direction; tells it to each `LastStep` inside."""
        found = {direction_at_end(module._stages(), direction) for module in self.modules} - {None}
        return "mixed" if len(found) > 1 else found.pop() if found else None

    def output_lengths(self, lengths: "Array") -> "Ints":
        found = [module.output_lengths(lengths) for module in self.modules]
        for k, one in enumerate(found):
            if not np.array_equal(one, found[0]):
                raise ValueError(f"modules[{k}]: expected outputs of as many steps as those of modules[0], found other "
                                 "lengths")
        return found[0]

    def _lengths(self, lengths):
        return None if lengths is None or self.pools_time else self.output_lengths(lengths)

    def _infer(self, x, states, lengths):
        outputs = []
        for k, (module, own, steps) in enumerate(self._fed(x, lengths)):
            if module.recurrent:
                y, states[k] = module(own, state=states[k], lengths=steps)
            else:
                y = module(own, lengths=steps)
            outputs.append(y)
        return self._merged(outputs, x), self._lengths(lengths)

    def _train(self, x, states, lengths):
        outputs, tapes = [], []
        for k, (module, own, steps) in enumerate(self._fed(x, lengths)):
            y, states[k], tape = module.forward(own, states[k], steps)
            outputs.append(y)
            tapes.append(tape)
        like = [(y.shape, y.dtype) for y in outputs]
        return self._merged(outputs, x), self._lengths(lengths), (tapes, like)

    def _propagate(self, kept, dy, dstates, begun):
        tapes, like = kept
        parts, past = ([None] * len(tapes), None) if dy is None else self._parted(dy, like)
        gradients = [None] * len(tapes)
        for k, module in enumerate(self.modules):
            if parts[k] is not None or dstates[k] is not None:
                gradients[k], dstates[k] = module.backward(tapes[k], parts[k], dstates[k])
                begun()
        return self._together(gradients, past)

    def _together(self, gradients, past):
        """The gradient of x of those by way of the modules, and of the one that goes past them."""
        for one in gradients:
            if one is not None:
                past = one if past is None else past + one
        return past

    def _fed(self, x, lengths=None):
        """(module, its input, its lengths) of each module."""
        return [(module, x, lengths) for module in self.modules]

    def stream(self, batch_size: int = 1) -> "BranchesStream":
        """A session that takes one step at a time, with a state of its own and the weights of the network."""
        return BranchesStream(streams_of(self.modules, batch_size, self.batch_first), self._gate, self._merged)

    def _dtype(self, outputs):
        """That of the network's parameters, or what holds all outputs."""
        return self.dtype if self.num_parameters else np.result_type(*outputs)


class Residual(Branches):
    """A way around a module, y = x + module(x) (He et al. 2016, "Deep residual learning for image recognition").

    Parameters
    ----------
    module : Module
        Its output has the shape of x.
    batch_first : bool
        Layout of x, (B, T, ...) or (T, B, ...), and of the module inside.

    Attributes
    ----------
    modules : tuple of Module
        The one.
    direction : str
        How the last runner inside reads.

    Notes
    -----
    ``params`` and ``grads`` name the module's arrays "0.<name>". A state is a tuple with the module's as its entry.
    """

    takes_ids = False

    def __init__(self, module: "Module", *, batch_first: bool = True) -> None:
        self._take((module,), batch_first)
        if module.takes_ids:
            raise TypeError(f"module: expected one that takes numbers, which its output can be added to; found "
                            f"{type(module).__name__}, which takes ids")
        if module.pools_time:
            raise ValueError("module: expected one with an output for every step, found "
                             f"{type(module).__name__}, which pools the steps")
        self.keeps_features = module.keeps_features

    @classmethod
    def _built(cls, described, options):
        if len(described) != 1:
            raise ValueError(f"config: expected one module for {cls.__name__}, found {len(described)}")
        return super()._built(described, options)

    def _direction_after(self, direction):
        found = {super()._direction_after(direction), direction} - {None}
        return "mixed" if len(found) > 1 else found.pop() if found else None

    def _merged(self, outputs, x):
        (y,) = outputs
        x = np.asarray(x, y.dtype)
        if x.shape != y.shape:
            raise ValueError(f"module: expected an output of the shape of x, {x.shape}, found {y.shape}")
        return x + y

    def _parted(self, dy, like):
        return [dy], dy


class Concat(Branches):
    """The outputs of several modules for the same x, side by side: joined along the last axis.

    Parameters
    ----------
    *modules : Module
        At least one, each only once; their outputs differ in the last axis only. Either all pool the steps or none.
    batch_first : bool
        Layout of x, (B, T, ...) or (T, B, ...), and of the modules inside.

    Attributes
    ----------
    modules : tuple of Module
    recurrent, pools_time : bool
        Whether any of the modules has a state; whether they reduce the steps to one.
    direction : str
        How the last runners inside read, "mixed" if not all in the same way; `LastStep` behind such has to be told a
        direction.

    Notes
    -----
    ``params`` and ``grads`` name the modules' arrays "<index>.<name>". A state is a tuple with one entry per module,
    None for those without one.
    """

    def __init__(self, *modules: "Module", batch_first: bool = True) -> None:
        if not modules:
            raise ValueError("modules: expected at least one module, found none")
        self._take(modules, batch_first)
        self.pools_time = _common(modules, "pools_time", "that all pool the steps, or none of them")
        self.takes_ids = _common(modules, "takes_ids", "that all take ids, or none of them")

    def _merged(self, outputs, x):
        return joined(outputs, self._dtype(outputs))

    def _parted(self, dy, like):
        return parted(dy, like), None


class BranchesStream(ContainerStream):
    """A session with modules over one input. It has one caller at a time."""

    def __init__(self, streams, gate, merged):
        super().__init__(streams, gate, streams)
        self._merged = merged

    def _pass(self, method, x, out=None):
        return written(self._merged([getattr(stream, method)(x) for stream in self._streams], x), out)

    def _like(self, streams):
        return type(self)(streams, self._gate, self._merged)


def joined(outputs: "list[Array]", dtype: "np.dtype") -> "Array":
    """Arrays along their last axis."""
    for k, y in enumerate(outputs):
        if y.shape[:-1] != outputs[0].shape[:-1] or y.ndim == 0:
            raise ValueError(f"modules[{k}]: expected an output of shape {(*outputs[0].shape[:-1], '...')} as that of "
                             f"modules[0], found {y.shape}")
    return np.concatenate(outputs, axis=-1, dtype=dtype)


def parted(dy: "Array", like: "list[tuple[tuple[int, ...], np.dtype]]") -> "list[Array]":
    """The parts of dy along its last axis that belong to arrays of these shapes and dtypes."""
    ends = np.cumsum([shape[-1] for shape, _ in like])
    return [np.ascontiguousarray(part, dtype) for part, (_, dtype) in zip(np.split(dy, ends[:-1], axis=-1), like)]


def _common(modules, name, wanted):
    """What an attribute of all modules is; None for one says nothing."""
    found = {getattr(module, name) for module in modules} - {None}
    if len(found) > 1:
        raise ValueError(f"modules: expected modules {wanted}, found "
                         f"{', '.join(f'{type(module).__name__}: {getattr(module, name)}' for module in modules)}")
    return found.pop() if found else None
