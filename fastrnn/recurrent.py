"""What cells and sequence runners share: parameters by name, and the weights object of the compiled engine."""

import numpy as np

from ._check import check_bool, check_positive_int
from ._init import initialise
from ._weights import Weights
from .module import Module

GATES = {"RNN": 1, "LSTM": 4, "GRU": 3}
KINDS = "weight_ih", "weight_hh", "bias_ih", "bias_hh", "weight_hr"


class Recurrent(Module):
    """Base of cells and runners. A subclass sets `kind` and calls `_allocate` from its constructor."""

    kind = None     # "RNN", "LSTM" or "GRU"
    recurrent = True

    def _sizes(self, input_size, hidden_size, bias):
        self.input_size = check_positive_int(input_size, "input_size")
        self.hidden_size = check_positive_int(hidden_size, "hidden_size")
        self.bias = check_bool(bias, "bias")

    def _allocate(self, suffixes, input_sizes, directions, projection=0, relu=False, reset_after=True):
        """Make and initialise the parameters of one cell for each suffix, and the engine's view of them."""
        rows = GATES[self.kind] * self.hidden_size
        shapes = {}
        names = []
        for suffix, width in zip(suffixes, input_sizes):
            cell = {"weight_ih": (rows, width), "weight_hh": (rows, projection or self.hidden_size)}
            if self.bias:
                cell.update(bias_ih=(rows,), bias_hh=(rows,))
            if projection:
                cell.update(weight_hr=(projection, self.hidden_size))
            shapes.update({name + suffix: shape for name, shape in cell.items()})
            names.append([name + suffix if name in cell else None for name in KINDS])
        params = {name: np.zeros(shape, self.dtype) for name, shape in shapes.items()}
        initialise(params, self.rng, self.init)
        self._own(params)
        del params
        self._watched = Weights(self.kind, self._params, self._grads, names, list(input_sizes), self.hidden_size,
                                directions, relu, reset_after)
