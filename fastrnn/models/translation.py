"""Decoding for encoder-decoder networks: the likeliest targets, drawn ones, and what the decoder attended to."""

from typing import TYPE_CHECKING

import numpy as np

from ..check.sequences import check_sources
from ..check.symbols import check_targets
from ..check.values import check_positive_int
from ..decoding.beam import beam_search
from ..decoding.sampling import check_draw, draw
from ..decoding.states import generators
from ..nn.module import Turn

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .._types import Array, ArrayLike, Inputs, Seed
    from ..decoding.states import Hypothesis


class Translator:
    """The part of `Seq2Seq` that puts out targets. Sources are taken in batches of about one length.

    What is put out for a source does not depend on the sources beside it, nor on the number of threads.
    """

    def translate(self, x: "Inputs", *, beam_size: int = 4, length_penalty: float = 0.6, n_best: int = 1,
                  max_length: int = 100, early_stop: bool = True, batch_size: int = 64) -> "list[list[Hypothesis]]":
        """The likeliest targets, by beam search.

        Parameters
        ----------
        x : list of N sources, or what a call takes without lengths
        beam_size, length_penalty, n_best, early_stop
            See `fastrnn.decoding.beam_search`.
        max_length : int
            The most ids of a target, `eos` included.
        batch_size : int
            Sources at a time.

        Returns
        -------
        list of N lists of `Hypothesis`, best first
            Labels without `bos` and `eos`.
        """
        x, batch_size = check_sources(x, "x"), check_positive_int(batch_size, "batch_size")
        options = {"beam_size": beam_size, "length_penalty": length_penalty, "n_best": n_best, "length": max_length,
                   "early_stop": early_stop, "end": self.eos}

        def found(memory, state, batch):
            state = (*state, np.arange(len(batch), dtype=np.int64)[None])
            return beam_search(self._stepper(memory), state, np.full(len(batch), self.bos), **options)

        return self._by_length(x, batch_size, found)

    def generate(self, x: "Inputs", *, temperature: float = 0.0, top_k: int | None = None, top_p: float | None = None,
                 max_length: int = 100, seed: "Seed | Sequence[Seed]" = None, batch_size: int = 64) -> "list[Array]":
        """Targets put out id by id: the likeliest one at each step, or with a temperature above 0 drawn ones.

        Parameters
        ----------
        x, max_length, batch_size
            As for `translate`.
        temperature, top_k, top_p
            See `fastrnn.decoding.sample`.
        seed : int, SeedSequence, Generator or None, or a list of N
            Each target is drawn by a generator of its own: spawned from the one seed, or of its own seed in a list.

        Returns
        -------
        list of N int64 arrays (n_i,), without `bos` and `eos`
        """
        x, options = check_sources(x, "x"), check_draw(temperature, top_k, top_p)
        max_length = check_positive_int(max_length, "max_length")
        batch_size = check_positive_int(batch_size, "batch_size")
        rngs = generators(seed, len(x))

        def found(memory, state, batch):
            session = Session(self, memory, state)
            logits = session.step(np.full(len(batch), self.bos))
            own = [rngs[k] for k in batch]
            ids = np.stack(list(draw(session, logits, max_length, own, end=self.eos, **options)), axis=1)
            ended = ids == self.eos
            return [row[: int(end.argmax()) if end.any() else None] for row, end in zip(ids, ended)]

        return self._by_length(x, batch_size, found)

    def attention_weights(self, x: "Inputs", target: "Sequence[ArrayLike]", *, batch_size: int = 64) -> "list[Array]":
        """How the decoder weighed the positions of its source at each step, given the targets.

        Parameters
        ----------
        x, batch_size
            As for `translate`.
        target : list of N int arrays (n_i,)

        Returns
        -------
        list of N arrays (n_i + 1, S_i)
            The last row is that of the step that puts out `eos`.
        """
        if self.attention is None:
            raise ValueError("attention: expected a network with attention, found one without")
        x = check_sources(x, "x")
        target = check_targets(target, "target", len(x), self.target_size)

        def found(memory, state, batch):
            own = [target[k] for k in batch]
            counts = np.array([len(ids) + 1 for ids in own], np.int64)
            _, _, weights = self._decode(self._inputs(own), counts, memory, state, weighed=True)
            rows = np.split(weights, np.cumsum(counts)[:-1])
            return [row[:, :length].copy() for row, length in zip(rows, memory.lengths)]

        return self._by_length(x, check_positive_int(batch_size, "batch_size"), found)

    def _by_length(self, x, batch_size, found):
        """What found(memory, initial states, indices) returns for batches of sources, in the order of x."""
        lengths = [len(source) if self.source == "ids" or np.ndim(source) > 1 else 1 for source in x]
        order = np.argsort(lengths, kind="stable")
        results = [None] * len(order)
        for first in range(0, len(order), batch_size):
            batch = order[first : first + batch_size]
            part = [x[k] for k in batch] if isinstance(x, (list, tuple)) else x[batch]
            with self._gate:
                memory, state, _ = self._encode(*self._checked_source(part, None), False)
                for k, result in zip(batch, found(memory, state, batch)):
                    results[k] = result
        return results

    def _stepper(self, memory):
        """A function (ids (N,), (h, c, source (1, N))) -> (logits (N, V), the state after it)."""

        def step(ids, state):
            *state, source = state
            ones = np.ones(len(ids), np.int64)
            logits, state, _ = self._decode(ids, ones, memory, _contiguous(state), np.ascontiguousarray(source[0]))
            return logits, (*state, source)

        return step


class Session:
    """A decoder that goes on from its sources' memory, a step at a time, one target for each."""

    def __init__(self, model, memory, state):
        self._model, self._memory, self._state = model, memory, state
        self._turn = Turn("session")

    def step(self, ids: "ArrayLike") -> "Array":
        """The logits (B, V) of what follows these ids (B,)."""
        ones = np.ones(len(ids), np.int64)
        with self._turn:
            logits, self._state, _ = self._model._decode(ids, ones, self._memory, self._state)
        return logits


def _contiguous(state):
    return tuple(None if s is None else np.ascontiguousarray(s) for s in state)
