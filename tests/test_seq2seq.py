"""Encoder and decoder with attention: against plain NumPy, finite differences, and themselves step by step."""

import contextlib
import itertools
import pickle

import numpy as np
import pytest
import seq2seq_reference as reference
from gradcheck import check_gradients
from tolerances import relative_error, tolerance

import fastrnn
from fastrnn import Seq2Seq
from fastrnn.decoding import beam_search, log_softmax

SIZES = 7, 6
READINGS = [(kind, at) for kind in ("additive", "dot", "general") for at in ("input", "output")] + [(None, "output")]


def data(rng, count=4, longest=5):
    X = [rng.integers(0, SIZES[0], n) for n in [longest, 1, 3, 2, 4][:count]]
    Y = [rng.integers(2, SIZES[1], n) for n in [2, 4, 0, 3, 1][:count]]
    return X, Y


def make(kind="additive", at="input", **options):
    options = {"cell": "gru", "embedding_dim": 3, "hidden_size": 4, "encoder_size": 2, "num_layers": 1,
               "dtype": "float64", "seed": 1, **options}
    return Seq2Seq(*SIZES, attention=kind, attention_at=at, **options)


@contextlib.contextmanager
def on_threads(count):
    """Let small calls too be split over so many threads."""
    before = fastrnn.get_num_threads()
    fastrnn.set_num_threads(count)
    try:
        yield
    finally:
        fastrnn.set_num_threads(before)


def spread(model, rng):
    """Biases that are not zero, so that their part in the equations is seen."""
    for name, p in model.params.items():
        if "bias" in name:
            p += rng.normal(size=p.shape)


@pytest.mark.parametrize("cell", ["gru", "lstm", "rnn"])
@pytest.mark.parametrize(("kind", "at"), READINGS)
def test_logits_and_weights_are_those_of_the_equations(cell, kind, at):
    for options in ({}, {"num_layers": 2, "readout_size": 5}, {"bidirectional": False, "encoder_size": 4},
                    {"embedding_dim": None}):
        rng = np.random.default_rng(0)
        model = make(kind, at, cell=cell, **options)
        spread(model, rng)
        X, Y = data(rng)
        found = model(X, target=Y)
        own = [reference.logits(model.params, cell, kind, at, x, y, SIZES, model.bos) for x, y in zip(X, Y)]
        assert relative_error(found, np.concatenate([rows for rows, _ in own])) < tolerance("engine, float64")
        trained, state, _ = model.forward(X, target=Y)
        assert state is None and np.array_equal(trained, found)
        if kind is not None:
            for weights, (_, expected) in zip(model.attention_weights(X, Y), own):
                assert relative_error(weights, expected) < tolerance("engine, float64")


@pytest.mark.parametrize(("kind", "at"), READINGS)
def test_features_are_the_memory(kind, at):
    rng = np.random.default_rng(1)
    model = Seq2Seq(4, SIZES[1], source="features", embedding_dim=3, hidden_size=4, attention=kind, attention_at=at,
                    dtype="float64", seed=0)
    X, Y = rng.normal(size=(3, 2, 4)), data(rng)[1][:3]
    found = model(X, target=Y)
    own = [reference.logits(model.params, "gru", kind, at, x, y, SIZES, 0)[0] for x, y in zip(X, Y)]
    assert relative_error(found, np.concatenate(own)) < tolerance("engine, float64")
    one = model(X[:, 0], target=Y)  # (N, F): a memory of one position
    assert np.array_equal(one, model(X[:, :1], target=Y)) and not np.array_equal(one, found)


@pytest.mark.parametrize(("cell", "threads"), [("gru", 1), ("gru", 2), ("lstm", 1), ("rnn", 1)])
@pytest.mark.parametrize(("kind", "at"), READINGS)
def test_gradients_are_those_of_finite_differences(cell, kind, at, threads):
    rng = np.random.default_rng(2)
    layers, bare = 2 if cell == "lstm" else 1, cell == "rnn"
    model = make(kind, at, cell=cell, num_layers=layers, hidden_size=2, encoder_size=1, embedding_dim=2,
                 readout_size=None if bare else 2)
    spread(model, rng)
    X, Y = data(rng, 3, 3)
    w = rng.normal(size=model(X, target=Y).shape)
    with on_threads(threads):
        _, _, tape = model.forward(X, target=Y)
        model.backward(tape, w)
    check_gradients(lambda: float((model(X, target=Y) * w).sum()), dict(model.params), dict(model.grads))


