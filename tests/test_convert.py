"""`fastrnn convert` and the weights for Keras."""

from pathlib import Path

import numpy as np
import pytest
from test_from_keras import drawn, old_file

import fastrnn
from fastrnn.cli import main
from fastrnn.formats.pytorch.writer import write_torch

GOLDEN = Path(__file__).parent / "golden"


def converted(capsys, *arguments):
    code = main(["convert", *map(str, arguments)])
    found = capsys.readouterr()
    return code, found.out, found.err


@pytest.mark.parametrize("ending", [".pt", ".npz", ".safetensors"])
def test_parts_go_to_every_kind_and_back(tmp_path, capsys, ending):
    first, second = tmp_path / f"a{ending}", tmp_path / "b.npz"
    code, out, _ = converted(capsys, GOLDEN / "torch_checkpoint.pt", first, "--key", "model_state")
    assert code == 0 and "embedding Embedding, lstm LSTM, head.0 Linear; 236 parameters" in out
    code, out, err = converted(capsys, first, second)
    assert code == 0, err
    wanted = fastrnn.from_torch(GOLDEN / "torch_net.pt")
    with np.load(second) as found:
        assert len(found) == 7
        for name in "embedding", "lstm":
            for own, array in wanted[name].params.items():
                np.testing.assert_array_equal(found[f"{name}.{own}"], array)


def test_a_network_is_saved_with_its_structure(tmp_path, capsys):
    pytest.importorskip("h5py")
    with np.load(GOLDEN / "keras.npz") as golden:
        x, y = golden["x"], golden["stack.y"]
    code, out, _ = converted(capsys, GOLDEN / "keras_stack.h5", tmp_path / "m.safetensors")
    assert code == 0 and "Sequential; 265 parameters" in out
    model = fastrnn.load(tmp_path / "m.safetensors")
    np.testing.assert_allclose(model(x)[0], y, atol=1e-5)
    code, _, err = converted(capsys, tmp_path / "m.safetensors", tmp_path / "m.pt")
    assert code == 2 and "LSTM: expected activations=None, all that torch.nn has" in err
    assert not (tmp_path / "m.pt").exists()


def test_onnx_in_and_out(tmp_path, capsys):
    model = fastrnn.GRU(3, 4, init="pytorch", seed=0)
    write_torch(tmp_path / "a.pt", model.state_dict())
    code, _, err = converted(capsys, tmp_path / "a.pt", tmp_path / "a.onnx")
    assert code == 0, err
    code, out, err = converted(capsys, tmp_path / "a.onnx", tmp_path / "b.safetensors")
    assert code == 0 and "GRU; 108 parameters" in out, err
    found = fastrnn.from_torch(tmp_path / "b.safetensors")
    for name, array in model.params.items():
        np.testing.assert_array_equal(found.params[name], array)
    write_torch(tmp_path / "c.pt", {f"{way}.{name}": array for way in "ab" for name, array in model.params.items()})
    code, _, err = converted(capsys, tmp_path / "c.pt", tmp_path / "c.onnx")
    assert code == 2 and "OUT: expected a kind for parts" in err and not (tmp_path / "c.onnx").exists()


def test_what_cannot_be_converted_is_one_line(tmp_path, capsys):
    write_torch(tmp_path / "a.pt", fastrnn.GRU(3, 4).state_dict())
    cases = [
        (("a.pt", "b.h5"), "OUT: expected a file that ends in .pt, .pth, .safetensors, .npz, .onnx; found"),
        (("a.txt", "b.pt"), "IN: expected a file that ends in"), (("none.pt", "b.npz"), "none.pt: no such file"),
        (("a.pt", "b.npz", "--config", "c.json"), "--config: expected with .h5, .hdf5, .keras, found .pt"),
        (("a.pt", "b.npz", "--key", "model"), "key: expected an entry of the file"),
        (("a.npz", "b.pt", "--verify"), "--verify: expected a file of .pt, .pth, .h5"),
    ]  # fmt: skip
    np.savez(tmp_path / "a.npz", **fastrnn.GRU(3, 4).state_dict())
    for (source, target, *options), message in cases:
        code, out, err = converted(capsys, tmp_path / source, tmp_path / target, *options)
        assert code == 2 and message in err and err.count("\n") == 1 and not out
        assert not (tmp_path / target).exists()


def test_verify_asks_pytorch(tmp_path, capsys):
    pytest.importorskip("torch")
    model = {"lstm": fastrnn.LSTM(3, 4, 2, proj_size=2, seed=0), "cell": fastrnn.GRUCell(3, 4, seed=1),
             "embedding": fastrnn.Embedding(5, 3, seed=2), "fc": fastrnn.Linear(3, 2, dtype="float64", seed=3)}
    state = {f"{name}.{own}": array for name, part in model.items() for own, array in part.params.items()}
    write_torch(tmp_path / "a.pt", state)
    code, out, err = converted(capsys, tmp_path / "a.pt", tmp_path / "b.pt", "--verify")
    assert code == 0, err
    assert "values beside PyTorch" in out and "the same parameters, bit for bit" in out
    code, _, err = converted(capsys, GOLDEN / "torch_net.pt", tmp_path / "c.pt", "--verify")
    assert code == 2 and "cannot be read by PyTorch without running what is in it" in err
    assert not (tmp_path / "c.pt").exists()


