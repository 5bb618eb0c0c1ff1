"""fastrnn against torch.nn over random configurations: outputs, gradients of inputs, states and parameters.

``python tests/test_torch.py`` prints the worst relative error of each quantity.
"""

import numpy as np
import pytest
from tolerances import relative_error, tolerance

torch = pytest.importorskip("torch")
import fastrnn  # noqa: E402

CONFIGURATIONS = 120


class Configuration:
    """A network of random kind and size, its data, and as loss a fixed weighting of y and the state."""

    def __init__(self, seed):
        rng = self.rng = np.random.default_rng(seed)
        self.kind = str(rng.choice(["RNN", "LSTM", "GRU"]))
        self.options = {
            "input_size": int(rng.integers(1, 65)),
            "hidden_size": int(rng.integers(1, 65)),
            "num_layers": int(rng.integers(1, 4)),
            "bias": bool(rng.random() < 0.8),
            "batch_first": bool(rng.random() < 0.5),
            "bidirectional": bool(rng.random() < 0.5),
        }
        if self.kind == "RNN":
            self.options["nonlinearity"] = str(rng.choice(["tanh", "relu"]))
        if self.kind == "LSTM" and self.options["hidden_size"] > 1 and rng.random() < 0.4:
            self.options["proj_size"] = int(rng.integers(1, self.options["hidden_size"]))
        self.steps, self.batch = (int(n) for n in rng.integers(1, 21, 2))
        self.unbatched = bool(rng.random() < 0.15)
        if self.unbatched:
            self.batch = 1
        self.lengths = None
        if not self.unbatched and rng.random() < 0.6:
            self.lengths = rng.integers(1, self.steps + 1, self.batch).tolist()
        self.with_state = bool(rng.random() < 0.5)
        rows = self.options["num_layers"] * (2 if self.options["bidirectional"] else 1)
        out = self.options.get("proj_size", 0) or self.options["hidden_size"]
        sizes = (out, self.options["hidden_size"]) if self.kind == "LSTM" else (out,)
        self.x = self.sequence(self.options["input_size"])
        self.state = tuple(self.each_row(rows, size) for size in sizes)
        self.dy = self.sequence(out * (2 if self.options["bidirectional"] else 1))
        self.dstate = tuple(self.each_row(rows, size) for size in sizes)

    def sequence(self, size):
        shape = [self.steps, self.batch, size]
        if self.options["batch_first"]:
            shape[:2] = shape[1::-1]
        return self.rng.standard_normal(shape[:1] + shape[2:] if self.unbatched else shape, np.float32)

    def each_row(self, rows, size):
        shape = (rows, size) if self.unbatched else (rows, self.batch, size)
        return self.rng.standard_normal(shape, np.float32)

    def __str__(self):
        return (
            f"{self.kind}({self.options}), {self.steps} steps, batch {self.batch}, "
            f"unbatched {self.unbatched}, lengths {self.lengths}, state {self.with_state}"
        )


def torch_network(configuration, seed, dtype):
    torch.manual_seed(seed)
    network = getattr(torch.nn, configuration.kind)(**configuration.options)
    return network.to(getattr(torch, dtype))


def run_torch(configuration, network, dtype):
    """Every quantity that is compared, by name."""

    def leaf(a):
        return torch.tensor(a, dtype=getattr(torch, dtype), requires_grad=True)

    c = configuration
    x, state = leaf(c.x), tuple(leaf(s) for s in c.state)
    sequence = x
    if c.lengths is not None:
        sequence = torch.nn.utils.rnn.pack_padded_sequence(
            x, c.lengths, batch_first=network.batch_first, enforce_sorted=False
        )
    y, final = network(sequence, (state if len(state) == 2 else state[0]) if c.with_state else None)
    if c.lengths is not None:
        y, _ = torch.nn.utils.rnn.pad_packed_sequence(
            y, batch_first=network.batch_first, total_length=c.steps
        )
    final = final if isinstance(final, tuple) else (final,)
    loss = sum((a * leaf(d)).sum() for a, d in zip((y, *final), (c.dy, *c.dstate)))
    loss.backward()
    found = {"y": y, **{f"state {k}": s for k, s in enumerate(final)}, "dx": x.grad}
    if c.with_state:
        found |= {f"dstate {k}": s.grad for k, s in enumerate(state)}
    found |= {"d" + name: p.grad for name, p in network.named_parameters()}
    return {name: a.detach().numpy() for name, a in found.items()}


def run_fastrnn(configuration, network, dtype):
    c = configuration

    def state_like(arrays):
        return tuple(a.astype(dtype) for a in arrays) if c.kind == "LSTM" else arrays[0].astype(dtype)

    runner = getattr(fastrnn, c.kind)(**c.options, dtype=dtype)
    runner.load_state_dict(network.state_dict())
    x, state = c.x.astype(dtype), state_like(c.state) if c.with_state else None
    y, final, tape = runner.forward(x, state, c.lengths)
    inferred, inferred_final = runner(x, state, c.lengths)
    dx, dstate = runner.backward(tape, c.dy.astype(dtype), state_like(c.dstate))
    if c.kind != "LSTM":
        final, inferred_final, dstate = (final,), (inferred_final,), (dstate,)
    found = {"y": y, **{f"state {k}": s for k, s in enumerate(final)}, "dx": dx}
    found |= {"inferred y": inferred, **{f"inferred state {k}": s for k, s in enumerate(inferred_final)}}
    if c.with_state:
        found |= {f"dstate {k}": s for k, s in enumerate(dstate)}
    return found | {"d" + name: g for name, g in runner.grads.items()}


def errors(seed, dtype):
    """Relative error of each quantity of one configuration."""
    configuration = Configuration(seed)
    network = torch_network(configuration, seed, dtype)
    expected = run_torch(configuration, network, dtype)
    found = run_fastrnn(configuration, network, dtype)
    assert {name.removeprefix("inferred ") for name in found} == expected.keys()
    for name, a in found.items():
        assert a.dtype == dtype, f"{name} is {a.dtype}"
    return {name: relative_error(a, expected[name.removeprefix("inferred ")]) for name, a in found.items()}


@pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("seed", range(CONFIGURATIONS))
def test_equals_torch(seed, dtype):
    allowed = tolerance(f"torch, {dtype}")
    wrong = {name: error for name, error in errors(seed, dtype).items() if not error < allowed}
    assert not wrong, f"{wrong} of {Configuration(seed)}"


def main():
    for dtype in ("float32", "float64"):
        worst = {}
        for seed in range(CONFIGURATIONS):
            for name, error in errors(seed, dtype).items():
                quantity = name.split("_l")[0]
                worst[quantity] = max(worst.get(quantity, (0.0, 0)), (error, seed))
        print(f"{dtype}: worst of {CONFIGURATIONS} configurations, {tolerance('torch, ' + dtype)} allowed")
        for quantity, (error, seed) in sorted(worst.items()):
            print(f"  {quantity:20} {error:.1e}   configuration {seed}")


if __name__ == "__main__":
    main()
