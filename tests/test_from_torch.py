"""Models of PyTorch in and out: golden files of PyTorch's own, live modules where it is installed, names, writers."""

import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest

import fastrnn
from fastrnn.files.bfloat16 import from_bfloat16
from fastrnn.formats.pytorch.writer import write_torch

GOLDEN = Path(__file__).parent / "golden"
CLOSE = {"rtol": 0, "atol": 1e-5}
pytestmark = pytest.mark.filterwarnings("error:.*left out", "error:.*took tanh")


@pytest.fixture(scope="module")
def golden():
    with np.load(GOLDEN / "torch.npz") as found:
        return dict(found)


def leaves(value):
    return [leaf for one in value for leaf in leaves(one)] if isinstance(value, tuple) else [value]


@pytest.mark.parametrize("name, kind, options", [
    ("lstm", "LSTM", {"num_layers": 2, "bidirectional": True, "proj_size": 2, "dropout": 0.25, "batch_first": False}),
    ("gru", "GRU", {"bias": False, "batch_first": True}),
    ("rnn", "RNN", {"num_layers": 2, "nonlinearity": "relu", "dtype": "float64"}),
])  # fmt: skip
def test_runners_give_the_numbers_of_pytorch(golden, name, kind, options):
    told = {"batch_first": True} if name == "gru" else {}   # a state dict does not tell
    model = fastrnn.from_torch(GOLDEN / f"torch_{name}.pt", **told)
    assert type(model).__name__ == kind
    assert {key: getattr(model, key) for key in options} == options
    y, state = model(golden["x"])
    np.testing.assert_allclose(y, golden[f"{name}.y"], **CLOSE)
    for k, part in enumerate(leaves(state)):
        np.testing.assert_allclose(part, golden[f"{name}.state{k}"], **CLOSE)


def test_a_sequential_of_a_file_becomes_one(golden):
    model = fastrnn.from_torch(GOLDEN / "torch_stack.pt", sample_inputs=golden["x"],
                               expected_outputs=golden["stack.y"])
    assert [type(one).__name__ for one in model.modules] == ["Linear", "Softplus", "GRU"]
    assert model.modules[1].beta == 2 and model.batch_first
    assert model.verification.worst_error < 1e-6 and model.verification.values == golden["stack.y"].size
    with pytest.raises(ValueError, match=r"expected_outputs: expected outputs within 1e-05 .* an error of 0\.01"):
        fastrnn.from_torch(GOLDEN / "torch_stack.pt", sample_inputs=golden["x"],
                           expected_outputs=golden["stack.y"] + 0.01)
    with pytest.raises(ValueError, match="expected_outputs: expected shape"):
        fastrnn.from_torch(GOLDEN / "torch_stack.pt", sample_inputs=golden["x"],
                           expected_outputs=golden["stack.y"][:1])
    with pytest.raises(ValueError, match="expected_outputs: expected with the other"):
        fastrnn.from_torch(GOLDEN / "torch_stack.pt", sample_inputs=golden["x"])


def test_a_module_of_ones_own_gives_its_parts(golden):
    parts = fastrnn.from_torch(GOLDEN / "torch_net.pt")
    assert list(parts) == ["embedding", "lstm", "head"]
    model = fastrnn.Sequential(parts["embedding"], parts["lstm"], fastrnn.LastStep(), parts["head"])
    np.testing.assert_allclose(model(golden["ids"])[0], golden["net.y"], **CLOSE)
    only = fastrnn.from_torch(GOLDEN / "torch_net.pt", only="lstm")
    assert isinstance(only, fastrnn.LSTM)
    with pytest.raises(ValueError, match=r"sample_inputs: expected None with parts.*embedding, lstm, head"):
        fastrnn.from_torch(GOLDEN / "torch_net.pt", sample_inputs=golden["ids"], expected_outputs=golden["net.y"])
    with pytest.raises(ValueError, match="batch_first: expected None with a module"):
        fastrnn.from_torch(GOLDEN / "torch_net.pt", batch_first=True)


