"""Gradients by rows: what a batch does not use is not touched, by updates, norms and clipping."""

import copy
import pickle

import numpy as np
import pytest

import fastrnn
import fastrnn.nn.layers.embedding
from fastrnn import GRU, SGD, Adagrad, Adam, AdamW, Embedding, Linear, RMSprop, Sequential, Trainer
from fastrnn.optim import all_finite, clip_grad_norm, clip_grad_value, grad_norm

ROWS = 50


def network(sparse, seed=0):
    return Sequential(Embedding(ROWS, 4, seed=seed, sparse=sparse), GRU(4, 5, seed=1), Linear(5, ROWS, seed=2))


def data(seed=0):
    rng = np.random.default_rng(seed)
    X = rng.integers(0, 20, (16, 6))
    return X, rng.integers(0, ROWS, (16, 6))


def passed(model, x, dy=None):
    """One training pass; returns the output."""
    y, _, tape = model.forward(x)
    model.backward(tape, np.ones_like(y) if dy is None else dy)
    return y


@pytest.mark.parametrize("clip", [{}, {"clip_norm": 0.05}, {"clip_value": 0.001}])
@pytest.mark.parametrize("optimizer", [lambda: SGD(0.5), lambda: Adagrad(0.1)])
def test_updates_without_means_have_the_same_bits(optimizer, clip):
    X, y = data()
    models = [network(sparse) for sparse in (False, True)]
    for model in models:
        Trainer(model, optimizer=optimizer(), seed=0, **clip).fit(X, y, epochs=3, batch_size=3, progress=False)
    for name, p in models[0].params.items():
        np.testing.assert_allclose(models[1].params[name], p, rtol=1e-6, atol=1e-8, err_msg=name)
    np.testing.assert_array_equal(models[1].params["0.weight"][20:], network(True).params["0.weight"][20:])


@pytest.mark.parametrize("optimizer", [lambda: Adam(0.1), lambda: SGD(0.1, momentum=0.9), lambda: RMSprop(0.1),
                                       lambda: SGD(0.1, momentum=0.9, nesterov=True), lambda: Adagrad(0.1)])
def test_rows_that_do_not_occur_keep_their_means(optimizer):
    """A row's values are those of the dense update of the rows alone, at the steps when it occurs."""
    rng = np.random.default_rng(0)
    model, ours = Embedding(9, 3, sparse=True, dtype="float64", seed=0), optimizer()
    expected, dense = model.params["weight"].copy(), optimizer()
    for ids in ([1, 2, 2], [2, 5], [1, 8, 5]):
        dy = rng.standard_normal((len(ids), 3))
        model.zero_grad()
        passed(model, np.array(ids), dy)
        gradient = np.zeros((9, 3))
        np.add.at(gradient, ids, dy)
        np.testing.assert_allclose(model.grads["weight"], gradient)
        ours.step(model.params, model.grads)
        p, before = {"weight": expected.copy()}, {key: a.copy() for key, a in dense.state_dict()["arrays"].items()}
        dense.step(p, {"weight": gradient})
        rows = sorted(set(ids))
        expected[rows] = p["weight"][rows]
        for key, array in dense.state_dict()["arrays"].items():
            slot = key.partition("/")[0]
            kept = before.get(key, array * 0)
            kept[rows] = array[rows]
            dense._slots[slot]["weight"][...] = kept
        np.testing.assert_allclose(model.params["weight"], expected, rtol=1e-12)


def test_nothing_reads_or_writes_other_rows():
    model = Embedding(10, 2, sparse=True, seed=0)
    passed(model, np.array([1, 3]))
    hidden = model._grads.sparse["weight"].gradient
    hidden[7] = np.nan      # where nothing was added
    assert all_finite(model) and grad_norm(model) == pytest.approx(2.0)
    clip_grad_norm(model, 1.0)
    clip_grad_value(model, 0.3)
    np.testing.assert_allclose(model.grads["weight"][[1, 3]], 0.3)
    SGD(1.0).step(model.params, model.grads)
    assert np.isfinite(model.params["weight"]).all()
    model.zero_grad()
    assert np.isnan(hidden[7]).all() and not hidden[:7].any()


def test_the_norm_of_a_network_counts_all_gradients():
    sparse, dense = network(True), network(False)
    x = np.random.default_rng(0).integers(0, ROWS, (3, 4))
    for model in sparse, dense:
        passed(model, x)
        passed(model, x[:1])
    assert grad_norm(sparse) == pytest.approx(grad_norm(dense), rel=1e-6)
    for name in dense.grads:
        np.testing.assert_allclose(sparse.grads[name], dense.grads[name], rtol=1e-6)
    clip_grad_norm(sparse, 0.5)
    assert grad_norm(sparse) == pytest.approx(0.5, rel=1e-4)
    sparse.zero_grad()
    assert grad_norm(sparse) == 0
    assert not sparse.grads["0.weight"].any()


def test_the_gradient_is_written_as_a_whole_only():
    model = network(True)
    grads = model.grads
    with pytest.raises(ValueError, match="read-only"):
        grads["0.weight"][3] = 1
    with pytest.raises(ValueError, match="read-only"):
        grads["0.weight"] += 1
    value = np.zeros((ROWS, 4), "f")
    value[[5, 31]] = 2
    grads["0.weight"] = value
    np.testing.assert_array_equal(model.modules[0]._grads.sparse["weight"].indices, [5, 31])
    np.testing.assert_array_equal(model.grads["0.weight"], value)
    before = model.params["0.weight"].copy()
    SGD(1.0).step(model.params, model.grads)
    np.testing.assert_allclose(model.params["0.weight"], before - value, rtol=1e-6)
    passed(model, np.array([[1]]))
    grads.update({"0.weight": value * 3})
    np.testing.assert_array_equal(model.grads["0.weight"], value * 3)


