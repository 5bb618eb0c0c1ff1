"""What data hold reaches a network as their owner means it: ids, masks, padding, networks without a recurrent layer."""

import numpy as np
import pytest

import fastrnn
from fastrnn import (
    GELU,
    GRU,
    LSTM,
    QRNN,
    RNN,
    SRU,
    ActivationRegularization,
    AttentionPooling,
    AvgPool1d,
    BatchNorm1d,
    Concat,
    Conv1d,
    Dropout,
    Embedding,
    LaneStream,
    LastStep,
    LayerNorm,
    Linear,
    MaxOverTime,
    MaxPool1d,
    MeanOverTime,
    MinGRU,
    MinLSTM,
    Residual,
    Reverse,
    Seq2Seq,
    Sequential,
    Sigmoid,
    Softmax,
    Trainer,
    decoding,
    losses,
)
from fastrnn.diagnostics import diagnose
from fastrnn.scaling import Rescale, Standardize
from fastrnn.text import OneHot
from fastrnn.windows import forecast_windows

LENGTHS = [2, 5, 0, 3]
REFUSED = (ValueError, TypeError)

# Ids

NUMBERS = {
    "LSTM": lambda: LSTM(5, 4, batch_first=True, seed=0),
    "Linear": lambda: Linear(5, 4, seed=0),
    "LayerNorm": lambda: LayerNorm(5),
    "Dropout": lambda: Dropout(0.1),
    "MeanOverTime": lambda: MeanOverTime(batch_first=True),
    "ActivationRegularization": lambda: ActivationRegularization(1.0, batch_first=True),
    "Standardize": lambda: Standardize([0.0] * 5, [1.0] * 5),
    "Sequential": lambda: Sequential(Sequential(Dropout(0.1), GRU(5, 4, seed=0)), Linear(4, 1, seed=0)),
}


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize("dtype", [np.int64, np.int8, np.uint16])
def test_integers_of_two_axes_are_ids_which_few_layers_take(name, dtype):
    trainer = Trainer(NUMBERS[name](), "mse")
    X = np.ones((4, 5), dtype)
    calls = [
        lambda: trainer.predict(X, progress=False), lambda: trainer.predict(list(X), progress=False),
        lambda: trainer.fit(X, np.ones((4, 5, 4)), progress=False),
        lambda: trainer.evaluate(X, np.ones((4, 5, 4)), progress=False), lambda: trainer.memory_estimate(X),
    ]
    for call in calls:
        with pytest.raises(TypeError, match=r"X: expected numbers .* takes no ids; found integers, which are ids"):
            call()


def test_integers_are_no_ids_at_any_other_door():
    net = Sequential(GRU(1, 4, seed=0), Linear(4, 1, seed=0))
    X, y = np.ones((4, 5)), np.ones((4, 5, 1))
    trainer = Trainer(net, "mse")
    with pytest.raises(TypeError, match="validation_data: X: expected numbers"):
        trainer.fit(X, y, validation_data=(X.astype(int), y), progress=False)
    with pytest.raises(TypeError, match="X: expected numbers"):
        trainer.fit(LaneStream(np.arange(40), 2, 5), progress=False)
    with pytest.raises(TypeError, match="X: expected numbers"):
        diagnose(net, X.astype(int), y, loss="mse")
    for call in (lambda: net(X.astype(int)), lambda: net.forward(X.astype(np.uint8)), lambda: net([[1, 2], [3]]),
                 lambda: Sequential(Linear(2, 1))([[1, 2], [3]]), lambda: net(X.astype(int), lengths=[5] * 4)):
        with pytest.raises(TypeError, match="x: expected numbers, as the first module takes no ids; found ids"):
            call()
    assert trainer.predict(X, progress=False).shape == (4, 5, 1)
    assert trainer.predict(X.astype(int)[..., None], progress=False).shape == (4, 5, 1)
    assert trainer.predict([[], []], progress=False)[0].shape == (0, 1)