def test_a_checkpoint_has_one_state_dict(golden):
    with pytest.warns(UserWarning, match=r"torch_checkpoint.pt: left out .*: head\.2"):
        fastrnn.from_torch(GOLDEN / "torch_checkpoint.pt")
    parts = fastrnn.from_torch(GOLDEN / "torch_checkpoint.pt", key="model_state",
                               kinds={"head.2": "LayerNorm", "head.3": "Linear"})
    assert list(parts) == ["embedding", "lstm", "head.0", "head.2", "head.3"]
    whole = fastrnn.from_torch(GOLDEN / "torch_net.pt")
    for name in "embedding", "lstm":
        for own, array in whole[name].params.items():
            np.testing.assert_array_equal(parts[name].params[own], array)
    with pytest.raises(ValueError, match=r"key: expected an entry of the file, .*'model_state'.* found 'ema'"):
        fastrnn.from_torch(GOLDEN / "torch_checkpoint.pt", key="ema")
    with pytest.raises(ValueError, match=r"kinds: expected names of modules.*found 'tail'"):
        fastrnn.from_torch(GOLDEN / "torch_checkpoint.pt", kinds={"tail": "Linear"})


def test_narrow_numbers_become_float32_exactly(golden):
    model = fastrnn.from_torch(GOLDEN / "torch_half.pt")
    assert model.dtype == np.float32
    np.testing.assert_allclose(model(golden["x"])[0], golden["half.y"], **CLOSE)
    bits = np.arange(2**16, dtype=np.uint16)
    wide = from_bfloat16(bits)
    np.testing.assert_array_equal(wide.view(np.uint32) >> 16, bits)
    half = {name: array.astype(np.float16) for name, array in fastrnn.GRU(3, 4, seed=0).params.items()}
    for name, array in fastrnn.from_torch(half).params.items():
        np.testing.assert_array_equal(array, half[name].astype(np.float32))


def test_several_state_dicts_are_asked_about():
    states = {"model": fastrnn.GRU(3, 4).state_dict(), "ema": fastrnn.GRU(3, 4).state_dict()}
    with pytest.raises(ValueError, match=r"expected one state dict or module, found several; say key=.*'model', 'ema'"):
        fastrnn.from_torch(states)
    np.testing.assert_array_equal(fastrnn.from_torch(states, key="ema").params["weight_ih_l0"],
                                  states["ema"]["weight_ih_l0"])


def random_runner(rng):
    kind = rng.choice(["RNN", "LSTM", "GRU"])
    hidden = int(rng.integers(2, 6))
    options = {"num_layers": int(rng.integers(1, 4)), "bias": bool(rng.integers(2)),
               "bidirectional": bool(rng.integers(2)), "dtype": rng.choice(["float32", "float64"])}
    if kind == "LSTM" and rng.integers(2):
        options["proj_size"] = int(rng.integers(1, hidden))
    return getattr(fastrnn, kind)(int(rng.integers(1, 6)), hidden, **options, init="pytorch", seed=rng)


@pytest.mark.parametrize("ending", [".pt", ".safetensors", ".npz"])
@pytest.mark.parametrize("seed", range(8))
def test_round_trips_keep_every_bit(tmp_path, seed, ending):
    rng = np.random.default_rng(seed)
    model = random_runner(rng)
    state = fastrnn.to_torch(model)
    path = tmp_path / f"model{ending}"
    if ending == ".pt":
        write_torch(path, state)
    elif ending == ".npz":
        np.savez_compressed(path, **state)
    else:
        from safetensors.numpy import save_file
        save_file(state, path)
    nonlinearity = "tanh" if isinstance(model, fastrnn.RNN) else None
    for source in state, path:
        found = fastrnn.from_torch(source, nonlinearity=nonlinearity)
        assert type(found) is type(model) and found.dtype == model.dtype
        assert found.params.keys() == model.params.keys()
        for name, array in found.params.items():
            np.testing.assert_array_equal(array, model.params[name])


