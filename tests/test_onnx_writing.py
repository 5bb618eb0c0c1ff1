"""`to_onnx`: `onnx.checker` takes every network, and ONNX Runtime and `from_onnx` give its numbers."""

import numpy as np
import pytest

import fastrnn
from fastrnn.models.text import OneHot
from fastrnn.scaling import Rescale, Standardize

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
ACTIVATIONS = ("hard_sigmoid", 0.3, 0.4), ("scaled_tanh", 0.9, 0.8), ("elu", 0.7)
L = fastrnn


def runners():
    yield "rnn", L.RNN(3, 5, 2, bidirectional=True, nonlinearity="relu")
    yield "lstm", L.LSTM(3, 5, 2, bidirectional=True, batch_first=True)
    yield "lstm without bias, backwards", L.LSTM(3, 5, bias=False, direction="reverse")
    yield "lstm with all options", L.LSTM(3, 5, 2, peepholes=True, coupled_gates=True, clip=0.6,
                                          activations=ACTIVATIONS)
    yield "lstm with activations of each direction", L.LSTM(
        3, 5, bidirectional=True, clip=2.0, activations=(("sigmoid", ("affine", 0.5, 0.1), "softsign"), ACTIVATIONS))
    yield "gru", L.GRU(3, 5, 3)
    yield "gru reset before", L.GRU(3, 5, 2, reset_after=False, bidirectional=True, activations=("sigmoid", "softplus"))
    yield "projected", L.LSTM(3, 5, 2, proj_size=2, bidirectional=True)
    yield "projected with options", L.LSTM(3, 5, proj_size=2, peepholes=True, coupled_gates=True, clip=0.5,
                                           activations=ACTIVATIONS)
    yield "normalised lstm", L.LSTM(3, 5, 2, layer_norm=True, bidirectional=True)
    yield "normalised, projected, no bias", L.LSTM(3, 5, layer_norm=True, proj_size=3, bias=False)
    yield "normalised gru", L.GRU(3, 5, 2, layer_norm=True)
    yield "zoneout", L.LSTM(3, 5, 2, zoneout=(0.2, 0.4))
    yield "zoneout gru", L.GRU(3, 5, zoneout=0.3, reset_after=False, bidirectional=True)
    yield "zoneout rnn", L.RNN(3, 5, zoneout=0.3, activations=(("leaky_relu", 0.2),), clip=0.7)
    yield "mingru", L.MinGRU(3, 5, 2, bidirectional=True)
    yield "minlstm", L.MinLSTM(3, 5, 2)
    yield "sru", L.SRU(3, 5, 2, bidirectional=True)
    yield "sru of one width", L.SRU(5, 5, 2)
    yield "qrnn", L.QRNN(3, 5, 2, window=3, bidirectional=True)
    yield "qrnn of one input", L.QRNN(3, 5, 2, window=1)


def networks():
    yield "ids", L.Sequential(L.Embedding(11, 4), L.Dropout(0.5), L.LSTM(4, 5), L.LayerNorm(5), L.LastStep(),
                              L.Linear(5, 3))
    yield "tied", L.Sequential(L.Embedding(11, 4), L.GRU(4, 4), L.ActivationRegularization(1.0), L.Linear(4, 11),
                               tie_embeddings=True)
    yield "both ends", L.Sequential(L.GRU(3, 4, bidirectional=True), L.LastStep(), L.Linear(8, 2, bias=False))
    yield "last of reverse", L.Sequential(L.GRU(3, 4, direction="reverse"), L.LastStep(), batch_first=False)
    yield "mean", L.Sequential(Standardize([0.1, 0.2, 0.3], [1.0, 2.0, 3.0]), L.RNN(3, 4), L.MeanOverTime(),
                               L.Linear(4, 2),
                               Rescale([0.5, 1.0], [2.0, 3.0]))
    yield "two runners", L.Sequential(L.LSTM(3, 4), L.Linear(4, 3), L.ReLU(), L.SRU(3, 3), L.Softmax())
    yield "reverse", L.Sequential(L.GRU(3, 4), L.Reverse(), L.RNN(4, 3))
    yield "residual and concat", L.Sequential(L.Residual(L.Sequential(L.Linear(3, 3), L.Tanh())),
                                              L.Concat(L.GRU(3, 4), L.LSTM(3, 2)), L.LogSoftmax())
    yield "characters", L.CharModel("abcdef", hidden_size=5, num_layers=2, embedding_dim=None)
    yield "one-hot", L.Sequential(OneHot(6), L.GRU(6, 4))
    yield "convolutions", L.Sequential(L.Conv1d(3, 4, 3, padding="causal"), L.ReLU(), L.BatchNorm1d(4),
                                       L.Conv1d(4, 4, 2, padding="same", groups=2, dilation=2, bias=False), L.GRU(4, 3))
    yield "strides and windows", L.Sequential(L.GRU(3, 4), L.Conv1d(4, 6, 3, stride=2, padding=2, groups=2),
                                              L.MaxPool1d(2, 1, padding=1), L.AvgPool1d(2, 1, padding=1),
                                              L.MaxOverTime())
    yield "attention pooling", L.Sequential(L.LSTM(3, 4), L.BatchNorm1d(4, affine=False), L.AttentionPooling(4, 3),
                                            L.Linear(4, 2))
    yield "one linear", L.Linear(3, 4)
    yield "functions", L.Sequential(*(part for function in (
        L.LeakyReLU(0.2), L.ELU(0.7), L.GELU(), L.GELU("tanh"), L.SiLU(), L.Sigmoid(), L.Softplus(2.0, 1.0),
        L.Hardsigmoid())
        for part in (L.Linear(3, 3), function)))


