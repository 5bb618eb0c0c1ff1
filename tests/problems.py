"""Networks with random data, for the reference and the engine alike."""

from dataclasses import dataclass

import numpy as np
import reference


@dataclass
class Problem:
    """A network, its data, and as loss a fixed random weighting of y and the final state.

    All arrays are float64, holding numbers that `dtype` can represent, so that an engine in that dtype and
    the reference in float64 work on the same numbers.
    """

    cell: str
    input_size: int = 2
    hidden_size: int = 3
    num_layers: int = 1
    bidirectional: bool = False
    bias: bool = True
    proj_size: int = 0
    dropout: float = 0.0
    steps: int = 4
    batch: int = 4
    lengths: list | None = None
    dtype: str = "float64"
    seed: int = 12

    def __post_init__(self):
        rng = np.random.default_rng(self.seed)
        out = self.proj_size or self.hidden_size
        params = reference.make_params(
            self.cell,
            self.input_size,
            self.hidden_size,
            self.num_layers,
            self.bidirectional,
            self.bias,
            self.proj_size,
            rng,
        )
        self.params = {name: self.rounded(value) for name, value in params.items()}
        sizes = (out, self.hidden_size) if self.cell == "lstm" else (out,)
        self.x = self.normal(rng, self.steps, self.batch, self.input_size)
        self.state = tuple(self.normal(rng, self.rows, self.batch, size) for size in sizes)
        self.dy = self.normal(rng, self.steps, self.batch, out * self.directions)
        self.dstate = tuple(self.normal(rng, *s.shape) for s in self.state)
        self.masks = None
        if self.dropout:
            kept = rng.random((self.num_layers - 1, *self.dy.shape)) >= self.dropout
            self.masks = kept / (1 - self.dropout)

    @property
    def directions(self):
        return 2 if self.bidirectional else 1

    @property
    def rows(self):
        return self.num_layers * self.directions

    def rounded(self, a):
        return a.astype(self.dtype).astype(np.float64)

    def normal(self, rng, *shape):
        return self.rounded(rng.standard_normal(shape))

    def forward(self):
        """y, state, tape"""
        return reference.forward(self.cell, self.params, self.x, self.state, self.lengths, self.masks)

    def loss(self):
        y, state, _ = self.forward()
        return sum(np.sum(a * b) for a, b in zip((self.dy, *self.dstate), (y, *state), strict=True))

    def backward(self, tape):
        """Gradients by the names of `arrays`."""
        dx, dstate, grads = reference.backward(tape, self.dy, self.dstate)
        return {"x": dx, **{f"state[{k}]": d for k, d in enumerate(dstate)}, **grads}

    def arrays(self):
        return {"x": self.x, **{f"state[{k}]": s for k, s in enumerate(self.state)}, **self.params}
