"""Modules one after another, with their states, lengths and streams."""

import copyreg
import math
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from ..check.arrays import check_gradient, int_array
from ..check.sequences import check_padded, ended, pad_sequences
from ..check.states import check_dstates, check_entries, check_states
from ..check.values import check_bool
from ._init import claim_again
from .cells import Cell
from .layers import Embedding, LastStep, LayerStream, Linear
from .module import (
    ArrayDict,
    Compound,
    Module,
    Tape,
    Turn,
    _type_name,
    check_config,
    direction_of,
    module_from_config,
    open_tape,
)
from .modulestream import ModuleStream, has_stream
from .runners import Runner

if TYPE_CHECKING:
    from typing import Any

    from numpy.random import Generator
    from typing_extensions import Self

    from .._types import Array, ArrayLike, Inputs, Ints, State


class Sequential(Compound):
    """A network in which each module takes the output of the one before.

    Parameters
    ----------
    *modules : Module
        At least one, each only once, none a cell; those with parameters have one dtype. No recurrent module may
        follow one that pools the steps.
    batch_first : bool
        Layout of the whole network and of the modules inside: x is (B, T, ...) if true, (T, B, ...) if not.
    tie_embeddings : bool
        Whether the last module, a Linear, shares the weight of the first, an Embedding (Press and Wolf 2017). The
        weight counts, and is saved, once, under the Embedding's name.

    Attributes
    ----------
    modules : tuple of Module
    recurrent, pools_time : bool
        Whether any of the modules has a state, or reduces the steps to one.

    Notes
    -----
    ``params`` and ``grads`` name the modules' own arrays "<index>.<name>". A recurrent network's state is a
    tuple with one entry per module, None for those without a state.
    """

    _skips_padding = False  # of what was pickled before

    def __init__(self, *modules: "Module", batch_first: bool = True, tie_embeddings: bool = False) -> None:
        if not modules:
            raise ValueError("modules: expected at least one module, found none")
        pooled, seen = False, set()
        for k, module in enumerate(modules):
            if not isinstance(module, Module):
                raise TypeError(f"modules[{k}]: expected a fastrnn module, found {type(module).__name__}")
            if isinstance(module, Cell):
                raise TypeError(f"modules[{k}]: expected a module that takes all steps of a sequence, "
                                f"found {type(module).__name__}, which takes one")
            if module.takes_target:
                raise TypeError(f"modules[{k}]: expected a module that needs no targets, found {type(module).__name__}")
            if module.scores_target and module is not modules[-1]:
                raise TypeError(f"modules[{k}]: expected {type(module).__name__} as the last module, found it before "
                                f"{type(modules[k + 1]).__name__}")
            if id(module) in seen:
                raise ValueError(f"modules[{k}]: expected a module of its own, found an earlier one again")
            if module.recurrent and pooled:
                raise ValueError(f"modules[{k}]: expected no recurrent module after one that pools the "
                                 f"steps, found {type(module).__name__}")
            if getattr(module, "needs_time", False) and pooled:
                raise ValueError(f"modules[{k}]: expected no module that needs a time axis after one that pools the "
                                 f"steps, found {module!r}")
            seen.add(id(module))
            pooled = pooled or module.pools_time
        dtypes = {module.dtype.name: module.dtype for module in modules if module.params}
        if len(dtypes) > 1:
            raise ValueError(f"modules: expected one dtype, found {' and '.join(dtypes)}")
        self.tie_embeddings = check_bool(tie_embeddings, "tie_embeddings")
        if self.tie_embeddings:
            _tie(modules)
        super().__init__(next(iter(dtypes.values()), "float32"))
        self.modules: tuple[Any, ...] = modules     # Any, because layers have more attributes than a Module
        self.recurrent = any(module.recurrent for module in modules)
        self.pools_time = any(module.pools_time for module in modules)
        self.takes_ids = modules[0].takes_ids
        self.scores_target = modules[-1].scores_target
        # a subclass puts its modules together in its own way
        self.saves_output = modules[-1].saves_output or type(self).forward is not Sequential.forward
        leaves = self._stages()
        self._skips_padding = isinstance(leaves[0], Runner)    # and checks lengths
        _tell_last_steps(leaves)
        self.batch_first = batch_first

    def _gathered(self, which):
        # a new dict each time: as long as nobody holds a runner's arrays, the runner need not check them for changes
        arrays = {f"{k}.{name}": array
                  for k, module in enumerate(self.modules)
                  for name, array in getattr(module, which).items()}
        if self.tie_embeddings:
            del arrays[f"{len(self.modules) - 1}.weight"]
        return ArrayDict(arrays)

    def _children(self):
        return self.modules

    def _stages(self):
        if type(self).__call__ is not Sequential.__call__:  # a subclass puts its modules together in its own way
            return [self]
        return [stage for module in self.modules for stage in module._stages()]

    @property
    def batch_first(self) -> bool:
        """Layout of the network and of the modules inside."""
        return self._batch_first

    @batch_first.setter
    def batch_first(self, value: bool) -> None:
        self._batch_first = check_bool(value, "batch_first")
        for module in self.modules:
            if hasattr(module, "batch_first"):
                module.batch_first = self._batch_first

    def set_rng(self, rng: "Generator") -> None:
        """Draw all dropout masks from `rng`, a numpy.random.Generator, from now on."""
        super().set_rng(rng)
        for module in self.modules:
            module.set_rng(rng)

    def config(self) -> "dict[str, Any]":
        """dict of the type's name, the modules' configurations and `batch_first`."""
        return {"type": _type_name(type(self)), "modules": [module.config() for module in self.modules],
                "batch_first": self.batch_first, "tie_embeddings": self.tie_embeddings}

    @classmethod
    def from_config(cls, config: "dict[str, Any]") -> "Self":
        """The network of `config`."""
        config = dict(check_config(config))
        described = config.pop("modules", None)
        if not isinstance(described, (list, tuple)) or not config.keys() <= {"batch_first", "tie_embeddings"}:
            raise ValueError(f"config: expected a list of modules, batch_first and tie_embeddings; found modules of "
                             f"type {type(described).__name__} and {', '.join(map(repr, config))[:80]}")
        modules = []
        for k, one in enumerate(described):
            if k and k == len(described) - 1 and config.get("tie_embeddings") and isinstance(modules[0], Embedding):
                claim_again((modules[0].num_embeddings, modules[0].embedding_dim), modules[0].dtype)
            modules.append(module_from_config(one))
        return cls(*modules, **config)

    def __call__(self, x: "Inputs", state: "State" = None, lengths: "Ints | None" = None, *,
                 target: "Ints | None" = None) -> "Any":
        """Inference.

        Parameters
        ----------
        x : array, or list of arrays
            Input of the first module, in the network's layout. A list holds one array (T_i, ...) per sequence; y is
            then such a list, too, or with pooled steps an array with one row per sequence.
        state : tuple, optional
            One entry per module; None for a module without a state or with a zero state.
        lengths : sequence of B ints, optional
            Steps beyond them count nowhere, whatever x holds there; y is zero there.
        target : int array, optional
            Of a network that ends with an `AdaptiveSoftmax` or `SampledSoftmax`: the class of each output, in the
            place of whose score alone is y. Not with a list.

        Returns
        -------
        y, or (y, state) if the network is recurrent.
        """
        if isinstance(x, (list, tuple)):
            if target is not None:
                raise TypeError("target: expected None for a list of sequences, found targets; give a padded array")
            x, lengths = pad_sequences(x, lengths, self.batch_first)
            y, states = self._run(x, state, lengths)
            if not self.pools_time:
                y = [y[k, :n] if self.batch_first else y[:n, k] for k, n in enumerate(lengths)]
        else:
            y, states = self._run(x, state, lengths, self._targeted(target))
        return (y, states) if self.recurrent else y

    def _targeted(self, target):
        """The further argument of the last module."""
        if target is None:
            return {}
        if not self.scores_target:
            raise TypeError(f"target: expected None, as {type(self.modules[-1]).__name__} scores no targets; found one")
        return {"target": target}

    def _run(self, x, state, lengths, targeted=MappingProxyType({})):
        states = list(check_states(state, "state", self.modules))
        x, lengths = self._begun(x, lengths)
        with self._gate:
            for k, module in enumerate(self.modules):
                if module.recurrent:
                    x, states[k] = module(x, state=states[k], lengths=lengths)
                elif module is self.modules[-1]:
                    x = module(x, lengths=lengths, **targeted)
                else:
                    x = module(x, lengths=lengths)
                if module.pools_time:
                    lengths = None
        return self._ended(x, lengths), tuple(states)

    def _begun(self, x, lengths):
        """x and lengths as the modules are to see them: what padding holds reaches none of them."""
        if self.takes_ids is False and isinstance(x, np.ndarray) and x.ndim == 2 and x.dtype.kind in "iu":
            raise TypeError(f"x: expected numbers, as the first module takes no ids; found ids, {x.dtype} of shape "
                            f"{x.shape}; floats of that shape are one sequence without a batch")
        if lengths is None:
            return x, None
        if self._skips_padding:
            return x, int_array(lengths, "lengths")
        return check_padded(x, lengths, self.batch_first)

    def _ended(self, y, lengths):
        """An output with zeros beyond the lengths; they are None where all steps count, or there are none."""
        if lengths is None or isinstance(self.modules[-1], Runner):
            return y
        return ended(y, lengths, self.batch_first, copy=False)   # layers that hand on x have its zeros already

    def forward(self, x: "ArrayLike", state: "State" = None, lengths: "Ints | None" = None, *,
                target: "Ints | None" = None) -> "tuple[Array, State, Tape]":
        """Returns (y, state, tape); state is None if no module has one. Arguments as for a call, but no lists."""
        if isinstance(x, (list, tuple)):
            raise TypeError("x: expected an array, found a list; a padded batch and lengths stand for sequences here")
        states, targeted = list(check_states(state, "state", self.modules)), self._targeted(target)
        x, lengths = self._begun(x, lengths)
        tapes, rows = [], math.prod(np.shape(x)[:2])
        for k, module in enumerate(self.modules):
            options = targeted if module is self.modules[-1] else {}
            x, states[k], tape = module.forward(x, states[k], lengths, **options)
            tapes.append(tape)
            if module.pools_time:
                lengths = None
        x = self._ended(x, lengths)
        return x, tuple(states) if self.recurrent else None, \
            Tape(self, tapes, states, (x.shape, x.dtype), rows, lengths)

    def backward(self, tape: "Tape", dy: "ArrayLike | None" = None, dstate: "State" = None) -> "tuple[Any, State]":
        """Adds to `grads` and returns (dx, dstate); dx is None if the input holds ids."""
        tapes, states, output, rows, lengths = open_tape(tape, self)
        dstates = list(check_dstates(dstate, states, self.modules))
        if dy is not None:
            dy = check_gradient(dy, *output)
            if lengths is not None:
                dy = ended(dy, lengths, self.batch_first)
        saved, begun = tape.take(), False
        try:
            with self._grads_as_before(rows):
                for k in reversed(range(len(self.modules))):
                    if dy is not None or dstates[k] is not None:
                        dy, dstates[k] = self.modules[k].backward(tapes[k], dy, dstates[k])
                    begun = True
        except BaseException:
            if not begun:
                tape.put_back(saved)
            raise
        return dy, tuple(dstates) if self.recurrent else None

    def stream(self, batch_size: int = 1) -> "SequentialStream":
        """A session that takes one step at a time, with a state of its own and the weights of the network."""
        if type(self).__call__ is not Sequential.__call__:
            return ModuleStream(self, batch_size, self.batch_first)
        for k, module in enumerate(self.modules):
            if not has_stream(module):
                raise TypeError(f"modules[{k}]: expected one with a stream, found {type(module).__name__}")
        return SequentialStream([module.stream(batch_size) if callable(getattr(module, "stream", None))
                                 else ModuleStream(module, batch_size, self.batch_first)
                                 for module in self.modules], self._gate)

    def __repr__(self):
        tied = ", tie_embeddings=True" if self.tie_embeddings else ""
        return f"{type(self).__name__}({', '.join(map(repr, self.modules))}, batch_first={self.batch_first}{tied})"

    def __reduce__(self):
        return copyreg.__newobj__, (type(self),), self.__dict__  # the modules copy themselves

    def __setstate__(self, state):
        self.__dict__.update(state)
        if self.tie_embeddings:
            _tie(self.modules)


