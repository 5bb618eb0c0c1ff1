"""Full BPTT in bounded memory: a forward pass keeps the states at some steps only, BPTT computes the others again.

Sequences are cut in segments of steps (Chen et al. 2016, "Training deep nets with sublinear memory cost"). BPTT goes
from the last segment to the first: it runs the segment forward again from the state before it, keeps what it needs, and
goes back through it. Memory is that of one segment and of a state for each; lengths of about sqrt(T) make their sum
smallest.
The outputs and gradients are the bits of plain BPTT, which sums its weight gradients over the same blocks of steps.

Layers that read in one direction are run together. Bidirectional ones are run one by one, since each reads the whole
output of the one below, which is kept.
"""

import contextlib
import math
from typing import NamedTuple

import numpy as np

from ..engine.loops._engine import Span
from .module import grads_as_before

# Bytes of a segment from which handing it out to threads costs little. Time against plain BPTT, two threads, H = 64,
# with none, 4 and 8 MB: RNN, B = 1, T = 100,000: 1.16, 1.12, 1.10; B = 8, T = 25,000: RNN 1.01, 0.99, 0.97, GRU 0.72,
# 0.74, 0.71.
LEAST_BYTES = 4_000_000


class Plan(NamedTuple):
    """Steps of a segment, and bytes: of the states that are kept, of the segment's activations, of BPTT beside them."""

    steps: int
    states: int
    forward: int
    back: int


def plan(engine, state_bytes, steps, batch, lengths=None, dropout=0.0, layer=None):
    """The `Plan` for a batch of sequences of at most `steps` steps.

    A segment has m blocks of the engine's K steps. Of n blocks in all, n / m states and m * K steps are kept: the
    fewest bytes for m = sqrt(n * state_bytes / block_bytes).
    """
    block = engine.block(batch)
    count = -(-steps // block)

    def measure(steps):
        return engine.measure(batch, steps, lengths, dropout, Span(0, steps, layer))

    block_bytes = max(sum(measure(block)), 1)
    best = max(math.sqrt(count * state_bytes / block_bytes), min(LEAST_BYTES / block_bytes, count))
    segment = block * max(1, round(best))
    return Plan(segment, -(-steps // segment) * state_bytes, *measure(segment))


class SegmentedPass:
    """One training pass of a runner, in segments; the counterpart of the engine's `forward` and `backward`.

    Parameters
    ----------
    runner : Runner
    call : the checked arguments
        Of which y and the final states are filled.
    dropout, seed, first_step
        As of the engine's `forward`.
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
        self.served = False     # whether BPTT is done: it changes nothing that is kept
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
        """As the engine's: fills dx and dinitial, and adds to the gradients, or changes none of them."""
        with grads_as_before(self._runner):
            with self._as_before():
                self._back(dy, dfinal, dx, dinitial, dh)
            self.served = True

    @contextlib.contextmanager
    def _as_before(self):
        """With the probabilities of the forward pass, which may have been changed since."""
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
        """As the engine's, of a pass that BPTT has not used: fills the arrays of the dict `found`, None left out."""
        with self._as_before():
            for group in self._groups:
                arrays = [a if a is None else a[group.rows] for a in found.values()]
                for start, state in zip(self._starts, group.states):
                    tape = self._forward(group, start, None, state, _copies(state, state), True)
                    self._engine.activations(tape, *arrays)


class _Group:
    """Layers that are run together: which (None: all), their rows of a state, their input, the segments' states."""

    def __init__(self, layer, rows, x):
        self.layer, self.rows, self.x = layer, rows, x
        self.states = []


def _copies(state, like):
    """New arrays as `like` that hold `state`, zeros for None: what a sequence that has ended before is left with."""
    zeros = [None if b is None else np.zeros(b.shape, b.dtype) for b in like]
    return [b if a is None else a.reshape(b.shape).copy() for a, b in zip(state, zeros)]
