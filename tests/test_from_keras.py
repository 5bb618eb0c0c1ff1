"""Models of Keras in and out: golden files of Keras' own, files of earlier versions made here, live models."""

import io
import json
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest

import fastrnn
from fastrnn.nn.directions import MergeDirections
from fastrnn.nn.masked import MaskedSequential

h5py = pytest.importorskip("h5py")
GOLDEN = Path(__file__).parent / "golden"
CLOSE = {"rtol": 0, "atol": 1e-5}


@pytest.fixture(scope="module")
def golden():
    with np.load(GOLDEN / "keras.npz") as found:
        return dict(found)


def test_a_file_of_a_model(golden):
    model = fastrnn.from_keras(GOLDEN / "keras_stack.h5")
    assert [type(one).__name__ for one in model.modules] == ["LSTM", "GRU", "Reverse", "Linear", "Softplus"]
    assert model.modules[0].activation_functions == (("hard_sigmoid", 1 / 6, 0.5), "tanh", "tanh")
    assert model.modules[1].direction == "reverse"
    np.testing.assert_allclose(model(golden["x"])[0], golden["stack.y"], **CLOSE)


def test_an_archive_of_a_model_that_masks(golden, tmp_path):
    model = fastrnn.from_keras(GOLDEN / "keras_net.keras", sample_inputs=golden["ids"],
                               expected_outputs=golden["net.y"])
    assert isinstance(model, MaskedSequential) and model.mask_value == 0 and model.verification.worst_error < 1e-5
    assert [one.reset_after for one in model.modules if isinstance(one, fastrnn.GRU)] == [False, True]
    fastrnn.save(model, tmp_path / "model.safetensors")
    again = fastrnn.load(tmp_path / "model.safetensors")
    np.testing.assert_array_equal(again(golden["ids"])[0], model(golden["ids"])[0])
    # masked steps anywhere: as if they were not there
    moved = np.array([[0, 1, 4, 0, 8, 2], [2, 2, 7, 3, 1, 1], [0, 0, 0, 0, 0, 3]])
    np.testing.assert_allclose(model(moved)[0], golden["net.y"], **CLOSE)


# Files as Keras 2 wrote them


def old_file(path, layers, version="2.2.4", model=True, weights_only_config=None):
    """An .h5 file: layers are (class, config, {name: array})."""
    with h5py.File(path, "w") as file:
        file.attrs["keras_version"] = version.encode()
        group = file
        if model:
            described = [{"class_name": kind, "config": config} for kind, config, _ in layers]
            file.attrs["model_config"] = json.dumps({"class_name": "Sequential", "config": described}).encode()
            group = file.create_group("model_weights")
            group.attrs["keras_version"] = version.encode()
        group.attrs["layer_names"] = [config["name"].encode() for _, config, _ in layers]
        for _, config, arrays in layers:
            one = group.create_group(config["name"])
            one.attrs["weight_names"] = [f"{config['name']}/{name}:0".encode() for name in arrays]
            for name, array in arrays.items():
                one[f"{config['name']}/{name}:0"] = array
    return path


def drawn(rng, kind, width, hidden, bias=None):
    gates = {"SimpleRNN": 1, "LSTM": 4, "GRU": 3}[kind.removeprefix("CuDNN")]
    bias = (gates * hidden,) if bias is None else bias
    return {"kernel": rng.normal(0, 0.5, (width, gates * hidden)).astype("f"),
            "recurrent_kernel": rng.normal(0, 0.5, (hidden, gates * hidden)).astype("f"),
            "bias": rng.normal(0, 0.5, bias).astype("f")}


def hard(a):
    return np.clip(0.2 * a + 0.5, 0, 1)


def lstm_equations(x, kernel, recurrent_kernel, bias, gate=hard):
    """Keras' LSTM, step by step: gates i, f, c, o."""
    h = c = np.zeros((len(x), len(recurrent_kernel)))
    found = []
    for step in np.moveaxis(x, 1, 0):
        i, f, g, o = np.split(step @ kernel + h @ recurrent_kernel + bias, 4, axis=1)
        c = gate(f) * c + gate(i) * np.tanh(g)
        h = gate(o) * np.tanh(c)
        found.append(h)
    return np.stack(found, 1)


def gru_equations(x, kernel, recurrent_kernel, bias, after, gate=hard):
    """Keras' GRU, step by step: gates z, r, h."""
    h = np.zeros((len(x), len(recurrent_kernel)))
    first, second = bias if bias.ndim == 2 else (bias, np.zeros_like(bias))
    found = []
    for step in np.moveaxis(x, 1, 0):
        xz, xr, xh = np.split(step @ kernel + first, 3, axis=1)
        uz, ur, uh = np.split(recurrent_kernel, 3, axis=1)
        bz, br, bh = np.split(second, 3)
        z, r = gate(xz + h @ uz + bz), gate(xr + h @ ur + br)
        n = np.tanh(xh + r * (h @ uh + bh)) if after else np.tanh(xh + (r * h) @ uh)
        h = z * h + (1 - z) * n
        found.append(h)
    return np.stack(found, 1)