@pytest.mark.parametrize("first", [lambda: Embedding(5, 3, seed=0), lambda: OneHot(5)])
def test_numbers_are_no_ids(first):
    width = first()(np.zeros(1, int)).shape[-1]
    net = Sequential(first(), GRU(width, 4, seed=0), Linear(4, 1, seed=0))
    trainer = Trainer(net, "mse")
    for X in np.ones((4, 5)), np.ones((4, 5, 1), int), [np.ones(2), np.ones(3)], [np.ones((2, 3), int)]:
        with pytest.raises(TypeError, match="X: expected ids, integers"):
            trainer.predict(X, progress=False)
    with pytest.raises(TypeError, match="X: expected ids"):
        trainer.fit(LaneStream(np.ones(40), 2, 5), progress=False)
    assert [len(y) for y in trainer.predict([[1, 2], []], progress=False)] == [2, 0]
    assert [len(y) for y in trainer.predict([[], []], progress=False)] == [0, 0]


def test_a_layer_of_ones_own_takes_either():
    class Doubled(Linear):
        takes_ids = None

        def _apply(self, x, lengths, training):
            return super()._apply(np.stack([x, x], axis=-1) if x.ndim == 2 else x, lengths, training)

    assert Trainer(Doubled(2, 3), "mse").predict(np.ones((4, 5), int), progress=False).shape == (4, 5, 3)
    assert Trainer(Doubled(2, 3), "mse").predict(np.ones((4, 5, 2)), progress=False).shape == (4, 5, 3)


# Masks


def masked(shape, dtype=float):
    """An array with one entry masked."""
    array = np.ma.masked_array(np.ones(shape, dtype), np.zeros(shape, bool))
    array.mask.flat[-1] = True
    return np.ma.masked_array(array.data, array.mask)


def doors_for_masks():
    net = Sequential(GRU(2, 3, seed=0), Linear(3, 1, seed=0))
    t, X, y = Trainer(net, "mse"), np.ones((4, 5, 2)), np.ones((4, 5, 1))
    quiet = {"progress": False}
    yield "X", lambda: t.fit(masked(X.shape), y, **quiet)
    yield "X in a list", lambda: t.fit([masked((5, 2))] * 4, list(y), **quiet)
    yield "X in lists", lambda: t.predict([[masked(2), np.ones(2)]], **quiet)
    yield "y", lambda: t.fit(X, masked(y.shape), **quiet)
    yield "y in a list", lambda: t.fit(X, [masked((5, 1))] * 4, **quiet)
    yield "y of a list", lambda: t.fit(list(X), [masked((5, 1))] * 4, **quiet)
    yield "lengths", lambda: t.fit(X, y, lengths=masked(4, int), **quiet)
    yield "sample_weight", lambda: t.fit(X, y, sample_weight=masked(4), **quiet)
    yield "class_weight", lambda: Trainer(net, "cross_entropy").fit(X, np.zeros((4, 5), int), class_weight=masked(1),
                                                                    **quiet)
    yield "validation_data", lambda: t.fit(X, y, validation_data=(X, masked(y.shape)), **quiet)
    yield "evaluate", lambda: t.evaluate(masked(X.shape), y, **quiet)
    yield "a stream", lambda: LaneStream(masked(20), 2, 5)
    yield "a stream's y", lambda: LaneStream(np.ones(20), 2, 5, y=masked(20))
    yield "diagnose", lambda: diagnose(net, masked(X.shape), y, loss="mse")
    yield "a network", lambda: net(masked(X.shape))
    yield "a network's list", lambda: net([masked((5, 2))])
    yield "a network's lengths", lambda: net(X, lengths=masked(4, int))
    yield "forward", lambda: net.forward(masked(X.shape))
    yield "a stream's step", lambda: net.stream().step(masked(2))
    yield "a stream's state", lambda: setattr(GRU(2, 3).stream(), "state", masked((1, 1, 3)))
    yield "state", lambda: GRU(2, 3)(X, masked((1, 5, 3)))
    yield "state_dict", lambda: Linear(2, 1).load_state_dict({"weight": masked((1, 2)), "bias": np.ones(1)})
    yield "params", lambda: Linear(2, 1).params.update(weight=masked((1, 2)))
    yield "losses", lambda: losses.mse(masked((4, 1)), np.ones((4, 1)))
    yield "a loss' target", lambda: losses.mse(np.ones((4, 1)), masked((4, 1)))
    yield "a loss' weight", lambda: losses.mse(np.ones((4, 1)), np.ones((4, 1)), sample_weight=masked(4))
    yield "a loss' mask", lambda: losses.mse(np.ones((4, 1)), np.ones((4, 1)), mask=masked(4, bool))
    yield "classes", lambda: losses.cross_entropy(np.ones((4, 2)), masked(4, int))
    yield "ctc", lambda: losses.ctc(np.ones((1, 4, 3)), [masked(2, int)])
    yield "accuracy", lambda: fastrnn.metrics.accuracy(np.ones((4, 2)), masked(4, int))
    yield "Standardize", lambda: Standardize.of(masked((4, 2)))
    yield "windows", lambda: forecast_windows(masked(20), 3, 1)
    yield "windows of", lambda: fastrnn.windows.windows(masked(20), 3)
    yield "ctc_greedy", lambda: decoding.ctc_greedy(masked((4, 3)))
    yield "choose", lambda: decoding.choose(masked((4, 3)), np.zeros(4))
    yield "edit distance", lambda: decoding.edit_distance(masked(4, int), [1])
    yield "mel spectra", lambda: fastrnn.audio.log_mel(masked(8000), 8000)


