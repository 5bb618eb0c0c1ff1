"""The initialisers: what each fills a matrix with, block by block, and which parameter gets which."""

import copy
import json
import math
import pickle

import numpy as np
import pytest

from fastrnn import GRU, LSTM, RNN, Attention, Embedding, LayerNorm, Linear, LSTMCell, Seq2Seq, Sequential, load, save
from fastrnn.engine.kinds import KINDS
from fastrnn.nn import _init
from fastrnn.nn._init import fill
from fastrnn.nn.module import module_from_config

H, I, P = 48, 32, 20


def lstm(projection=0, layers=1, bias=True):
    params = {}
    for layer in range(layers):
        inputs = I if layer == 0 else (projection or H)
        params[f"weight_ih_l{layer}"] = np.full((4 * H, inputs), np.nan, np.float32)
        params[f"weight_hh_l{layer}"] = np.full((4 * H, projection or H), np.nan, np.float32)
        if bias:
            params[f"bias_ih_l{layer}"] = np.full(4 * H, np.nan, np.float32)
            params[f"bias_hh_l{layer}"] = np.full(4 * H, np.nan, np.float32)
        if projection:
            params[f"weight_hr_l{layer}"] = np.full((projection, H), np.nan, np.float32)
    return params


def initialise(params, rng, init="default", kind="LSTM"):
    """The parameters of all layers of one kind, which the names and shapes of `params` tell."""
    layout = {}
    for name in params:
        bare, layer, number = name.partition("_l")
        suffix = layer + number
        projection = len(params["weight_hr" + suffix]) if "weight_hr" + suffix in params else 0
        words = {word for word, there in (("bias", "bias_ih" + suffix in params), ("projection", projection)) if there}
        features = params["weight_ih" + suffix].shape[1]
        layout[name] = KINDS[kind].layout(words, features, H, projection or H)[bare]
        assert layout[name].shape == params[name].shape
    _init.initialise(params, layout, rng, init, H)


def blocks(array, gates):
    return array.reshape(gates, -1, *array.shape[1:])


def assert_orthonormal(matrix):
    matrix = matrix.astype(np.float64)
    rows, columns = matrix.shape
    product = (
        np.einsum("ij,ik->jk", matrix, matrix) if rows >= columns else np.einsum("ji,ki->jk", matrix, matrix)
    )
    np.testing.assert_allclose(product, np.eye(min(rows, columns)), atol=1e-6)


def assert_uniform(array, limit):
    """Fills (-limit, limit) evenly: its extremes and its first two moments."""
    assert np.abs(array).max() <= limit
    assert np.abs(array).max() > 0.97 * limit
    assert abs(array.mean()) < 5 * limit / math.sqrt(3 * array.size)
    assert array.std() == pytest.approx(limit / math.sqrt(3), rel=0.1)


@pytest.mark.parametrize("projection", [0, P])
def test_default(projection):
    params = lstm(projection, layers=2)
    initialise(params, np.random.default_rng(0))
    for layer, inputs in (0, I), (1, projection or H):
        recurrent = blocks(params[f"weight_hh_l{layer}"], 4)
        for block in recurrent:
            assert_orthonormal(block)
        assert not np.allclose(recurrent[0], recurrent[1])
        for block in blocks(params[f"weight_ih_l{layer}"], 4):
            assert_uniform(block, math.sqrt(6 / (inputs + H)))
        np.testing.assert_array_equal(
            blocks(params[f"bias_ih_l{layer}"], 4), [[0] * H, [1] * H, [0] * H, [0] * H]
        )
        assert not params[f"bias_hh_l{layer}"].any()
        if projection:
            assert_uniform(params[f"weight_hr_l{layer}"], math.sqrt(6 / (P + H)))


@pytest.mark.parametrize("runner, gates", [(RNN, 1), (GRU, 3), (LSTM, 4)])
def test_runners_start_from_it(runner, gates):
    model = runner(I, H, 2, bidirectional=True, seed=0)
    for suffix in "_l0", "_l0_reverse", "_l1", "_l1_reverse":
        for block in blocks(model.params["weight_hh" + suffix], gates):
            assert_orthonormal(block)
        assert model.params["bias_ih" + suffix].sum() == (H if gates == 4 else 0)
        assert not model.params["bias_hh" + suffix].any()


