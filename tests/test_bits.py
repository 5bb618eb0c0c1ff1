"""Inference gives the same bits alone, in any batch, padded, ragged, streamed, in chunks, on any threads."""

from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fastrnn

KINDS = {
    "rnn_tanh": (fastrnn.RNN, {}),
    "rnn_relu": (fastrnn.RNN, {"nonlinearity": "relu"}),
    "lstm": (fastrnn.LSTM, {}),
    "lstm_projected": (fastrnn.LSTM, {"proj_size": 3}),
    "gru_reset_after": (fastrnn.GRU, {}),
    "gru_reset_before": (fastrnn.GRU, {"reset_after": False}),
    "lstm_normalised": (fastrnn.LSTM, {"layer_norm": True}),
    "lstm_normalised_projected_zoneout": (fastrnn.LSTM, {"layer_norm": True, "proj_size": 3, "zoneout": (0.1, 0.5)}),
    "gru_normalised": (fastrnn.GRU, {"layer_norm": True}),
    "rnn_zoneout": (fastrnn.RNN, {"zoneout": 0.3}),
    "gru_zoneout": (fastrnn.GRU, {"zoneout": 0.3}),
    "mingru": (fastrnn.MinGRU, {}),
    "minlstm": (fastrnn.MinLSTM, {}),
    "sru": (fastrnn.SRU, {}),
    "qrnn": (fastrnn.QRNN, {"window": 1}),
    "qrnn_window": (fastrnn.QRNN, {"window": 3}),
}
sizes = st.one_of(st.sampled_from([1, 4, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 65]), st.integers(1, 70))


@contextmanager
def threads(n):
    kept = fastrnn.get_num_threads()
    fastrnn.set_num_threads(n)
    try:
        yield
    finally:
        fastrnn.set_num_threads(kept)


@dataclass
class Case:
    """A runner, sequences for it, a state to start each from, and what each gives alone on one thread."""

    kind: str
    input_size: int
    hidden_size: int
    num_layers: int
    bidirectional: bool
    dtype: str
    lengths: list
    seed: int

    def __post_init__(self):
        rng = np.random.default_rng(self.seed)
        self.rnn = self.make()
        for value in self.rnn.params.values():
            value[...] = rng.uniform(-1, 1, value.shape) / np.sqrt(value.shape[-1])
        self.xs = [rng.standard_normal((n, self.input_size)).astype(self.dtype) for n in self.lengths]
        empty = self.as_tuple(self.rnn(np.zeros((1, 1, self.input_size), self.dtype))[1])
        self.states = [
            tuple(rng.standard_normal((len(s), 1, s.shape[2])).astype(self.dtype) for s in empty)
            for _ in self.lengths
        ]
        if self.kind == "qrnn_window":
            self.trim_windows()
        with threads(1):
            self.alone = [self.call_alone(x, state) for x, state in zip(self.xs, self.states)]

    def trim_windows(self):
        """Zeros where a layer has no use for what a state holds, as the runner returns them."""
        directions = 1 + self.bidirectional
        for _, w in self.states:
            w[:directions, :, 2 * self.input_size :] = 0
            w[directions:, :, 2 * directions * self.hidden_size :] = 0

    def make(self, **layout):
        runner, options = KINDS[self.kind]
        rnn = runner(
            self.input_size,
            self.hidden_size,
            self.num_layers,
            bidirectional=self.bidirectional,
            dtype=self.dtype,
            init="pytorch",
            **options,
            **layout,
        )
        if layout:
            rnn.load_state_dict(self.rnn.state_dict())
        return rnn

    def as_tuple(self, state):
        return state if isinstance(state, tuple) else (state,)

    def as_argument(self, state):
        return state if len(state) == 2 else state[0]

    def call(self, x, state, lengths=None, rnn=None):
        """y [T, B, .], state as a tuple"""
        y, state = (rnn or self.rnn)(x, self.as_argument(state), lengths)
        return y, self.as_tuple(state)

    def call_alone(self, x, state):
        return self.call(x[:, None], state) if len(x) else (np.empty((0, 1, 0), self.dtype), state)

    def padded(self, order):
        """x [T, B, I] with NaN beyond each length, state, lengths of the sequences named by `order`"""
        lengths = [self.lengths[b] for b in order]
        x = np.full((max(lengths) + 1, len(order), self.input_size), np.nan, self.dtype)
        for at, b in enumerate(order):
            x[: self.lengths[b], at] = self.xs[b]
        return x, self.stacked(order), lengths

    def stacked(self, order):
        return tuple(np.concatenate(s, axis=1) for s in zip(*(self.states[b] for b in order)))

    def assert_same(self, y, state, order):
        """y [T, B, .] or a list of [T_b, .] holds the bits that each sequence gives alone."""
        for at, b in enumerate(order):
            expected_y, expected_state = self.alone[b]
            n = self.lengths[b]
            if n > 0:
                assert_same_bits(y[at] if isinstance(y, list) else y[:n, at], expected_y[:, 0])
            for found, expected in zip(state, expected_state, strict=True):
                assert_same_bits(found[:, at], expected[:, 0])
            if not isinstance(y, list):
                assert not y[n:, at].any()


def assert_same_bits(found, expected):
    assert found.dtype == expected.dtype and found.shape == expected.shape
    assert found.tobytes() == expected.tobytes(), f"largest difference {np.abs(found - expected).max()}"