def test_modules_are_found_by_names_and_shapes():
    rng = np.random.default_rng(3)
    arrays = {
        "enc_emb": rng.normal(size=(7, 5)), "enc_w_ih": rng.normal(size=(9, 5)), "enc_w_hh": rng.normal(size=(9, 3)),
        "enc_b_ih": rng.normal(size=9), "enc_b_hh": rng.normal(size=9), "fc_w": rng.normal(size=(2, 3)),
        "fc_b": rng.normal(size=2), "a.cell.weight_ih": rng.normal(size=(8, 3)), "a.norm1.bias": rng.normal(size=4),
        "a.cell.weight_hh": rng.normal(size=(8, 2)), "a.norm1.weight": rng.normal(size=4),
        "out.weight": rng.normal(size=(4, 2)),
    }  # fmt: skip
    parts = fastrnn.from_torch(arrays)
    assert {name: type(part).__name__ for name, part in parts.items()} == {
        "enc_emb": "Embedding", "enc": "GRU", "fc": "Linear", "a.cell": "LSTMCell", "a.norm1": "LayerNorm",
        "out": "Linear"}
    np.testing.assert_array_equal(parts["enc"].params["weight_hh_l0"], arrays["enc_w_hh"])
    np.testing.assert_array_equal(parts["a.cell"].params["weight_ih"], arrays["a.cell.weight_ih"])
    assert parts["out"].bias is False and parts["enc"].dtype == np.float64
    wrapped = fastrnn.from_torch({f"module.{name}": array for name, array in arrays.items()})
    assert list(wrapped) == list(parts)


def test_what_names_leave_open_is_not_guessed():
    rng = np.random.default_rng(4)
    arrays = {"lstm.weight_ih_l0": rng.normal(size=(8, 3)), "lstm.weight_hh_l0": rng.normal(size=(8, 2)),
              "block.weight": rng.normal(size=(4, 2)), "bn.weight": rng.normal(size=4), "bn.bias": rng.normal(size=4),
              "conv.weight": rng.normal(size=(3, 4, 2)), "scale": rng.normal(size=3)}
    with pytest.warns(UserWarning, match=r"source: left out .*: scale, block\.weight, bn\.weight, bn\.bias, conv"):
        found = fastrnn.from_torch(arrays)
    assert isinstance(found, fastrnn.LSTM)
    parts = fastrnn.from_torch(arrays, kinds={"block": "Embedding"}, only=["lstm", "block"])
    assert type(parts["block"]).__name__ == "Embedding"
    with pytest.raises(ValueError, match=r"kinds\['block'\]: expected"):
        fastrnn.from_torch(arrays, kinds={"block": "Conv1d"})
    with pytest.raises(ValueError, match=r"expected parameters of modules that fastrnn has .*found conv\.weight"):
        fastrnn.from_torch({"conv.weight": arrays["conv.weight"]})
    with pytest.raises(ValueError, match=r"expected parameters of modules that fastrnn has .*found running_mean"):
        fastrnn.from_torch({"running_mean": arrays["scale"]})
    with pytest.warns(UserWarning, match=r"took tanh for the nonlinearity of ''"):
        fastrnn.from_torch(fastrnn.RNN(3, 2).state_dict())


@pytest.mark.parametrize("change, message", [
    (lambda s: s.pop("weight_hh_l0"), "expected weight_ih_l0 and weight_hh_l0"),
    (lambda s: s.pop("weight_hh_l1"), "state_dict|weight_hh_l1|has none|not so many"),
    (lambda s: s.pop("bias_hh_l0_reverse"), "bias_hh_l0_reverse|not so many|has none"),
    (lambda s: s.update(weight_hh_l0=s["weight_hh_l0"][:-1]), "shape"),
    (lambda s: s.update(weight_ih_l0=s["weight_ih_l0"][:7]), "rows of weights for H 4, found 7"),
    (lambda s: s.update(weight_ih_l0=s["weight_ih_l0"].astype(int)), "expected floats of at most 64 bits"),
    (lambda s: s.update(bias_ih_l0=s["bias_ih_l0"] + 0j), "bias_ih_l0"),
    (lambda s: s.update(weight_hr_l0=np.zeros((2, 4), "f")), r"arrays of shape \(16, 2\)"),
])  # fmt: skip
def test_parameters_that_do_not_fit_are_refused(change, message):
    state = fastrnn.LSTM(3, 4, 2, bidirectional=True, seed=0).state_dict()
    change(state)
    with pytest.raises((ValueError, TypeError), match=message):
        fastrnn.from_torch(state)


