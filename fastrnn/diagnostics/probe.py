"""One look at a model: forward and backward over a batch, after which everything is as it was."""

import math
from contextlib import contextmanager

import numpy as np

from ..nn.layers import ActivationRegularization
from ..nn.module import open_tape, statistics_as_before, walk
from ..nn.runners import Runner
from ..nn.sequential import Sequential


def leaves(model, path=""):
    """(path, module) of every module inside that is no `Sequential`; the path of a model by itself is ""."""
    if not isinstance(model, Sequential):
        return [(path, model)]
    return [leaf for k, module in enumerate(model.modules) for leaf in leaves(module, _joined(path, str(k)))]


def runners(model):
    """(path, runner) of every recurrent runner inside, in the order in which they run."""
    return [(path, module) for path, module in leaves(model) if isinstance(module, Runner)]


def parameter_groups(model):
    """dict of layer -> the names of its parameters; those of a runner's layers and directions apart."""
    names = model.params.keys()  # what two modules share is there once
    groups = {}
    for path, module in leaves(model):
        for name in module.params:
            full = _joined(path, name)
            if full in names:
                part = "l" + name.rpartition("_l")[2] if isinstance(module, Runner) else ""
                groups.setdefault(_joined(path, part), []).append(full)
    return groups


def frozen_groups(model):
    """The layers that have no parameter that is trained."""
    frozen = set(model.frozen)
    return {group for group, names in parameter_groups(model).items() if frozen.issuperset(names)}


def group_norms(model, arrays):
    """dict of layer -> Euclidean norm of the `arrays`, by the names of the model's parameters."""
    return {
        group: math.sqrt(sum(float(np.sum(np.square(arrays[name], dtype=np.float64))) for name in names))
        for group, names in parameter_groups(model).items()
    }


def _joined(*parts):
    return ".".join(filter(None, parts))


@contextmanager
def untouched(model):
    """Within it gradients are zero at first; after it they and the random state are as they were before."""
    grads = {name: grad.copy() for name, grad in model.grads.items()}
    generators = [module.rng.bit_generator for module in walk(model)]
    states = [generator.state for generator in generators]
    model.zero_grad()
    try:
        with statistics_as_before(model, always=True):
            yield
    finally:
        model.grads.update(grads)
        for generator, state in zip(generators, states):
            generator.state = state


def lengths_at(model, lengths):
    """dict of runner -> valid steps of its input, where sequences with these lengths go into the model."""
    if isinstance(model, Runner):
        return {model: lengths}
    found = {}
    for module in model.modules if isinstance(model, Sequential) else ():
        found |= lengths_at(module, lengths)
        lengths = None if lengths is None or module.pools_time else module.output_lengths(lengths)
    return found


def visit_tapes(model, tape, visit):
    """``visit(runner, tape)`` for every runner inside."""
    if isinstance(model, Runner):
        visit(model, tape)
    elif isinstance(model, Sequential):
        for module, kept in zip(model.modules, open_tape(tape, model)[0]):
            visit_tapes(module, kept, visit)


def visit_backward(model, tape, dy, visit):
    """``model.backward(tape, dy)`` without penalties, ``visit(runner, tape, dy)`` for a runner's own; returns dx."""
    if isinstance(model, Runner):
        return visit(model, tape, dy)
    if isinstance(model, ActivationRegularization):
        return dy
    if not isinstance(model, Sequential):
        return model.backward(tape, dy)[0]
    for module, kept in zip(reversed(model.modules), reversed(open_tape(tape, model)[0])):
        if dy is None:
            return None
        dy = visit_backward(module, kept, dy, visit)
    return dy


def at_the_end(runner, dy, lengths, direction):
    """dy with zeros everywhere but where `direction` ends: its features at the last valid step, or at the first.

    Scaled so that their norm, root mean square over the sequences, is 1. Returns it and its scale, 0 for none.
    """
    kept = np.zeros_like(dy)
    width = runner.output_size // (1 + runner.bidirectional)
    part = slice(direction * width, (direction + 1) * width)
    major, source = (a.swapaxes(0, 1) if runner.batch_first else a for a in (kept, dy))
    at = np.flatnonzero(lengths)
    steps = lengths[at] - 1 if direction == 0 else np.zeros_like(at)
    ends = source[steps, at, part]
    with np.errstate(over="ignore"):
        scale = float(np.sqrt(np.mean(np.sum(ends.astype(np.float64) ** 2, axis=1)))) if at.size else 0.0
    if not (0 < scale < np.inf):
        return kept, 0.0
    major[steps, at, part] = ends / scale
    return kept, scale