@pytest.mark.parametrize("call", [pytest.param(call, id=name) for name, call in doors_for_masks()])
def test_a_mask_is_not_read_through(call):
    with pytest.raises(REFUSED, match="expected"):
        call()


def test_lists_in_circles_are_no_masked_arrays():
    circle = [1.0]
    circle += [circle, circle]
    with pytest.raises(REFUSED, match="expected"):
        Trainer(Linear(1, 1), "mse").predict(np.ones((2, 2, 1)), lengths=circle, progress=False)


# Padding

X = np.random.default_rng(0).normal(size=(4, 5, 3))
FIRST = {
    "Linear": lambda: Linear(3, 3, dtype="float64", seed=0),
    "LayerNorm": lambda: LayerNorm(3, dtype="float64"),
    "LayerNorm with little eps": lambda: LayerNorm(3, 1e-300, dtype="float64"),
    "Dropout": lambda: Dropout(0.3, seed=0),
    "Dropout of sequences": lambda: Dropout(0.3, variational=True, seed=0),
    "ActivationRegularization": lambda: ActivationRegularization(1.0, 1.0),
    "activations": lambda: Sequential(Sigmoid(), Linear(3, 3, dtype="float64", seed=0), GELU()),
    "Softmax": lambda: Softmax(),
    "Residual": lambda: Residual(Sequential(LayerNorm(3, dtype="float64"), GRU(3, 3, dtype="float64", seed=0))),
    "Concat": lambda: Concat(Linear(3, 2, dtype="float64", seed=0), LSTM(3, 1, dtype="float64", seed=0)),
    "Reverse": lambda: Reverse(),
    "BatchNorm1d": lambda: BatchNorm1d(3, dtype="float64"),
    "MaxPool1d": lambda: MaxPool1d(3, 1, padding=1),
    "AvgPool1d": lambda: AvgPool1d(3, 1, padding=1, count_include_pad=False),
    "Conv1d": lambda: Conv1d(3, 3, 3, padding="same", dtype="float64", seed=0),
    "Standardize": lambda: Standardize([1.0] * 3, [2.0] * 3),
    "Rescale": lambda: Rescale([1.0] * 3, [2.0] * 3),
    "nested": lambda: Sequential(Linear(3, 3, dtype="float64", seed=0), LayerNorm(3, dtype="float64")),
    "two": lambda: Sequential(LayerNorm(3, dtype="float64"), Sequential(Linear(3, 3, dtype="float64", seed=0))),
    **{cell.__name__: lambda cell=cell: cell(3, 3, dtype="float64", seed=0)
       for cell in (RNN, LSTM, GRU, MinGRU, MinLSTM, SRU, QRNN)},
    "bidirectional": lambda: Sequential(GRU(3, 2, bidirectional=True, dtype="float64", seed=0),
                                        Linear(4, 3, dtype="float64", seed=1)),
    "reverse": lambda: GRU(3, 3, direction="reverse", dtype="float64", seed=0),
    "recompute": lambda: LSTM(3, 3, recompute=True, dtype="float64", seed=0),
}
LATER = {
    "at each step": lambda: (GRU(3, 4, dtype="float64", seed=2), LayerNorm(4, dtype="float64"), Dropout(0.2, seed=1),
                             Linear(4, 2, dtype="float64", seed=3)),
    "per step alone": lambda: (Linear(3, 2, dtype="float64", seed=3),),
    "last": lambda: (GRU(3, 4, dtype="float64", seed=2), LastStep(), Linear(4, 2, dtype="float64", seed=3)),
    "mean": lambda: (MeanOverTime(), Linear(3, 2, dtype="float64", seed=3)),
    "max": lambda: (MaxOverTime(), Linear(3, 2, dtype="float64", seed=3)),
    "attention": lambda: (AttentionPooling(3, dtype="float64", seed=1), Linear(3, 2, dtype="float64", seed=3)),
}


