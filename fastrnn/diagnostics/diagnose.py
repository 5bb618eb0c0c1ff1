"""`diagnose`: a model, some sequences and a loss -> a `Diagnosis`."""

import math
from typing import TYPE_CHECKING

import numpy as np

from ..check.values import check_positive_int
from ..engine.kinds import KINDS
from ..nn.module import Module
from ..train.fit.data import DataAdapter
from ..train.fit.lossparts import check_scores, find_loss
from ..train.fit.passes import measure_loss, target_of, to_layout
from . import probe
from .measures import dead_units, decay_of, gate_of, norms_by_distance, spectrum
from .report import Diagnosis, Layer, Weights

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from .._types import Inputs, Ints
    from ..data.batches import LaneStream


def diagnose(model: "Module", X: "Inputs | LaneStream", y: "Inputs | None" = None, *,
             loss: "str | Callable[..., Any]" = "cross_entropy", lengths: "Ints | None" = None,
             sequences: int = 32) -> "Diagnosis":
    """Measure how gradients flow through a model; its parameters, gradients and random state stay as they are.

    Parameters
    ----------
    model : Module
        A runner (RNN, LSTM, GRU, MinGRU and so on), or a `Sequential` with runners in it.
    X, y, lengths
        Sequences and targets as for `Trainer.fit`.
    loss : str or callable
        As for `Trainer`.
    sequences : int
        So many are looked at, the first ones; of a `LaneStream` its first window.

    Returns
    -------
    Diagnosis

    Raises
    ------
    ValueError, TypeError
        Naming the argument; a model without a runner is an error.

    Notes
    -----
    The package's docstring (`fastrnn.diagnostics`) defines what is measured. It takes two training passes, with a
    bidirectional last recurrent layer three, each over the whole batch, plus the eigenvalues of the recurrent
    matrices: for each gate of 256, 512 and 1024 units about 0.04, 0.3 and 1.2 s.
    """
    loss = find_loss(loss)
    batch = probe_batch(model, loss, X, y, lengths, sequences)
    check_scores(loss, model)
    return look(model, loss, batch)


def probe_batch(model, loss, X, y, lengths, sequences):
    """The `Batch` of the first sequences, or of a stream's first window."""
    sequences = check_positive_int(sequences, "sequences")
    if not (isinstance(model, Module) and probe.runners(model)):
        raise ValueError(f"model: expected an RNN, LSTM or GRU, or a Sequential with one, found {type(model).__name__}")
    data = DataAdapter(model, loss).for_diagnosis(X, y, lengths=lengths, batch_size=sequences)
    if data.carries:
        return next(iter(data.windows(None, context=False)))
    batch = data.batch(np.arange(min(sequences, len(data))))
    if batch.x.shape[1] == 0 or (batch.lengths is not None and not batch.lengths.any()):
        raise ValueError("X: expected at least one step in the sequences looked at, found none")
    return batch


def look(model, loss, batch, updates=None, step=None):
    """The `Diagnosis` of a model over a `probe_batch`; `updates`: layer -> norm of the last one."""
    count, steps = batch.x.shape[:2]
    lengths = probe.lengths_at(model, np.full(count, steps) if batch.lengths is None else batch.lengths)
    rows = _Rows(model)
    gradients = None
    with probe.untouched(model), np.errstate(over="ignore", invalid="ignore"):
        value, dy, tape = _forward(model, loss, batch)
        rows.see_activations(model, tape, lengths)
        if math.isfinite(value):
            model.backward(tape, dy)
            gradients = probe.group_norms(model, model.grads)
            top = probe.runners(model)[-1][1]
            for direction in range(1 + top.bidirectional):
                _, dy, tape = _forward(model, loss, batch)
                rows.see_decay(model, tape, dy, lengths, top, direction)
    weights, frozen = {}, probe.frozen_groups(model)
    for name, norm in probe.group_norms(model, model.params).items():
        update = None if updates is None or not norm or name in frozen else updates[name] / norm
        weights[name] = Weights(norm, None if gradients is None else gradients[name], update)
    return Diagnosis(float(value), count, rows.layers(), weights, step)