def test_to_torch_names_what_torch_lacks():
    cases = {
        "layer_norm=False": fastrnn.LSTM(3, 4, layer_norm=True), "peepholes=False": fastrnn.LSTM(3, 4, peepholes=True),
        "coupled_gates=False": fastrnn.LSTM(3, 4, coupled_gates=True), "clip=None": fastrnn.GRU(3, 4, clip=1.0),
        "reset_after=True": fastrnn.GRU(3, 4, reset_after=False), "zoneout=0": fastrnn.GRU(3, 4, zoneout=0.1),
        "direction='forward'": fastrnn.RNN(3, 4, direction="reverse"),
        "activations=None": fastrnn.RNN(3, 4, activations=("elu",)),
        "found MinGRU": fastrnn.MinGRU(3, 4), "found QRNN": fastrnn.Sequential(fastrnn.QRNN(3, 4)),
    }  # fmt: skip
    for message, model in cases.items():
        with pytest.raises(ValueError, match=message):
            fastrnn.to_torch(model)
    with pytest.raises(TypeError, match="model: expected a fastrnn module, found dict"):
        fastrnn.to_torch({})


def test_convolutions_and_batch_norms_go_to_torch(nn, tmp_path):
    model = fastrnn.Sequential(fastrnn.Conv1d(3, 4, 2, dilation=2, groups=1, seed=0), fastrnn.BatchNorm1d(4))
    state = fastrnn.to_torch(model)
    write_torch(tmp_path / "a.pt", state)
    peer = nn.Sequential(nn.Conv1d(3, 4, 2, dilation=2), nn.BatchNorm1d(4)).eval()
    peer.load_state_dict(torch.load(tmp_path / "a.pt", weights_only=True), strict=True)
    x = np.random.default_rng(0).normal(size=(2, 6, 3)).astype("f")
    wanted = peer(torch.from_numpy(x.swapaxes(1, 2))).detach().numpy().swapaxes(1, 2)
    np.testing.assert_allclose(model(x), wanted, **CLOSE)


def test_a_tied_weight_has_both_names():
    model = fastrnn.Sequential(fastrnn.Embedding(6, 4), fastrnn.GRU(4, 4), fastrnn.Linear(4, 6), tie_embeddings=True)
    state = fastrnn.to_torch(model)
    assert list(state)[-2:] == ["2.weight", "2.bias"]
    np.testing.assert_array_equal(state["2.weight"], state["0.weight"])
    state["2.weight"][0] = 9
    assert not (model.params["0.weight"][0] == 9).any() and not (state["0.weight"][0] == 9).any()


def test_fakes_of_modules_run_nothing(tmp_path):
    """A class of the file is never looked up, whatever it would do."""
    ran = []

    class Module:
        def __init__(self):
            self._parameters, self._buffers, self._modules = {}, {}, {}

        def __setstate__(self, state):
            ran.append(state)

    Module.__module__, Module.__qualname__ = __name__, "Module"
    globals()["Module"] = Module
    data = pickle.dumps({"a": Module(), "b": {"weight": 1}}, 2)
    del globals()["Module"]
    path = tmp_path / "model.pt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", data)
    with pytest.raises(ValueError, match="expected a module with parts"):
        fastrnn.from_torch(path)
    assert not ran


torch = None


@pytest.fixture
def nn():
    global torch
    torch = pytest.importorskip("torch")
    return torch.nn


