"""The base class of everything trainable: named parameters and gradients, state dictionaries, a registry."""

import contextlib
import copy
import functools
import inspect
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from .._tree import walk as walk  # other folders take it from here
from ..check.arrays import FLOATS, check_out, check_real
from ..check.params import (
    check_frozen,
    check_state_dict,
    check_writable_params,
    frozen_names,
    matching_names,
    sparse_rows,
)
from ..check.plain import plain_value
from ..check.values import check_dtype, check_generator, check_mapping, check_option, shown
from ..engine.runtime._arrays import Pinned, check_kept, room
from ..engine.runtime._watch import Gate
from ._init import claim, claim_module, left_at_zero, noted_init
from .fewbits import FORMATS
from .rows import GradientRows

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any, Literal

    from numpy.random import Generator
    from typing_extensions import Self

    from .._types import Array, ArrayLike, DType, Ints, Seed, State, Verification

_registry: dict[str, type] = {}


class ArrayDict(dict):
    """Named live arrays. Assigning to a name writes into its array, so that no array is ever rebound.

    Attributes
    ----------
    frozen : frozenset of str
        The names of parameters that are not to be trained.
    sparse : mapping of str to GradientRows
        The gradients of which only the rows of the last batches differ from zero; their arrays here are read-only.
    """

    frozen: frozenset[str] = frozenset()
    sparse: "Mapping[str, GradientRows]" = MappingProxyType({})

    def __setitem__(self, name: str, value: "ArrayLike") -> None:
        array = self[name]
        if value is array:
            return
        if name in self.sparse:
            self.sparse[name].assign(value, name)
        else:
            array[...] = check_real(value, name)

    def update(self, *args: "Any", **kwargs: "Any") -> None:
        if isinstance(args[0] if args else {}, (np.ndarray, memoryview)):
            raise TypeError(f"params, grads: expected a dict of arrays, found {type(args[0]).__name__}")
        for name, value in dict(*args, **kwargs).items():
            self[name] = value

    def __ior__(self, other: "Any") -> "Self":
        self.update(other)
        return self

    def _fixed(self, *_, **__):
        raise TypeError("params, grads: expected the names to stay as they are, found one taken away or added; "
                        "write into the arrays instead")

    __delitem__ = pop = popitem = clear = setdefault = fromkeys = _fixed

    def __reduce__(self):
        return ArrayDict, (dict(self),), {"frozen": self.frozen}


def is_ours(cls):
    """Whether a class is one of this package."""
    return cls.__module__.partition(".")[0] == __name__.partition(".")[0]


class FixedError(TypeError, AttributeError):
    """An assignment to an attribute that is fixed when its object is made."""


class Fixed:
    """Base of classes whose constructor arguments are fixed, because arrays depend on their values.

    In classes of this package an attribute is fixed if it has an argument's name or stands in `fixed`. Properties are
    not fixed, and neither are the attributes in `assignable`: pairs of a name and a function (value, name) that checks
    an assigned value.
    """

    fixed: tuple[str, ...] = ()
    assignable: tuple[tuple[str, Callable[..., object]], ...] = ()
    _assignable: Mapping[str, Callable[..., object]] = MappingProxyType({})
    _fixed: frozenset[str] = frozenset()

    def __init_subclass__(cls, **kwargs: "Any") -> None:
        super().__init_subclass__(**kwargs)
        if "__init__" in vars(cls) and is_ours(cls):
            code = cls.__init__.__code__
            names = code.co_varnames[1:code.co_argcount + code.co_kwonlyargcount + bool(code.co_flags & 4)]
            cls._fixed |= {name for name in names if not isinstance(getattr(cls, name, None), property)}
        cls._fixed |= set(vars(cls).get("fixed", ()))
        cls._assignable = {**cls._assignable, **dict(vars(cls).get("assignable", ()))}
        cls._fixed -= cls._assignable.keys()

    def __setattr__(self, name: str, value: "Any") -> None:
        if name in self._fixed and hasattr(self, name):
            self._refuse(name, "an assignment")
        check = self._assignable.get(name)
        super().__setattr__(name, value if check is None else check(value, name))

    def __delattr__(self, name: str) -> None:
        if name in self._fixed:
            self._refuse(name, "a deletion")
        super().__delattr__(name)

    def _refuse(self, name, found):
        cls = type(self).__name__
        raise FixedError(f"{name}: fixed when the {cls} was made, found {found}; build a new {cls}(...)")