def filled(x, value, batch_first=True, lengths=LENGTHS):
    """x with `value` beyond the lengths."""
    x = x.copy()
    for b, n in enumerate(lengths):
        x[(b, slice(n, None)) if batch_first else (slice(n, None), b)] = value
    return x


@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("later", LATER)
@pytest.mark.parametrize("first", FIRST)
def test_what_padding_holds_counts_nowhere(first, later, batch_first):
    def run(value):
        net = Sequential(FIRST[first](), *LATER[later](), batch_first=batch_first)
        x = filled(X if batch_first else X.swapaxes(0, 1), value, batch_first)
        before = x.copy()
        y, _, tape = net.forward(x, None, LENGTHS)
        dy = np.random.default_rng(1).normal(size=y.shape)
        if not net.pools_time:
            assert not y[np.isnan(filled(np.ones(y.shape), np.nan, batch_first))].any(), "zero beyond a length"
            dy = filled(dy, value, batch_first)
        kept = dy.copy()
        dx, _ = net.backward(tape, dy)
        assert not dx[np.isnan(filled(np.ones(dx.shape), np.nan, batch_first))].any()
        called = net(x, lengths=LENGTHS)
        np.testing.assert_array_equal(x, before)
        np.testing.assert_array_equal(dy, kept)
        return y, dx, called[0] if net.recurrent else called, *net.grads.values()

    wanted = run(0.0)
    assert all(np.isfinite(a).all() for a in wanted)
    for value in np.nan, np.inf, 1e30:
        for a, b in zip(wanted, run(value)):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("later", LATER)
@pytest.mark.parametrize("first", [*FIRST, "Embedding"])
def test_training_does_not_see_padding(first, later):
    def fit(value):
        ids = first == "Embedding"
        modules = Embedding(9, 3, dtype="float64", seed=0) if ids else FIRST[first]()
        trainer = Trainer(Sequential(modules, *LATER[later]()), "mse", seed=0, metrics=["mae"])
        x = filled((3 * abs(X[..., 0])).astype(int) % 9, -7 if value else 0) if ids else filled(X, value)
        y = np.ones((4, 2)) if trainer.model.pools_time else filled(np.ones((4, 5, 2)), value)
        history = trainer.fit(x, y, lengths=LENGTHS, epochs=2, batch_size=3, progress=False,
                              validation_data={"X": x, "y": y, "lengths": LENGTHS})
        return [history["loss"], history["val_loss"], history["mae"], trainer.predict(x, lengths=LENGTHS),
                trainer.evaluate(x, y, lengths=LENGTHS)["loss"]]

    for a, b in zip(fit(0.0), fit(np.nan)):
        assert np.isfinite(a).all()
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("first", ["Linear", "LayerNorm", "Dropout", "LSTM"])
def test_a_layer_alone_is_trained_without_its_padding(first):
    def fit(value):
        module = FIRST[first]() if first != "LSTM" else LSTM(3, 3, batch_first=True, dtype="float64", seed=0)
        trainer = Trainer(module, "mse", seed=0)
        trainer.fit(filled(X, value), filled(np.ones((4, 5, 3)), value), lengths=LENGTHS, progress=False)
        return trainer.predict(filled(X, value), lengths=LENGTHS, progress=False)

    np.testing.assert_array_equal(fit(0.0), fit(np.nan))


def test_truncated_bptt_does_not_see_padding():
    def fit(value):
        trainer = Trainer(Sequential(FIRST["Linear"](), *LATER["at each step"]()), "mse", tbptt=(2, 3), seed=0)
        trainer.fit(filled(X, value), filled(np.ones((4, 5, 2)), value), lengths=LENGTHS, progress=False)
        return trainer.predict(X, progress=False)

    np.testing.assert_array_equal(fit(0.0), fit(np.nan))


