"""Weights with few bits: products against exact integers, bits, files, what is refused."""

import copy
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_bits import KINDS, threads

import fastrnn
from fastrnn.engine.runtime import _kernels
from fastrnn.nn.fewbits import FORMATS, restored
from fastrnn.threads import available_cpus


def instructions():
    """(instruction set, instructions for few bits) of this processor."""
    before, found = _kernels.isa(), []
    for isa in _kernels.available_isas():
        _kernels.use_isa(isa)
        found += [(isa, dot) for dot in _kernels.available_dots()]
    _kernels.use_isa(before)
    return found


@pytest.fixture(params=instructions(), ids="-".join)
def instruction(request):
    before = _kernels.isa()
    _kernels.use_isa(request.param[0])
    _kernels.use_dots(request.param[1])
    assert request.param[1] in _kernels.dots().values()
    yield request.param
    _kernels.use_isa(before)


def linear(w, weight_format, bias=None):
    """A quantized Linear with this weight."""
    layer = fastrnn.Linear(w.shape[1], w.shape[0], bias=bias is not None)
    layer.params["weight"] = w
    if bias is not None:
        layer.params["bias"] = bias
    return layer.quantize(weight_format)


@pytest.mark.parametrize("rows", [1, 2, 3, 7, 13, 60])
@pytest.mark.parametrize("inner", [1, 3, 4, 17, 64, 1023, 1024, 1030, 2500])
@pytest.mark.parametrize("extreme", [False, True])
def test_int8_products_are_exact_sums_of_integers(instruction, rows, inner, extreme):
    """With a largest value of 127 the scales are 1, and the result is the integer itself."""
    rng = np.random.default_rng(inner * 100 + rows)
    columns = int(rng.integers(1, 70))
    # all extremes: where pairs are added in 16 bits they would not fit
    w, x = (np.where(rng.random((n, inner)) < 0.5, 127, -127) if extreme else rng.integers(-127, 128, (n, inner))
            for n in (columns, rows))
    if extreme:
        x[0] = w[0]
    for start in range(0, inner, 1024):     # a row has one scale for so many values
        x[:, start] = w[:, start] = 127
    w, x = w.astype(np.float32), x.astype(np.float32)
    layer = linear(w, "int8")
    np.testing.assert_array_equal(layer.params["weight"], w)
    np.testing.assert_array_equal(layer.params["weight_scale"], np.float32(1))
    exact = x.astype(np.int64) @ w.astype(np.int64).T
    if np.abs(exact).max() < 2**24:
        np.testing.assert_array_equal(layer(x), exact)
    np.testing.assert_allclose(layer(x), exact, rtol=2e-7)


@pytest.mark.parametrize("rows", [1, 2, 3, 7, 13, 60])
@pytest.mark.parametrize("inner", [1, 2, 3, 33, 511, 512, 1025, 5000])
def test_bf16_products_of_small_integers_are_exact(instruction, rows, inner):
    rng = np.random.default_rng(inner * 100 + rows)
    w, x, bias = (rng.integers(-9, 10, shape).astype(np.float32) for shape in ((51, inner), (rows, inner), (51,)))
    layer = linear(w, "bf16", bias)
    np.testing.assert_array_equal(restored(layer.params["weight"], None), w)
    np.testing.assert_array_equal(layer(x), x @ w.T + bias)


@pytest.mark.parametrize("weight_format", FORMATS)
def test_products_are_as_near_as_the_format_allows(instruction, weight_format):
    rng = np.random.default_rng(5)
    w, x = (rng.standard_normal(shape).astype(np.float32) for shape in ((90, 300), (40, 300)))
    y = linear(w, weight_format)(x)
    exact = x.astype(float) @ w.T.astype(float)
    step = 1 / 256 if weight_format == "bf16" else np.abs(w).max() / 127
    assert np.abs(y - exact).max() < 6 * step * np.sqrt(300)
    assert np.abs(y - exact).max() > 0     # the format was in use


