"""PyTorch: nn modules and cells; oneDNN's LSTM and PyTorch's own; padded and packed sequences."""

import contextlib

import torch
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from ..cells import SYMBOLS
from ..problem import CLIP, LEARNING_RATE, windows
from ..work import Work


class Peer:
    version = torch.__version__

    def __init__(self, threads):
        torch.set_num_threads(threads)
        torch.set_num_interop_threads(1)

    def works(self, cell, data):
        make = {
            "step": _step,
            "sequence": _sequence,
            "training": _training,
            "ragged": _ragged,
            "ragged training": _ragged_training,
            "loop": _loop,
        }[cell.table]
        return make(cell, {name: torch.from_numpy(array) for name, array in data.items()})


def _runner(cell, data):
    runner = getattr(torch.nn, cell.kind)(cell.inputs, cell.hidden)
    runner.load_state_dict({name: data[name] for name in runner.state_dict()})
    return runner


def _cell(cell, data):
    single = getattr(torch.nn, f"{cell.kind}Cell")(cell.inputs, cell.hidden)
    single.load_state_dict({name: data[f"{name}_l0"] for name in single.state_dict()})
    return single


@contextlib.contextmanager
def _own_inference():
    """Inference without oneDNN, whose LSTM repacks its weights in every call."""
    with torch.inference_mode(), _own_training():
        yield


def _own_training():
    return torch.backends.mkldnn.flags(enabled=False)


def _twice(cell, inference, make):
    """The variants with oneDNN and, for the LSTM, which alone can use it, without."""
    works = {"nn": make(torch.inference_mode if inference else contextlib.nullcontext)}
    if cell.kind == "LSTM":
        works["nn without oneDNN"] = make(_own_inference if inference else _own_training)
    return works


def _step(cell, data):
    pair = cell.kind == "LSTM"
    zero = torch.zeros(1, cell.hidden)
    single, runner = _cell(cell, data).eval(), _runner(cell, data).eval()
    with torch.inference_mode():
        scripted = torch.jit.freeze(torch.jit.script(single))

    def on_cell(function):
        return Work(
            "s = cell(x, s)",
            {"cell": function, "x": data["x"][0], "zero": (zero, zero) if pair else zero},
            setup="s = zero",
            result="{'y': s[0].numpy().reshape(-1)}",
            repeat=4,
            context=torch.inference_mode,
        )

    def on_runner(context):
        zeros = (zero[None], zero[None]) if pair else zero[None]
        return Work(
            "y, s = runner(x, s)",
            {"runner": runner, "x": data["x"], "zero": zeros},
            setup="s = zero",
            result="{'y': y.numpy().reshape(-1)}",
            repeat=4,
            context=context,
        )

    return {"Cell": on_cell(single), "Cell scripted": on_cell(scripted), **_twice(cell, True, on_runner)}


def _sequence(cell, data):
    runner = _runner(cell, data).eval()

    def make(context):
        return Work("y, s = runner(x)", {"runner": runner, "x": data["x"]}, result="{'y': y.numpy()}", context=context)

    return _twice(cell, True, make)


def _training(cell, data):
    runner = _runner(cell, data)
    x = data["x"].requires_grad_()

    def make(context):
        return Work(
            "x.grad = None\nrunner.zero_grad()\ny, s = runner(x)\ny.backward(dy)",
            {"runner": runner, "x": x, "dy": data["dy"], "gradients": _gradients},
            result="{'y': y.detach().numpy(), **gradients(runner, x)}",
            context=context,
        )

    return _twice(cell, False, make)


def _ragged(cell, data):
    runner = _runner(cell, data).eval()
    return {
        "padded": _sequence(cell, data)["nn"],
        **_prefixed(_sequence(cell, data)),
        "packed": Work(
            "p, s = runner(pack(x, lengths, enforce_sorted=False))\ny, n = pad(p, total_length=len(x))",
            {
                "runner": runner,
                "x": data["x"],
                "lengths": data["lengths"],
                "pack": pack_padded_sequence,
                "pad": pad_packed_sequence,
            },
            result="{'y': y.numpy()}",
            context=torch.inference_mode,
        ),
    }


def _ragged_training(cell, data):
    runner = _runner(cell, data)
    x = data["x"].requires_grad_()
    packed = Work(
        "x.grad = None\n"
        "runner.zero_grad()\n"
        "p, s = runner(pack(x, lengths, enforce_sorted=False))\n"
        "y, n = pad(p, total_length=len(x))\n"
        "y.backward(dy)",
        {
            "runner": runner,
            "x": x,
            "dy": data["dy"],
            "lengths": data["lengths"],
            "pack": pack_padded_sequence,
            "pad": pad_packed_sequence,
            "gradients": _gradients,
        },
        result="{'y': y.detach().numpy(), **gradients(runner, x)}",
    )
    return {**_prefixed(_training(cell, data)), "packed": packed}


def _prefixed(works):
    return {name.replace("nn", "padded"): work for name, work in works.items()}


def _gradients(runner, x):
    grads = {f"d_{name}": p.grad.numpy() for name, p in runner.named_parameters()}
    return {"dx": x.grad.numpy(), **grads}


def _loop(cell, data):
    batches = [
        (torch.from_numpy(x.copy()), torch.from_numpy(y.copy()))
        for x, y in windows(data["ids"].numpy(), cell.batch, cell.steps)
    ]

    def make(context, **options):
        epoch = _Epoch(cell, data, batches, options)
        return Work(
            "epoch()",
            {"epoch": epoch, "tensor": torch.tensor},
            result="{'loss': tensor(epoch.losses, dtype=float).numpy()}",
            calls=len(batches),
            context=context,
        )

    return {
        "fused Adam": make(contextlib.nullcontext, fused=True),
        "foreach Adam": make(contextlib.nullcontext, foreach=True),
        "fused Adam without oneDNN": make(_own_training, fused=True),
    }


class _Epoch:
    """One pass over the windows with carried state."""

    def __init__(self, cell, data, batches, options):
        self.embedding = torch.nn.Embedding(SYMBOLS, cell.inputs)
        self.lstm = torch.nn.LSTM(cell.inputs, cell.hidden)
        self.linear = torch.nn.Linear(cell.hidden, SYMBOLS)
        self.model = torch.nn.ModuleList([self.embedding, self.lstm, self.linear])
        self.model.load_state_dict({name: data[name] for name in self.model.state_dict()})
        self.optimizer = torch.optim.Adam(self.model.parameters(), LEARNING_RATE, **options)
        self.batches = batches
        self.losses = []

    def __call__(self):
        self.losses = []
        state = None
        for x, y in self.batches:
            self.optimizer.zero_grad()
            h, state = self.lstm(self.embedding(x), state)
            state = tuple(s.detach() for s in state)
            loss = torch.nn.functional.cross_entropy(self.linear(h).view(-1, SYMBOLS), y.view(-1))
            loss.backward()
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), CLIP)
            self.optimizer.step()
            self.losses.append(loss.item())
