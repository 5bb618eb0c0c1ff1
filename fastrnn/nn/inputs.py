"""Networks with several inputs that have names."""

import math
from typing import TYPE_CHECKING

import numpy as np

from ..check.arrays import real_array, refuse_frames
from ..check.named import check_named_lengths, check_names
from ..check.sequences import check_lengths, check_padded, pad_sequences
from ..check.values import shown
from .branches import Branches, BranchesStream, joined, parted
from .containerstream import streams_of
from .layers import written
from .module import ArrayDict, check_config

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from typing_extensions import Self

    from .._types import Array, Lengths, State
    from .._types import Inputs as Values
    from .module import Module


class Inputs(Branches):
    """A network with several named inputs: each goes through a module of its own, and the outputs are joined along the
    last axis. It stands at the beginning of a `Sequential`::

        net = Sequential(
            Inputs(text=Sequential(Embedding(5000, 64), GRU(64, 64), LastStep()), numbers=Linear(6, 16)),
            ReLU(), Linear(80, 3))
        Trainer(net).fit({"text": ids, "numbers": rows}, y)

    x is then a dict of exactly these names, in a call, in `Trainer` and in batches of a source. An input is

    - a sequence, array (B, T, C), ids (B, T), or a list of arrays (T_i, C) or (T_i,), with lengths of its own:
      `lengths` is a dict, too, of the names whose arrays are padded;
    - or, where other modules pool the steps and this one's does not, a row of numbers for each sequence: (B, F).

    Parameters
    ----------
    batch_first : bool
        Layout of sequences, (B, T, ...) or (T, B, ...), and of the modules inside.
    **modules : Module
        At least one, by the inputs' names. Either some pool the steps, and those of the others take rows, or none does;
        all inputs are then sequences with the same lengths.

    Attributes
    ----------
    modules : tuple of Module
    input_names : tuple of str
    recurrent, pools_time : bool
        Whether any of the modules has a state, or reduces the steps to one.

    Notes
    -----
    ``params`` and ``grads`` name the modules' arrays "<input>.<name>". A state is a tuple with one entry per module,
    None for those without one. `backward` returns a dict of the inputs' gradients, None for ids.
    """

    _option_names = "batch_first", "names"

    def __init__(self, /, *, batch_first: bool = True, **modules: "Module") -> None:
        if not modules:
            raise ValueError("modules: expected at least one module by the name of its input, found none")
        for name in modules:
            if not name or "." in name:
                raise ValueError(f"modules: expected names of inputs without a dot, found {shown(name)}")
        self._take(tuple(modules.values()), batch_first)
        self.input_names = tuple(modules)
        self.pools_time = any(module.pools_time for module in self.modules)
        self._rows = frozenset(name for name, module in modules.items() if self.pools_time and not module.pools_time)
        for name in self._rows:
            if modules[name].recurrent or modules[name].needs_time:
                raise ValueError(f"{name}: expected a module that pools the steps as others here do, or takes rows of "
                                 f"numbers; found {type(modules[name]).__name__}")

    def _gathered(self, which):
        return ArrayDict({f"{place}.{name}": array for place, module in zip(self.input_names, self.modules)
                          for name, array in getattr(module, which).items()})

    def _options(self):
        return {"batch_first": self.batch_first, "names": list(self.input_names)}

    @classmethod
    def from_config(cls, config: "dict[str, Any]") -> "Self":
        """The network of `config`."""
        config = dict(check_config(config))
        names, described = config.pop("names", None), config.pop("modules", None)
        if not (isinstance(names, (list, tuple)) and isinstance(described, (list, tuple)) and config.keys() <= {
                "batch_first"} and len(set(map(str, names))) == len(names) == len(described)
                and all(isinstance(name, str) and name != "batch_first" for name in names)):
            raise ValueError("config: expected modules, as many different names, and batch_first; found others")
        return cls(**dict(zip(names, cls._built(described, config))), **config)

    def __repr__(self):
        parts = [f"{name}={module!r}" for name, module in zip(self.input_names, self.modules)]
        return f"{type(self).__name__}({', '.join([*parts, f'batch_first={self.batch_first}'])})"

    def __call__(self, x: "Values", state: "State" = None,
                 lengths: "Lengths | None" = None) -> "Any":
        """Inference; y, or (y, state) if a module is recurrent. x and lengths are dicts by the names of the inputs."""
        return super().__call__(x, state, lengths)

    def output_lengths(self, lengths: "Mapping[str, Array | None]") -> "Array | None":
        """Valid steps of the output for sequences of these lengths, by the names of the inputs; None without steps."""
        found = {name: module.output_lengths(np.asarray(lengths[name]))
                 for name, module in zip(self.input_names, self.modules) if lengths.get(name) is not None}
        if self.pools_time or not found:
            return None
        first = next(iter(found))
        for name, one in found.items():
            if not np.array_equal(one, found[first]):
                raise ValueError(f"lengths[{name!r}]: expected as many steps of the output as for {first!r}, as each "
                                 "has one; found others")
        return found[first]

    @property
    def _named(self):
        return self

    def padded(self, x: "Values", lengths: "Lengths | None") -> "tuple[dict[str, Any], dict[str, Any], bool]":
        """(x, lengths, whether one of x was a list), lists as padded arrays."""
        x, lengths = check_names(x, "x", self.input_names), check_named_lengths(lengths, self.input_names)
        ragged = False
        for name, values in x.items():
            if name not in self._rows and isinstance(values, (list, tuple)):
                ragged = True
                try:
                    x[name], lengths[name] = pad_sequences(values, lengths[name], self.batch_first)
                except (TypeError, ValueError) as error:
                    raise type(error)(f"x[{name!r}]: {error}") from None
        return x, lengths, ragged

    def checked(self, x: "Values", lengths: "Lengths | None") -> "tuple[dict[str, Array], dict[str, Any] | None]":
        """x and lengths as the modules are to see them: of sequences, padding as zeros; all of one count."""
        x, lengths = check_names(x, "x", self.input_names), check_named_lengths(lengths, self.input_names)
        counts = {}
        for name, values in x.items():
            place = f"x[{name!r}]"
            if isinstance(values, (list, tuple)) and name not in self._rows:
                raise TypeError(f"{place}: expected an array, found a list; a padded batch and lengths stand for "
                                "sequences here")
            refuse_frames(values, place)
            array = x[name] = real_array(values, place)
            ids = array.dtype.kind in "iu" and array.ndim == 2
            if name in self._rows and array.ndim != 2:
                raise ValueError(f"{place}: expected shape (B, F), a row of numbers for each sequence, found "
                                 f"{array.shape}")
            if name in self._rows and array.dtype.kind in "iub":
                x[name] = array.astype(self.dtype)
            if name not in self._rows and not (ids or array.ndim == 3):
                axes = "(B, T, C)" if self.batch_first else "(T, B, C)"
                raise ValueError(f"{place}: expected sequences of shape {axes} or ids of two axes, found {array.dtype} "
                                 f"of shape {array.shape}")
            counts[name] = array.shape[0 if self.batch_first or name in self._rows else 1]
            if counts[name] != next(iter(counts.values())):
                raise ValueError(f"{place}: expected {next(iter(counts.values()))} sequences as in "
                                 f"{next(iter(counts))}, found {counts[name]}")
            if name in self._rows:
                if lengths[name] is not None:
                    raise ValueError(f"lengths[{name!r}]: expected None, as this input has no steps")
                continue
            if lengths[name] is not None:
                try:
                    x[name], lengths[name] = check_padded(array, lengths[name], self.batch_first)
                except (TypeError, ValueError) as error:
                    raise type(error)(f"{place}: {error}") from None
        if not self.pools_time and any(one is not None for one in lengths.values()):
            for name, array in x.items():
                steps, count = array.shape[1 if self.batch_first else 0], counts[name]
                lengths[name] = check_lengths(np.full(count, steps) if lengths[name] is None else lengths[name], count,
                                              steps)
        return x, lengths if any(one is not None for one in lengths.values()) else None

    def row_count(self, x: "dict[str, Array]") -> int:
        """About how many steps x has, in all its sequences."""
        return sum(math.prod(array.shape[:2]) for array in x.values())

    def _fed(self, x, lengths=None):
        lengths = {} if lengths is None else lengths
        return [(module, x[name], lengths.get(name)) for name, module in zip(self.input_names, self.modules)]

    def _merged(self, outputs, x):
        return joined(outputs, self._dtype(outputs))

    def _parted(self, dy, like):
        return parted(dy, like), None

    def _together(self, gradients, past):
        return dict(zip(self.input_names, gradients))

    def stream(self, batch_size: int = 1) -> "InputsStream":
        """A session that takes a dict of one step of each input at a time; rows of numbers are given at each step."""
        streams = streams_of(self.modules, batch_size, self.batch_first)
        return InputsStream(streams, self._gate, self._merged, self.input_names)


class InputsStream(BranchesStream):
    """A session with `Inputs`. It has one caller at a time."""

    def __init__(self, streams, gate, merged, names):
        super().__init__(streams, gate, merged)
        self._names = names

    def _pass(self, method, x, out=None):
        x = check_names(x, "x", self._names)
        outputs = [getattr(stream, method)(x[name]) for name, stream in zip(self._names, self._streams)]
        return written(self._merged(outputs, x), out)

    def _like(self, streams):
        return type(self)(streams, self._gate, self._merged, self._names)