def filled(model, seed=0):
    rng = np.random.default_rng(seed)
    for name, array in model.params.items():
        low = 0.1 if name.endswith("running_var") else -0.6
        array[...] = rng.uniform(low, 0.6, array.shape)
    return model


def sessions(path):
    """The model by ONNX Runtime and by `from_onnx`, as functions of feeds to dicts."""
    onnx.checker.check_model(onnx.load(path), full_check=True)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options, ["CPUExecutionProvider"])
    names = [one.name for one in session.get_outputs()]
    ours = fastrnn.from_onnx(path)
    assert list(ours.outputs) == names
    return {"ONNX Runtime": lambda feeds: dict(zip(names, session.run(None, feeds))), "from_onnx": ours.run}


def close(found, expected, what):
    assert found.shape == expected.shape, what
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5, err_msg=str(what))


def drawn(model, rng, batch, steps):
    shape = (batch, steps) if getattr(model, "batch_first", False) else (steps, batch)
    if model.takes_ids:
        return rng.integers(0, 6, shape)
    width = getattr(model, "input_size", None) or 3
    return rng.standard_normal((*shape, width)).astype("f")


ALL = [*runners(), *networks()]


@pytest.mark.parametrize("with_lengths", [False, True], ids=["full", "lengths"])
@pytest.mark.parametrize("name", [name for name, _ in ALL])
def test_networks_give_the_same_numbers(name, with_lengths, tmp_path):
    model = filled(dict(ALL)[name])
    path = tmp_path / "model.onnx"
    fastrnn.to_onnx(model, path, lengths=with_lengths)
    made = sessions(path)
    rng = np.random.default_rng(1)
    for batch, steps in ((2, 6), (1, 1), (3, 4)):
        x = drawn(model, rng, batch, steps)
        lengths = rng.integers(1, steps + 1, batch) if with_lengths else None
        if with_lengths:
            lengths[0] = steps
        y = model(x, lengths=lengths)
        y = y[0] if model.recurrent else y
        if with_lengths and not model.recurrent and name in ("one linear", "functions"):
            valid = np.arange(steps)[:, None] < lengths if not getattr(model, "batch_first", False) else \
                np.arange(steps) < lengths[:, None]
            y = np.where(valid[..., None], y, 0)
        feeds = {"x": x, **({"lengths": lengths.astype(np.int32)} if with_lengths else {})}
        for system, run in made.items():
            close(run(feeds)["y"], y, (system, batch, steps))


def can_stream(model):
    try:
        model.stream(1)
    except (TypeError, ValueError):
        return False
    return model.recurrent