@pytest.mark.parametrize(("kind", "at"), READINGS)
def test_gradients_of_features_and_so_of_initial_states(kind, at):
    rng = np.random.default_rng(3)
    model = Seq2Seq(4, SIZES[1], source="features", cell="lstm", embedding_dim=2, hidden_size=4, attention=kind,
                    attention_at=at, dtype="float64", seed=0)
    X, Y, lengths = rng.normal(size=(3, 3, 4)), data(rng)[1][:3], [3, 1, 2]
    w = rng.normal(size=model(X, lengths, target=Y).shape)
    _, _, tape = model.forward(X, None, lengths, target=Y)
    dx, _ = model.backward(tape, w)
    check_gradients(lambda: float((model(X, lengths, target=Y) * w).sum()), {"x": X, **model.params},
                    {"x": dx, **model.grads})
    assert not dx[1, 1:].any()


def test_gradients_of_many_workers_are_those_of_one():
    rng = np.random.default_rng(4)
    X = [rng.integers(0, SIZES[0], rng.integers(1, 12)) for _ in range(16)]
    Y = [rng.integers(2, SIZES[1], rng.integers(0, 12)) for _ in range(16)]
    for kind, at in [("additive", "input"), ("dot", "output"), ("general", "input"), (None, "output")]:
        model = make(kind, at, hidden_size=96, encoder_size=48, embedding_dim=8)
        w = rng.normal(size=model(X, target=Y).shape)
        found = []
        for threads in (1, 4):
            with on_threads(threads):
                model.zero_grad()
                _, _, tape = model.forward(X, target=Y)
                model.backward(tape, w)
                found.append({name: grad.copy() for name, grad in model.grads.items()})
        for name, grad in found[0].items():
            assert relative_error(found[1][name], grad) < tolerance("engine, float64"), name


# Bits: what is put out for a source depends on nothing beside it


@pytest.mark.parametrize("cell", ["gru", "lstm"])
@pytest.mark.parametrize(("kind", "at"), READINGS)
def test_the_same_bits_alone_in_a_batch_padded_and_on_any_threads(cell, kind, at):
    rng = np.random.default_rng(5)
    model = make(kind, at, cell=cell, dtype="float32", hidden_size=96, encoder_size=48, embedding_dim=40, num_layers=2,
                 readout_size=33)
    X = [rng.integers(0, SIZES[0], n) for n in (9, 1, 4, 30, 7, 12, 3, 2)]
    Y = [rng.integers(2, SIZES[1], n) for n in (3, 8, 0, 14, 5, 9, 1, 20)]
    together = model(X, target=Y)
    padded = np.full((len(X), 33), SIZES[0] - 1)
    for row, x in zip(padded, X):
        row[: len(x)] = x
    assert np.array_equal(model(padded, [len(x) for x in X], target=Y), together)
    assert np.array_equal(np.concatenate([model([x], target=[y]) for x, y in zip(X, Y)]), together)
    with on_threads(4):
        assert np.array_equal(model(X, target=Y), together)
    assert np.array_equal(model.forward(X, target=Y)[0], together)
    drawn = model.generate(X, temperature=1.0, seed=list(range(len(X))), max_length=12)
    alone = [model.generate([x], temperature=1.0, seed=[k], max_length=12)[0] for k, x in enumerate(X)]
    assert all(map(np.array_equal, drawn, alone)) and len({len(ids) for ids in drawn}) > 1
    found = model.translate(X, max_length=8, batch_size=3)
    alone = [model.translate([x], max_length=8)[0] for x in X]
    assert [(h[0].labels.tolist(), h[0].score) for h in found] == [(h[0].labels.tolist(), h[0].score) for h in alone]


def test_padding_is_never_read():
    rng = np.random.default_rng(6)
    X, Y = rng.normal(size=(2, 4, 3)), [np.array([2, 3]), np.array([4])]
    for kind in ("additive", "general"):
        model = Seq2Seq(3, 5, source="features", embedding_dim=2, hidden_size=3, attention=kind, dtype="float64",
                        seed=0)
        X[0, 2:] = 0
        expected = model(X, [2, 4], target=Y)
        X[0, 2:] = np.nan
        assert np.array_equal(model(X, [2, 4], target=Y), expected)
        y, _, tape = model.forward(X, None, [2, 4], target=Y)
        dx, _ = model.backward(tape, np.ones_like(y))
        assert np.isfinite(dx).all() and not dx[0, 2:].any()
        assert all(np.isfinite(grad).all() for grad in model.grads.values())