def test_frozen_tables_stay():
    model = network(True)
    before = model.params["0.weight"].copy()
    model.freeze("0.*")
    X, y = data()
    Trainer(model, optimizer=AdamW(0.1), seed=0).fit(X, y, progress=False)
    np.testing.assert_array_equal(model.params["0.weight"], before)


def test_weight_decay_and_l2_are_refused():
    model = network(True)
    passed(model, np.array([[1]]))
    before = model.state_dict()
    optimizer = AdamW(0.1)
    with pytest.raises(ValueError, match=r"weight_decay: expected 0 with the sparse gradient of '0.weight'"):
        optimizer.step(model.params, model.grads)
    assert optimizer.steps == 0
    for name, p in before.items():
        np.testing.assert_array_equal(model.params[name], p)
    with pytest.raises(ValueError, match=r"l2: expected names without the sparse gradient of '0.weight'"):
        Trainer(model, l2=1e-4)
    Trainer(model, l2={"1.weight*": 1e-4})
    with pytest.raises(ValueError, match="tie_embeddings: embedding: expected one with sparse=False"):
        Sequential(Embedding(9, 5, sparse=True), Linear(5, 9), tie_embeddings=True)


def test_files_copies_and_resuming_keep_it(tmp_path):
    X, y = data()
    whole, part = (Trainer(network(True), optimizer=Adam(0.05), seed=0) for _ in range(2))
    whole.fit(X, y, epochs=4, batch_size=3, progress=False)
    part.fit(X, y, epochs=2, batch_size=3, progress=False)
    part.save_checkpoint(tmp_path / "c.safetensors")
    again = Trainer.resume(tmp_path / "c.safetensors")
    assert again.model.modules[0].sparse
    again.fit(X, y, epochs=2, batch_size=3, progress=False)
    for name, p in whole.model.params.items():
        np.testing.assert_array_equal(again.model.params[name], p, err_msg=name)
    for other in copy.deepcopy(whole.model), pickle.loads(pickle.dumps(whole.model)):
        passed(other, np.array([[1, 2]]))
        other.zero_grad()
        assert not other.grads["0.weight"].any() and "weight" in other.modules[0]._grads.sparse
    fastrnn.save(whole.model, tmp_path / "m.safetensors")
    assert fastrnn.load(tmp_path / "m.safetensors").modules[0].sparse


class Ours(SGD):
    """An optimiser of one's own, which knows nothing of a scale."""

    def _update(self, p, g, slots):
        p -= self.lr * g


class Stepping(SGD):
    """Another, with a step of its own."""

    def step(self, params, grads):
        for name, p in params.items():
            p -= self.lr * grads[name]


@pytest.mark.parametrize("kind", [SGD, Ours, Stepping])
def test_a_trainer_clips_as_clip_grad_norm_does(kind):
    X, y = data()
    model, other = network(False), network(False)
    Trainer(model, optimizer=kind(0.5), clip_norm=0.02, seed=0).fit(X, y, batch_size=16, progress=False)
    prediction, _, tape = other.forward(X)
    _, gradient = fastrnn.losses.cross_entropy(prediction, y)
    other.backward(tape, gradient)
    assert clip_grad_norm(other, 0.02) > 0.02
    SGD(0.5).step(other.params, other.grads)
    for name, p in other.params.items():
        np.testing.assert_allclose(model.params[name], p, rtol=1e-5, atol=1e-8, err_msg=name)


def test_a_scale_is_that_of_the_gradients():
    for make in (lambda: SGD(0.1, momentum=0.9, nesterov=True, weight_decay=0.1), lambda: AdamW(0.1, weight_decay=0.1),
                 lambda: RMSprop(0.1, centered=True, momentum=0.5), lambda: Adagrad(0.1)):
        rng = np.random.default_rng(0)
        scaled = {"w": rng.standard_normal(7)}
        plain = {"w": scaled["w"].copy()}
        one, other = make(), make()
        for _ in range(3):
            g = rng.standard_normal(7)
            one.step(scaled, {"w": g}, scale=0.25)
            other.step(plain, {"w": 0.25 * g})
        np.testing.assert_array_equal(scaled["w"], plain["w"])
    with pytest.raises(ValueError, match="scale"):
        SGD(0.1).step({"w": np.ones(1)}, {"w": np.ones(1)}, scale=-1)


def test_a_pass_that_fails_restores_the_rows(monkeypatch):
    model = Sequential(Embedding(ROWS, 4, seed=0, sparse=True), GRU(4, 5, seed=1), Linear(5, 4, seed=2))
    passed(model, np.array([[3, 4]]))
    before = {name: grad.copy() for name, grad in model.grads.items()}
    monkeypatch.setattr("fastrnn.nn.module.WORTH_A_COPY", 0)
    scatter = fastrnn.nn.layers.embedding._embedding.scatter_add

    class Failing:
        @staticmethod
        def scatter_add(gradient, *rest):
            scatter(gradient, *rest)
            raise KeyboardInterrupt

    y, _, tape = model.forward(np.array([[4, 9]]))
    with monkeypatch.context() as patch:
        patch.setattr("fastrnn.nn.layers.embedding._embedding", Failing)
        with pytest.raises(KeyboardInterrupt):
            model.backward(tape, np.ones_like(y))
    for name, grad in before.items():
        np.testing.assert_array_equal(model.grads[name], grad, err_msg=name)
    np.testing.assert_array_equal(model.modules[0]._grads.sparse["weight"].indices, [3, 4])