def sigmoid(a):
    return 1 / (1 + np.exp(-a))


def test_hard_sigmoid_is_that_of_the_version(golden, tmp_path):
    rng = np.random.default_rng(1)
    weights = drawn(rng, "LSTM", 5, 3)
    config = {"name": "a", "units": 3, "return_sequences": True, "recurrent_activation": "hard_sigmoid"}
    for version, slope in ("2.2.4", 0.2), ("2.15.0", 0.2), ("3.0.0", 1 / 6):
        path = old_file(tmp_path / "a.h5", [("LSTM", config, weights)], version)
        model = fastrnn.from_keras(path)
        wanted = lstm_equations(golden["x"], **weights, gate=lambda a, k=slope: np.clip(k * a + 0.5, 0, 1))
        np.testing.assert_allclose(model(golden["x"])[0], wanted, **CLOSE)
    with h5py.File(path, "r+") as file:
        del file.attrs["keras_version"], file["model_weights"].attrs["keras_version"]
    with pytest.raises(ValueError, match=r"a \(LSTM\)\.recurrent_activation: hard_sigmoid is 0\.2x .* tells its vers"):
        fastrnn.from_keras(path)


def in_cudnn_layout(weights, gates):
    """The same layer in cuDNN's layout: each gate's matrix transposed, the inputs' read by columns."""
    kernel, recurrent = (np.split(weights[name], gates, axis=1) for name in ("kernel", "recurrent_kernel"))
    return {"kernel": np.hstack([one.T.reshape(one.shape) for one in kernel]),
            "recurrent_kernel": np.hstack([one.T for one in recurrent])}


@pytest.mark.parametrize("kind", ["CuDNNLSTM", "LSTM"])
def test_lstm_of_cudnn(golden, tmp_path, kind):
    rng = np.random.default_rng(2)
    weights = drawn(rng, "LSTM", 5, 3)
    bias = rng.normal(0, 0.5, (2, 12)).astype("f")
    kept = {**in_cudnn_layout(weights, 4), "bias": bias.reshape(-1)}
    config = {"name": "a", "units": 3, "return_sequences": True}
    if kind == "LSTM":
        config["recurrent_activation"] = "sigmoid"
    model = fastrnn.from_keras(old_file(tmp_path / "a.h5", [(kind, config, kept)]))
    wanted = lstm_equations(golden["x"], weights["kernel"], weights["recurrent_kernel"], bias.sum(0), sigmoid)
    np.testing.assert_allclose(model(golden["x"])[0], wanted, **CLOSE)
    # both biases are kept, in our order of gates
    np.testing.assert_array_equal(model.params["0.bias_ih_l0"], bias[0])
    np.testing.assert_array_equal(model.params["0.bias_hh_l0"], bias[1])


@pytest.mark.parametrize("kind, shape, after", [
    ("CuDNNGRU", (18,), True), ("GRU", (18,), True), ("GRU", (2, 9), True), ("GRU", (9,), False)])
def test_gru_keeps_its_second_bias_apart(golden, tmp_path, kind, shape, after):
    rng = np.random.default_rng(3)
    weights = drawn(rng, "GRU", 5, 3, shape)
    bias = weights["bias"].reshape(2, 9) if after else weights["bias"]
    kept = {**in_cudnn_layout(weights, 3), "bias": weights["bias"]} if shape == (18,) else weights
    config = {"name": "a", "units": 3, "return_sequences": True}
    if kind == "GRU":
        config |= {"recurrent_activation": "sigmoid"} | ({"reset_after": after} if shape == (2, 9) else {})
    model = fastrnn.from_keras(old_file(tmp_path / "a.h5", [(kind, config, kept)]))
    wanted = gru_equations(golden["x"], weights["kernel"], weights["recurrent_kernel"], bias, after, sigmoid)
    np.testing.assert_allclose(model(golden["x"])[0], wanted, **CLOSE)
    assert model.modules[0].reset_after is after
    if shape == (2, 9):
        config["reset_after"] = False
        with pytest.raises(ValueError, match="reset_after: expected True with two biases, found False"):
            fastrnn.from_keras(old_file(tmp_path / "a.h5", [(kind, config, kept)]))