class Module(Fixed):
    """A piece of a network with parameters, a training pass and an inference pass: the base of all, and of one's own.

    A subclass stores each constructor argument (all but ``seed``) under the argument's name, which is all that
    `config`, files, copying and pickling need, calls ``super().__init__(dtype, seed)``, hands its arrays over with
    `register_parameters` and defines

    ``forward(x, state=None, lengths=None) -> (y, state, tape)``
        The training pass. The tape is ``self.save_for_backward(...)`` of whatever `backward` needs; the state is None
        where there is none.
    ``backward(tape, dy=None, dstate=None) -> (dx, dstate)``
        Adds to `grads`, from ``self.saved_values(tape)``; dy of None stands for zeros.
    ``__call__(x, lengths=None)``, or with a state ``__call__(x, state=None, lengths=None)``
        Inference, where it differs from what `forward` returns.

    It sets the attributes `recurrent`, `pools_time`, `needs_time` and `needs_whole_sequences` below where they apply,
    and defines ``output_lengths`` where the output has not as many steps as x. An attribute `batch_first`
    is set by the `Sequential` around it to the layout of x, (B, T, ...) or (T, B, ...). States are arrays (L, B, ...),
    or tuples of such, zeros for None. In a stream of a `Sequential` such a module is called step by step, on x with one
    step, unless it has a method ``stream(batch_size)`` of its own::

        class Scale(fastrnn.Module):
            def __init__(self, features, dtype="float32"):
                super().__init__(dtype)
                self.features = features
                self.register_parameters({"scale": np.ones(features, dtype)})

            def forward(self, x, state=None, lengths=None):
                return x * self.params["scale"], None, self.save_for_backward(x)

            def backward(self, tape, dy=None, dstate=None):
                (x,) = self.saved_values(tape)
                dy = np.zeros_like(x) if dy is None else dy
                self.grads["scale"] += (dy * x).reshape(-1, self.features).sum(0)
                return dy * self.params["scale"], None

    Modules that are put together in another way than one after another, such as around a sum, are a subclass of
    `Sequential` that uses its passes. A file names a class by its module and name; see `register_module` and the
    argument `modules` of `load` for other names.

    Parameters
    ----------
    dtype : "float32" or "float64"
    seed : int, numpy.random.SeedSequence, numpy.random.Generator or None
        Source of the initial parameters and, until `set_rng`, of dropout masks.

    Attributes
    ----------
    dtype : numpy.dtype
    recurrent : bool
        True if the module takes and returns a state: ``y, state = module(x, state, lengths)``. Others return ``y``.
    pools_time : bool
        True if the output has no time axis, as after `LastStep`.
    keeps_features : bool
        True where feature k of a step's output comes of feature k of x, or has its place.
    takes_ids : bool or None
        True where x is of ids, integers; False where it is of numbers, a vector for each step; None where a class of
        one's own does not say. A `Sequential` takes what its first module takes.
    needs_time : bool
        True if x must have a time axis.
    needs_whole_sequences : bool
        True if a part of a sequence gives another output than that part of the whole has, or none: there is then no
        stream and no truncated BPTT, and what the output looks like is found out with whole sequences.
    saves_output : bool
        False if nothing refers to the output of a call or `forward` afterwards, so that it may be overwritten.
    scores_target : bool
        True if `forward` and a call take the target of each output, and give its score alone; see `AdaptiveSoftmax`.
    input_names : tuple of str or None
        Names of the inputs where x is a dict, as of `Inputs` and networks that begin with them.
    verification : Verification or None
        How far the outputs of an imported model are from those of its source, if they were compared; see `from_torch`.
    weight_format : str
        Of the module's own matrices: "float" for those of its dtype, "int8" or "bf16" after `quantize`.
    takes_target : bool
        True if `forward` and a call need the targets, as a decoder does: ``module(x, lengths, target=target)``.
    """

    dtype: np.dtype
    recurrent: bool = False
    pools_time: bool = False
    keeps_features: bool = False
    takes_ids: bool | None = None
    needs_time: bool = False
    needs_whole_sequences: bool = False
    saves_output: bool = True
    scores_target: bool = False
    takes_target: bool = False
    input_names: tuple[str, ...] | None = None
    verification: "Verification | None" = None
    weight_format: str = "float"
    # An _arrays.Pinned each, if compiled code takes the arrays anew in each call.
    _pinned_params = _pinned_grads = None
    _frozen: frozenset[str] = frozenset()   # of the own parameters' names
    _statistics: frozenset[str] = frozenset()   # of those, what `forward` writes: frozen for good
    # Whether a module of this process ever was frozen, or had sparse gradients: until then nobody has to look.
    _any_frozen = _any_sparse = False
    _watched = None     # a _watch.Watched, if the engine keeps packed copies of the parameters

    def __init_subclass__(cls, base: bool = False, **kwargs: "Any") -> None:
        super().__init_subclass__(**kwargs)
        if not is_ours(cls) and "saves_output" not in vars(cls):
            cls.saves_output = True     # whatever a class of one's own derives from
        if not base:
            _registry[_type_name(cls)] = cls

    def __init__(self, dtype: "DType" = "float32", seed: "Seed" = None) -> None:
        self.dtype = check_dtype(dtype)
        self._seed = seed
        self._generator = None
        self._gate = Gate()
        self._own({})

    def _own(self, params, statistics=()):
        """Take the arrays of `params` as the live parameters and give each a zero gradient; `statistics` are the names
        of those that `forward` writes."""
        self._params = ArrayDict(params)
        self._grads = ArrayDict({name: (room if p.dtype in FLOATS else np.zeros)(p.shape, p.dtype)
                                 for name, p in params.items()})
        if statistics:
            self._statistics = frozenset(statistics)
            self._freeze_exactly(())

    def _store_weights(self, weight_format):
        """Store the own matrices with fewer bits, if the module can."""

    def _own_stored(self, params, weight_format):
        """Take arrays, of which some are stored with fewer bits, as the parameters of a module that is not trained."""
        self._params, self._grads = ArrayDict(params), ArrayDict()
        self.weight_format = weight_format

    def _check_trains(self):
        """Raise if the module only serves."""
        if self.weight_format != "float":
            raise TypeError(f"module: expected float weights to train, found {self.weight_format} ones of a "
                            f"{type(self).__name__}, which are for inference; train the model that was quantized")

    def quantize(self, weight_format: "Literal['int8', 'bf16']") -> "Self":
        """A copy for inference whose weight matrices have fewer bits; see `fastrnn.quantize`."""
        check_option(weight_format, "weight_format", FORMATS)
        found = few_bit_formats(self)
        if found:
            raise ValueError(f"model: expected float weights, found {', '.join(found)} ones")
        made = copy.deepcopy(self)
        store_weights(made, weight_format)
        if not few_bit_formats(made):
            raise ValueError(f"model: expected recurrent layers, Linear or Embedding inside, found {shown(self)}")
        return made

    def _make_sparse(self, *names):
        """Keep these gradients by rows; add to them through `_rows_to_add_to` from now on."""
        rows = {name: GradientRows(self._grads[name]) for name in names}
        self._grads = ArrayDict({**self._grads, **{name: one.shown for name, one in rows.items()}})
        self._grads.sparse = rows
        Module._any_sparse = True

    def _rows_to_add_to(self, name, *ids):
        """The own gradient of this name, whose rows of these ids are about to be added to."""
        kept = self._grads.sparse.get(name)
        if kept is None:
            return self._grads[name]
        for one in ids:
            kept.touch(one)
        return kept.gradient

    def register_parameters(self, params: "Mapping[str, Array]") -> None:
        """Take arrays as the live parameters, each with a gradient of zeros beside it; for the constructor to call.

        Parameters
        ----------
        params : dict of str to array
            C-contiguous and of the module's dtype; the arrays themselves are kept.

        Raises
        ------
        TypeError, ValueError
            Also for a module of this package and in a second call, as parameters stay the same arrays.
        """
        if is_ours(type(self)) or self._params:
            raise TypeError(f"params: expected one call in the constructor of a module of one's own, found "
                            f"{'another' if self._params else f'a {type(self).__name__}'}")
        check_mapping(params, "params")
        for name, array in params.items():
            if not isinstance(name, str):
                raise TypeError(f"params: expected names that are strings, found {shown(name)}")
            check_out(array, np.shape(array), self.dtype, f"params[{name!r}]")
            claim(array.shape, self.dtype, name)
        self._own(params)

    def save_for_backward(self, *values: "Any") -> "Tape":
        """The tape for `forward` to return: it keeps these values for one `backward` of this module."""
        return OwnTape(self, *values)

    def saved_values(self, tape: "Tape") -> "tuple[Any, ...]":
        """The values that `save_for_backward` was given, for `backward`; a second time they are refused."""
        if not isinstance(tape, OwnTape):
            raise TypeError(f"tape: expected one of save_for_backward(), found {type(tape).__name__}")
        tape.open(self)
        return tape.take()

    def _pin(self):
        """Remember the arrays as they are now, so that calls notice a change of shape, type or memory."""
        self._pinned_params, self._pinned_grads = Pinned(self._params, "params"), Pinned(self._grads, "grads")

    @property
    def rng(self) -> "Generator":
        """The numpy.random.Generator of initial parameters and dropout masks."""
        if self._generator is None:
            self._generator = check_generator(self._seed, "seed")
        return self._generator

    def set_rng(self, rng: "Generator") -> None:
        """Draw dropout masks from `rng`, a numpy.random.Generator, from now on."""
        if not isinstance(rng, np.random.Generator):
            raise TypeError(f"rng: expected a numpy.random.Generator, found {type(rng).__name__}")
        self._generator = rng

    @property
    def params(self) -> "dict[str, Array]":
        """dict of name -> array: the live parameters. Write in place; the next call sees it."""
        return self._params if self._watched is None else self._watched.expose()

    @property
    def grads(self) -> "dict[str, Array]":
        """dict of name -> array: the live gradients, shaped as `params`; `backward` adds to them."""
        return self._grads

    @property
    def num_parameters(self) -> int:
        """Number of scalars in all parameters, those that are frozen among them, without running statistics."""
        statistics = {id(module._params[name]) for module in walk(self) for name in module._statistics}
        return sum(p.size for p in self.params.values() if id(p) not in statistics)

    @property
    def frozen(self) -> tuple[str, ...]:
        """Names of the parameters that are not trained; see `freeze`."""
        if not any(module._frozen for module in walk(self)):
            return ()
        params = self.params
        return tuple(name for name in params if name in frozen_names(params))

    def freeze(self, *patterns: str) -> "Self":
        """Keep parameters as they are in training.

        Optimisers, weight decay, l2, clipping and its norm, and averages leave them out, in `Trainer` and wherever a
        module's `params` and `grads` are given to `Optimizer.step` or `clip_grad_norm`. `backward` still computes
        their gradients. `load_state_dict` and assignments write to them as before. Files, checkpoints and copies keep
        what is frozen. A parameter that two modules share is frozen in both.

        Parameters
        ----------
        *patterns : str
            Of names in `params`, as a shell matches file names: "encoder.*", "*bias*". Without any, all parameters.

        Returns
        -------
        Module
            This one.

        Raises
        ------
        ValueError, TypeError
            Where a pattern matches no name; nothing is frozen then.
        """
        names = matching_names(self.params, patterns, "patterns") if patterns else self.params
        self._freeze_exactly({*self.frozen, *names})
        return self

    def unfreeze(self, *patterns: str) -> "Self":
        """Train parameters again that `freeze` has taken out; arguments and errors as there."""
        names = matching_names(self.params, patterns, "patterns") if patterns else self.params
        self._freeze_exactly(set(self.frozen).difference(names))
        return self

    def _freeze_exactly(self, names):
        """Freeze the parameters of these names, and no others."""
        params = self.params
        held = {id(params[name]) for name in names}
        for module in walk(self):
            module._frozen = module._statistics | {name for name, p in module._params.items() if id(p) in held}
            module._params.frozen = module._grads.frozen = module._frozen
            Module._any_frozen = Module._any_frozen or bool(module._frozen)

    def zero_grad(self) -> None:
        """Set every gradient to zero."""
        grads = self.grads
        sparse = sparse_rows(grads)
        for name, grad in grads.items():
            if name in sparse:
                sparse[name].clear()
            else:
                grad.fill(0)

    def state_dict(self) -> "dict[str, Array]":
        """dict of name -> copy of the parameter."""
        return {name: p.copy() for name, p in self.params.items()}

    def load_state_dict(self, mapping: "Mapping[str, Any]") -> None:
        """Copy parameters from `mapping` in place; everything is checked before anything changes.

        Other threads may go on with inference meanwhile: each call, and each step of a stream, uses all of the old
        parameters or all of the new ones.

        Parameters
        ----------
        mapping : mapping of str to array
            Exactly the names and shapes of `params`. Values are NumPy arrays, tensors, or whatever else
            NumPy makes an array of; they are cast to the module's dtype.

        Raises
        ------
        ValueError, TypeError
            Naming the entries that are missing, unexpected, or of another shape or kind.
        """
        params = self.params
        values = check_state_dict(mapping, params)
        check_writable_params(params)
        with contextlib.ExitStack() as gates:
            for module in walk(self):
                gates.enter_context(module._closing())
            try:
                _copy_into(params, values)
            except BaseException:   # a signal handler raised: do not leave the parameters half loaded
                _copy_into(params, values)
                raise

    def output_lengths(self, lengths: "Array") -> "Array":
        """Valid steps of the output for sequences of these lengths, int array (B,): as many, if not defined anew."""
        return lengths

    def _children(self):
        """The modules that this one consists of."""
        return ()

    def _fed(self, x, lengths=None):
        """(module, its input, its lengths) of the modules inside that take this one's input, or a part of it."""
        return ()

    def _row_work(self):
        """Multiply-adds, about, of this module's own parameters for each row of x."""
        return sum(p.size for p in self._params.values())

    def _stages(self):
        """Modules of which each takes the output of the one before: those inside, or itself."""
        return [self]

    @contextlib.contextmanager
    def _closing(self):
        """The context of a load of this module's own parameters."""
        with contextlib.ExitStack() as gates:
            gates.enter_context(self._gate.closing())
            if self._watched is not None:
                self._watched.before_load()
                gates.enter_context(self._watched.gate.closing())
                gates.callback(self._watched.expose)
            yield

    def config(self) -> "dict[str, Any]":
        """dict of the type's name, the JSON-able constructor arguments, and the frozen parameters if there are any; see
        `module_from_config`."""
        values = {name: plain_value(noted_init(self.init) if name == "init" else self._argument(name))
                  for name in _arguments(type(self))}
        if "dtype" in values:
            values["dtype"] = self.dtype.name
        frozen = [name for name in self.frozen if name not in self._statistics]     # those always are
        return {"type": _type_name(type(self)), **values, **self._stored_in(),
                **({"frozen": list(frozen)} if frozen else {})}

    def _stored_in(self):
        """The entry of a configuration that tells in which format the weights are."""
        found = few_bit_formats(self)
        return {"weight_format": found[0]} if found else {}

    def _argument(self, name):
        """The constructor argument of this name, for `config`."""
        return getattr(self, name)

    @classmethod
    def from_config(cls, config: "dict[str, Any]") -> "Self":
        """The module of `config`: the constructor arguments without the type."""
        return cls(**check_arguments(cls, config))

    def __call__(self, x: "Any", *args: "Any", **options: "Any") -> "Any":
        """Inference, what `forward` puts out: ``module(x, lengths=None)`` is y, of a recurrent module
        ``module(x, state=None, lengths=None)`` is (y, state)."""
        if self.recurrent:
            return self.forward(x, *args, **options)[:2]
        return self.forward(x, None, *args, **options)[0]

    def forward(self, x: "Any", state: "State" = None, lengths: "Ints | None" = None) -> "tuple[Any, State, Tape]":
        """Training pass. Returns (y, state, tape); state is None if the module has none."""
        raise NotImplementedError(f"{type(self).__name__} defines no forward")

    def backward(self, tape: "Tape", dy: "ArrayLike | None" = None, dstate: "State" = None) -> "tuple[Any, State]":
        """Add this pass's parameter gradients to `grads`; returns (dx, dstate). Use a tape once."""
        raise NotImplementedError(f"{type(self).__name__} defines no backward")

    def __reduce__(self):
        return _rebuild, (type(self), self.config(), self.state_dict(), self._generator or self._seed)

    def __repr__(self):
        config = self.config()
        if len(config.get("frozen", ())) == len(self.params) - len(self._statistics) > 0:
            config["frozen"] = True
        arguments = ", ".join(f"{name}={value!r}" for name, value in config.items() if name != "type")
        return f"{type(self).__name__}({arguments})"


