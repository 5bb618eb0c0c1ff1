"""Output layers for large vocabularies: the logarithms of the softmax, whole or of the targets alone."""

import numpy as np
import pytest
from gradcheck import check_gradients

import fastrnn
from fastrnn import SGD, Adam, AdaptiveSoftmax, Embedding, LastStep, Linear, SampledSoftmax, Sequential, Trainer, losses

IN, CLASSES = 6, 23


def adaptive(**options):
    return AdaptiveSoftmax(IN, CLASSES, [4, 9], 2.0, **{"dtype": "float64", "seed": 3, **options})


def sampled(**options):
    return SampledSoftmax(IN, CLASSES, 7, **{"dtype": "float64", "seed": 3, **options})


def drawn_alike(layer):
    """Let the next pass draw the samples of every other."""
    layer.set_rng(np.random.default_rng(5))


def data(rows=11, seed=0):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((rows, IN)), rng.integers(0, CLASSES, rows)


def dense_adaptive(layer, x):
    """log p of all classes by the equations."""
    p, c = layer.params, layer.cutoffs
    head = x @ p["head.weight"].T + p.get("head.bias", 0)
    head -= np.log(np.exp(head).sum(1, keepdims=True))
    parts = [head[:, :c[0]]]
    for i in range(len(c)):
        tail = x @ p[f"tail.{i}.0.weight"].T @ p[f"tail.{i}.1.weight"].T
        parts.append(tail - np.log(np.exp(tail).sum(1, keepdims=True)) + head[:, c[0] + i, None])
    return np.concatenate(parts, 1)