def test_files_of_weights_alone(golden, tmp_path):
    rng = np.random.default_rng(4)
    layers = [("LSTM", {"name": "lstm_1"}, drawn(rng, "LSTM", 5, 3)),
              ("GRU", {"name": "gru_1"}, drawn(rng, "GRU", 3, 2)),
              ("Dense", {"name": "dense_1"}, {"kernel": rng.normal(size=(2, 4)).astype("f")})]
    path = old_file(tmp_path / "w.h5", layers, model=False)
    with pytest.warns(UserWarning, match=r"w\.h5: took Keras' own activations for lstm_1, gru_1, dense_1.*config="):
        parts = fastrnn.from_keras(path)
    y = parts["lstm_1"](golden["x"])[0]
    np.testing.assert_allclose(y, lstm_equations(golden["x"], **layers[0][2]), **CLOSE)
    np.testing.assert_allclose(parts["gru_1"](y)[0], gru_equations(y, **layers[1][2], after=False), **CLOSE)
    described = {"class_name": "Sequential", "config": {"name": "m", "layers": [
        {"class_name": "LSTM", "config": {"name": "x", "units": 3, "recurrent_activation": "sigmoid",
                                          "return_sequences": True}},
        {"class_name": "Dropout", "config": {"name": "d", "rate": 0.5}},
        {"class_name": "GRU", "config": {"name": "y", "units": 2, "recurrent_activation": "sigmoid"}},
        {"class_name": "Dense", "config": {"name": "z", "units": 4, "use_bias": False}}]}}
    (tmp_path / "m.json").write_text(json.dumps(described))
    outputs = []
    for config in described, json.dumps(described), tmp_path / "m.json", described["config"]["layers"]:
        outputs.append(fastrnn.from_keras(path, config=config)(golden["x"])[0])
    h = lstm_equations(golden["x"], **layers[0][2], gate=sigmoid)
    h = gru_equations(h, **layers[1][2], after=False, gate=sigmoid)[:, -1]
    for y in outputs:
        np.testing.assert_allclose(y, h @ layers[2][2]["kernel"], **CLOSE)
    described["config"]["layers"].pop()
    with pytest.raises(ValueError, match="expected weights of the layers x, d, y; found those of lstm_1, gru_1, dense"):
        fastrnn.from_keras(path, config=described)
    path = old_file(tmp_path / "w.h5", layers[:1], version="?", model=False)
    with pytest.raises(ValueError, match="lstm_1: expected a file that tells Keras' version"):
        fastrnn.from_keras(path)


@pytest.mark.parametrize("layer, message", [
    (("Lambda", {"name": "a"}, {}), r"a \(Lambda\): expected one of"),
    (("LSTM", {"name": "a", "units": 4}, None), "expected weights of 4 units, found 3"),
    (("LSTM", {"name": "a", "units": 3, "activation": "selu"}, None), r"activation: expected one of .*found selu"),
    (("LSTM", {"name": "a", "units": 3, "time_major": True}, None), "time_major: expected False, found True"),
    (("LSTM", {"name": "a", "units": 3, "use_bias": False}, None), "expected 2 weights, found 3"),
    (("GRU", {"name": "a", "units": 3}, None), "expected kernels of 3 gates"),
    (("Dense", {"name": "a", "units": 3, "activation": "hard_sigmoid"}, {"kernel": np.ones((5, 3), "f"),
      "bias": np.ones(3, "f")}), "Keras 3's hard_sigmoid; found hard_sigmoid"),
    (("Dense", {"name": "a", "units": 2}, {"kernel": np.ones((5, 3), "f"), "bias": np.ones(3, "f")}), "of 2 units"),
    (("Dense", {"name": "a", "units": 3, "activation": {"class_name": "LeakyReLU", "config": {}}},
      {"kernel": np.ones((5, 3), "f"), "bias": np.ones(3, "f")}), "found LeakyReLU"),
    (("Dense", {"name": "a", "units": 3, "dtype": "int8_from_float32"}, {"kernel": np.ones((5, 3), "f")}), "dtype"),
    (("Embedding", {"name": "a", "input_dim": 5, "output_dim": 4}, {"embeddings": np.ones((5, 3), "f")}),
     r"expected a table of shape \(5, 4\), found \(5, 3\)"),
    (("TimeDistributed", {"name": "a", "layer": {"class_name": "LSTM", "config": {}}}, {}), "found LSTM"),
    (("Bidirectional", {"name": "a", "merge_mode": "max", "layer": {"class_name": "LSTM", "config": {"units": 3}}},
      {f"{way}/{name}": array for way in "fb"
       for name, array in drawn(np.random.default_rng(0), "LSTM", 5, 3).items()}), "merge_mode"),
    (("Softmax", {"name": "a", "axis": 1}, {}), "axis: expected -1, found 1"),
    (("ReLU", {"name": "a", "max_value": 6.0}, {}), "max_value: expected None, found 6"),
    (("LSTM", {"name": "a", "units": "3"}, None), "units: expected an int"),
    (("LSTM", {"name": "a", "units": 3, "return_sequences": "yes"}, None), "return_sequences: expected true or false"),
    (("LSTM", {"name": "a", "units": 3, "activation": ["tanh"]}, None), "expected the name of an activation"),
    (("InputLayer", {"name": "a"}, {}), "expected a layer that computes"),
])  # fmt: skip
def test_what_would_give_other_numbers_is_refused(tmp_path, layer, message):
    kind, config, arrays = layer
    arrays = drawn(np.random.default_rng(0), "LSTM", 5, 3) if arrays is None else arrays
    path = old_file(tmp_path / "a.h5", [(kind, config, arrays)])
    with pytest.raises(ValueError, match=message) as caught:
        fastrnn.from_keras(path)
    assert "a.h5: expected a model of Keras" in str(caught.value)