def test_ids_beyond_a_length_may_be_any():
    ids = filled(np.ones((4, 5), int), -1)
    net = Sequential(Embedding(3, 2, seed=0), GRU(2, 3, seed=0), Linear(3, 2, seed=0))
    y, _ = net(ids, lengths=LENGTHS)
    np.testing.assert_array_equal(y, net(filled(ids, 0), lengths=LENGTHS)[0])
    with pytest.raises(ValueError, match=r"x: expected ints in 0 \.\. 2, found -1"):
        net(ids)
    _, _, tape = net.forward(ids, None, LENGTHS)
    net.backward(tape, np.ones(y.shape))
    assert not net.grads["0.weight"][[0, 2]].any(), "only id 1 was seen"
    reader = Seq2Seq(3, 4, embedding_dim=2, hidden_size=3, seed=0)
    target = [[2], [3, 2], [], [3]]
    np.testing.assert_array_equal(reader(ids, LENGTHS, target=target), reader(filled(ids, 0), LENGTHS, target=target))


def test_lengths_are_checked_whatever_the_layers():
    net = Sequential(Linear(3, 2, seed=0))
    for lengths, message in [([1, 2], "lengths: expected 4 ints"), ([1.0] * 4, "lengths: expected an array of ints"),
                             ([1, 2, 3, 6], r"expected ints in 0 \.\. 5, found 6")]:
        for call in lambda: net(X, lengths=lengths), lambda: net.forward(X, None, lengths):  # noqa: B023
            with pytest.raises(REFUSED, match=message):
                call()
    with pytest.raises(ValueError, match="lengths: expected None with unbatched x"):
        net(X[0], lengths=[2, 3, 1, 1, 1])


# Networks without a recurrent layer

PLAIN = {
    "averaged embeddings": lambda: Sequential(Embedding(6, 3, seed=0), MeanOverTime(), Linear(3, 2, seed=1)),
    "embeddings at each step": lambda: Sequential(Embedding(6, 3, seed=0), LayerNorm(3), Linear(3, 2, seed=1)),
    "Linear at each step": lambda: Sequential(Linear(3, 4, seed=0), Dropout(0.2, seed=0), Linear(4, 2, seed=1)),
    "nested": lambda: Sequential(Sequential(LayerNorm(3), Linear(3, 4, seed=0)), MeanOverTime(), Linear(4, 2, seed=1)),
    "a layer": lambda: Linear(3, 2, seed=0),
}