def direction_of(module: "Module") -> str:
    """How a module reads a sequence: "forward", "reverse" or "bidirectional"."""
    both = getattr(module, "bidirectional", False)
    return getattr(module, "direction", "bidirectional" if both else "forward")


@contextlib.contextmanager
def statistics_as_before(module: "Module", always: bool = False) -> "Iterator[None]":
    """If the block fails, or `always`, what `forward` has written into parameters is undone."""
    kept = [(one._params[name], one._params[name].copy()) for one in walk(module) for name in one._statistics]
    failed = True
    try:
        yield
        failed = False
    finally:
        if failed or always:
            for array, before in kept:
                array[...] = before


def _copy_into(params, values):
    for name, value in values.items():
        params[name][...] = value


class Tape:
    """The values that one `Module.forward` keeps for its `Module.backward`.

    `open` shows the values, so that `backward` can check its arguments. `take` then hands them to one caller alone,
    even if several threads ask. `put_back` undoes that, if the caller has not changed them.
    """

    __slots__ = ("_module", "_saved")

    def __init__(self, module: "Module", *saved: "Any") -> None:
        self._module = module
        self._saved = [saved]   # empty once somebody has taken them: only one thread's pop succeeds

    def __reduce__(self):
        raise TypeError("tape: expected to stay the only one of its kind, found a copy being made")

    def open(self, module: "Module") -> "tuple[Any, ...]":
        if self._module is not module:
            raise ValueError(f"tape: expected one from this {type(module).__name__}'s forward(), "
                             f"found one from another {type(self._module).__name__}")
        try:
            saved = self._saved[0]
        except IndexError:
            raise self._used() from None
        check_kept(saved, Tape)
        return saved

    def take(self) -> "tuple[Any, ...]":
        try:
            return self._saved.pop()
        except IndexError:
            raise self._used() from None

    def put_back(self, saved: "tuple[Any, ...]") -> None:
        self._saved.append(saved)

    @staticmethod
    def _used():
        return ValueError("tape: expected one from a new forward(), found one that backward() has used or is using")