def test_masks_that_cannot_be_followed_are_refused(tmp_path):
    rng = np.random.default_rng(5)
    table = ("Embedding", {"name": "e", "input_dim": 5, "output_dim": 5, "mask_zero": True},
             {"embeddings": rng.normal(size=(5, 5)).astype("f")})
    back = ("LSTM", {"name": "l", "units": 3, "go_backwards": True, "return_sequences": True},
            drawn(rng, "LSTM", 5, 3))
    with pytest.raises(ValueError, match=r"l \(LSTM\): expected no mask before it"):
        fastrnn.from_keras(old_file(tmp_path / "a.h5", [table, back]))
    late = [("Dense", {"name": "d", "units": 5, "use_bias": False}, {"kernel": np.eye(5, dtype="f")}),
            ("Masking", {"name": "m", "mask_value": 0.0}, {})]
    with pytest.raises(ValueError, match=r"m \(Masking\): expected masks of a model's input alone"):
        fastrnn.from_keras(old_file(tmp_path / "a.h5", late))


def functional(layers, **ends):
    config = {"name": "m", "layers": layers, "input_layers": [["in", 0, 0]], "output_layers": [["b", 0, 0]], **ends}
    return {"class_name": "Model", "config": config}


def test_graphs_that_are_no_chain_are_refused(tmp_path):
    rng = np.random.default_rng(6)
    dense = {"kernel": rng.normal(size=(5, 5)).astype("f")}
    path = old_file(tmp_path / "w.h5", [("Dense", {"name": name}, dense) for name in "ab"], model=False)

    def layer(name, *sources, kind="Dense"):
        config = {"name": name, "units": 5, "use_bias": False} if kind == "Dense" else {"name": name}
        calls = [[[source, 0, 0, {}] for source in sources]] if sources else []
        return {"class_name": kind, "name": name, "config": config, "inbound_nodes": calls}

    start = layer("in", kind="InputLayer")
    x = rng.normal(size=(2, 5)).astype("f")
    model = fastrnn.from_keras(path, config=functional([layer("b", "a"), start, layer("a", "in")]))
    np.testing.assert_allclose(model(x), x @ dense["kernel"] @ dense["kernel"], **CLOSE)
    twice = layer("b", "a")
    twice["inbound_nodes"] *= 2
    cases = [([start, layer("a", "in"), layer("b", "a", "in")], "expected one input, the output of another"),
             ([start, layer("a", "in"), layer("b", "in")], "found others beside them: a"),
             ([start, layer("a", "b"), layer("b", "a")], "a circle"),
             ([start, layer("a", "in"), twice], "called once, found one with 2 calls"),
             ([start, layer("a", "in"), layer("b", "c")], "expected one input, the output of another layer; found 'c'"),
             ([start, layer("a", "in"), layer("a", "in")], "expected a name of its own")]
    for layers, message in cases:
        with pytest.raises(ValueError, match=message):
            fastrnn.from_keras(path, config=functional(layers))
    with pytest.raises(ValueError, match="expected one input and one output, found 1 and 2"):
        fastrnn.from_keras(path, config=functional([start, layer("a", "in"), layer("b", "a")],
                                                   output_layers=[["a", 0, 0], ["b", 0, 0]]))


# Files that are made to harm