def torch_modules(nn, rng):
    """A random module, and an input of it."""
    kind = rng.choice(["RNN", "LSTM", "GRU", "RNNCell", "LSTMCell", "GRUCell", "stack"])
    width, hidden = int(rng.integers(1, 6)), int(rng.integers(2, 6))
    x = torch.from_numpy(rng.normal(size=(4, 3, width)).astype("f"))
    if kind == "stack":
        inner = nn.Sequential(nn.LayerNorm(hidden, eps=1e-3), nn.LeakyReLU(0.3), nn.Dropout(0.5))
        return nn.Sequential(nn.Linear(width, hidden), nn.ELU(0.7), inner, nn.GELU("tanh"), nn.Hardsigmoid(),
                             nn.Linear(hidden, 3, bias=False), nn.LogSoftmax(-1)), x
    options = {"bias": bool(rng.integers(2))}
    if kind.startswith("RNN"):
        options["nonlinearity"] = str(rng.choice(["tanh", "relu"]))
    if kind.endswith("Cell"):
        return getattr(nn, kind)(width, hidden, **options), x[0]
    options |= {"num_layers": int(rng.integers(1, 4)), "bidirectional": bool(rng.integers(2)),
                "batch_first": bool(rng.integers(2))}
    if kind == "LSTM":
        options["proj_size"] = int(rng.integers(0, hidden))
    return getattr(nn, kind)(width, hidden, **options), x