def _forward(model, loss, batch):
    """(loss, its gradient with respect to the model's output, tape)"""
    scored = target_of(model, batch, 0, batch.x.shape[1])
    prediction, _, tape = model.forward(to_layout(model, batch.x), None, batch.lengths, **scored)
    return *measure_loss(loss, model, prediction, batch), tape


class _Rows:
    """What is found of each layer and direction of each runner, in the order of the engine's rows."""

    def __init__(self, model):
        self._runners = probe.runners(model)
        self._decays, self._gates, self._dead = {}, {}, {}

    def see_activations(self, model, tape, lengths):
        """Gates and states, before the backward pass."""

        def visit(runner, kept):
            found = runner.activations(kept)
            valid = np.arange(found["h"].shape[1])[:, None] < lengths[runner]
            for row, h in enumerate(found["h"]):
                key = id(runner), row
                self._gates[key], self._dead[key] = _row_gates(runner, found, row, h, valid)

        probe.visit_tapes(model, tape, visit)

    def see_decay(self, model, tape, dy, lengths, top, direction):
        """dE/dh_t where E is the loss at the end of one direction of the last runner."""
        scale = 1.0

        def visit(runner, kept, dy):
            nonlocal scale
            if runner is top:
                dy, scale = probe.at_the_end(runner, dy, lengths[runner], direction)
            directions = 1 + runner.bidirectional
            steps, batch = dy.swapaxes(0, 1).shape[:2] if runner.batch_first else dy.shape[:2]
            dh = np.zeros((runner.num_layers * directions, steps, batch, runner.output_size // directions), dy.dtype)
            dx, _ = runner.backward(kept, dy, dh=dh)
            if scale:
                for row in range(len(dh)):
                    if min(row % directions, int(top.bidirectional)) == direction:
                        norms = norms_by_distance(dh[row], lengths[runner], from_end=direction == 0)
                        self._decays[id(runner), row] = decay_of(scale * norms)
            return dx

        probe.visit_backward(model, tape, dy, visit)

    def layers(self):
        """One `Layer` for each."""
        found = []
        for path, runner in self._runners:
            ways = ("", "_reverse")[: 1 + runner.bidirectional]
            suffixes = [f"l{k}{way}" for k in range(runner.num_layers) for way in ways]
            for row, suffix in enumerate(suffixes):
                key = id(runner), row
                name = ".".join(filter(None, (path, suffix)))
                spectra = _spectra(runner, suffix)
                decay = self._decays.get(key)
                found.append(Layer(name, runner.kind, decay, self._gates[key], self._dead[key], spectra))
        return found


def _row_gates(runner, found, row, h, valid):
    """(dict of Gate, share of dead units or None) of one layer and direction."""
    gates = KINDS[runner.kind].gates
    if len(gates) > 1:
        parts = np.split(found["gates"][row], len(gates), axis=2)
        return {gate.name: gate_of((1 - part if gate.complement else part)[valid], gate.function == "tanh", gate.keeps)
                for gate, part in zip(gates, parts) if gate.function}, None
    if runner.nonlinearity == "relu":
        return {}, dead_units(h[valid])
    return {"state": gate_of(h[valid], tanh=True)}, None


def _spectra(runner, suffix):
    """dict of gate -> Spectrum of the matrix that takes a layer's h to it."""
    params = runner.params
    if f"weight_hh_{suffix}" not in params:
        return {}
    names = [gate.name for gate in KINDS[runner.kind].gates]
    blocks = np.split(params[f"weight_hh_{suffix}"], len(names))
    projection = params.get(f"weight_hr_{suffix}")
    return {
        name: spectrum(block if projection is None else block.astype(np.float64) @ projection)
        for name, block in zip(names, blocks)
    }