class OwnTape(Tape):
    """A tape of `Module.save_for_backward`, which this package's own passes do not read."""

    __slots__ = ()


def open_tape(tape: "Tape", module: "Module") -> "tuple[Any, ...]":
    """The values that `module`'s forward() kept on `tape`; raises if the tape is not one of its own."""
    if not isinstance(tape, Tape) or isinstance(tape, OwnTape):
        raise TypeError(f"tape: expected the tape that forward() returned, found {type(tape).__name__}")
    return tape.open(module)


class Turn:
    """A `with` block for one caller at a time: a second one, in another thread or nested, gets an error.

    Parameters
    ----------
    name : str
        Name of the shared object, for the error.
    """

    __slots__ = ("_free", "_name")

    def __init__(self, name):
        self._name = name
        self._free = [None]     # only one thread's pop succeeds

    def __enter__(self):
        try:
            self._free.pop()
        except IndexError:
            raise ValueError(f"{self._name}: expected one caller at a time, found two") from None

    def __exit__(self, *_):
        self._free.append(None)

    def __reduce__(self):
        return Turn, (self._name,)  # nobody is inside a copy


_also: "ContextVar[Mapping[str, type]]" = ContextVar("also", default=MappingProxyType({}))


def register_module(cls: type, name: str) -> type:
    """Let files name a class of one's own by `name`, wherever it is defined, when they are written and read.

    Without it a class is in files under its module and qualified name, such as "mine.layers.Scale".

    Parameters
    ----------
    cls : subclass of Module
    name : str
        One that no other class has.

    Returns
    -------
    type
        `cls`.
    """
    check_module_class(cls, "cls")
    if not isinstance(name, str) or not name:
        raise TypeError(f"name: expected a text, found {shown(name)}")
    if _registry.get(name, cls) is not cls or (is_ours(cls) and name != cls.__name__):
        raise ValueError(f"name: expected one that no other class has, found {shown(name)}")
    cls._file_name = name
    _registry[name] = cls
    return cls