@pytest.mark.parametrize("seed", range(40))
def test_live_modules_and_their_files(nn, tmp_path, seed):
    rng = np.random.default_rng(seed)
    torch.manual_seed(seed)
    module, x = torch_modules(nn, rng)
    module.eval()
    wanted = module(x)
    torch.save(module, tmp_path / "new.pt")
    torch.save(module, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    for source in module, tmp_path / "new.pt", tmp_path / "old.pt":
        model = fastrnn.from_torch(source)
        with torch.no_grad():
            found = model(x.numpy())
        for ours, theirs in zip(leaves(found), leaves(wanted), strict=True):
            np.testing.assert_allclose(ours, theirs.detach().numpy(), **CLOSE)
    if not isinstance(module, nn.Sequential):
        options = {name: getattr(module, name) for name in ("batch_first", "nonlinearity") if hasattr(module, name)}
        model = fastrnn.from_torch(module.state_dict(), **options)
        back = fastrnn.to_torch(model)
        assert list(back) == list(module.state_dict())
        before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
        module.load_state_dict({name: torch.from_numpy(array) for name, array in back.items()}, strict=True)
        assert all(torch.equal(before[name], tensor) for name, tensor in module.state_dict().items())
        write_torch(tmp_path / "ours.pt", back)
        loaded = torch.load(tmp_path / "ours.pt", weights_only=True)
        assert list(loaded) == list(before) and all(torch.equal(before[name], loaded[name]) for name in before)


def test_live_modules_that_would_give_other_numbers_are_refused(nn):
    hooked = nn.Linear(3, 4)
    hooked.register_forward_hook(lambda *_: None)
    shared = nn.Linear(3, 3)
    cases = [
        (nn.MultiheadAttention(4, 2), r"the model \(MultiheadAttention\)"),
        (nn.Sequential(nn.Linear(4, 4), nn.Conv1d(4, 4, 1)), "found Linear, which maps the last axis"),
        (nn.Sequential(nn.Sequential(nn.Conv1d(4, 4, 1)), nn.Sequential(nn.ReLU(), nn.Linear(4, 4))), "found Linear"),
        (nn.Sequential(nn.Conv1d(4, 4, 1), nn.LSTM(4, 4)), "found LSTM, which maps the last axis"),
        (nn.Sequential(nn.Embedding(4, 4), nn.BatchNorm1d(4)), "expected no BatchNorm1d behind an Embedding"),
        (nn.Sequential(nn.MaxPool1d(2), nn.Flatten(), nn.Linear(4, 4)), "expected a Conv1d or BatchNorm1d before"),
        (nn.Sequential(nn.Conv1d(4, 4, 1), nn.Flatten()), "expected a Linear behind a Flatten"),
        (nn.Sequential(nn.Conv1d(4, 3, 1), nn.Flatten(), nn.Linear(4, 4)), "a multiple of 3 channels"),
        (nn.Sequential(nn.Conv1d(4, 3, 1), nn.Flatten(), nn.BatchNorm1d(6)), "expected a Linear first behind"),
        (nn.Sequential(nn.Conv1d(4, 4, 1), nn.AdaptiveAvgPool1d(1), nn.ReLU()), "expected a Flatten behind a pooling"),
        (nn.AdaptiveAvgPool1d(1), "expected a Flatten behind it"), (nn.AdaptiveMaxPool1d(2), "output_size: expected 1"),
        (nn.Conv1d(4, 4, 3, padding=1, padding_mode="circular"), "padding_mode: expected 'zeros', found 'circular'"),
        (nn.MaxPool1d(2, ceil_mode=True), "ceil_mode: expected False, found True"),
        (nn.Flatten(0), "start_dim: expected 1, found 0"),
        (nn.Embedding(3, 4, max_norm=1.0), r"\(Embedding\)\.max_norm: expected None, found 1\.0"),
        (hooked, "expected no hooks"), (nn.utils.spectral_norm(nn.Linear(3, 4)), "expected no hooks"),
        (nn.utils.parametrizations.spectral_norm(nn.Linear(3, 3)), "_SpectralNorm may change in training; call eval"),
        (nn.Sequential(nn.Softmax(1)), r"0 \(Softmax\)\.dim: expected -1, the last axis, .* found 1"),
        (nn.Sequential(shared, nn.ReLU(), shared), r"2 \(Linear\): expected a module of its own, found 0 again"),
        (nn.LayerNorm((2, 3)), r"normalized_shape: expected that of the last axis"),
        (nn.Sequential(nn.LSTM(3, 3, batch_first=True), nn.LSTM(3, 3)), "of one layout"),
        (nn.Sequential(nn.LSTMCell(3, 3)), "takes one"), (nn.Sequential(), "one after another, found none"),
        (nn.LSTM(3, 4, device="meta"), "weight_ih_l0: expected a tensor with numbers"),
    ]  # fmt: skip
    for module, message in cases:
        with pytest.raises(ValueError, match=message):
            fastrnn.from_torch(module)


def test_live_subclasses_are_what_their_forward_is(nn):
    class Same(nn.LSTM):
        pass

    class Other(nn.Linear):
        def forward(self, x):
            return super().forward(x) * 2

    assert isinstance(fastrnn.from_torch(Same(3, 4)), fastrnn.LSTM)
    with pytest.raises(ValueError, match=r"1 \(Other\): expected a module that fastrnn has"):
        fastrnn.from_torch(nn.Sequential(nn.Linear(3, 4), Other(4, 4)))


CHANNELS = "ignore:.*(takes x with the channels last|normalises the last axis)"


def with_statistics(nn, module):
    """The module in evaluation, with running statistics that are not those of the start."""
    for one in module.modules():
        if isinstance(one, nn.BatchNorm1d):
            one.running_mean.uniform_(-1, 1)
            one.running_var.uniform_(0.3, 2)
            one.weight.data.uniform_(-1, 1)
    return module.eval()


@pytest.mark.filterwarnings(CHANNELS)
@pytest.mark.parametrize("seed", range(12))
def test_modules_over_channels_give_the_numbers_of_pytorch_with_the_channels_last(nn, tmp_path, seed):
    rng = np.random.default_rng(seed)
    torch.manual_seed(seed)
    bias, groups = bool(seed % 2), int(rng.choice([1, 2]))
    padding = ["same", "valid", 0, 2][seed % 4]
    stride = 1 if padding == "same" else int(rng.integers(1, 3))
    first = [nn.Conv1d(4, 6, 3, stride=stride, padding=padding, dilation=2, groups=groups, bias=bias),
             nn.BatchNorm1d(6), nn.Sequential(nn.ReLU(), nn.Dropout1d(0.3))]
    pool = [nn.MaxPool1d(3, 2, 1), nn.AvgPool1d(2, 2, 1, count_include_pad=bias), nn.MaxPool1d(2)][seed % 3]
    x = torch.from_numpy(rng.normal(size=(2, 4, 15)).astype("f"))
    for last in [], [nn.Flatten(), nn.Dropout(0.1), "linear", nn.ReLU(), nn.Linear(5, 2), nn.Softmax(-1)], [
            nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(6, 3)], [nn.AdaptiveMaxPool1d(1), nn.Flatten()]:
        width = nn.Sequential(*first, pool)(x).flatten(1).shape[1]
        last = [nn.Linear(width, 5) if one == "linear" else one for one in last]
        module = with_statistics(nn, nn.Sequential(*first, nn.Sequential(pool, *last)))
        wanted = module(x).detach().numpy()
        torch.save(module, tmp_path / "model.pt")
        for source in module, tmp_path / "model.pt":
            found = fastrnn.from_torch(source)(x.numpy().swapaxes(1, 2))
            np.testing.assert_allclose(found, wanted if last else wanted.swapaxes(1, 2), **CLOSE)
    alone = fastrnn.from_torch(first[0])
    np.testing.assert_array_equal(alone.params["weight"], first[0].weight.detach().numpy())


def test_what_modules_over_channels_take_is_told(nn):
    with pytest.warns(UserWarning, match=r"source: takes x with the channels last, \(B, T, C\)"):
        fastrnn.from_torch(nn.Conv1d(4, 6, 3))

    class Own(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.rnn = nn.Conv1d(4, 6, 3), nn.GRU(6, 3)

    with pytest.warns(UserWarning, match="'conv' takes x with the channels last"):
        assert list(fastrnn.from_torch(Own())) == ["conv", "rnn"]
    with pytest.warns(UserWarning, match="normalises the last axis"):
        model = fastrnn.from_torch(with_statistics(nn, nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6))))
    assert [type(one).__name__ for one in model.modules] == ["Linear", "BatchNorm1d"]