def test_links_and_datasets_elsewhere_are_refused(tmp_path):
    secret = tmp_path / "secret.h5"
    with h5py.File(secret, "w") as file:
        file["kernel"] = np.ones((5, 3), "f")
    config = {"name": "a", "units": 3, "use_bias": False}

    def forged(name, put):
        path = old_file(tmp_path / "a.h5", [("Dense", config, {"kernel": np.ones((5, 3), "f")})])
        with h5py.File(path, "r+") as file:
            group = file["model_weights/a/a"]
            del group["kernel:0"]
            put(group)
        with pytest.raises(ValueError, match=rf"a\.h5: .*{name}"):
            fastrnn.from_keras(path)

    forged("found a link", lambda group: group.__setitem__("kernel:0", h5py.ExternalLink(secret, "kernel")))
    forged("found a link", lambda group: group.__setitem__("kernel:0", h5py.SoftLink("/model_weights")))
    layout = h5py.VirtualLayout((5, 3), "f")
    layout[:] = h5py.VirtualSource(str(secret), "kernel", (5, 3))
    forged("that lie in the file", lambda group: group.create_virtual_dataset("kernel:0", layout))
    forged("that lie in the file", lambda group: group.create_dataset("kernel:0", (5, 3), "f", external=[
        (str(secret), 0, 60)]))
    forged("that the file has bytes for", lambda group: group.create_dataset("kernel:0", (2**20, 2**20), "f",
                                                                             chunks=(64, 64)))
    forged("that the file has bytes for", lambda group: group.create_dataset("kernel:0", (2**20, 2**20), "f"))
    forged("larger ones", lambda group: group.create_dataset("kernel:0", (2**20, 2**6), "f", chunks=(2**20, 2**6)))
    forged("that lie in the file", lambda group: group.create_dataset("kernel:0", (5, 3), "i"))
    forged("that lie in the file", lambda group: group.create_dataset("kernel:0", data=b"text"))
    forged("expected weights, found none", lambda group: group.create_group("kernel:0"))
    forged("expected weights, found none", lambda group: None)


@pytest.mark.parametrize("name", ["keras_stack.h5", "keras_net.keras"])
def test_files_of_keras_that_are_cut_or_changed(tmp_path, name):
    good = (GOLDEN / name).read_bytes()
    rng = np.random.default_rng(7)
    path = tmp_path / name
    for turn in range(40):
        data = bytearray(good)
        if turn % 2:
            data = data[: int(rng.integers(len(data)))]
        else:
            for at in rng.integers(len(data), size=3):
                data[at] = rng.integers(256)
        path.write_bytes(data)
        try:
            fastrnn.from_keras(path)
        except ValueError as error:
            assert name in str(error)


def test_archives_with_other_members(tmp_path):
    path = tmp_path / "a.keras"

    def refused(message, **members):
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w") as archive:
            for member, data in members.items():
                archive.writestr(member.replace("_", ".", 1) if member != "weights" else "model.weights.h5", data)
        path.write_bytes(file.getvalue())
        with pytest.raises(ValueError, match=message):
            fastrnn.from_keras(path)

    refused("expected a member config.json", metadata_json="{}")
    refused("expected a member metadata.json", config_json="{}")
    refused("expected the description of a model", metadata_json="{}", config_json="{}")
    refused("inside each other", metadata_json="{}", config_json="[" * 100_000)
    refused("expected a member model.weights.h5", metadata_json="{}",
            config_json=json.dumps({"class_name": "Sequential", "config": {"layers": []}}))
    refused("a damaged HDF5 file", metadata_json="{}", weights="x",
            config_json=json.dumps({"class_name": "Sequential", "config": {"layers": []}}))
    refused("of Keras' own", metadata_json="{}", weights="x", config_json=json.dumps(
        {"class_name": "Sequential", "registered_name": "Evil>Sequential", "config": {"layers": []}}))


def test_arguments():
    with pytest.raises(FileNotFoundError, match=r"none\.h5: no such file"):
        fastrnn.from_keras("none.h5")
    with pytest.raises(TypeError, match="path: expected a str or path-like, found int"):
        fastrnn.from_keras(3)
    with pytest.raises(ValueError, match="file, found one that begins with"):
        fastrnn.from_keras(__file__)
    with pytest.raises(TypeError, match="config: expected a dict, a text or a path"):
        fastrnn.from_keras(GOLDEN / "keras_stack.h5", config=3)


# Live models, where Keras is installed


@pytest.fixture(scope="module")
def keras():
    os.environ.setdefault("KERAS_BACKEND", "torch")
    pytest.importorskip("torch" if os.environ["KERAS_BACKEND"] == "torch" else "keras")
    return pytest.importorskip("keras")