def check_module_class(cls, name):
    """A subclass of Module."""
    if not (isinstance(cls, type) and issubclass(cls, Module)):
        raise TypeError(f"{name}: expected a subclass of fastrnn.Module, found {shown(cls)}")


@contextlib.contextmanager
def known_also(modules):
    """Within it configurations may name these classes too, by these names."""
    if modules is not None:
        check_mapping(modules, "modules")
        for name, cls in modules.items():
            check_module_class(cls, f"modules[{shown(name)}]")
    token = _also.set(modules or {})
    try:
        yield
    finally:
        _also.reset(token)


def module_from_config(config: "dict[str, Any]") -> "Any":
    """The module that a `Module.config` dictionary describes, with fresh parameters.

    The dictionary may come from a file: its type must be a registered one, its entries must be arguments of that type's
    constructor, and the constructor checks their values.
    """
    config = dict(check_config(config))
    name = config.pop("type", None)
    cls = (_also.get().get(name) or _registry.get(name)) if isinstance(name, str) else None
    if cls is None:
        known = ", ".join(sorted({*_registry, *_also.get()}))
        raise ValueError(f"config['type']: expected one of {known}, or a class of one's own that has been imported or "
                         f"is named by load(path, modules={{name: class}}); found {shown(name)}")
    if "dtype" in config and config["dtype"] not in ("float32", "float64"):
        raise ValueError(f"config['dtype']: expected 'float32' or 'float64', found {config['dtype']!r:.80}")
    frozen = config.pop("frozen", ())
    claim_module()
    module = _made(cls, config)
    if frozen:
        set_frozen(module, frozen, "config['frozen']")
    return module