def test_bfloat16_is_rounded_to_the_nearest_even():
    bits = np.array([[0x3F808000, 0x3F818000, 0x3F808001, 0x3F807FFF, 0xBF818000, 0x00000000]], np.uint32)
    layer = linear(bits.view(np.float32), "bf16")
    assert [hex(h) for h in layer.params["weight"][0]] == ["0x3f80", "0x3f82", "0x3f81", "0x3f80", "0xbf82", "0x0"]


@pytest.mark.parametrize("weight_format", FORMATS)
def test_rows_that_are_not_finite_say_so(instruction, weight_format):
    rng = np.random.default_rng(1)
    layer = linear(rng.standard_normal((40, 20)).astype(np.float32), weight_format)
    x = rng.standard_normal((9, 20)).astype(np.float32)
    good = layer(x)
    x[3, 5], x[4, 7], x[5, 19] = np.nan, np.inf, -np.inf
    y = layer(x)
    assert not np.isfinite(y[3:6]).any() and np.isnan(y[3]).all()
    kept = [k for k in range(9) if k not in (3, 4, 5)]
    np.testing.assert_array_equal(y[kept], good[kept])
    np.testing.assert_array_equal(layer(np.zeros((3, 20), np.float32)), 0)
    assert np.abs(layer(np.full((3, 20), 1e-38, np.float32))).max() < 1e-35


sizes = st.one_of(st.sampled_from([1, 4, 8, 15, 16, 17, 32, 33, 63, 65]), st.integers(1, 70))


@pytest.mark.parametrize("weight_format", FORMATS)
@pytest.mark.parametrize("kind", KINDS)
@given(st.data())
def test_bits_do_not_depend_on_what_a_sequence_is_served_with(kind, weight_format, data):
    cls, options = KINDS[kind]
    hidden = data.draw(sizes)
    if "proj_size" in options:
        hidden += options["proj_size"]
    seed, layers = data.draw(st.integers(0, 2**32)), data.draw(st.integers(1, 2))
    bidirectional = data.draw(st.booleans())
    rng = np.random.default_rng(seed)
    rnn = cls(data.draw(sizes), hidden, layers, seed=seed, bidirectional=bidirectional, **options).quantize(
        weight_format)
    lengths = data.draw(st.lists(st.integers(1, 12), min_size=1, max_size=20))
    xs = [rng.standard_normal((n, rnn.input_size)).astype(np.float32) * rng.choice([0.1, 1, 30]) for n in lengths]
    with threads(1):
        alone = [rnn(x)[0] for x in xs]
    with threads(data.draw(st.sampled_from([1, 2, 3]))):
        ragged = rnn(xs)[0]
        padded = np.zeros((max(lengths), len(xs), rnn.input_size), np.float32)
        for k, x in enumerate(xs):
            padded[: len(x), k] = x
        batch = rnn(padded, lengths=lengths)[0]
    for k, y in enumerate(alone):
        np.testing.assert_array_equal(ragged[k], y)
        np.testing.assert_array_equal(batch[: lengths[k], k], y)
    if not bidirectional:
        stream = rnn.stream()
        np.testing.assert_array_equal([stream.step(step) for step in xs[0]], alone[0])


@pytest.mark.parametrize("weight_format", FORMATS)
@pytest.mark.parametrize("hidden", [500, 513])
def test_a_team_gives_the_bits_of_one_thread(weight_format, hidden):
    rnn = fastrnn.LSTM(64, hidden, seed=2).quantize(weight_format)
    x = np.random.default_rng(0).standard_normal((30, 1, 64)).astype(np.float32)
    with threads(1):
        alone = rnn(x)[0]
    for count in (2, 3):
        with threads(count):
            if count <= available_cpus():
                assert rnn._engine.plan(1, 30)[1] == count
            np.testing.assert_array_equal(rnn(x)[0], alone)


