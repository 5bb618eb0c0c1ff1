"""What networks of modules have in common: names, layouts, files, and passes over lists and padding."""

import copyreg
import math
from typing import TYPE_CHECKING

import numpy as np

from ..check.arrays import check_gradient, int_array
from ..check.sequences import check_padded, ended, pad_sequences
from ..check.states import check_dstates, check_states
from ..check.values import check_bool
from .cells import Cell
from .module import ArrayDict, Compound, Module, Tape, _type_name, check_config, module_from_config, open_tape

if TYPE_CHECKING:
    from typing import Any

    from numpy.random import Generator
    from typing_extensions import Self

    from .._types import ArrayLike, Inputs, Ints, Lengths, State


class Container(Compound, base=True):
    """A network of modules that are known by their places.

    A subclass calls ``_take(modules, batch_first)`` in its constructor, and defines

    ``_infer(x, states, lengths) -> (y, lengths of y or None)``
        Inference; it writes the new states into the list `states`.
    ``_train(x, states, lengths) -> (y, lengths of y or None, kept)``
        The training pass; it keeps what `_propagate` needs. Both have an argument `target` where `scores_target` is
        true.
    ``_propagate(kept, dy, dstates, begun) -> dx``
        Back-propagation; dy may be None. It writes into the list `dstates` and calls ``begun()`` once a module has
        added to its gradients.
    """

    _may_be_named = False   # whether the first module may have named inputs
    _skips_padding = False  # whether the first module checks lengths and looks at no padding
    _ends_padding = False   # whether the last module puts out zeros beyond the lengths
    modules: "tuple[Any, ...]"  # Any, because layers have more attributes than a Module

    def _take(self, modules, batch_first):
        seen = set()
        for k, module in enumerate(modules):
            if not isinstance(module, Module):
                raise TypeError(f"modules[{k}]: expected a fastrnn module, found {type(module).__name__}")
            if isinstance(module, Cell):
                raise TypeError(f"modules[{k}]: expected a module that takes all steps of a sequence, "
                                f"found {type(module).__name__}, which takes one")
            if module.takes_target:
                raise TypeError(f"modules[{k}]: expected a module that needs no targets, found {type(module).__name__}")
            if module.input_names is not None and (k or not self._may_be_named):
                raise ValueError(f"modules[{k}]: expected a module with one input, found {type(module).__name__}; "
                                 "named inputs stand at the beginning of a Sequential")
            if id(module) in seen:
                raise ValueError(f"modules[{k}]: expected a module of its own, found an earlier one again")
            seen.add(id(module))
        dtypes = {module.dtype.name: module.dtype for module in modules if module.params}
        if len(dtypes) > 1:
            raise ValueError(f"modules: expected one dtype, found {' and '.join(dtypes)}")
        super().__init__(next(iter(dtypes.values()), "float32"))
        self.modules = modules
        self.recurrent = any(module.recurrent for module in modules)
        self.batch_first = batch_first

    def _gathered(self, which):
        # a new dict each time: as long as nobody holds a runner's arrays, the runner need not check them for changes
        return ArrayDict({f"{k}.{name}": array
                          for k, module in enumerate(self.modules)
                          for name, array in getattr(module, which).items()})

    def _children(self):
        return self.modules

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
        """dict of the type's name, the modules' configurations and the other arguments."""
        return {"type": _type_name(type(self)), "modules": [module.config() for module in self.modules],
                **self._options()}

    def _options(self):
        """The arguments beside the modules, by their names."""
        return {"batch_first": self.batch_first}

    @classmethod
    def from_config(cls, config: "dict[str, Any]") -> "Self":
        """The network of `config`."""
        config = dict(check_config(config))
        described = config.pop("modules", None)
        known = cls._option_names
        if not isinstance(described, (list, tuple)) or not config.keys() <= set(known):
            raise ValueError(f"config: expected a list of modules, {' and '.join(known)}; found modules of "
                             f"type {type(described).__name__} and {', '.join(map(repr, config))[:80]}")
        return cls(*cls._built(described, config), **config)

    _option_names: tuple[str, ...] = ("batch_first",)

    @classmethod
    def _built(cls, described, options):
        """The modules of their configurations."""
        return [module_from_config(one) for one in described]

    def __repr__(self):
        options = [f"{name}={value!r}" for name, value in self._options().items()
                   if name == "batch_first" or value]
        return f"{type(self).__name__}({', '.join([*map(repr, self.modules), *options])})"

    def __reduce__(self):
        return copyreg.__newobj__, (type(self),), self.__dict__  # the modules copy themselves

    def __call__(self, x: "Inputs", state: "State" = None, lengths: "Lengths | None" = None, *,
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
        ragged = isinstance(x, (list, tuple))
        if self.input_names is not None:
            x, lengths, ragged = self._named.padded(x, lengths)
        elif ragged:
            x, lengths = pad_sequences(x, lengths, self.batch_first)
        if ragged and target is not None:
            raise TypeError("target: expected None for a list of sequences, found targets; give a padded array")
        y, states, lengths = self._run(x, state, lengths, **self._targeted(target))
        if ragged and not self.pools_time:
            y = [y[k, :n] if self.batch_first else y[:n, k] for k, n in enumerate(lengths.tolist())]
        return (y, states) if self.recurrent else y

    @property
    def _named(self):
        """The module that takes the inputs by their names, where `input_names` has some."""
        return self.modules[0]._named

    def _targeted(self, target):
        """The further argument of the last module."""
        if target is None:
            return {}
        if not self.scores_target:
            raise TypeError(f"target: expected None, as {type(self.modules[-1]).__name__} scores no targets; found one")
        return {"target": target}

    def _run(self, x, state, lengths, **targeted):
        states = list(check_states(state, "state", self.modules))
        x, lengths = self._begun(x, lengths)
        with self._gate:
            y, lengths = self._infer(x, states, lengths, **targeted)
        return self._ended(y, lengths), tuple(states), lengths

    def forward(self, x: "Inputs", state: "State" = None, lengths: "Lengths | None" = None, *,
                target: "Ints | None" = None) -> "tuple[Any, State, Tape]":
        """Returns (y, state, tape); state is None if no module has one. Arguments as for a call, but no lists."""
        if isinstance(x, (list, tuple)):
            raise TypeError("x: expected an array, found a list; a padded batch and lengths stand for sequences here")
        return self._forward(x, state, lengths, **self._targeted(target))

    def _forward(self, x, state, lengths, **targeted):
        states = list(check_states(state, "state", self.modules))
        x, lengths = self._begun(x, lengths)
        rows = math.prod(np.shape(x)[:2]) if self.input_names is None else self._named.row_count(x)
        y, lengths, kept = self._train(x, states, lengths, **targeted)
        y = self._ended(y, lengths)
        return y, tuple(states) if self.recurrent else None, \
            Tape(self, kept, states, (y.shape, y.dtype), rows, lengths)

    def backward(self, tape: "Tape", dy: "ArrayLike | None" = None, dstate: "State" = None) -> "tuple[Any, State]":
        """Adds to `grads` and returns (dx, dstate); dx is None if the input holds ids."""
        kept, states, output, rows, lengths = open_tape(tape, self)
        dstates = list(check_dstates(dstate, states, self.modules))
        if dy is not None:
            dy = check_gradient(dy, *output)
            if lengths is not None:
                dy = ended(dy, lengths, self.batch_first)
        saved, begun = tape.take(), []
        try:
            with self._grads_as_before(rows):
                dx = self._propagate(kept, dy, dstates, lambda: begun.append(True))
        except BaseException:
            if not begun:
                tape.put_back(saved)
            raise
        return dx, tuple(dstates) if self.recurrent else None

    def _begun(self, x, lengths):
        """x and lengths as the modules are to see them: what padding holds reaches none of them."""
        if self.input_names is not None:
            return self._named.checked(x, lengths)
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
        if lengths is None or self._ends_padding:
            return y
        return ended(y, lengths, self.batch_first, copy=False)   # layers that hand on x have its zeros already