def _made(cls, config):
    """The module of the constructor arguments, and the format of the weights, in `config`."""
    weight_format = config.pop("weight_format", None)
    module = cls.from_config(config)
    if weight_format is not None:
        store_weights(module, weight_format)
    return module


def store_weights(module: "Module", weight_format: str) -> None:
    """Store the matrices of a module and of all inside with few bits, in place."""
    check_option(weight_format, "weight_format", FORMATS)
    for child in module._children():
        store_weights(child, weight_format)
    module._store_weights(weight_format)


def few_bit_formats(module: "Module") -> list[str]:
    """The formats of few bits that weights of a module and of all inside have."""
    return sorted({one.weight_format for one in walk(module)} - {"float"})


def set_frozen(module: "Module", names: "Any", name: str) -> None:
    """Freeze the parameters of these names, which may come from a file, and no others."""
    check_frozen(names, module.params, name)
    module._freeze_exactly(names)


def frozen_in(config: "dict[str, Any]") -> list[str]:
    """The names of the parameters that a module of this `Module.config` has frozen."""
    check_config(config)
    names, modules = config.get("frozen", ()), config.get("modules", ())
    places = config.get("names", range(len(modules) if isinstance(modules, (list, tuple)) else 0))
    if not isinstance(names, (list, tuple)) or not isinstance(modules, (list, tuple)) or (
            not isinstance(places, (list, tuple, range)) or len(places) != len(modules)):
        raise TypeError("config: expected lists of modules, of their names and of what is frozen, found others")
    return [*names, *(f"{k}.{name}" for k, inner in zip(places, modules) for name in frozen_in(inner))]