@pytest.mark.parametrize("bias", [False, True])
def test_adaptive_is_the_equations(bias):
    layer, (x, target) = adaptive(head_bias=bias), data()
    expected = dense_adaptive(layer, x)
    np.testing.assert_allclose(layer(x), expected, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(np.exp(layer(x)).sum(1), 1, rtol=1e-12)
    np.testing.assert_allclose(layer(x, target=target), expected[np.arange(len(x)), target], rtol=1e-12)
    np.testing.assert_array_equal(layer.forward(x, target=target)[0], layer(x, target=target))


def test_adaptive_is_torchs():
    torch = pytest.importorskip("torch")
    layer, (x, target) = adaptive(head_bias=True), data()
    other = torch.nn.AdaptiveLogSoftmaxWithLoss(IN, CLASSES, [4, 9], 2.0, head_bias=True).double()
    layer.load_state_dict(other.state_dict())
    output, _ = other(torch.from_numpy(x), torch.from_numpy(target))
    np.testing.assert_allclose(layer(x, target=target), output.detach().numpy(), rtol=1e-10)
    np.testing.assert_allclose(layer(x), other.log_prob(torch.from_numpy(x)).detach().numpy(), rtol=1e-10)


def test_sampled_evaluates_the_whole_softmax(monkeypatch):
    layer, (x, target) = sampled(), data()
    layer.params["bias"][...] = np.random.default_rng(1).standard_normal(CLASSES)
    logits = x @ layer.params["weight"].T + layer.params["bias"]
    expected = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    np.testing.assert_allclose(layer(x), expected, rtol=1e-12, atol=1e-12)
    monkeypatch.setattr("fastrnn.nn.layers.vocabulary.LOGITS", 3 * CLASSES)   # in several pieces
    np.testing.assert_allclose(layer(x, target=target), expected[np.arange(len(x)), target], rtol=1e-12)


@pytest.mark.parametrize("proposal", ["log_uniform", "uniform"])
def test_sampled_trains_on_the_corrected_logits(proposal):
    layer, (x, target) = sampled(proposal=proposal), data()
    layer.params["bias"][...] = np.random.default_rng(1).standard_normal(CLASSES)
    drawn_alike(layer)
    samples, tries = layer._draw()
    assert len(set(samples.tolist())) == 7 and tries >= 7 and (np.diff(samples) > 0).all()
    k = np.arange(CLASSES)
    p = np.log((k + 2) / (k + 1)) / np.log(CLASSES + 1) if proposal == "log_uniform" else np.full(CLASSES, 1 / CLASSES)
    np.testing.assert_allclose(p.sum(), 1)
    logits = x @ layer.params["weight"].T + layer.params["bias"] - np.log(1 - (1 - p) ** tries)
    expected = []
    for row, t in zip(logits, target):
        among = [t, *(s for s in samples if s != t)]
        expected.append(row[t] - np.log(np.exp(row[among]).sum()))
    drawn_alike(layer)
    np.testing.assert_allclose(layer.forward(x, target=target)[0], expected, rtol=1e-10)
    assert set(target) & set(samples), "no sample was a target"


def test_the_draws_have_the_proposals_frequencies():
    layer = SampledSoftmax(2, 12, 1, dtype="float64", seed=0)
    counts = np.bincount([int(layer._draw()[0][0]) for _ in range(20000)], minlength=12)
    k = np.arange(12)
    expected = 20000 * np.log((k + 2) / (k + 1)) / np.log(13)
    assert (np.abs(counts - expected) < 5 * np.sqrt(expected)).all()


@pytest.mark.parametrize("make", [adaptive, sampled, lambda: adaptive(head_bias=True), lambda: sampled(bias=False),
                                  lambda: sampled(sparse=True)])
def test_gradients(make):
    layer, (x, target) = make(), data()
    dy = np.random.default_rng(2).standard_normal(len(x))

    def loss():
        drawn_alike(layer)
        return float(layer.forward(x, target=target)[0] @ dy)

    drawn_alike(layer)
    layer.zero_grad()
    _, _, tape = layer.forward(x, target=target)
    dx, _ = layer.backward(tape, dy)
    check_gradients(loss, {"x": x, **layer.params}, {"x": dx, **layer.grads})


@pytest.mark.parametrize("make", [adaptive, sampled])
@pytest.mark.parametrize("batch_first", [True, False])
def test_padding_is_not_read(make, batch_first):
    layer = make(batch_first=batch_first)
    rng = np.random.default_rng(0)
    x, lengths = rng.standard_normal((3, 5, IN)), [5, 2, 0]
    target = rng.integers(0, CLASSES, (3, 5))
    whole = layer(x if batch_first else x.swapaxes(0, 1), target=target if batch_first else target.T)
    whole = whole if batch_first else whole.T
    for row, n in enumerate(lengths):
        target[row, n:] = -7
    if not batch_first:
        x, target = np.ascontiguousarray(x.swapaxes(0, 1)), target.T
    y = layer(x, lengths=lengths, target=target)
    drawn_alike(layer)
    _, _, tape = layer.forward(x, lengths=lengths, target=target)
    dx, _ = layer.backward(tape, np.ones(y.shape))
    y, dx = (y, dx) if batch_first else (y.T, dx.swapaxes(0, 1))
    for row, n in enumerate(lengths):
        np.testing.assert_allclose(y[row, :n], whole[row, :n], rtol=1e-12)
        assert (y[row, n:] == 0).all() and (dx[row, n:] == 0).all()
        assert n == 0 or np.abs(dx[row, :n]).min() > 0


def network(head, batch_first=True):
    return Sequential(Embedding(CLASSES, IN, dtype="float64", seed=1), fastrnn.GRU(IN, IN, dtype="float64", seed=2),
                      head, batch_first=batch_first)


def ids(n=12, steps=7, seed=4):
    rng = np.random.default_rng(seed)
    X = [rng.integers(0, CLASSES, rng.integers(2, steps)) for _ in range(n)]
    return [x[:-1] for x in X], [x[1:] for x in X]


@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("tbptt", [None, (2, 3)])
def test_training_is_that_of_all_scores(batch_first, tbptt):
    X, y = ids()
    model = network(adaptive(), batch_first)
    trainer = Trainer(model, loss="nll", metrics=["perplexity"], optimizer=SGD(0.1), tbptt=tbptt, clip_norm=1.0, seed=0)
    before = trainer.evaluate(X, y)
    expected = np.mean([-row[t] for x, targets in zip(X, y)
                        for row, t in zip(dense_adaptive(model.modules[-1], hidden(model, x)),
                                          targets)])
    assert before["loss"] == pytest.approx(expected, rel=1e-10)
    assert before["perplexity"] == pytest.approx(np.exp(expected), rel=1e-9)
    history = trainer.fit(X, y, epochs=30, batch_size=5, progress=False)
    assert history["loss"][-1] < 0.8 * history["loss"][0]
    assert trainer.evaluate(X, y)["loss"] < 0.8 * before["loss"]


def hidden(model, x):
    y = model.modules[0](x[None] if model.batch_first else x[:, None])
    h, _ = model.modules[1](y)
    return h[0] if model.batch_first else h[:, 0]


@pytest.mark.parametrize("tbptt", [None, (2, 3)])
def test_an_update_is_that_of_the_whole_softmax(tbptt):
    """With all classes in the head but one, whose cluster has nothing to choose, it is the softmax of a Linear."""
    X, y = ids()
    head = AdaptiveSoftmax(IN, CLASSES, [CLASSES - 1], 1.0, dtype="float64", seed=0)
    head.params["tail.0.1.weight"][...] = 0
    ours = network(head)
    plain = network(Linear(IN, CLASSES, bias=False, dtype="float64"))
    plain.params["2.weight"][...] = head.params["head.weight"]
    weight = [np.linspace(0.5, 2, len(x)) for x in X]
    for model, loss in (ours, "nll"), (plain, "cross_entropy"):
        Trainer(model, loss=loss, optimizer=SGD(0.5), tbptt=tbptt, clip_norm=0.5, seed=0).fit(
            X, y, epochs=2, batch_size=5, sample_weight=weight, progress=False)
    np.testing.assert_allclose(head.params["head.weight"], plain.params["2.weight"], rtol=1e-10)
    np.testing.assert_allclose(ours.params["1.weight_hh_l0"], plain.params["1.weight_hh_l0"], rtol=1e-9)


def test_pooled_networks_and_targets_without_weight():
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((30, 4, IN)).astype("f"), rng.integers(0, CLASSES, 30)
    model = Sequential(fastrnn.LSTM(IN, 16, seed=0), LastStep(), AdaptiveSoftmax(16, CLASSES, [4, 9], 2.0, seed=0))
    weight = np.ones(30)
    weight[:3], y[:3] = 0, CLASSES + 5
    trainer = Trainer(model, loss="nll", optimizer=Adam(0.03), seed=0)
    history = trainer.fit(X, y, epochs=40, sample_weight=weight, progress=False)
    assert history["loss"][-1] < 0.3 * history["loss"][0]
    assert trainer.predict(X).shape == (30, CLASSES)
    assert (trainer.predict(X)[3:].argmax(1) == y[3:]).mean() > 0.8


@pytest.mark.parametrize("make", [adaptive, sampled, lambda: sampled(sparse=True)])
def test_files_and_resuming_are_exact(make, tmp_path):
    X, y = ids()
    options = {"batch_size": 4, "progress": False}
    whole = network(make())
    Trainer(whole, loss="nll", optimizer=Adam(0.01), seed=0).fit(X, y, epochs=4, **options)
    first = Trainer(network(make()), loss="nll", optimizer=Adam(0.01), seed=0)
    first.fit(X, y, epochs=2, **options)
    first.save_checkpoint(tmp_path / "c.safetensors")
    again = Trainer.resume(tmp_path / "c.safetensors")
    again.fit(X, y, epochs=2, **options)
    for name, p in whole.params.items():
        np.testing.assert_array_equal(again.model.params[name], p, err_msg=name)
    fastrnn.save(whole, tmp_path / "m.safetensors")
    loaded = fastrnn.load(tmp_path / "m.safetensors")
    assert repr(loaded) == repr(whole)
    for one, other in zip(loaded(X)[0], whole(X)[0]):
        np.testing.assert_array_equal(one, other)


def test_streams_give_the_scores_of_all_classes():
    model = network(adaptive())
    x = np.arange(5)
    y, _ = model(x[None])
    stream = model.stream()
    np.testing.assert_allclose([stream.step(int(i)) for i in x], y[0], rtol=1e-12)


def test_memory_is_not_that_of_all_classes():
    model = Sequential(Embedding(10, 8, seed=0), fastrnn.LSTM(8, 8, seed=0),
                       SampledSoftmax(8, 2_000_000, 100, sparse=True, seed=0))
    X, y = np.zeros((32, 100), int), np.arange(3200).reshape(32, 100)
    trainer = Trainer(model, loss="nll", optimizer=SGD(0.1), seed=0)
    assert trainer.memory_estimate(X, y) < 100e6    # all scores would take 25.6 GB
    assert np.isfinite(trainer.fit(X, y, progress=False)["loss"][-1])


REFUSED = {
    "another loss": (lambda: Trainer(network(adaptive())), "loss: expected 'nll'"),
    "a metric of all scores": (lambda: Trainer(network(adaptive()), loss="nll", metrics=["accuracy"]), "metrics"),
    "not last": (lambda: Sequential(adaptive(), Linear(CLASSES, 2, dtype="float64")), "as the last module"),
    "no target": (lambda: adaptive().forward(data()[0]), "target: expected the classes"),
    "a target outside": (lambda: adaptive()(data()[0], target=np.full(11, CLASSES)), "target: expected ints"),
    "another shape": (lambda: adaptive()(data()[0], target=np.zeros(3, int)), r"target: expected shape \(11,\)"),
    "targets for scores": (lambda: Sequential(Linear(2, 3))(np.ones((2, 2), "f"), target=[1]), "target: expected None"),
    "falling cutoffs": (lambda: AdaptiveSoftmax(8, 20, [9, 4]), "cutoffs: expected rising"),
    "no cutoffs": (lambda: AdaptiveSoftmax(8, 20, []), "cutoffs: expected rising"),
    "a cutoff too high": (lambda: AdaptiveSoftmax(8, 20, [20]), r"cutoffs\[0\]"),
    "no width": (lambda: AdaptiveSoftmax(8, 20, [5, 9]), "div_value: expected one that leaves"),
    "all classes sampled": (lambda: SampledSoftmax(8, 20, 20), "samples"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name):
    call, message = REFUSED[name]
    with pytest.raises((ValueError, TypeError), match=message):
        call()


def test_nll_takes_scores_of_all_or_of_the_targets():
    x, target = np.log(np.random.default_rng(0).dirichlet(np.ones(4), (2, 3))), np.array([[0, 3, 1], [2, 9, 9]])
    loss, gradient = losses.nll(x, target, lengths=[3, 1])
    chosen = [x[0, 0, 0], x[0, 1, 3], x[0, 2, 1], x[1, 0, 2]]
    assert loss == pytest.approx(-np.mean(chosen))
    assert gradient.sum() == pytest.approx(-1) and gradient[0, 1, 3] == pytest.approx(-0.25)
    assert not gradient[1, 1:].any()
    alone, of_alone = losses.nll(np.take_along_axis(x, np.minimum(target, 3)[..., None], -1)[..., 0], target,
                                 lengths=[3, 1])
    assert alone == pytest.approx(loss)
    np.testing.assert_allclose(of_alone, gradient.sum(-1))