@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("name", PLAIN)
def test_networks_without_a_recurrent_layer_are_trained_and_used_as_others(name, batch_first):
    model = PLAIN[name]()
    if isinstance(model, Sequential):
        model.batch_first = batch_first
    trainer = Trainer(model, "mse", seed=0)
    rng, lengths = np.random.default_rng(0), [3, 1, 6, 2, 4]
    xs = [rng.integers(0, 6, n) if model.takes_ids else rng.normal(size=(n, 3)) for n in lengths]
    ys = [np.ones(2) if model.pools_time else np.ones((n, 2)) for n in lengths]
    padded = np.zeros((5, 6, *xs[0].shape[1:]), xs[0].dtype)
    targets = np.ones((5, 2)) if model.pools_time else np.zeros((5, 6, 2))
    for row, target, x in zip(padded, targets, xs):
        row[: len(x)] = x
        if not model.pools_time:
            target[: len(x)] = 1
    before = trainer.evaluate(xs, ys, progress=False)["loss"]
    assert trainer.evaluate(padded, targets, lengths=lengths, progress=False)["loss"] == pytest.approx(before)
    history = trainer.fit(xs, ys, epochs=30, batch_size=2, validation_data=(xs, ys), progress=False)
    assert history["val_loss"][-1] < before
    found = trainer.predict(xs, batch_size=2, progress=False)
    whole = trainer.predict(padded, lengths=lengths, progress=False)
    for k, n in enumerate(lengths):
        alone = trainer.predict([xs[k]], progress=False)[0]
        np.testing.assert_allclose(found[k], alone, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(whole[k] if model.pools_time else whole[k, :n], alone, rtol=1e-5, atol=1e-6)
        assert model.pools_time or not whole[k, n:].any()


# The step that is read last


def ends(direction, y, lengths):
    """What a `LastStep` of this direction takes of y (B, T, H)."""
    half = {"forward": y.shape[2], "reverse": 0, "bidirectional": y.shape[2] // 2}[direction]
    rows = [np.concatenate([y[b, n - 1, :half], y[b, 0, half:]]) if n else np.zeros(y.shape[2])
            for b, n in enumerate(lengths)]
    return np.stack(rows)


@pytest.mark.parametrize("between", [(), (LayerNorm(4),), (Dropout(0.5), ActivationRegularization(1.0))])
@pytest.mark.parametrize("direction, width", [("forward", 4), ("reverse", 4), ("bidirectional", 2)])
def test_the_last_step_is_that_of_the_runner_before(direction, width, between):
    runner = GRU(3, width, direction=direction, seed=0)
    reader = Sequential(runner, *between)
    y = reader(X, lengths=LENGTHS)[0]
    wanted = ends(direction, y, LENGTHS)
    net = Sequential(runner, *between, LastStep())
    np.testing.assert_array_equal(net(X, lengths=LENGTHS)[0], wanted)
    assert net.modules[-1].direction == direction and net.modules[-1].bidirectional == (direction == "bidirectional")
    nested = Sequential(Sequential(runner, *between), Sequential(LastStep(), Linear(4, 1, seed=0)))
    assert nested.modules[1].modules[0].direction == direction
    if not between:
        state = runner(X, None, LENGTHS)[1]
        np.testing.assert_array_equal(np.sort(wanted), np.sort(state.swapaxes(0, 1).reshape(4, 4)))
    told = Sequential(runner, *between, LastStep(bidirectional=False))
    np.testing.assert_array_equal(told(X, lengths=LENGTHS)[0], ends("forward", y, LENGTHS))


def test_a_layer_that_mixes_both_directions_has_one_last_step():
    both, linear = GRU(3, 4, bidirectional=True, seed=0), Linear(8, 2, seed=0)
    assert Sequential(both, linear, LastStep()).modules[-1].direction == "forward"
    assert Sequential(both, Sequential(linear, LastStep())).modules[1].modules[-1].direction == "forward"
    assert Sequential(both, GRU(8, 2, seed=1), LastStep()).modules[-1].direction == "forward"
    assert Sequential(GRU(3, 8, direction="reverse"), Linear(8, 2), LastStep()).modules[-1].direction == "reverse"
    assert LastStep().direction == "forward"


def test_saved_models_keep_the_step_they_took(tmp_path):
    net = Sequential(GRU(3, 4, bidirectional=True, seed=0), LastStep(), Linear(8, 1, seed=0))
    fastrnn.save(net, tmp_path / "new")
    other = fastrnn.load(tmp_path / "new")
    assert other.modules[1].direction == "bidirectional"
    np.testing.assert_array_equal(other(X)[0], net(X)[0])
    config = net.config()       # of a file from before: no direction, and False where nobody said so
    config["modules"][1] = {"type": "LastStep", "bidirectional": False, "batch_first": True}
    old = fastrnn.nn.module.module_from_config(config)
    assert old.modules[1].direction == "forward"
    assert LastStep().config()["bidirectional"] is None


def test_what_a_last_step_refuses():
    with pytest.raises(ValueError, match="direction: expected one that fits bidirectional=True, found 'reverse'"):
        LastStep(bidirectional=True, direction="reverse")
    with pytest.raises(ValueError, match="direction: expected one of"):
        LastStep(direction="both")
    with pytest.raises(ValueError, match="direction: expected 'forward' in a stream"):
        LastStep(direction="reverse").stream()
    shared = LastStep()
    Sequential(GRU(3, 4), shared)
    with pytest.raises(ValueError, match="LastStep: expected one for each network"):
        Sequential(GRU(3, 4, bidirectional=True), shared)


# Logits that are no numbers


def test_greedy_labels_of_nan_are_an_error():
    logits = np.random.default_rng(0).normal(size=(2, 5, 4))
    wanted = decoding.ctc_greedy(logits, [3, 5])
    for value in np.nan, np.inf:
        logits[0, 3:] = value
        for a, b in zip(decoding.ctc_greedy(logits, [3, 5]), wanted):
            np.testing.assert_array_equal(a, b)
        logits[0, 3:] = 0
        for dtype in np.float32, np.float64:
            wrong = logits.astype(dtype)
            wrong[1, 2, 1] = value
            for call in decoding.ctc_greedy, decoding.ctc_beam_search:
                with pytest.raises(ValueError, match="logits: expected a finite largest one in every row"):
                    call(wrong, [3, 5])
                with pytest.raises(ValueError, match="logits: expected a finite"):
                    call(wrong[1])