def test_orthogonal_matrices_prefer_no_direction():
    signs = np.zeros((2, 2))
    rng = np.random.default_rng(0)
    for _ in range(400):
        matrix = np.empty((2, 2))
        fill(matrix, "orthogonal", rng)
        signs += np.sign(matrix)
    assert np.abs(signs).max() < 5 * math.sqrt(400)


@pytest.mark.parametrize("shape", [(1, 1), (3, 7), (7, 3), (5, 5)])
def test_orthogonal_of_any_shape(shape):
    matrix = np.empty(shape)
    fill(matrix, "orthogonal", np.random.default_rng(0))
    assert_orthonormal(matrix)


def test_pytorch():
    params = lstm(P)
    initialise(params, np.random.default_rng(0), "pytorch")
    for array in params.values():
        assert_uniform(array, 1 / math.sqrt(H))


def test_irnn():
    params = {"weight_ih_l0": np.empty((H, I)), "weight_hh_l0": np.empty((H, H)), "bias_ih_l0": np.empty(H)}
    initialise(params, np.random.default_rng(0), "irnn", "RNN")
    np.testing.assert_array_equal(params["weight_hh_l0"], np.eye(H))
    assert params["weight_ih_l0"].std() == pytest.approx(0.001, rel=0.1)
    assert not params["bias_ih_l0"].any()


@pytest.mark.parametrize(
    "how, check",
    [
        ("glorot_uniform", lambda a: assert_uniform(a, math.sqrt(6 / 150))),
        (
            "glorot_normal",
            lambda a: a.std() == pytest.approx(math.sqrt(2 / 150), rel=0.1) or pytest.fail("std"),
        ),
        ("xavier_uniform", lambda a: assert_uniform(a, math.sqrt(6 / 150))),
        ("xavier_normal", lambda a: a.std() == pytest.approx(math.sqrt(2 / 150), rel=0.1) or pytest.fail("std")),
        ("he_uniform", lambda a: assert_uniform(a, math.sqrt(6 / 50))),
        ("kaiming_uniform", lambda a: assert_uniform(a, math.sqrt(6 / 50))),
        ("he_normal", lambda a: a.std() == pytest.approx(math.sqrt(2 / 50), rel=0.1) or pytest.fail("std")),
        ("kaiming_normal", lambda a: a.std() == pytest.approx(math.sqrt(2 / 50), rel=0.1) or pytest.fail("std")),
        ("uniform", lambda a: assert_uniform(a, 0.5)),
        (("uniform", 0.2), lambda a: assert_uniform(a, 0.2)),
        ("normal", lambda a: a.std() == pytest.approx(1, rel=0.1) or pytest.fail("std")),
        (("normal", 0.3), lambda a: a.std() == pytest.approx(0.3, rel=0.1) or pytest.fail("std")),
        ("zeros", lambda a: np.testing.assert_array_equal(a, 0)),
        (("constant", 2.5), lambda a: np.testing.assert_array_equal(a, 2.5)),
        (0.75, lambda a: np.testing.assert_array_equal(a, 0.75)),
        (("identity", 0.5), lambda a: np.testing.assert_array_equal(a, 0.5 * np.eye(100, 50))),
        (
            lambda shape, rng: np.ones(shape) * rng.integers(3, 4),
            lambda a: np.testing.assert_array_equal(a, 3),
        ),
    ],
)
def test_fill(how, check):
    array = np.full((100, 50), np.nan)
    fill(array, how, np.random.default_rng(0), limit=0.5)
    check(array)


