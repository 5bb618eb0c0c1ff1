"""The common base of cells and sequence runners: parameters by name, and the engine's `Weights`."""

from typing import TYPE_CHECKING

from ..check.values import check_bool, check_bound, check_number, check_positive_int, check_zoneout
from ..engine.kinds import KINDS
from ..engine.loops._engine import Engine
from ..engine.loops._weights import Weights
from ..engine.runtime._arrays import room
from ._init import claim, initialise
from .fewbits import stored
from .module import Module
from .options import engine_options, plain_activations

if TYPE_CHECKING:
    from typing import Any

    from .._types import Init

class Recurrent(Module, base=True):
    """Base of cells and runners. A subclass sets `kind` and calls `_allocate` from its constructor."""

    kind: str | None = None     # "RNN", "LSTM", "GRU", or one of those of `elementwise`
    recurrent = True
    takes_ids = False
    fixed = ("kind", "activation_functions")
    input_size: int
    hidden_size: int
    bias: bool
    init: "Init"
    clip: float | None
    activation_functions: "tuple[Any, ...] | None"

    def _sizes(self, input_size, hidden_size, bias):
        self.input_size = check_positive_int(input_size, "input_size")
        self.hidden_size = check_positive_int(hidden_size, "hidden_size")
        self.bias = check_bool(bias, "bias")

    def __init_subclass__(cls, **options):
        super().__init_subclass__(**options)
        if cls.kind is not None:
            cls._cell = KINDS[cls.kind]         # what the cell is: its parameters, gates and states
            cls._state = cls._cell.states       # the parts that a state consists of

    @staticmethod
    def _words(**options):
        """The names of the options that are asked for."""
        return {name for name, asked in options.items() if asked}

    def _allocate(self, words, suffixes, input_sizes, directions, projection=0, window=1, **options):
        """Make and initialise the parameters of one cell for each suffix, and the engine's view of them.

        words: what the cells have beside the kind's own, see `engine.cells._kind`.
        """
        cell, hidden = self._cell, self.hidden_size
        words = {*words, *self._words(bias=self.bias, projection=projection, general="activations" in options)}
        layout = {}
        for suffix, width in zip(suffixes, input_sizes):
            for name, placed in cell.layout(words, width, hidden, projection or hidden, window).items():
                layout[name + suffix] = placed
        for name, placed in layout.items():
            claim(placed.shape, self.dtype, name)
        params = {name: room(placed.shape, self.dtype) for name, placed in layout.items()}
        initialise(params, layout, self.rng, self.init, hidden)
        self._own(params)
        del params
        self._made_of = words, list(suffixes), list(input_sizes), hidden, directions, projection
        self._options_of_cell = {"window": window, **options}
        self._watched = self._weights()

    def _weights(self):
        """The engine's view of the parameters as they are stored."""
        words, *sizes = self._made_of
        return Weights(self._cell, words, self._params, self._grads, *sizes, weight_format=self.weight_format,
                       **self._options_of_cell)

    def _store_weights(self, weight_format):
        matrices = [name for name, p in self._params.items() if p.ndim == 2]
        self._own_stored(stored(self._params, matrices, weight_format), weight_format)
        self._watched = self._weights()
        self._set_dropout(*self._probabilities)
        self._engine = Engine(self._watched)

    def _set_options(self, own, directions, activations, clip, peepholes=False, coupled_gates=False, layer_norm=False):
        """Check and keep the options that change the cell's equations; return the arguments of `Weights` for them."""
        self.clip = check_bound(clip, "clip")
        peepholes, coupled = check_bool(peepholes, "peepholes"), check_bool(coupled_gates, "coupled_gates")
        if self._cell.knows("peepholes"):
            self.peepholes, self.coupled_gates = peepholes, coupled
        options = engine_options(self._cell, own, directions, activations, self.clip, peepholes, coupled)
        self.activation_functions = plain_activations(activations)
        if options and layer_norm:
            raise ValueError("layer_norm: expected False with other activations, clip, peepholes or coupled_gates, "
                             "found True")
        return options

    def _argument(self, name):
        if name == "activations":
            return self.activation_functions
        return super()._argument(name)

    def _set_dropout(self, recurrent_dropout, zoneout, weight_dropout):
        """Check the probabilities of a constructor, or one that is assigned to, and hand them to the engine."""
        zoneout = check_zoneout(zoneout, "zoneout", len(self._state) > 1)
        self._probabilities = (check_number(recurrent_dropout, "recurrent_dropout", low=0, high=1), zoneout,
                         check_number(weight_dropout, "weight_dropout", low=0, high=1))
        zone_h, zone_c = zoneout if isinstance(zoneout, tuple) else (zoneout, zoneout)
        recurrent, _, weight = self._probabilities
        weight = weight if self.weight_format == "float" else 0     # it acts in training alone
        self._watched.set_dropout(recurrent, zone_h, zone_c if "c" in self._state else 0, weight)

    @property
    def recurrent_dropout(self) -> float:
        """Probability with which a value of h_{t-1} is dropped from the recurrent product; may be assigned."""
        return self._probabilities[0]

    @recurrent_dropout.setter
    def recurrent_dropout(self, value: float) -> None:
        self._set_dropout(value, self.zoneout, self.weight_dropout)

    @property
    def zoneout(self) -> float | tuple[float, float]:
        """Probability with which a value of the state stays as it was; for an LSTM also (p_h, p_c); may be assigned."""
        return self._probabilities[1]

    @zoneout.setter
    def zoneout(self, value: float | tuple[float, float]) -> None:
        self._set_dropout(self.recurrent_dropout, value, self.weight_dropout)

    @property
    def weight_dropout(self) -> float:
        """Probability with which a recurrent weight is dropped; may be assigned."""
        return self._probabilities[2]

    @weight_dropout.setter
    def weight_dropout(self, value: float) -> None:
        self._set_dropout(self.recurrent_dropout, self.zoneout, value)

    def _mask_seed(self, seed, first_step, dropout=0.0):
        """(seed, first step) of one training pass; without a seed, draws one if there are masks."""
        first_step = check_positive_int(first_step, "first_step", low=0)
        if seed is not None:
            return check_positive_int(seed, "seed", low=0, high=2**63 - 1), first_step
        zoneout = self.zoneout if isinstance(self.zoneout, tuple) else (self.zoneout,)
        random = dropout or self.recurrent_dropout or self.weight_dropout or any(zoneout)
        return int(self.rng.integers(2**63)) if random else 0, first_step