@st.composite
def cases(draw, streamable=False):
    kind = draw(st.sampled_from(list(KINDS)))
    return Case(
        kind,
        input_size=draw(sizes),
        hidden_size=max(draw(sizes), 4 if "projected" in kind else 1),
        num_layers=draw(st.integers(1, 3)),
        bidirectional=not streamable and draw(st.booleans()),
        dtype=draw(st.sampled_from(["float32", "float64"])),
        lengths=draw(st.lists(st.integers(int(streamable), 20), min_size=1, max_size=20)),
        seed=draw(st.integers(0, 2**32)),
    )


@given(cases(), st.randoms(), st.sampled_from([1, 2, 3]))
def test_batches(each_isa_of_ours, case, random, n):
    order = list(range(len(case.lengths)))
    random.shuffle(order)
    x, state, lengths = case.padded(order)
    with threads(n):
        case.assert_same(*case.call(x, state, lengths), order)
        case.assert_same(*case.call([case.xs[b] for b in order], state), order)
        y, final = case.call(x.swapaxes(0, 1), state, lengths, case.make(batch_first=True))
        case.assert_same(y.swapaxes(0, 1), final, order)
        for b in order:
            if case.lengths[b] > 0:
                y, final = case.call(case.xs[b], tuple(s[:, 0] for s in case.states[b]))
                case.assert_same(y[:, None], [s[:, None] for s in final], [b])


def chunks(random, steps):
    """Random ascending cuts of range(steps), as pairs (start, end)."""
    cuts = sorted(random.sample(range(1, steps), random.randint(0, steps - 1)))
    return list(zip([0, *cuts], [*cuts, steps]))


@given(cases(streamable=True), st.randoms())
def test_chunks_and_streams(each_isa_of_ours, case, random):
    for b in range(min(len(case.lengths), 3)):
        x, state = case.xs[b], case.as_argument(case.states[b])
        cuts = chunks(random, len(x))
        case.assert_same(*called_in_chunks(case, x[:, None], case.states[b], cuts), [b])
        stream = case.rnn.stream()
        for how in ("step", "step into out", "run"):
            stream.state = state
            y = streamed(stream, x, how, cuts, case.alone[b][0].shape[2])
            case.assert_same(y[:, None], case.as_tuple(stream.state), [b])
    # All sequences at once, as far as the shortest goes.
    order, steps = list(range(len(case.lengths))), min(case.lengths)
    cuts = chunks(random, steps)
    x, state = np.stack([x[:steps] for x in case.xs], axis=1), case.stacked(order)
    stream = case.rnn.stream(batch_size=len(order))
    for how in ("step", "step into out", "run"):
        stream.state = case.as_argument(state)
        y = streamed(stream, x, how, cuts, (len(order), case.alone[0][0].shape[2]))
        for b in order:
            assert_same_bits(y[:, b], case.alone[b][0][:steps, 0])
    assert_same_bits(called_in_chunks(case, x, state, cuts)[0], y)


def called_in_chunks(case, x, state, cuts):
    parts = []
    for start, end in cuts:
        part, state = case.call(x[start:end], state)
        parts.append(part)
    return np.concatenate(parts), state


def streamed(stream, x, how, cuts, shape):
    if how == "run":
        return np.concatenate([stream.run(x[start:end]) for start, end in cuts])
    if how == "step":
        return np.stack([stream.step(x_t) for x_t in x])
    y = np.empty((len(x), *np.atleast_1d(shape)), x.dtype)
    for t, x_t in enumerate(x):
        stream.step(x_t, out=y[t])
    return y


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_threads_on_work_that_is_worth_sharing(kind, bidirectional):
    lengths = np.random.default_rng(5).integers(0, 41, 70).tolist()
    case = Case(kind, 40, 96, 2, bidirectional, "float32", lengths, seed=1)
    order = list(range(len(lengths)))
    x, state, lengths = case.padded(order)
    for n in (1, 2, 3, 5, 8):
        with threads(n):
            case.assert_same(*case.call(x, state, lengths), order)
            case.assert_same(*case.call(case.xs, state), order)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("kind", KINDS)
def test_sums_so_long_that_they_are_taken_in_blocks(each_isa_of_ours, kind, dtype):
    lengths = [3, 0, 2, 1] * 30
    case = Case(kind, 600, 270, 1, False, dtype, lengths, seed=4)
    order = list(range(len(lengths)))
    x, state, lengths = case.padded(order)
    for n in (1, 2):
        with threads(n):
            case.assert_same(*case.call(x, state, lengths), order)
    stream = case.rnn.stream(batch_size=30)
    longest = [b for b in order if case.lengths[b] == 3]
    stream.state = case.as_argument(case.stacked(longest))
    y = np.stack([stream.step(x_t) for x_t in x[:3, longest]])
    case.assert_same(y, case.as_tuple(stream.state), longest)


@pytest.mark.parametrize("kind", KINDS)
def test_a_long_sequence_in_one_call_and_in_blocks(kind):
    """The input product is made ahead for a block of steps; its size depends on the batch and its lengths."""
    case = Case(kind, 8, 64, 1, False, "float32", [3000, 7, 2000], seed=2)
    x, state, lengths = case.padded([0, 1, 2])
    case.assert_same(*case.call(x, state, lengths), [0, 1, 2])
    stream = case.rnn.stream()
    stream.state = case.as_argument(case.states[2])
    case.assert_same(stream.run(case.xs[2])[:, None], case.as_tuple(stream.state), [2])