@pytest.mark.filterwarnings("ignore:.*weight_norm", "ignore:.*is deprecated")
@pytest.mark.parametrize("form", ["old", "new"])
def test_weights_under_weight_norm_are_put_together(nn, tmp_path, form):
    torch.manual_seed(3)
    norm = nn.utils.weight_norm if form == "old" else nn.utils.parametrizations.weight_norm
    x = torch.randn(5, 2, 4)
    lstm = norm(norm(nn.LSTM(4, 3, bidirectional=True), "weight_hh_l0"), "weight_ih_l0_reverse", dim=1)
    linear = norm(nn.Linear(4, 3), dim=None)
    for module in lstm, linear:
        for parameter in module.parameters():
            parameter.data.uniform_(-1, 1)
        wanted = module(x)
        sources = [module, module.state_dict()]
        if form == "old":
            torch.save(module, tmp_path / "model.pt")
            sources.append(tmp_path / "model.pt")
        else:
            torch.save({"state": module.state_dict()}, tmp_path / "state.pt")
            sources.append(tmp_path / "state.pt")
        for source in sources:
            model = fastrnn.from_torch(source)
            for ours, theirs in zip(leaves(model(x.numpy())), leaves(wanted), strict=True):
                np.testing.assert_allclose(ours, theirs.detach().numpy(), **CLOSE)


def test_weights_in_two_parts_of_a_state_dict():
    rng = np.random.default_rng(5)
    g, v, bias = rng.normal(size=(3, 1)), rng.normal(size=(3, 4)), rng.normal(size=3)
    weight = g * v / np.linalg.norm(v, axis=1, keepdims=True)
    for names in ("weight_g", "weight_v"), ("parametrizations.weight.original0", "parametrizations.weight.original1"):
        model = fastrnn.from_torch({f"fc.{names[0]}": g, f"fc.{names[1]}": v, "fc.bias": bias})
        np.testing.assert_allclose(model.params["weight"], weight, atol=1e-15)
        with pytest.raises(ValueError, match=r"fc\.weight: expected a length for each of its rows.*\(2, 1\)"):
            fastrnn.from_torch({f"fc.{names[0]}": g[:2], f"fc.{names[1]}": v, "fc.bias": bias})
        with pytest.raises(ValueError, match="expected parameters of modules"):
            fastrnn.from_torch({f"fc.{names[1]}": v, "fc.bias": bias})