@pytest.mark.parametrize(("kind", "at"), READINGS)
def test_step_by_step_is_teacher_forcing(kind, at):
    rng = np.random.default_rng(7)
    model = make(kind, at, dtype="float32", num_layers=2, readout_size=5)
    X, _ = data(rng)
    ids = model.generate(X, max_length=9)
    rows = np.split(model(X, target=ids), np.cumsum([len(y) + 1 for y in ids])[:-1])
    for y, row in zip(ids, rows):
        greedy = row.argmax(axis=1)
        assert np.array_equal(greedy[: len(y)], y) and (len(y) == 9 or greedy[len(y)] == model.eos)


@pytest.mark.parametrize("power", [0.0, 1.0])
def test_beam_search_finds_the_best_of_all(power):
    rng = np.random.default_rng(8)
    model = Seq2Seq(SIZES[0], 4, embedding_dim=3, hidden_size=4, dtype="float64", seed=3)
    for p in model.params.values():
        p *= 3
    X, longest = data(rng)[0], 3
    every = [np.array(ids, np.int64) for n in range(longest + 1) for ids in itertools.product((0, 2, 3), repeat=n)]
    for x, found in zip(X, model.translate(X, beam_size=64, length_penalty=power, max_length=longest, n_best=5,
                                           early_stop=False)):
        scores = []
        for ids in every:
            steps = np.append(ids, model.eos)[:longest]  # the longest count as they are, without the end
            p = log_softmax(model([x], target=[ids]))
            scores.append(p[np.arange(len(steps)), steps].sum() / ((5 + len(steps)) / 6) ** power)
        best = np.argsort(scores)[::-1][:5]
        assert [h.labels.tolist() for h in found] == [every[k].tolist() for k in best]
        assert np.allclose([h.score for h in found], np.array(scores)[best], rtol=1e-12)


def test_a_beam_that_stops_early_is_no_better_than_one_that_does_not():
    rng = np.random.default_rng(9)
    model = make(dtype="float32")
    X, _ = data(rng)
    for early, whole in zip(model.translate(X), model.translate(X, early_stop=False)):
        assert early[0].score <= whole[0].score


def test_an_early_stop_counts_beams_that_live():
    """With few symbols some beams of the first step are -inf: none of them has ended."""
    def step(ids, state):
        return np.tile([-3.0, -9.0, 0.0], (len(ids), 1)), state

    options = {"length": 3, "beam_size": 4, "end": 0, "length_penalty": 0}
    for early_stop in (False, True):
        found = beam_search(step, None, np.array([0]), early_stop=early_stop, **options)[0]
        assert found[0].labels.tolist() == [2, 2, 2]


# Files, copies, errors


def test_files_and_copies(tmp_path):
    rng = np.random.default_rng(10)
    X, Y = data(rng)
    for options in ({}, {"kind": "general", "cell": "lstm", "num_layers": 2}, {"kind": None, "embedding_dim": None}):
        model = make(**options, dropout=0.1, sampling=0.2)
        expected = model(X, target=Y)
        fastrnn.save(model, tmp_path / "m.safetensors")
        for other in (fastrnn.load(tmp_path / "m.safetensors"), pickle.loads(pickle.dumps(model))):
            assert np.array_equal(other(X, target=Y), expected) and other.config() == model.config()
            other.load_state_dict(model.state_dict())


def test_errors_name_the_argument():
    model = make()
    X, Y = data(np.random.default_rng(0))
    for call, message in [
        (lambda: make("cosine"), "attention: expected one of"),
        (lambda: make("dot", hidden_size=5), "kind: expected queries as wide as the memory"),
        (lambda: make("general", attention_size=3), "size: expected 4"),
        (lambda: make(at="middle"), "attention_at: expected"),
        (lambda: make(bos=6), "bos: expected"),
        (lambda: make(sampling=2), "sampling: expected"),
        (lambda: model(X, target=Y[:2]), "target: expected 4 arrays"),
        (lambda: model(X, target=[[9]] * 4), r"target\[0\]: expected ints in 0 .. 5"),
        (lambda: model([[7]], target=[[2]]), "x: expected ints in 0 .. 6"),
        (lambda: model(np.zeros((1, 2, 3), int), target=[[2]]), r"x: expected shape \(B, S\)"),
        (lambda: model.forward(X, 1, target=Y), "state: expected None"),
        (lambda: make(None).attention_weights(X, Y), "attention: expected"),
        (lambda: model.translate(X, beam_size=2, n_best=3), "n_best: expected"),
        (lambda: model.generate(X, temperature=-1), "temperature: expected"),
    ]:
        with pytest.raises(ValueError, match=message):
            call()
    with pytest.raises(TypeError, match="target: expected a list"):
        model(X, target=3)
    _, _, tape = model.forward(X, target=Y)
    model.backward(tape)
    with pytest.raises(ValueError, match="tape: expected one from a new forward"):
        model.backward(tape)