@pytest.mark.parametrize("name", [name for name, model in ALL if can_stream(model)])
def test_states_go_in_and_out_and_pair_in_a_stream(name, tmp_path):
    model = filled(dict(ALL)[name])
    path = tmp_path / "model.onnx"
    fastrnn.to_onnx(model, path, states=True)
    made = sessions(path)
    stream = fastrnn.from_onnx(path).stream(2)
    assert all(one.endswith("_in") and stream.states[one] == f"{one[:-3]}_out" for one in stream.states)
    rng, state = np.random.default_rng(2), None
    kept = dict.fromkeys(made, stream.state)
    for _ in range(4):
        x = drawn(model, rng, 2, 3)
        y, state = model(x, state)
        close(stream.step({"x": x})["y"], y, "stream")
        for system, run in made.items():
            found = run({"x": x, **kept[system]})
            close(found.pop("y"), y, system)
            kept[system] = {one: found[other] for one, other in stream.states.items()}


@pytest.mark.parametrize("cell", [
    L.RNNCell(3, 4), L.LSTMCell(3, 4), L.LSTMCell(3, 4, peepholes=True, clip=0.5), L.LSTMCell(3, 4, layer_norm=True),
    L.GRUCell(3, 4), L.GRUCell(3, 4, reset_after=False, zoneout=0.2), L.GRUCell(3, 4, layer_norm=True, bias=False),
], ids=str)  # fmt: skip
def test_cells(cell, tmp_path):
    filled(cell)
    fastrnn.to_onnx(cell, tmp_path / "cell.onnx")
    rng = np.random.default_rng(3)
    x, *state = (rng.standard_normal((2, n)).astype("f") for n in (3, *[4] * len(cell._state)))
    new = cell(x, tuple(state) if len(state) > 1 else state[0])
    new = new if isinstance(new, tuple) else (new,)
    for system, run in sessions(tmp_path / "cell.onnx").items():
        found = run({"x": x, **{f"{part}_in": one for part, one in zip(cell._state, state)}})
        for part, one in zip(cell._state, new):
            close(found[f"{part}_out"], one, (system, part))


SEQ2SEQ = [
    {}, {"cell": "lstm", "num_layers": 2, "attention": "general", "readout_size": 3}, {"attention": None,
                                                                                       "cell": "rnn"},
    {"attention": "dot", "encoder_size": 3, "hidden_size": 6}, {"attention": "additive", "attention_at": "output"},
    {"attention": "general", "attention_at": "input", "bidirectional": False, "embedding_dim": None},
    {"source": "features", "attention": "additive", "attention_size": 2},
]  # fmt: skip


@pytest.mark.parametrize("options", SEQ2SEQ, ids=str)
def test_encoder_and_decoder_steps_make_the_logits_of_a_seq2seq(options, tmp_path):
    model = filled(L.Seq2Seq(7, 8, **{"embedding_dim": 3, "hidden_size": 4, **options}), 4)
    rng = np.random.default_rng(5)
    lengths = np.array([5, 2, 4])
    x = rng.integers(0, 7, (3, 5)) if model.source == "ids" else rng.standard_normal((3, 5, 7)).astype("f")
    target = [np.array([2, 3, 4])] * 3
    expected = model(x, lengths, target=target).reshape(3, 4, 8)
    for part in ("encoder", "decoder"):
        fastrnn.to_onnx(model, tmp_path / f"{part}.onnx", part=part)
    encoders, decoders = sessions(tmp_path / "encoder.onnx"), sessions(tmp_path / "decoder.onnx")
    for system, encode in encoders.items():
        memory = encode({"x": x, "lengths": lengths.astype(np.int32)})
        state = {f"{name}_in": memory.pop(name) for name in ("h", "c") if name in memory}
        memory = {**memory, "lengths": lengths.astype(np.int32)} if memory else {}
        for k, fed in enumerate((model.bos, 2, 3, 4)):
            found = decoders[system]({"id": np.full(3, fed), **state, **memory})
            close(found["logits"], expected[:, k], (system, k))
            state = {name: found[f"{name[:-3]}_out"] for name in state}
            if memory:
                np.testing.assert_allclose(found["weights"].sum(1), 1, atol=1e-6)
                assert (found["weights"][1, 2:] == 0).all()


def test_weights_keep_their_bits(tmp_path):
    for name, model in ALL:
        path = tmp_path / "model.onnx"
        fastrnn.to_onnx(filled(model), path)
        found = {one.name: onnx.numpy_helper.to_array(one) for one in onnx.load(path).graph.initializer}
        layers = fastrnn.onnx_layers(path)
        stacked = [array for runner in layers.values() for array in runner.params.values()]
        assert layers or name in ("one linear", "functions") or any(key.endswith("_l0") for key in found), name
        for key, array in model.params.items():
            if key.endswith("num_batches_tracked"):
                continue
            known = [found[key]] if key in found else stacked
            assert any(np.array_equal(array, one) for one in known), (name, key)