def test_choices_by_kind_of_parameter():
    params = lstm()
    initialise(
        params,
        np.random.default_rng(0),
        {"recurrent": "identity", "input": ["constant", 2], "bias": 3, "forget_bias": 5},
    )
    np.testing.assert_array_equal(blocks(params["weight_hh_l0"], 4), [np.eye(H)] * 4)
    assert (params["weight_ih_l0"] == 2).all()
    np.testing.assert_array_equal(blocks(params["bias_ih_l0"], 4)[:, 0], [3, 5, 3, 3])
    np.testing.assert_array_equal(blocks(params["bias_hh_l0"], 4)[:, 0], [3, 0, 3, 3])
    initialise(params, np.random.default_rng(0), {"forget_bias": 0})
    assert not params["bias_ih_l0"].any()


@pytest.mark.parametrize("kind", [LSTM, LSTMCell])
def test_constructors_take_choices(kind):
    model = kind(3, 4, init={"scheme": "pytorch", "recurrent": ["identity", 0.5], "bias": 0.25, "forget_bias": 2.0})
    params = {name.removesuffix("_l0"): p for name, p in model.params.items()}
    np.testing.assert_array_equal(blocks(params["weight_hh"], 4), [0.5 * np.eye(4)] * 4)
    np.testing.assert_array_equal(blocks(params["bias_ih"], 4)[:, 0], [0.25, 2, 0.25, 0.25])
    assert np.abs(params["weight_ih"]).max() <= 0.5
    twin = module_from_config(json.loads(json.dumps(model.config())))
    assert twin.config() == model.config()


TABLE = np.random.default_rng(1).normal(size=(60, 40))
LAYERS = {
    "Linear": lambda **given: Linear(40, 60, seed=3, **given),
    "Embedding": lambda **given: Embedding(60, 40, seed=3, **given),
    "LayerNorm": lambda **given: LayerNorm(2400, seed=3, **given),
}


def is_normal(array, std):
    assert array.std() == pytest.approx(std, rel=0.1) and abs(array.mean()) < 5 * std / math.sqrt(array.size)


@pytest.mark.parametrize("how, check", [
    (("uniform", 0.1), lambda a: assert_uniform(a, 0.1)),
    (["normal", 0.02], lambda a: is_normal(a, 0.02)),
    ("zeros", lambda a: np.testing.assert_array_equal(a, 0)),
    (0.25, lambda a: np.testing.assert_array_equal(a, 0.25)),
    (("constant", -1), lambda a: np.testing.assert_array_equal(a, -1)),
    (lambda shape, rng: rng.random(shape) + 2, lambda a: assert_uniform(a - 2.5, 0.5)),
])
@pytest.mark.parametrize("name", LAYERS)
def test_layers_take_an_initialiser(name, how, check):
    layer = LAYERS[name](init=how)
    check(layer.params["weight"])
    if "bias" in layer.params:
        assert not layer.params["bias"].any()
    twin = LAYERS[name](init=how)
    np.testing.assert_array_equal(twin.params["weight"], layer.params["weight"])


def test_layers_start_as_before():
    np.testing.assert_array_equal(
        LAYERS["Embedding"]().params["weight"],
        np.random.default_rng(3).standard_normal((60, 40)).astype(np.float32))
    expected = np.random.default_rng(3).uniform(-1, 1, (60, 40)) * math.sqrt(6 / 100)
    np.testing.assert_array_equal(LAYERS["Linear"]().params["weight"], expected.astype(np.float32))
    assert (LAYERS["LayerNorm"]().params["weight"] == 1).all() and not LAYERS["LayerNorm"]().params["bias"].any()


@pytest.mark.parametrize("how, check", [
    ("glorot_uniform", lambda a: assert_uniform(a, math.sqrt(6 / 100))),
    ("xavier_normal", lambda a: is_normal(a, math.sqrt(2 / 100))),
    ("he_uniform", lambda a: assert_uniform(a, math.sqrt(6 / 40))),
    ("kaiming_normal", lambda a: is_normal(a, math.sqrt(2 / 40))),
    ("uniform", lambda a: assert_uniform(a, 1 / math.sqrt(40))),
    ("orthogonal", assert_orthonormal),
    (("identity", 0.5), lambda a: np.testing.assert_array_equal(a, 0.5 * np.eye(60, 40))),
    (TABLE, lambda a: np.testing.assert_array_equal(a, TABLE.astype(np.float32))),
])
@pytest.mark.parametrize("name", ["Linear", "Embedding"])
def test_matrices_take_an_initialiser(name, how, check):
    check(LAYERS[name](init={"weight": how}).params["weight"])


