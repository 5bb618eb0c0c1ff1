"""Ten successive losses of a small character model against a training loop written here in plain NumPy."""

import numpy as np
import pytest
import reference
from tolerances import tolerance

from fastrnn import Adam, CharModel, LaneStream, Trainer
from fastrnn.callbacks import Callback

TEXT = (
    "the cat sat on the mat; the rat sat on the cat. what did the mat say? nothing at all, it was a mat. " * 3
)
LANES, WINDOW, LR, CLIP, STEPS = 4, 7, 5e-3, 0.5, 10


class NumpyLoop:
    """Embedding, LSTM and softmax with Adam, norm clipping and carried state, in float64."""

    def __init__(self, params):
        self.p = {name: value.astype(np.float64) for name, value in params.items()}
        self.mean = {name: np.zeros_like(value) for name, value in self.p.items()}
        self.square = {name: np.zeros_like(value) for name, value in self.p.items()}
        self.steps = 0
        self.state = None

    def gradient(self, x, y):
        """x, y: ids (T, B) -> loss, gradients; carries the state."""
        p = self.p
        lstm = {name[2:]: value for name, value in p.items() if name.startswith("1.")}
        h, self.state, tape = reference.forward("lstm", lstm, p["0.weight"][x], self.state)
        logits = h @ p["2.weight"].T + p["2.bias"]
        e = np.exp(logits - logits.max(axis=-1, keepdims=True))
        probability = e / e.sum(axis=-1, keepdims=True)
        t, b = np.indices(y.shape)
        loss = -np.log(probability[t, b, y]).mean()
        dlogits = probability.copy()
        dlogits[t, b, y] -= 1
        dlogits /= y.size
        zero = tuple(np.zeros_like(s) for s in self.state)
        dx, _, dlstm = reference.backward(tape, dlogits @ p["2.weight"], zero)
        table = np.zeros_like(p["0.weight"])
        np.add.at(table, x, dx)
        return loss, {
            "0.weight": table,
            **{f"1.{name}": d for name, d in dlstm.items()},
            "2.weight": np.einsum("tbk,tbh->kh", dlogits, h),
            "2.bias": dlogits.sum(axis=(0, 1)),
        }

    def step(self, x, y):
        loss, grads = self.gradient(x, y)
        norm = np.sqrt(sum((g**2).sum() for g in grads.values()))
        scale = min(1.0, CLIP / (norm + 1e-6))
        self.steps += 1
        for name, g in grads.items():
            g = g * scale
            self.mean[name] = 0.9 * self.mean[name] + 0.1 * g
            self.square[name] = 0.999 * self.square[name] + 0.001 * g**2
            mean = self.mean[name] / (1 - 0.9**self.steps)
            square = self.square[name] / (1 - 0.999**self.steps)
            self.p[name] -= LR * mean / (np.sqrt(square) + 1e-8)
        return loss, norm


class Losses(Callback):
    def __init__(self):
        self.seen = []

    def on_step_end(self, trainer, logs):
        self.seen.append((logs["loss"], logs["grad_norm"]))
        trainer.stop = len(self.seen) == STEPS


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("layers", [1, 2])
def test_ten_losses_and_gradient_norms(dtype, layers):
    model = CharModel(
        "".join(sorted(set(TEXT))), hidden_size=12, num_layers=layers, embedding_dim=6, dtype=dtype, seed=3
    )
    loop = NumpyLoop(model.params)
    ids = model.encode(TEXT)
    record = Losses()
    trainer = Trainer(model, "cross_entropy", Adam(LR), clip_norm=CLIP, callbacks=[record])
    trainer.fit(LaneStream(ids, LANES, WINDOW, dtype=dtype), progress=False)

    per_lane = (len(ids) - 1) // LANES
    x = ids[: per_lane * LANES].reshape(LANES, per_lane).T
    y = ids[1 : per_lane * LANES + 1].reshape(LANES, per_lane).T
    expected = [loop.step(x[k : k + WINDOW], y[k : k + WINDOW]) for k in range(0, STEPS * WINDOW, WINDOW)]

    assert len(record.seen) == STEPS
    assert expected[-1][0] < 0.95 * expected[0][0], "ten steps that learn nothing would prove little"
    assert any(norm > CLIP for _, norm in expected), "clipping must have been at work"
    np.testing.assert_allclose(record.seen, expected, rtol=tolerance(f"ten training losses, {dtype}"))
    for name, value in loop.p.items():
        np.testing.assert_allclose(
            model.params[name], value, atol=tolerance(f"ten updates, {dtype}"), err_msg=name
        )