def test_a_runner_comes_back_with_its_options(tmp_path):
    for name, model in runners():
        filled(model)
        fastrnn.to_onnx(model, tmp_path / "model.onnx")
        layers = list(fastrnn.onnx_layers(tmp_path / "model.onnx").values())
        if not layers:
            continue
        x = np.random.default_rng(6).standard_normal((5, 2, 3)).astype("f")
        y = x
        for layer in layers:
            y = layer(y)[0]
        expected = model(x.swapaxes(0, 1))[0].swapaxes(0, 1) if model.batch_first else model(x)[0]
        np.testing.assert_allclose(y, expected, atol=1e-6, err_msg=name)


def test_float64_models_are_written_in_float64(tmp_path):
    model = filled(L.Sequential(L.Linear(3, 4, dtype="float64"), L.LSTM(4, 5, dtype="float64")))
    fastrnn.to_onnx(model, tmp_path / "model.onnx")
    onnx.checker.check_model(onnx.load(tmp_path / "model.onnx"), full_check=True)
    x = np.random.default_rng(0).standard_normal((2, 4, 3))
    np.testing.assert_allclose(fastrnn.from_onnx(tmp_path / "model.onnx").run({"x": x})["y"], model(x)[0], rtol=1e-12)


class Own(L.Module):
    def __init__(self):
        super().__init__()


@pytest.mark.parametrize(("model", "options", "error", "message"), [
    (Own(), {}, TypeError, "model: expected modules that ONNX graphs can be made of, found Own"),
    (3, {}, TypeError, "model: expected a fastrnn module, found int"),
    (L.GRU(3, 4, bidirectional=True), {"states": True}, ValueError, "states: expected False for a runner that reads "
                                                                    "backwards"),
    (L.Linear(3, 4), {"states": True}, ValueError, "states: expected False for a network without a state"),
    (L.Linear(3, 4), {"part": "encoder"}, ValueError, "part: expected None for a Linear, found 'encoder'"),
    (L.Seq2Seq(3, 4), {}, ValueError, "part: expected 'encoder' or 'decoder' for a Seq2Seq, found None"),
    (L.LSTMCell(3, 4), {"states": True}, ValueError, "states, lengths: expected False for a LSTMCell"),
    (L.Sequential(L.Conv1d(3, 4, 2), L.GRU(4, 4)), {"states": True}, ValueError, "states: expected False with Conv1d"),
    (L.BatchNorm1d(3, track_running_stats=False), {}, ValueError, "expected BatchNorm1d with track_running_stats=True"),
    (L.Sequential(L.Inputs(a=L.GRU(3, 4), b=L.GRU(2, 4))), {}, TypeError, "found Inputs at 0"),
    (L.GRU(3, 4), {"lengths": 1}, TypeError, "lengths: expected True or False, found 1"),
    (L.Sequential(L.GRU(3, 4), L.Flatten()), {"lengths": True}, ValueError, "lengths: expected False with Flatten"),
    (L.QRNN(3, 4, window=2), {"lengths": True, "states": True}, ValueError, "lengths: expected False with the states "
                                                                            "of a QRNN"),
])  # fmt: skip
def test_what_cannot_be_written_is_refused_and_nothing_is_written(model, options, error, message, tmp_path):
    with pytest.raises(error, match=message):
        fastrnn.to_onnx(model, tmp_path / "model.onnx", **options)
    assert not list(tmp_path.iterdir())


def test_masks_are_not_left_out_silently(tmp_path):
    model = fastrnn.MaskedSequential(fastrnn.Embedding(5, 3, seed=0), fastrnn.GRU(3, 4, seed=1))
    with pytest.raises(ValueError, match="lengths: expected True for a MaskedSequential"):
        fastrnn.to_onnx(model, tmp_path / "model.onnx")
    fastrnn.to_onnx(model, tmp_path / "model.onnx", lengths=True)
    ids = np.array([[1, 2, 3], [4, 1, 0]])
    found = fastrnn.from_onnx(tmp_path / "model.onnx").run({"x": ids, "lengths": np.array([3, 2], np.int32)})
    np.testing.assert_allclose(found["y"], model(ids)[0], atol=1e-6)