def test_weight_and_bias_of_their_own():
    layer = Linear(40, 60, seed=0, init={"weight": ("uniform", 0.1), "bias": ("uniform", 0.2)})
    assert_uniform(layer.params["weight"], 0.1)
    assert np.abs(layer.params["bias"]).max() <= 0.2 and layer.params["bias"].std() > 0.05
    only = Linear(40, 60, seed=0, init={"bias": np.arange(60)})
    np.testing.assert_array_equal(only.params["bias"], np.arange(60))
    np.testing.assert_array_equal(only.params["weight"], Linear(40, 60, seed=0).params["weight"])
    norm = LayerNorm(5, init={"bias": 0.5, "weight": 0})
    assert (norm.params["bias"] == 0.5).all() and not norm.params["weight"].any()


@pytest.mark.parametrize("init", [
    ("uniform", 0.1), {"weight": ("uniform", 0.1), "bias": 0.5}, TABLE, lambda shape, rng: np.ones(shape),
    {"weight": TABLE, "bias": lambda shape, rng: rng.random(shape)}, "orthogonal",
])
def test_how_a_layer_started_is_kept(init, tmp_path):
    layer = Linear(40, 60, seed=0, init=init)
    save(Sequential(layer), tmp_path / "m")
    for copied in load(tmp_path / "m").modules[0], \
            copy.deepcopy(layer), pickle.loads(pickle.dumps(layer)):
        np.testing.assert_array_equal(copied.params["weight"], layer.params["weight"])
        np.testing.assert_array_equal(copied.params["bias"], layer.params["bias"])
        assert copied.config() == json.loads(json.dumps(layer.config())) or copied.config() == layer.config()
    values = init.values() if isinstance(init, dict) else [init]
    if any(callable(value) or isinstance(value, np.ndarray) for value in values):
        with pytest.raises(ValueError, match="expected the array or function that the values once came from"):
            module_from_config(layer.config())
    else:
        module_from_config(json.loads(json.dumps(layer.config())))


def test_an_array_is_copied_and_not_kept():
    table = TABLE.astype(np.float32)
    layer = Embedding(60, 40, init=table)
    table[0] = 7
    assert not (layer.params["weight"] == 7).any() and layer.init == "given"


def test_a_runner_that_began_with_a_function_is_saved(tmp_path):
    runner = LSTM(3, 4, init={"recurrent": lambda shape, rng: np.full(shape, 0.25), "bias": 0.5})
    save(runner, tmp_path / "m")
    loaded = load(tmp_path / "m")
    assert loaded.config()["init"] == {"recurrent": "given", "bias": 0.5}
    for name, p in runner.params.items():
        np.testing.assert_array_equal(loaded.params[name], p)


def test_cells_without_layers_in_their_names():
    params = {
        "weight_ih": np.empty((3 * H, I)),
        "weight_hh": np.empty((3 * H, H)),
        "bias_ih": np.empty(3 * H),
    }
    initialise(params, np.random.default_rng(0), kind="GRU")
    for block in blocks(params["weight_hh"], 3):
        assert_orthonormal(block)
    assert not params["bias_ih"].any()


def test_dtypes_draw_the_same():
    single, double = lstm(), {name: p.astype(np.float64) for name, p in lstm().items()}
    initialise(single, np.random.default_rng(0))
    initialise(double, np.random.default_rng(0))
    for name, p in double.items():
        np.testing.assert_array_equal(single[name], p.astype(np.float32))