def networks():
    runner = fastrnn.LSTM(6, 9, seed=1)
    return {
        "lstm": (runner, np.ones((5, 2, 6), np.float32)),
        "cell": (fastrnn.GRUCell(6, 9, seed=1), np.ones((2, 6), np.float32)),
        "projected": (fastrnn.LSTM(6, 9, 2, proj_size=4, bidirectional=True, seed=1), np.ones((5, 2, 6), np.float32)),
        "dropped": (fastrnn.LSTM(6, 9, weight_dropout=0.5, recurrent_dropout=0.2, seed=1),
                    np.ones((5, 2, 6), np.float32)),
        "normalised": (fastrnn.GRU(6, 9, layer_norm=True, seed=1), np.ones((5, 2, 6), np.float32)),
        "sru": (fastrnn.SRU(6, 6, 2, seed=1), np.ones((5, 2, 6), np.float32)),
        "qrnn": (fastrnn.QRNN(6, 9, window=2, seed=1), np.ones((5, 2, 6), np.float32)),
        "network": (fastrnn.Sequential(fastrnn.Embedding(7, 6, seed=1), fastrnn.GRU(6, 9, seed=2), fastrnn.LastStep(),
                                       fastrnn.LayerNorm(9), fastrnn.Linear(9, 4, seed=3)), np.array([[1, 2, 6]])),
        "tied": (fastrnn.Sequential(fastrnn.Embedding(7, 9, seed=1), fastrnn.LSTM(9, 9, seed=2),
                                    fastrnn.Linear(9, 7, seed=3), tie_embeddings=True), np.array([[1, 2, 6]])),
        "characters": (fastrnn.CharModel("abcd", hidden_size=16, embedding_dim=8, seed=1), np.array([[1, 2, 3]])),
    }


def first(result):
    return first(result[0]) if isinstance(result, tuple) else result


@pytest.mark.parametrize("weight_format", FORMATS)
@pytest.mark.parametrize("name", networks())
def test_copies_and_files_are_the_same_model(name, weight_format, tmp_path):
    model, x = networks()[name]
    made = fastrnn.quantize(model, weight_format)
    y, exact = first(made(x)), first(model(x))
    assert type(made) is type(model) and 0 < np.abs(y - exact).max() < 0.05
    fastrnn.save(made, tmp_path / "a")
    for other in (fastrnn.load(tmp_path / "a"), copy.deepcopy(made), pickle.loads(pickle.dumps(made))):
        np.testing.assert_array_equal(first(other(x)), y)
        assert other.params.keys() == made.params.keys() and other.config() == made.config()
        assert {p.dtype for p in other.params.values()} == {p.dtype for p in made.params.values()}
    dtype = np.int8 if weight_format == "int8" else np.uint16
    assert any(p.dtype == dtype for p in made.params.values())
    np.testing.assert_array_equal(first(model(x)), exact)   # the model itself is as it was


def test_files_take_the_bits_that_they_name(tmp_path):
    rnn = fastrnn.LSTM(200, 200, seed=1)
    bytes_of = {}
    for weight_format in ("float", *FORMATS):
        made = rnn if weight_format == "float" else rnn.quantize(weight_format)
        fastrnn.save(made, tmp_path / weight_format)
        bytes_of[weight_format] = (tmp_path / weight_format).stat().st_size
    assert bytes_of["float"] / bytes_of["int8"] > 3.8
    assert bytes_of["float"] / bytes_of["bf16"] > 1.95


@pytest.mark.parametrize("weight_format", FORMATS)
def test_a_translator_decodes_with_few_bits(weight_format, tmp_path):
    model = fastrnn.Seq2Seq(11, 12, hidden_size=24, embedding_dim=16, seed=4)
    made = fastrnn.quantize(model, weight_format)
    sources = [np.array([2, 3, 4]), np.array([5, 6])]
    fastrnn.save(made, tmp_path / "a")
    target = [np.array([3, 4]), np.array([5])]
    y, exact = made(sources, target=target), model(sources, target=target)
    np.testing.assert_array_equal(fastrnn.load(tmp_path / "a")(sources, target=target), y)
    assert 0 < np.abs(y - exact).max() < 0.05
    found = [[(one.score, list(one.labels)) for best in each.translate(sources, beam_size=2) for one in best]
             for each in (made, fastrnn.load(tmp_path / "a"))]
    assert found[0] == found[1]