def cases(keras):
    layers = keras.layers
    bi = layers.Bidirectional
    yield "x", [layers.LSTM(4, return_sequences=True), layers.LSTM(3, use_bias=False)]
    yield "x", [layers.GRU(4, return_sequences=True), layers.GRU(3, reset_after=False)]
    yield "x", [layers.SimpleRNN(4, "relu", return_sequences=True), layers.SimpleRNN(3, "linear", go_backwards=True)]
    yield "x", [layers.LSTM(4, "elu", "hard_sigmoid", return_sequences=True), layers.GRU(3, "softsign", "linear")]
    yield "x", [layers.LSTM(4, go_backwards=True, return_sequences=True), layers.GRU(3, go_backwards=True)]
    for mode in "concat", "sum", "mul", "ave":
        yield "x", [bi(layers.GRU(4, return_sequences=True), merge_mode=mode), layers.Dense(2, "softmax")]
        yield "x", [bi(layers.LSTM(4), merge_mode=mode), layers.Dense(2, "silu")]
    yield "x", [layers.RNN(layers.StackedRNNCells([layers.LSTMCell(4), layers.GRUCell(3)]), return_sequences=True)]
    yield "x", [layers.TimeDistributed(layers.Dense(4, "gelu")), layers.LayerNormalization(), layers.Dropout(0.3),
                layers.LeakyReLU(), layers.ELU(0.7), layers.Activation("tanh"), layers.Flatten(), layers.Dense(2)]
    yield "x", [keras.Sequential([layers.LSTM(4, return_sequences=True), layers.Dense(3)]), layers.GRU(3)]
    yield "x", [layers.Conv1D(4, 3, padding="causal", dilation_rate=2, activation="relu"), layers.BatchNormalization(),
                layers.Conv1D(6, 2, padding="same", groups=2), layers.MaxPooling1D(2), layers.GRU(3)]
    yield "x", [layers.Conv1D(4, 2, strides=2, use_bias=False), layers.AveragePooling1D(2, 1),
                layers.GlobalMaxPooling1D()]
    yield "ids", [layers.Embedding(9, 4), layers.GRU(3, return_sequences=True), layers.GlobalAveragePooling1D()]
    yield "ids", [layers.Embedding(9, 4, mask_zero=True), layers.GRU(3, return_sequences=True), layers.LSTM(2)]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("as_graph", [False, True])
def test_live_models_and_their_files(keras, golden, tmp_path, as_graph):
    rng = np.random.default_rng(8)
    for name, layers in cases(keras):
        inputs = keras.Input(golden[name].shape[1:], dtype="int32" if name == "ids" else "float32")
        if as_graph:
            h = inputs
            for layer in layers:
                h = layer(h)
            model = keras.Model(inputs, h)
        else:
            model = keras.Sequential([inputs, *layers])
        for weight in model.weights:
            drawn = rng.normal(0, 0.5, weight.shape).astype("f")
            weight.assign(np.abs(drawn) + 0.1 if "variance" in weight.path else drawn)
        wanted = model.predict(golden[name], verbose=0)
        model.save(tmp_path / "m.keras")
        model.save(tmp_path / "m.h5")
        model.save_weights(tmp_path / "m.weights.h5")
        sources = [(model, {}), (tmp_path / "m.h5", {}), (tmp_path / "m.weights.h5", {"config": model.to_json()})]
        sources.append((tmp_path / "m.keras", {}))
        mixed = type(layers[0]) is keras.layers.RNN    # stacked cells of two kinds, whose order Keras 3's files lose
        if mixed:
            for source, options in sources[2:]:
                with pytest.raises(ValueError, match="stacked cells of one kind"):
                    fastrnn.from_keras(source, **options)
        for source, options in sources[:2 if mixed else None]:
            found = fastrnn.from_keras(source, **options)(golden[name])
            found = found[0] if isinstance(found, tuple) else found
            np.testing.assert_allclose(found, wanted, **CLOSE)
        if type(layers[0]) is keras.layers.GRU:
            alone = fastrnn.from_keras(layers[0])
            assert [type(one) for one in alone.modules] == [fastrnn.GRU]


# The modules that they need


def test_merged_directions():
    x = np.array([[1.0, -2.0, 3.0, 5.0]])
    for mode, wanted in ("sum", [[4, 3]]), ("mul", [[3, -10]]), ("ave", [[2, 1.5]]):
        layer = MergeDirections(mode)
        y, _, tape = layer.forward(x)
        np.testing.assert_array_equal(y, wanted)
        dy = np.array([[2.0, 7.0]])
        dx, _ = layer.backward(tape, dy)
        for k in range(4):
            step = np.zeros_like(x)
            step[0, k] = 1e-6
            slope = ((layer(x + step) - layer(x - step)) / 2e-6 * dy).sum()
            np.testing.assert_allclose(dx[0, k], slope, rtol=1e-6)
    with pytest.raises(ValueError, match="x: expected an even number of features"):
        layer(x[:, :3])
    with pytest.raises(ValueError, match="mode: expected"):
        MergeDirections("max")


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize("mode", ["concat", "sum", None])
def test_bidirectional_around_stacked_cells_has_a_stack_for_each_direction(tmp_path, mode, whole):
    rng = np.random.default_rng(13)
    sizes = (3, 5), (5, 4)
    cells = [{"class_name": "LSTMCell", "config": {"name": f"cell{k}", "units": n,
                                                   "recurrent_activation": "hard_sigmoid"}}
             for k, (_, n) in enumerate(sizes)]
    stack = {"class_name": "StackedRNNCells", "config": {"name": "cells", "cells": cells}}
    held = [drawn(rng, "LSTM", *one) for one in sizes * 2]
    config = {"name": "both", "merge_mode": mode, "layer": {
        "class_name": "RNN", "config": {"name": "rnn", "cell": stack, "return_sequences": whole}}}
    weights = {f"{k}/{name}": one for k, own in enumerate(held) for name, one in own.items()}
    model = fastrnn.from_keras(old_file(tmp_path / "a.h5", [("Bidirectional", config, weights)], "2.11.0"))
    x = rng.normal(size=(2, 7, 3))
    ways = []
    for own, steps in (held[:2], x), (held[2:], x[:, ::-1]):
        h = lstm_equations(lstm_equations(steps, **own[0]), **own[1])
        ways.append(h[:, -1] if not whole else h if steps is x else h[:, ::-1])
    wanted = ways[0] + ways[1] if mode == "sum" else np.concatenate(ways, -1)
    np.testing.assert_allclose(model(x.astype("f"))[0], wanted, **CLOSE)