def check_config(config):
    if not isinstance(config, Mapping):
        raise TypeError(f"config: expected a dict that describes a module, found {type(config).__name__}")
    return config


def check_arguments(cls, config):
    """The constructor arguments in `config`; raises if a needed one is missing or one is unknown."""
    check_config(config)
    known = _arguments(cls)
    unknown = [name for name in config if name not in known]
    missing = [name for name, needed in known.items() if needed and name not in config]
    if unknown or missing:
        found = f"{', '.join(map(repr, unknown))[:80] or 'nothing'} beside them"
        raise ValueError(f"config: expected arguments of {cls.__name__}, {', '.join(known)}; found {found}"
                         f"{', and no ' if missing else ''}{', '.join(missing)}")
    return config


def _rebuild(cls, config, state, source):
    config.pop("type")
    frozen = config.pop("frozen", ())
    with left_at_zero():
        module = _made(cls, config)
    module.load_state_dict(state)
    if frozen:
        set_frozen(module, frozen, "frozen")
    if isinstance(source, np.random.Generator):
        module._generator = source
    else:
        module._seed = source
    return module


def _type_name(cls):
    """Bare name of the package's own types, dotted path of users' types, so that the two never clash."""
    if is_ours(cls):
        return cls.__name__
    return vars(cls).get("_file_name") or f"{cls.__module__}.{cls.__qualname__}"