@pytest.mark.parametrize("weight_format", FORMATS)
def test_weights_written_in_place_are_seen(weight_format):
    made = fastrnn.GRU(5, 6, seed=1).quantize(weight_format)
    x = np.ones((3, 1, 5), np.float32)
    before = made(x)[0]
    made.params["weight_ih_l0"][...] = 0
    zeroed = made(x)[0]
    assert not np.array_equal(before, zeroed)
    made.load_state_dict(fastrnn.GRU(5, 6, seed=1).quantize(weight_format).state_dict())
    np.testing.assert_array_equal(made(x)[0], before)


@pytest.mark.parametrize("weight_format", FORMATS)
def test_any_stored_bits_are_served_without_harm(instruction, weight_format):
    """A file may hold -128, scales that are no scales, NaN and infinities."""
    rng = np.random.default_rng(3)
    made = fastrnn.LSTM(9, 17, seed=1).quantize(weight_format)
    for p in made.params.values():
        p.view(np.uint8)[...] = rng.integers(0, 256, p.view(np.uint8).shape)
    made(np.ones((4, 3, 9), np.float32))
    made = fastrnn.Linear(4, 3).quantize("int8")
    made.params["weight"][...], made.params["weight_scale"][...] = -128, 1
    np.testing.assert_allclose(made(np.ones((2, 4), np.float32)), -512, rtol=1e-6)


@pytest.mark.parametrize("name", networks())
def test_training_is_refused(name):
    model, x = networks()[name]
    made = fastrnn.quantize(model, "int8")
    with pytest.raises(TypeError, match=r"^module: expected float weights to train, found int8 ones of a \w+"):
        made.forward(x)


def test_what_cannot_be_quantized_is_refused():
    rnn = fastrnn.LSTM(3, 4)
    with pytest.raises(ValueError, match=r"^weight_format: expected one of 'int8', 'bf16'"):
        fastrnn.quantize(rnn, "int4")
    with pytest.raises(TypeError, match=r"^model: expected a fastrnn module, found int"):
        fastrnn.quantize(3, "int8")
    with pytest.raises(ValueError, match=r"^model: expected float weights, found int8 ones"):
        rnn.quantize("int8").quantize("bf16")
    with pytest.raises(ValueError, match=r"^model: expected float32 weights, found float64 in weight_ih_l0"):
        fastrnn.LSTM(3, 4, dtype="float64").quantize("int8")
    with pytest.raises(ValueError, match=r"^model: expected recurrent layers, Linear or Embedding inside"):
        fastrnn.quantize(fastrnn.LayerNorm(3), "int8")
    rnn.params["weight_hh_l0"][0, 0] = np.nan
    with pytest.raises(ValueError, match=r"^w: expected finite weights, found NaN or infinity"):
        rnn.quantize("bf16")


def test_floats_are_not_taken_for_stored_weights():
    made, rnn = fastrnn.LSTM(3, 4, seed=1).quantize("int8"), fastrnn.LSTM(3, 4, seed=1)
    with pytest.raises(ValueError, match=r"^state_dict: expected exactly the module's parameters, found missing"):
        made.load_state_dict(rnn.state_dict())
    state = {**made.state_dict(), "weight_ih_l0": rnn.params["weight_ih_l0"]}
    with pytest.raises(TypeError, match=r"weight_ih_l0'\]: expected weights as they are stored, int8, found float32"):
        made.load_state_dict(state)


@pytest.mark.parametrize("value", ["float", "int4", 3, None, ["int8"]])
def test_a_description_with_another_format_is_refused(value):
    from fastrnn.nn.module import module_from_config
    config = {**fastrnn.LSTM(3, 4).config(), "weight_format": value}
    if value is None:
        assert module_from_config(config).weight_format == "float"
    else:
        with pytest.raises((ValueError, TypeError), match=r"^weight_format: expected"):
            module_from_config(config)


@pytest.mark.parametrize("write", [
    fastrnn.to_onnx, lambda model, _: fastrnn.to_torch(model), lambda model, _: fastrnn.to_keras(model)])
def test_other_systems_get_no_stored_weights(write, tmp_path):
    with pytest.raises(ValueError, match=r"^model: expected float weights to write, found int8 ones"):
        write(fastrnn.Sequential(fastrnn.GRU(3, 4), fastrnn.Linear(4, 2)).quantize("int8"), tmp_path / "a")
    assert not (tmp_path / "a").exists()