def test_batch_norm_of_a_state_dict():
    rng = np.random.default_rng(6)
    arrays = {"weight": rng.normal(size=3), "bias": rng.normal(size=3), "running_mean": rng.normal(size=3),
              "running_var": rng.random(3) + 0.5, "num_batches_tracked": np.array(7)}
    x = rng.normal(size=(2, 5, 3))
    wanted = (x - arrays["running_mean"]) / np.sqrt(arrays["running_var"] + 1e-5) * arrays["weight"] + arrays["bias"]
    for left in (), ("num_batches_tracked",):
        model = fastrnn.from_torch({f"bn.{name}": one for name, one in arrays.items() if name not in left})
        assert type(model).__name__ == "BatchNorm1d"
        np.testing.assert_allclose(model(x), wanted, atol=1e-12)
        assert model.params["num_batches_tracked"] == (0 if left else 7)
    plain = {name: one for name, one in arrays.items() if name not in ("weight", "bias")}
    np.testing.assert_allclose(fastrnn.from_torch(plain)(x), (wanted - arrays["bias"]) / arrays["weight"], atol=1e-12)
    with pytest.raises(ValueError, match="expected parameters of modules"):
        fastrnn.from_torch({**arrays, "running_mean": np.zeros(4)})


def test_checkpoints_hold_values_of_plain_classes(nn, tmp_path):
    import argparse
    import datetime
    from collections import Counter, deque

    module = nn.GRU(3, 2)
    torch.save({"model": module.state_dict(), "when": datetime.datetime(2020, 1, 1), "counts": Counter("aab"),
                "last": deque([1, 2]), "args": argparse.Namespace(path=tmp_path, rate=0.1), "best": np.float64(3),
                "took": datetime.timedelta(1), "curve": np.arange(4.0), "z": 1j}, tmp_path / "checkpoint.pt")
    model = fastrnn.from_torch(tmp_path / "checkpoint.pt")
    np.testing.assert_array_equal(model.params["weight_hh_l0"], module.weight_hh_l0.detach().numpy())


def test_programs_of_torchscript_give_their_parameters(nn, tmp_path):
    class Own(nn.Module):
        def __init__(self):
            super().__init__()
            self.rnn, self.out, self.sizes = nn.LSTM(3, 2, 2), nn.Linear(2, 4), [1, 2]

        def forward(self, x):
            return self.out(self.rnn(x)[0])

    module = Own()
    torch.jit.script(module).save(tmp_path / "model.pt")
    parts = fastrnn.from_torch(tmp_path / "model.pt")
    x = torch.randn(4, 2, 3)
    np.testing.assert_allclose(parts["out"](parts["rnn"](x.numpy())[0]), module(x).detach().numpy(), **CLOSE)


@pytest.mark.filterwarnings("ignore:.*last axis", "ignore:.*channels last")
def test_a_norm_of_channels_that_are_flattened_is_over_channels(nn):
    torch = pytest.importorskip("torch")
    source = with_statistics(nn, nn.Sequential(nn.BatchNorm1d(4), nn.ReLU(), nn.Flatten(), nn.Linear(12, 2)))
    x = torch.from_numpy(np.random.default_rng(0).normal(size=(3, 4, 3)).astype("f"))
    y = fastrnn.from_torch(source)(x.numpy().swapaxes(1, 2))
    np.testing.assert_allclose(y, source(x).detach().numpy(), **CLOSE)
    source = with_statistics(nn, nn.Sequential(nn.BatchNorm1d(4), nn.Flatten(), nn.Linear(4, 2)))
    y = fastrnn.from_torch(source)(x.numpy()[:, :, 0])
    np.testing.assert_allclose(y, source(x[:, :, 0]).detach().numpy(), **CLOSE)