def test_verify_asks_keras(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    pytest.importorskip("torch")
    pytest.importorskip("keras")
    for name in "keras_stack.h5", "keras_net.keras":
        code, out, err = converted(capsys, GOLDEN / name, tmp_path / "m.safetensors", "--verify")
        assert code == 0, err
        assert "beside Keras" in out


# to_keras


@pytest.mark.parametrize("kind, bias", [("LSTM", None), ("GRU", (2, 9)), ("GRU", None), ("SimpleRNN", None)])
def test_weights_of_keras_come_back_bit_for_bit(tmp_path, kind, bias):
    pytest.importorskip("h5py")
    rng = np.random.default_rng(0)
    weights = [drawn(rng, kind, 5, 3, bias), drawn(rng, kind, 5, 3, bias)]
    inner = {"class_name": kind, "config": {"name": "l", "units": 3, "return_sequences": True}}
    both = {f"{way}/{name}": array for way, own in zip("fb", weights) for name, array in own.items()}
    dense = {"kernel": rng.normal(size=(6, 2)).astype("f"), "bias": rng.normal(size=2).astype("f")}
    layers = [("Bidirectional", {"name": "a", "layer": inner}, both), ("Dense", {"name": "d", "units": 2}, dense)]
    model = fastrnn.from_keras(old_file(tmp_path / "a.h5", layers))
    found = fastrnn.to_keras(model)
    wanted = [*both.values(), *dense.values()]
    assert len(found) == len(wanted)
    for ours, theirs in zip(found, wanted):
        np.testing.assert_array_equal(ours, theirs)
        assert ours.dtype == np.float32 and ours.flags.c_contiguous


def test_biases_are_added_where_keras_has_one():
    model = fastrnn.LSTM(3, 4, 2, init="pytorch", seed=0)
    found = fastrnn.to_keras(model)
    assert [array.shape for array in found] == [(3, 16), (4, 16), (16,), (4, 16), (4, 16), (16,)]
    np.testing.assert_array_equal(found[2], model.params["bias_ih_l0"] + model.params["bias_hh_l0"])
    gru = fastrnn.GRUCell(3, 4, init="pytorch", seed=0)
    kernel, _, bias = fastrnn.to_keras(gru)
    r, z, n = np.split(gru.params["weight_ih"], 3)
    np.testing.assert_array_equal(kernel, np.concatenate([z, r, n]).T)     # Keras' order is z, r, h
    np.testing.assert_array_equal(bias[1][4:8], gru.params["bias_hh"][:4])


def test_to_keras_names_what_keras_lacks():
    cases = {
        "proj_size=0": fastrnn.LSTM(3, 4, proj_size=2), "layer_norm=False": fastrnn.LSTM(3, 4, layer_norm=True),
        "peepholes=False": fastrnn.LSTMCell(3, 4, peepholes=True), "clip=None": fastrnn.RNN(3, 4, clip=1.0),
        "zoneout=0": fastrnn.GRU(3, 4, zoneout=0.5), "found SRU": fastrnn.Sequential(fastrnn.SRU(3, 4)),
        "tie_embeddings": fastrnn.Sequential(fastrnn.Embedding(5, 3), fastrnn.Linear(3, 5), tie_embeddings=True),
    }  # fmt: skip
    for message, model in cases.items():
        with pytest.raises(ValueError, match=message):
            fastrnn.to_keras(model)
    with pytest.raises(TypeError, match="model: expected a fastrnn module, found list"):
        fastrnn.to_keras([])


def test_keras_loads_the_weights(monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    pytest.importorskip("torch")
    keras = pytest.importorskip("keras")
    layers = keras.layers
    model = fastrnn.Sequential(fastrnn.Embedding(7, 5, seed=0), fastrnn.GRU(5, 4, 2, bidirectional=True, init="pytorch",
                               seed=1), fastrnn.LSTM(8, 3, init="pytorch", seed=2), fastrnn.LayerNorm(3, 1e-3),
                               fastrnn.LastStep(), fastrnn.Linear(3, 2, seed=3))
    peer = keras.Sequential([
        keras.Input((6,), dtype="int32"), layers.Embedding(7, 5),
        layers.Bidirectional(layers.GRU(4, return_sequences=True)),
        layers.Bidirectional(layers.GRU(4, return_sequences=True)), layers.LSTM(3, return_sequences=True),
        layers.LayerNormalization(), layers.Lambda(lambda x: x[:, -1]), layers.Dense(2)])
    peer.set_weights(fastrnn.to_keras(model))
    ids = np.random.default_rng(0).integers(0, 7, (3, 6))
    np.testing.assert_allclose(model(ids)[0], peer.predict(ids, verbose=0), atol=1e-5)