def _tell_last_steps(leaves):
    """Tell each `LastStep` in which direction the runner before it reads, if there is one."""
    direction = None
    for module in leaves:
        if module.recurrent:
            direction = direction_of(module)
        elif isinstance(module, LastStep):
            if direction is not None:
                module._follow(direction)
        elif direction == "bidirectional" and not module.keeps_features:
            direction = "forward"


def _tie(modules):
    """Let the Linear at the end share the weight of the Embedding at the start."""
    first, last = modules[0], modules[-1]
    if not (isinstance(first, Embedding) and isinstance(last, Linear)):
        raise ValueError(f"tie_embeddings: expected an Embedding as first module and a Linear as last, "
                         f"found {type(first).__name__} and {type(last).__name__}")
    try:
        last.tie(first)
    except ValueError as error:
        raise ValueError(f"tie_embeddings: {error}") from None


class SequentialStream:
    """A session with a `Sequential`: the sessions of its modules, one after another. It has one caller at a time."""

    def __init__(self, streams, gate):
        self._streams = streams
        # Streams whose state must not change if a later stream raises.
        self._kept = [stream for stream in streams[:-1] if not isinstance(stream, LayerStream)]
        self._gate = gate
        self._turn = Turn("stream")

    def step(self, x: "ArrayLike", out: "Array | None" = None) -> "Array":
        """The output for one step, which has no time axis: (I,) or an id for one sequence, (B, I) or (B,).

        With `out`, of the output's shape and dtype, the output is written into it. An error leaves the state as before.
        """
        return self._through("step", x, out)

    def run(self, chunk: "ArrayLike") -> "Array":
        """The output for several steps, in the layout of the network. An error leaves the state as before."""
        return self._through("run", chunk)

    def _through(self, method, x, *out):
        with self._turn:
            return self._each(method, x, *out)

    def _each(self, method, x, *out):
        *first, last = self._streams
        before = []
        try:
            with self._gate:
                before = [stream.state for stream in self._kept]
                for stream in first:
                    x = getattr(stream, method)(x)
                return getattr(last, method)(x, *out)  # a stream that fails leaves its own state as it was
        except BaseException:
            for stream, state in zip(self._kept, before):
                stream.state = state
            raise

    @property
    def state(self) -> "State":
        """A tuple of the modules' states, None for those without one. Assign to it to continue from another state."""
        with self._turn:
            return tuple(stream.state for stream in self._streams)

    @state.setter
    def state(self, states: "State") -> None:
        if states is None:
            return self.reset()
        with self._turn:
            before = tuple(stream.state for stream in self._streams)
            try:
                for stream, state in zip(self._streams, check_entries(states, "state", len(before))):
                    stream.state = state
            except BaseException:
                for stream, state in zip(self._streams, before):
                    stream.state = state
                raise

    def reset(self) -> None:
        """Back to the state of a new session."""
        with self._turn:
            for stream in self._streams:
                stream.reset()

    def copy(self) -> "SequentialStream":
        """A session that goes on from here, independently."""
        with self._turn:
            return SequentialStream([stream.copy() for stream in self._streams], self._gate)