@functools.cache
def _arguments(cls):
    """dict of a constructor argument's name -> whether it is needed."""
    kinds = inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY
    parameters = inspect.signature(cls).parameters.values()
    return {p.name: p.default is p.empty for p in parameters if p.kind in kinds and p.name != "seed"}


@contextlib.contextmanager
def grads_as_before(module):
    """If the block fails, restore the module's gradients."""
    grads = module.grads
    sparse = sparse_rows(grads)
    kept = {name: grad.copy() for name, grad in grads.items() if name not in sparse}
    rows = [(one, one.saved()) for one in sparse.values()]
    try:
        yield
    except BaseException:
        module.grads.update(kept)
        for one, saved in rows:
            one.restore(saved)
        raise


# Least multiply-adds, about, of a backward pass during which a signal is likely: some 20 ms (bench/NOTES.md, Looks for
# signals).
WORTH_A_COPY = 1_000_000_000


class Compound(Module, base=True):
    """A module that consists of others and names their arrays "<place>.<name>".

    A subclass defines ``_gathered(which)``, the dict of all "params" or "grads".
    """

    _inner = None               # the modules that have the arrays, once they were asked for
    _work = _shapes = None      # of a row, and shapes of gradients, after the first use

    def _grads_as_before(self, rows):
        """The context of a backward pass over `rows` rows, which restores the gradients if a long pass fails."""
        grads = self.grads
        if self._work is None:
            params = self.params    # not the gradients, which may have another shape by now
            self._work = sum(module._row_work() for module in walk(self))
            self._shapes = [params[name].shape for name in grads]
        sparse = sparse_rows(grads)
        for (name, grad), shape in zip(grads.items(), self._shapes):    # before the first one is added to
            whole = grad.flags.carray or (name in sparse and grad.flags.c_contiguous)
            if grad.shape != shape or not whole or grad.dtype not in FLOATS:
                raise ValueError(f"grads[{name!r}]: expected a writeable float array of shape {shape} as it was made, "
                                 f"found {grad.dtype} of shape {grad.shape}")
        return contextlib.nullcontext() if rows * self._work < WORTH_A_COPY else grads_as_before(self)

    @property
    def params(self) -> "dict[str, Array]":
        """dict of "<place>.<name>" -> array: the live parameters. Write in place; the next call sees it."""
        arrays = self._gathered("params")
        return self._marked(arrays, "_params") if Module._any_frozen else arrays

    @property
    def grads(self) -> "dict[str, Array]":
        """dict of "<place>.<name>" -> array: the modules' live gradients; `backward` adds to them."""
        arrays = self._gathered("grads")
        return self._marked(arrays, "_grads") if Module._any_frozen or Module._any_sparse else arrays

    def _marked(self, arrays, own):
        """These arrays, with the names of those that are frozen, or sparse gradients, in any module that has them."""
        if self._inner is None:
            self._inner = [module for module in walk(self) if module is not self]
        held = {id(getattr(module, own)[name]) for module in self._inner for name in module._frozen}
        if held:
            arrays = arrays if isinstance(arrays, ArrayDict) else ArrayDict(arrays)
            arrays.frozen = frozenset(name for name, array in arrays.items() if id(array) in held)
        rows = {id(rows.shown): rows for module in self._inner for rows in getattr(module, own).sparse.values()}
        if rows:
            arrays = arrays if isinstance(arrays, ArrayDict) else ArrayDict(arrays)
            arrays.sparse = {name: rows[id(array)] for name, array in arrays.items() if id(array) in rows}
        return arrays