@pytest.mark.parametrize("kind", ["layer", "cell"])
def test_bidirectional_around_a_cell_is_that_around_its_layer(tmp_path, kind):
    rng = np.random.default_rng(14)
    held = [drawn(rng, "GRU", 3, 4, (2, 12)) for _ in range(2)]
    own = {"name": "own", "units": 4, "reset_after": True, "recurrent_activation": "hard_sigmoid"}
    inner = {"class_name": "GRU", "config": own} if kind == "layer" else {
        "class_name": "RNN", "config": {"name": "rnn", "cell": {"class_name": "GRUCell", "config": own}}}
    weights = {f"{k}/{name}": one for k, one_way in enumerate(held) for name, one in one_way.items()}
    model = fastrnn.from_keras(old_file(tmp_path / "a.h5", [
        ("Bidirectional", {"name": "both", "layer": inner}, weights)], "2.11.0"))
    x = rng.normal(size=(2, 7, 3))
    wanted = [gru_equations(steps, *own.values(), True)[:, -1] for own, steps in zip(held, (x, x[:, ::-1]))]
    np.testing.assert_allclose(model(x.astype("f"))[0], np.concatenate(wanted, -1), **CLOSE)


def masked_steps(rng, mask_value=-1.0):
    """x (4, 6, 3) with masked steps anywhere, and which steps are valid."""
    x = rng.normal(size=(4, 6, 3))
    valid = rng.random((4, 6)) < 0.6
    valid[0], valid[1], valid[2, :2] = True, False, False
    x[~valid] = mask_value
    return x, valid


@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize(("kind", "fill"), [("forward", "last"), ("forward", "zeros"), ("bidirectional", "zeros"),
                                            ("none", "zeros")])
def test_masked_steps_get_the_outputs_that_keras_layers_give_them(kind, fill, batch_first):
    rng = np.random.default_rng(10)
    x, valid = masked_steps(rng)
    first = [] if kind == "none" else [fastrnn.GRU(3, 4, dtype="float64", seed=1, bidirectional=kind != "forward")]
    width = {"none": 3, "forward": 4, "bidirectional": 8}[kind]
    last = [fastrnn.Linear(width, 2, dtype="float64", seed=2, init={"bias": 0.3}), fastrnn.Tanh()]
    model = MaskedSequential(*first, *last, mask_value=-1.0, fill=fill, batch_first=batch_first)
    turned = (lambda a: a) if batch_first else (lambda a: a.swapaxes(0, 1))

    def wanted(x):
        h = np.zeros((4, 6, width))
        for row, steps, own in zip(h, valid, x):
            row[steps] = first[0](own[steps][None] if batch_first else own[steps][:, None])[0].reshape(-1, width) \
                if first else own[steps]
            for t in range(6):
                if not steps[t] and fill == "last" and t:
                    row[t] = row[t - 1]
        return np.tanh(h @ last[0].params["weight"].T + last[0].params["bias"])

    y, _, tape = model.forward(turned(x))
    np.testing.assert_allclose(turned(y), wanted(x), atol=1e-12)
    found = model(turned(x))
    np.testing.assert_array_equal(found[0] if first else found, y)
    assert np.abs(turned(y)[~valid]).min() > 0
    dy = rng.normal(size=y.shape)
    model.zero_grad()
    dx, _ = model.backward(tape, dy)
    assert not turned(dx)[~valid].any()
    for at in np.argwhere(valid)[::3]:
        moved = []
        for step in 1e-6, -1e-6:
            other = x.copy()
            other[(*at, 1)] += step
            moved.append((wanted(other) * turned(dy)).sum())
        np.testing.assert_allclose(turned(dx)[(*at, 1)], (moved[0] - moved[1]) / 2e-6, atol=1e-8)
    h = turned(dy) * (1 - wanted(x) ** 2)
    np.testing.assert_allclose(last[0].grads["bias"], h.sum((0, 1)), atol=1e-12)
    again = MaskedSequential.from_config({key: value for key, value in model.config().items() if key != "type"})
    assert again.fill == fill


