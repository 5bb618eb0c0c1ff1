"""Activation checkpointing: full BPTT in bounded memory.

A forward pass keeps the states of only some steps, and BPTT recomputes the activations of the others.

A pass cuts sequences into segments of steps (Chen et al. 2016, "Training deep nets with sublinear memory cost"). BPTT
goes from the last segment to the first: it runs a segment forward again from the state before it, keeps its
activations, and goes back through it. Memory holds the activations of one segment and a state for each segment;
segments of about sqrt(T) steps make this smallest. The outputs and gradients have the bits of plain BPTT, which sums
its weight gradients over the same blocks of steps.

Layers that read in one direction run together. Bidirectional layers run one by one, because each reads the whole
output of the layer below; the pass keeps that output.
"""

import contextlib
import math
from typing import NamedTuple

import numpy as np

from ..engine.loops._engine import Span
from .module import grads_as_before

# Least bytes of a segment, with which BPTT takes at most 1.12 times as long as without segments (bench/NOTES.md,
# Segments).
LEAST_BYTES = 4_000_000


class Plan(NamedTuple):
    """Steps of a segment, and bytes of the kept states, of the segment's activations, and of BPTT beside them."""

    steps: int
    states: int
    forward: int
    back: int


def plan(engine, state_bytes, steps, batch, lengths=None, dropout=0.0, layer=None):
    """The `Plan` for a batch of sequences of at most `steps` steps.

    A segment has m blocks of the engine's K steps. With n blocks in all, a pass keeps n / m states and m * K steps,
    which take the fewest bytes for m = sqrt(n * state_bytes / block_bytes).
    """
    block = engine.block(batch)
    count = -(-steps // block)

    def measure(steps):
        return engine.measure(batch, steps, lengths, dropout, Span(0, steps, layer))

    block_bytes = max(sum(measure(block)), 1)
    best = max(math.sqrt(count * state_bytes / block_bytes), min(LEAST_BYTES / block_bytes, count))
    segment = block * max(1, round(best))
    return Plan(segment, -(-steps // segment) * state_bytes, *measure(segment))


class CheckpointedPass:
    """One training pass of a runner, in segments; the counterpart of the engine's `forward` and `backward`.

    Parameters
    ----------
    runner : Runner
    call : the checked arguments
        The pass fills its y and final states.
    dropout, seed, first_step
        As in the engine's `forward`.
    """

    def __init__(self, runner, call, dropout, seed, first_step):
        self._runner, self._probabilities = runner, runner._probabilities
        self._engine = engine = runner._engine
        self._lengths, self._x = call.lengths, call.x
        self._dropout, self._seed, self._first = dropout, seed, first_step
        self._random = any((runner.recurrent_dropout, runner.weight_dropout, *np.atleast_1d(runner.zoneout)))
        steps, batch = call.extent()
        self._length = runner.segments(steps, batch, call.lengths).steps
        self._starts = range(0, max(steps, 1), self._length)
        self._packed = engine.packs(runner.weight_dropout, seed, True)
        self.served = False     # whether BPTT is done; it does not change the kept values
        apart = runner.bidirectional
        self._groups = []  # from the lowest layer on
        x, directions = call.x, 1 + apart
        initial = [a if a is None else a.reshape(b.shape) for a, b in zip(call.state, call.final)]
        for layer in range(runner.num_layers if apart else 1):
            rows = slice(layer * directions, (layer + 1) * directions) if apart else slice(None)
            top = not apart or layer == runner.num_layers - 1
            group = _Group(layer if apart else None, rows, x)
            x = call.y if top else call.room(runner.output_size)
            self._run(group, x, [a if a is None else a[rows] for a in initial],
                      [a if a is None else a[rows] for a in call.final])
            if not top and dropout:
                engine.drop(x, call.lengths, dropout, seed, first_step, layer + 1)
            self._groups.append(group)

    def _run(self, group, y, state, final):
        for start in self._starts:
            group.states.append(state)
            after = _copies(state, final)
            self._forward(group, start, y, state, after, self._random)
            state = after
        for kept, last in zip(final, state):
            if kept is not None:
                kept[...] = last

    def _forward(self, group, start, y, state, after, keep):
        return self._engine.forward(
            group.x, y, state, after, self._lengths, 0.0 if group.layer is not None else self._dropout, self._seed,
            self._first, Span(start, start + self._length, group.layer), self._packed, keep)

    def backward(self, dy, dfinal, dx, dinitial, dh=None):
        """As the engine's `backward`: fills dx and dinitial and adds to the gradients; an error changes no gradient."""
        with grads_as_before(self._runner):
            with self._as_before():
                self._back(dy, dfinal, dx, dinitial, dh)
            self.served = True

    @contextlib.contextmanager
    def _as_before(self):
        """A context with the probabilities of the forward pass, even if they were changed since."""
        now = self._runner._probabilities
        self._runner._set_dropout(*self._probabilities)
        try:
            yield
        finally:
            self._runner._set_dropout(*now)

    def _back(self, dy, dfinal, dx, dinitial, dh):
        packed = self._engine.packs(self._probabilities[2], self._seed, False)
        for group in reversed(self._groups):
            target = dx if group is self._groups[0] else np.zeros_like(group.x)
            if group.layer is not None:
                target[...] = 0
            dstate = [a if a is None else a[group.rows] for a in dfinal]
            room = [a if a is None else a[group.rows] for a in dinitial]
            for start, state in zip(reversed(self._starts), reversed(group.states)):
                before = _copies(dstate, room)
                tape = self._forward(group, start, None, state, _copies(state, room), True)
                self._engine.backward(tape, dy, dstate, target, before, None if dh is None else dh[group.rows], packed)
                dstate = before
            for wanted, found in zip(room, dstate):
                if wanted is not None:
                    wanted[...] = found
            if group.layer and self._dropout:
                self._engine.drop(target, self._lengths, self._dropout, self._seed, self._first, group.layer)
            dy = target
        self._engine.collect(packed, self._probabilities[2], self._seed)

    def activations(self, found):
        """As the engine's `activations`: fills the arrays of the dict `found`, except None, before BPTT."""
        with self._as_before():
            for group in self._groups:
                arrays = [a if a is None else a[group.rows] for a in found.values()]
                for start, state in zip(self._starts, group.states):
                    tape = self._forward(group, start, None, state, _copies(state, state), True)
                    self._engine.activations(tape, *arrays)


class _Group:
    """Layers that run together: which (None: all), their rows of a state, their input, the segments' states."""

    def __init__(self, layer, rows, x):
        self.layer, self.rows, self.x = layer, rows, x
        self.states = []


def _copies(state, like):
    """New arrays like `like` with the values of `state`, zeros for None; a sequence that has ended keeps these."""
    zeros = [None if b is None else np.zeros(b.shape, b.dtype) for b in like]
    return [b if a is None else a.reshape(b.shape).copy() for a, b in zip(state, zeros)]
