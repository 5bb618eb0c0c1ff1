"""Modules one after another, with their states, lengths and streams."""

from typing import TYPE_CHECKING

from ..check.values import check_bool
from ._init import claim_again
from .container import Container
from .containerstream import ContainerStream, streams_of
from .fewbits import SCALE
from .layers import Embedding, LastStep, Linear, Reverse
from .module import direction_of, module_from_config
from .modulestream import ModuleStream
from .runners import Runner

if TYPE_CHECKING:

    from .._types import Array, Ints
    from .module import Module


class Sequential(Container):
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

    _may_be_named = True
    _option_names = ("batch_first", "tie_embeddings")

    def __init__(self, *modules: "Module", batch_first: bool = True, tie_embeddings: bool = False) -> None:
        if not modules:
            raise ValueError("modules: expected at least one module, found none")
        self._take(modules, batch_first)
        pooled = False
        for k, module in enumerate(modules):
            if module.recurrent and pooled:
                raise ValueError(f"modules[{k}]: expected no recurrent module after one that pools the "
                                 f"steps, found {type(module).__name__}")
            if getattr(module, "needs_time", False) and pooled:
                raise ValueError(f"modules[{k}]: expected no module that needs a time axis after one that pools the "
                                 f"steps, found {module!r}")
            if module.scores_target and module is not modules[-1]:
                raise TypeError(f"modules[{k}]: expected {type(module).__name__} as the last module, found it before "
                                f"{type(modules[k + 1]).__name__}")
            pooled = pooled or module.pools_time
        self.tie_embeddings = check_bool(tie_embeddings, "tie_embeddings")
        if self.tie_embeddings:
            _tie(modules)
        self.pools_time = pooled
        self.takes_ids, self.input_names = modules[0].takes_ids, modules[0].input_names
        self.scores_target = modules[-1].scores_target
        # a subclass puts its modules together in its own way
        self.saves_output = modules[-1].saves_output or type(self).forward is not Sequential.forward
        leaves = self._stages()
        self._skips_padding, self._ends_padding = isinstance(leaves[0], Runner), isinstance(modules[-1], Runner)
        direction_at_end(leaves)

    def _gathered(self, which):
        arrays = super()._gathered(which)
        if self.tie_embeddings:
            for name in ("weight", "weight" + SCALE):
                dict.pop(arrays, f"{len(self.modules) - 1}.{name}", None)
        return arrays

    def _store_weights(self, weight_format):
        if self.tie_embeddings:
            _tie(self.modules)

    def _stages(self):
        if type(self).__call__ is not Sequential.__call__:  # a subclass puts its modules together in its own way
            return [self]
        return [stage for module in self.modules for stage in module._stages()]

    def output_lengths(self, lengths: "Array") -> "Ints":
        for module in self.modules:
            lengths = lengths if lengths is None else module.output_lengths(lengths)
        return lengths

    def _options(self):
        return {"batch_first": self.batch_first, "tie_embeddings": self.tie_embeddings}

    @classmethod
    def _built(cls, described, options):
        modules = []
        for k, one in enumerate(described):
            if k and k == len(described) - 1 and options.get("tie_embeddings") and isinstance(modules[0], Embedding):
                claim_again((modules[0].num_embeddings, modules[0].embedding_dim), modules[0].dtype)
            modules.append(module_from_config(one))
        return modules

    def _infer(self, x, states, lengths, **targeted):
        return self._infer_part(slice(None), x, states, lengths, **targeted)

    def _infer_part(self, part, x, states, lengths, **targeted):
        """As `_infer`, of some of the modules."""
        for k, module in list(enumerate(self.modules))[part]:
            options = targeted if module is self.modules[-1] else {}
            if module.recurrent:
                x, states[k] = module(x, state=states[k], lengths=lengths, **options)
            else:
                x = module(x, lengths=lengths, **options)
            if lengths is not None:
                lengths = _lengths_after(module, lengths)
        return x, lengths

    def _train(self, x, states, lengths, **targeted):
        return self._train_part(slice(None), x, states, lengths, **targeted)

    def _train_part(self, part, x, states, lengths, **targeted):
        """As `_train`, of some of the modules."""
        tapes = []
        for k, module in list(enumerate(self.modules))[part]:
            options = targeted if module is self.modules[-1] else {}
            x, states[k], tape = module.forward(x, states[k], lengths, **options)
            tapes.append(tape)
            if lengths is not None:
                lengths = _lengths_after(module, lengths)
        return x, lengths, tapes

    def _propagate(self, kept, dy, dstates, begun):
        return self._propagate_part(slice(None), kept, dy, dstates, begun)

    def _propagate_part(self, part, kept, dy, dstates, begun):
        """As `_propagate`, of some of the modules."""
        for k in reversed(range(len(self.modules))[part]):
            if dy is not None or dstates[k] is not None:
                dy, dstates[k] = self.modules[k].backward(kept[k], dy, dstates[k])
            begun()
        return dy

    def stream(self, batch_size: int = 1) -> "SequentialStream | ModuleStream":
        """A session that takes one step at a time, with a state of its own and the weights of the network."""
        if type(self).__call__ is not Sequential.__call__:
            return ModuleStream(self, batch_size, self.batch_first)
        return SequentialStream(streams_of(self.modules, batch_size, self.batch_first), self._gate)

    def __setstate__(self, state):
        self.__dict__.update(state)
        if self.tie_embeddings:
            _tie(self.modules)


# What a runner has read last is at the other end behind a Reverse.
OPPOSITE = {"forward": "reverse", "reverse": "forward", "bidirectional": "mixed"}


def _lengths_after(module, lengths):
    """The lengths of a module's output; None where there are no steps."""
    return None if module.pools_time else module.output_lengths(lengths)


def direction_at_end(leaves, direction=None):
    """The direction in which the last runner before the end reads, None without one; tells it to each `LastStep`.

    `direction` is that of the last runner before the leaves.
    """
    for module in leaves:
        if hasattr(module, "_direction_after"):
            direction = module._direction_after(direction)
        elif module.recurrent:
            direction = direction_of(module)
        elif isinstance(module, LastStep):
            if direction is not None:
                module._follow(direction)
        elif isinstance(module, Reverse):
            direction = OPPOSITE.get(direction, direction)
        elif direction in ("bidirectional", "mixed") and not module.keeps_features:
            direction = "forward"
    return direction


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


class SequentialStream(ContainerStream):
    """A session with a `Sequential`: the sessions of its modules, one after another. It has one caller at a time."""

    def __init__(self, streams, gate):
        super().__init__(streams, gate, streams[:-1])

    def _pass(self, method, x, *out):
        *first, last = self._streams
        for stream in first:
            x = getattr(stream, method)(x)
        return getattr(last, method)(x, *out)