@pytest.mark.parametrize("around", [False, True])
def test_a_layer_that_masks_repeats_its_output_and_a_bidirectional_one_gives_zeros(tmp_path, around):
    rng = np.random.default_rng(12)
    kept = drawn(rng, "LSTM", 3, 4)
    lstm = {"name": "lstm", "units": 4, "return_sequences": True, "recurrent_activation": "hard_sigmoid"}
    own = kept
    if around:
        own = {**{f"forward/{name}": one for name, one in kept.items()},
               **{f"backward/{name}": one for name, one in kept.items()}}
    layer = ("Bidirectional", {"name": "both", "layer": {"class_name": "LSTM", "config": lstm}}, own) if around else \
        ("LSTM", lstm, kept)
    dense = {"kernel": rng.normal(size=(8 if around else 4, 2)).astype("f"), "bias": np.array([0.5, -1], "f")}
    model = fastrnn.from_keras(old_file(tmp_path / "a.h5", [
        ("Masking", {"name": "masking", "mask_value": 0.0}, {}), layer,
        ("Dense", {"name": "dense", "units": 2}, dense)], "2.11.0"))
    x = rng.normal(size=(1, 6, 3)).astype("f")
    x[0, [0, 3, 5]] = 0
    h = lstm_equations(x[:, [1, 2, 4]], **kept)[0]
    if around:
        backward = lstm_equations(x[:, [4, 2, 1]], **kept)[0, ::-1]
        h, steps = np.concatenate([h, backward], 1), [None, 0, 1, None, 2, None]
    else:
        steps = [None, 0, 1, 1, 2, 2]
    h = np.stack([np.zeros(h.shape[1]) if k is None else h[k] for k in steps])
    np.testing.assert_allclose(model(x)[0][0], h @ dense["kernel"] + dense["bias"], **CLOSE)


def test_what_fill_may_be():
    for fill, modules, message in (
        ("none", [fastrnn.GRU(3, 4)], "fill: expected .*last.*found 'none'"),
        ("last", [fastrnn.GRU(3, 4, bidirectional=True)], "runner that reads forward, found 'last' with GRU"),
        ("last", [fastrnn.GRU(3, 4, direction="reverse")], "found 'last' with GRU"),
        ("last", [fastrnn.Linear(3, 4)], "found 'last' with none"),
    ):
        with pytest.raises(ValueError, match=message):
            MaskedSequential(*modules, fill=fill)


@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("pooled", [True, False])
def test_masked_networks_are_as_their_valid_steps_alone(batch_first, pooled):
    rng = np.random.default_rng(9)

    def network(cls, **options):
        end = [fastrnn.LastStep()] if pooled else []
        return cls(fastrnn.GRU(3, 4, bidirectional=True, dtype="float64", seed=1), *end,
                   fastrnn.Linear(8, 2, dtype="float64", seed=2), batch_first=batch_first, **options)

    masked, plain = network(MaskedSequential, mask_value=-1.0), network(fastrnn.Sequential)
    x = rng.normal(size=(4, 6, 3))
    x[..., 0][rng.random((4, 6)) < 0.2] = -1    # not masked: not all features are
    valid = rng.random((4, 6)) < 0.6
    valid[0], valid[1] = True, False
    x[~valid] = -1
    given = x if batch_first else x.swapaxes(0, 1)
    y, _, tape = masked.forward(given)
    np.testing.assert_array_equal(y, masked(given)[0])
    rows = y if pooled or batch_first else y.swapaxes(0, 1)
    dy = rng.normal(size=y.shape)
    dx, _ = masked.backward(tape, dy)
    dx = dx if batch_first else dx.swapaxes(0, 1)
    dys = dy if pooled or batch_first else dy.swapaxes(0, 1)
    assert not dx[~valid].any()
    for k in (0, 2, 3):
        own = x[k, valid[k]][None] if batch_first else x[k, valid[k]][:, None]
        alone, _, one = plain.forward(own)
        found = rows[k] if pooled else rows[k, valid[k]]
        np.testing.assert_allclose(found, alone.reshape(found.shape), atol=1e-12)
        wanted = dys[k] if pooled else dys[k, valid[k]]
        ours, _ = plain.backward(one, wanted.reshape(alone.shape))
        np.testing.assert_allclose(dx[k, valid[k]], ours.reshape(-1, 3), atol=1e-12)
    if not pooled:
        assert not rows[~valid].any()
    for name, grad in masked.grads.items():
        if not (pooled and name.startswith("2")):   # the output of a sequence without steps counts, too
            np.testing.assert_allclose(grad, plain.grads[name], atol=1e-12)
    again = MaskedSequential.from_config({key: value for key, value in masked.config().items() if key != "type"})
    assert again.mask_value == -1.0 and again.batch_first is batch_first
