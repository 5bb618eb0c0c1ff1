"""Random networks of the cells of `reference_elementwise`, with random data, as in `problems`."""

from dataclasses import dataclass

import numpy as np
import reference_elementwise as reference
from problems import Problem


@dataclass
class ElementwiseProblem(Problem):
    """As a `Problem`; a state is (s, past), see `reference_elementwise`, and `scale` that of an SRU."""

    window: int = 1
    scale: float = 1.0

    def __post_init__(self):
        rng = np.random.default_rng(self.seed)
        params = reference.make_params(
            self.cell,
            self.input_size,
            self.hidden_size,
            self.num_layers,
            self.bidirectional,
            self.bias,
            self.window,
            rng,
        )
        self.params = {name: self.rounded(value) for name, value in params.items()}
        self.x = self.normal(rng, self.steps, self.batch, self.input_size)
        self.dy = self.normal(rng, self.steps, self.batch, self.hidden_size * self.directions)
        self.state = self.a_state(rng)
        self.dstate = self.a_state(rng)

    def widths(self):
        """Of the inputs of each layer and direction."""
        later = self.rows - self.directions
        return [self.input_size] * self.directions + [self.hidden_size * self.directions] * later

    def a_state(self, rng):
        """Drawn, zero where a layer has no use for it."""
        past = self.normal(rng, self.rows, self.batch, self.window - 1, max(self.widths()))
        for row, wide in enumerate(self.widths()):
            past[row, :, :, wide:] = 0
        return self.normal(rng, self.rows, self.batch, self.hidden_size), past

    def forward(self, dropping=True):
        """y, state, tape"""
        lengths = [self.steps] * self.batch if self.lengths is None else self.lengths
        drops = self.layer_masks() if dropping else None
        return reference.forward(self.cell, self.params, self.x, self.state, lengths, self.scale, drops)

    def backward(self, tape):
        """Gradients by the names of `arrays`."""
        dx, (ds, dpast), grads = reference.backward(tape, self.dy, self.dstate)
        return {"x": dx, "s": ds, "past": dpast, **grads}

    def arrays(self):
        return {"x": self.x, "s": self.state[0], "past": self.state[1], **self.params}