BAD = {
    "scheme": (
        lambda: initialise(lstm(), np.random.default_rng(0), "he"),
        r"^init: expected one of default, pytorch, irnn, or a dict; found 'he'$",
    ),
    "of a runner": (lambda: RNN(3, 4, init=["x"]), r"^init: expected one of default, .* found \['x'\]$"),
    "key": (lambda: RNN(3, 4, init={"bais": 1}), r"^init: expected keys among scheme, .* found bais$"),
    "choice": (lambda: GRU(3, 4, init={"input": ["zeros", 1]}), r"^init\['input'\]: .* found \['zeros', 1\]$"),
    "forget bias": (lambda: LSTM(3, 4, init={"forget_bias": math.inf}), r"^init\['forget_bias'\]: expected a finite"),
    "of a layer": (lambda: Linear(3, 4, init="he"), r"^init: expected one of orthogonal, .* found 'he'$"),
    "a layer's key": (lambda: Embedding(3, 4, init={"bias": 0}), r"^init: expected 'default', an .* dict of weight;"),
    "no bias": (lambda: Linear(3, 4, bias=False, init={"bias": 0}), r"^init: .* found \{'bias': 0\}$"),
    "an array's shape": (lambda: Linear(3, 4, init=np.ones((3, 4))), r"^init: expected shape \(4, 3\), found"),
    "a bias's shape": (
        lambda: LayerNorm(4, init={"bias": np.ones(3)}), r"^init\['bias'\]: expected shape \(4,\), found \(3,\)$"),
    "an orthogonal vector": (lambda: LayerNorm(4, init="orthogonal"), r"^init\['weight'\]: expected a matrix for"),
    "given before": (lambda: Linear(3, 4, init="given"), r"^init: expected the array or function"),
    "a limit": (lambda: Linear(3, 4, init=("uniform", math.nan)), r"^init: expected a finite number"),
    "initialiser": (
        lambda: initialise(lstm(), np.random.default_rng(0), {"bias": "ones"}),
        r"^init\['bias'\]: .* found 'ones'$",
    ),
    "orthogonal bias": (
        lambda: fill(np.empty(3), "orthogonal", np.random.default_rng(0)),
        r"^initialiser: expected a matrix for 'orthogonal', found shape \(3,\)$",
    ),
    "identity bias": (
        lambda: fill(np.empty(3), "identity", np.random.default_rng(0)),
        r"^initialiser: expected a matrix for 'identity', found shape \(3,\)$",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_named(name):
    call, message = BAD[name]
    with pytest.raises(ValueError, match=message):
        call()


def test_attention_and_encoder_decoders_take_initialisers(tmp_path):
    attention = Attention("additive", 4, 5, 3, init={"weight_query": ("uniform", 0.1), "score": np.arange(3.0)})
    assert np.abs(attention.params["weight_query"]).max() <= 0.1
    np.testing.assert_array_equal(attention.params["score"], [0, 1, 2])
    assert (Attention("additive", 4, 5, 3, init=0.5).params["score"] == 0.5).all()
    for init in {"weight": 1}, {"score": np.ones(4)}, "what":
        with pytest.raises((ValueError, TypeError), match="init"):
            Attention("additive", 4, 5, 3, init=init)
    init = {"encoder": {"recurrent": ("identity", 0.5)}, "source_embedding": ("uniform", 0.1), "output": 0.25,
            "attention": {"score": np.ones(4)}}
    sizes = {"hidden_size": 4, "embedding_dim": 3, "cell": "rnn"}
    model = Seq2Seq(6, 7, init=init, seed=0, **sizes)
    np.testing.assert_array_equal(model.params["encoder.weight_hh_l0"], np.eye(4) / 2)
    assert 0.05 < np.abs(model.params["source_embedding.weight"]).max() <= 0.1
    assert (model.params["output.weight"] == 0.25).all() and (model.params["attention.score"] == 1).all()
    plain = Seq2Seq(6, 7, seed=0, **sizes)
    assert plain.params["target_embedding.weight"].std() < 1
    save(model, tmp_path / "m.safetensors")
    loaded = load(tmp_path / "m.safetensors")
    np.testing.assert_array_equal(loaded.params["attention.score"], model.params["attention.score"])
    with pytest.raises(ValueError, match=r"init: expected names among source_embedding, encoder, .*; found 'readout'"):
        Seq2Seq(6, 7, init={"readout": 1.0}, **sizes)
    with pytest.raises(TypeError, match="init: expected a dict"):
        Seq2Seq(6, 7, init="uniform", **sizes)
