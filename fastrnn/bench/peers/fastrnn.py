"""fastrnn itself."""

import numpy as np

import fastrnn

from ..problem import CLIP, LEARNING_RATE, build_model
from ..work import Work


class Peer:
    version = fastrnn.__version__

    def __init__(self, threads):
        fastrnn.set_num_threads(threads)

    def works(self, cell, data):
        model = build_model(cell)
        model.load_state_dict({name: data[name] for name in model.params})
        make = {
            "step": _step,
            "sequence": _sequence,
            "training": _training,
            "ragged": _sequence,
            "ragged training": _training,
            "loop": _loop,
        }[cell.table]
        return {"fastrnn": make(cell, data, model)}


def _step(cell, data, model):
    stream = model.stream()
    y = np.empty(cell.hidden, np.float32)
    return Work(
        "step(x, out=y)",
        {"step": stream.step, "stream": stream, "x": data["x"][0, 0], "y": y},
        result="{'y': y.copy()}",
        setup="stream.reset()",
        repeat=4,
    )


def _sequence(cell, data, model):
    return Work(
        "y, state = model(x, lengths=lengths)",
        {"model": model, "x": data["x"], "lengths": data.get("lengths")},
        result="{'y': y}",
    )


def _training(cell, data, model):
    def gradients():
        return {f"d_{name}": grad.copy() for name, grad in model.grads.items()}

    return Work(
        "model.zero_grad()\ny, state, tape = model.forward(x, lengths=lengths)\ndx, dstate = model.backward(tape, dy)",
        {
            "model": model,
            "x": data["x"],
            "dy": data["dy"],
            "lengths": data.get("lengths"),
            "gradients": gradients,
        },
        result="{'y': y, 'dx': dx, **gradients()}",
    )


def _loop(cell, data, model):
    from fastrnn import LaneStream
    from fastrnn.callbacks import Callback

    losses = []

    class Losses(Callback):
        def on_step_end(self, trainer, logs):
            losses.append(logs["loss"])

    stream = LaneStream(data["ids"], cell.batch, cell.steps)
    trainer = fastrnn.Trainer(model, "cross_entropy", fastrnn.Adam(LEARNING_RATE), clip_norm=CLIP, callbacks=[Losses()])
    return Work(
        "losses.clear()\ntrainer.fit(stream, progress=False)",
        {"trainer": trainer, "stream": stream, "losses": losses, "array": np.array},
        result="{'loss': array(losses)}",
        calls=stream.updates(None),
    )
