"""Networks with random data, for the reference and the engine alike."""

from dataclasses import dataclass

import masks
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
    recurrent_dropout: float = 0.0
    zoneout: float | tuple = 0.0
    weight_dropout: float = 0.0
    mask_seed: int = 77
    first_step: int = 0
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
        sizes = (out, self.hidden_size) if self.cell in reference.LSTMS else (out,)
        self.x = self.normal(rng, self.steps, self.batch, self.input_size)
        self.state = tuple(self.normal(rng, self.rows, self.batch, size) for size in sizes)
        self.dy = self.normal(rng, self.steps, self.batch, out * self.directions)
        self.dstate = tuple(self.normal(rng, *s.shape) for s in self.state)

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

    def probabilities(self):
        zone_h, zone_c = self.zoneout if isinstance(self.zoneout, tuple) else (self.zoneout,) * 2
        return {"recurrent": self.recurrent_dropout, "h": zone_h, "c": zone_c, "weight": self.weight_dropout}

    def layer_masks(self):
        if not self.dropout:
            return None
        place = self.steps, self.batch, self.dy.shape[2], self.dropout, self.first_step
        return [masks.between_layers(self.mask_seed, layer, *place) for layer in range(1, self.num_layers)]

    def step_masks(self):
        lengths = [self.steps] * self.batch if self.lengths is None else self.lengths
        widths = [s.shape[2] for s in self.state]
        shape = self.params["weight_hh_l0"].shape
        return [
            masks.between_steps(
                self.mask_seed,
                cell,
                self.bidirectional and cell % 2 == 1,
                lengths,
                self.steps,
                widths,
                shape,
                self.probabilities(),
                self.first_step,
            )
            for cell in range(self.rows)
        ]

    def forward(self):
        """y, state, tape of the training pass"""
        return reference.forward(
            self.cell, self.params, self.x, self.state, self.lengths, self.layer_masks(), self.step_masks()
        )

    def infer(self):
        """y, state"""
        probabilities = self.probabilities()
        expected = {k: np.full((self.steps, 1, 1), probabilities[k]) for k in ("h", "c")}
        return reference.forward(
            self.cell, self.params, self.x, self.state, self.lengths, None, [expected] * self.rows
        )[:2]

    def loss(self):
        y, state, _ = self.forward()
        return sum(np.sum(a * b) for a, b in zip((self.dy, *self.dstate), (y, *state), strict=True))

    def backward(self, tape):
        """Gradients by the names of `arrays`."""
        dx, dstate, grads = reference.backward(tape, self.dy, self.dstate)
        return {"x": dx, **{f"state[{k}]": d for k, d in enumerate(dstate)}, **grads}

    def arrays(self):
        return {"x": self.x, **{f"state[{k}]": s for k, s in enumerate(self.state)}, **self.params}
