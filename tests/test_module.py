"""What every module promises: live parameters, state dictionaries, configurations, copies, and tapes."""

import copy
import json
import pickle

import numpy as np
import pytest

from fastrnn import GRU, LSTM, Dropout, Embedding, LastStep, LayerNorm, Linear, MeanOverTime, Sequential
from fastrnn.nn.module import Module, module_from_config

# what is constructed, and an input it takes
MODULES = {
    "linear": (lambda: Linear(3, 4, dtype="float64", seed=1), (2, 5, 3)),
    "no bias": (lambda: Linear(3, 4, bias=False, seed=1), (2, 5, 3)),
    "norm": (lambda: LayerNorm(3, eps=1e-3), (2, 5, 3)),
    "dropout": (lambda: Dropout(0.25, seed=1), (2, 5, 3)),
    "last": (lambda: LastStep(bidirectional=True, batch_first=True), (2, 5, 4)),
    "mean": (lambda: MeanOverTime(), (2, 5, 3)),
    "embedding": (lambda: Embedding(7, 4, seed=1), None),
    "gru": (lambda: GRU(3, 4, 2, dropout=0.5, seed=1), (2, 5, 3)),
    "sequential": (
        lambda: Sequential(LSTM(3, 4, seed=1), Dropout(0.5), Sequential(LastStep(), Linear(4, 2, seed=1))),
        (2, 5, 3),
    ),
}


def make(name):
    build, shape = MODULES[name]
    if shape is None:
        return build(), np.random.default_rng(0).integers(0, 7, (2, 5))
    return build(), np.random.default_rng(0).normal(size=shape).astype(np.float32)


def output(module, x):
    y = module(x)
    return y[0] if module.recurrent else y


class Scale(Module):
    """A module of somebody else."""

    def __init__(self, factor=2.0, *, dtype="float64", seed=None):
        super().__init__(dtype, seed)
        self.factor = factor
        self._own({"shift": self.rng.normal(size=3).astype(self.dtype)})

    def __call__(self, x, lengths=None):
        return x * self.factor + self.params["shift"]


@pytest.mark.parametrize("name", MODULES)
def test_copies_and_configurations_give_the_same_module(name):
    module, x = make(name)
    config = json.loads(json.dumps(module.config()))
    assert config["type"] == type(module).__name__
    built = module_from_config(config)
    assert built.config() == module.config()
    built.load_state_dict(module.state_dict())
    module.set_rng(np.random.default_rng(3))
    for twin in built, copy.deepcopy(module), pickle.loads(pickle.dumps(module)):
        assert twin.config() == module.config()
        np.testing.assert_array_equal(output(twin, x), output(module, x))
        assert not any(np.shares_memory(p, module.params[key]) for key, p in twin.params.items())
        assert twin.params.keys() == twin.grads.keys() == module.params.keys()
    twin, again = pickle.loads(pickle.dumps([module, module]))
    assert twin is again
    np.testing.assert_array_equal(twin.forward(x)[0], module.forward(x)[0])  # the same dropout masks


@pytest.mark.parametrize("name", MODULES)
def test_parameters_are_live(name):
    module, x = make(name)
    assert module.num_parameters == sum(p.size for p in module.params.values())
    state = module.state_dict()
    for key in state:
        module.load_state_dict(state)
        before = output(module, x)
        held = module.params[key]
        held += 0.5
        assert module.params[key] is held
        assert not np.array_equal(output(module, x), before), key
        module.params[key] -= 0.25
        assert module.params[key] is held
        module.params[key] = np.zeros_like(held)
        assert module.params[key] is held and not held.any()
        module.grads[key] += 1.0
        assert module.grads[key].all()
    module.zero_grad()
    assert not any(g.any() for g in module.grads.values())
    with pytest.raises(KeyError):
        module.params["other"] = np.zeros(3)


def test_update_writes_in_place():
    module = Linear(2, 1, seed=0)
    held = module.params["weight"]
    module.params.update(weight=[[3, 4]], bias=[5])
    assert module.params["weight"] is held
    assert module([[1, 1]]) == 12


@pytest.mark.parametrize("name", MODULES)
def test_state_dict_is_a_copy_and_comes_back(name):
    module, x = make(name)
    state = module.state_dict()
    before = output(module, x)
    for p in module.params.values():
        p += 1
    for key, value in state.items():
        assert not np.array_equal(value, module.params[key])
    module.load_state_dict(state)
    np.testing.assert_array_equal(output(module, x), before)


def test_load_state_dict_casts_and_takes_whatever_becomes_an_array():
    class Tensor:
        """Like a torch tensor that requires a gradient."""

        def __init__(self, values):
            self.values = values

        def detach(self):
            return self.values

        def __array__(self, *args, **kwargs):
            raise RuntimeError("call detach() first")

    module = Linear(2, 2, seed=0)
    module.load_state_dict({"weight": [[1, 2], [3, 4]], "bias": Tensor(np.array([0.5, 0.25]))})
    assert module.params["weight"].dtype == np.float32
    np.testing.assert_array_equal(module(np.ones(2)), [3.5, 7.25])


def test_load_state_dict_takes_tensors():
    torch = pytest.importorskip("torch")
    theirs = torch.nn.Linear(3, 4)
    module = Linear(3, 4)
    module.load_state_dict(theirs.state_dict())
    module.load_state_dict(dict(theirs.named_parameters()))
    x = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
    np.testing.assert_allclose(module(x), theirs(torch.tensor(x)).detach().numpy(), atol=1e-6)


def test_load_state_dict_may_swap_a_modules_own_arrays():
    module = LayerNorm(3)
    module.load_state_dict({"weight": module.params["bias"], "bias": module.params["weight"]})
    assert not module.params["weight"].any() and module.params["bias"].all()


GOOD = {"weight": np.ones((4, 3)), "bias": np.ones(4)}
BAD_STATES = {
    "missing": ({"bias": GOOD["bias"]}, ValueError, r"found missing weight$"),
    "unexpected": ({**GOOD, "gain": 1, "a": 2}, ValueError, r"found unexpected a, gain$"),
    "both": (
        {"bias": 1, "x": 2},
        ValueError,
        r"^state_dict: expected .* found missing weight; unexpected x$",
    ),
    "shape": (
        {**GOOD, "bias": np.ones(3)},
        ValueError,
        r"^state_dict\['bias'\]: expected shape \(4,\), found \(3,\)$",
    ),
    "kind": (
        {**GOOD, "bias": ["a"] * 4},
        TypeError,
        r"^state_dict\['bias'\]: expected an array of real numbers",
    ),
    "complex": (
        {**GOOD, "bias": np.ones(4) * 1j},
        TypeError,
        r"^state_dict\['bias'\]: .* found dtype complex128$",
    ),
    "uneven": (
        {**GOOD, "bias": [[1], [1, 2]]},
        TypeError,
        r"^state_dict\['bias'\]: expected an array of real numb",
    ),
    "no dict": ([1, 2], TypeError, r"^state_dict: expected a dict, found list$"),
}


@pytest.mark.parametrize("name", BAD_STATES)
def test_a_bad_state_dict_changes_nothing(name):
    state, kind, message = BAD_STATES[name]
    module = Linear(3, 4, seed=0)
    before = module.state_dict()
    with pytest.raises(kind, match=message):
        module.load_state_dict(state)
    for key, value in before.items():
        np.testing.assert_array_equal(module.params[key], value)


def test_seeds():
    same, other = Linear(3, 4, seed=5), Linear(3, 4, seed=6)
    np.testing.assert_array_equal(same.params["weight"], Linear(3, 4, seed=5).params["weight"])
    np.testing.assert_array_equal(
        same.params["weight"], Linear(3, 4, seed=np.random.default_rng(5)).params["weight"]
    )
    assert not np.array_equal(same.params["weight"], other.params["weight"])
    assert not np.array_equal(Linear(3, 4).params["weight"], Linear(3, 4).params["weight"])
    drawn = np.random.default_rng(5)
    one, two = Linear(3, 4, seed=drawn), Linear(3, 4, seed=drawn)
    assert not np.array_equal(one.params["weight"], two.params["weight"])


def test_other_peoples_modules():
    module = Scale(3.0, seed=1)
    config = module.config()
    assert config == {"type": f"{__name__}.Scale", "factor": 3.0, "dtype": "float64"}
    twin = module_from_config(config)
    twin.load_state_dict(module.state_dict())
    np.testing.assert_array_equal(twin(np.ones(3)), module(np.ones(3)))
    np.testing.assert_array_equal(copy.copy(module)(np.ones(3)), module(np.ones(3)))
    net = Sequential(Linear(2, 3, dtype="float64", seed=0), module)
    assert list(net.params) == ["0.weight", "0.bias", "1.shift"]
    assert repr(net) == f"Sequential({net.modules[0]!r}, {module!r}, batch_first=True)"
    assert repr(module) == "Scale(factor=3.0, dtype='float64')"
    with pytest.raises(NotImplementedError, match=r"^Scale defines no forward$"):
        net.forward(np.ones(2))


def test_a_class_of_the_same_name_replaces_none_of_ours():
    class Linear(Module):
        pass

    assert module_from_config({"type": "Linear", "in_features": 1, "out_features": 1}).params.keys() == {
        "weight",
        "bias",
    }
    assert Linear().config()["type"].endswith("<locals>.Linear")


@pytest.mark.parametrize("name", MODULES)
def test_a_tape_serves_once_and_only_its_module(name):
    module, x = make(name)
    other, _ = make(name)
    y, _, tape = module.forward(x)
    with pytest.raises(ValueError, match=rf"^tape: expected one from this {type(module).__name__}'s forward"):
        other.backward(tape, np.ones_like(y))
    with pytest.raises(ValueError, match=r"^dy: expected .*found"):
        module.backward(tape, np.ones((*y.shape[:-1], 9)))
    with pytest.raises(TypeError, match=r"^tape: expected the tape that forward\(\)"):
        module.backward("tape", np.ones_like(y))
    assert not any(g.any() for g in module.grads.values())
    module.backward(tape, np.ones_like(y))
    grads = {key: g.copy() for key, g in module.grads.items()}
    with pytest.raises(
        ValueError, match=r"^tape: expected one from a new forward\(\), found one that backward\(\)"
    ):
        module.backward(tape, np.ones_like(y))
    for key, g in grads.items():
        np.testing.assert_array_equal(module.grads[key], g)


@pytest.mark.parametrize("name", MODULES)
def test_gradients_add_up(name):
    module, x = make(name)
    if name in ("gru", "sequential"):
        module.set_rng(np.random.default_rng(0))
    y, _, tape = module.forward(x)
    dy = np.random.default_rng(1).normal(size=y.shape).astype(y.dtype)
    module.backward(tape, dy)
    once = {key: g.copy() for key, g in module.grads.items()}
    if name in ("gru", "sequential"):
        module.set_rng(np.random.default_rng(0))
    module.backward(module.forward(x)[2], dy)
    for key, g in module.grads.items():
        np.testing.assert_allclose(g, 2 * once[key], rtol=1e-4, atol=1e-6, err_msg=key)


BAD = {
    "dtype": (
        lambda: Linear(2, 3, dtype="float16"),
        ValueError,
        r"^dtype: expected 'float32' or 'float64', found",
    ),
    "dtype a word": (
        lambda: Linear(2, 3, dtype="big"),
        ValueError,
        r"^dtype: expected 'float32' or 'float64'",
    ),
    "seed": (
        lambda: Linear(2, 3, seed=-1),
        ValueError,
        r"^seed: expected an int of at least 0, .* found -1$",
    ),
    "seed a word": (lambda: Linear(2, 3, seed="x"), TypeError, r"^seed: expected an int .* found 'x'$"),
    "rng": (
        lambda: Linear(2, 3).set_rng(5),
        TypeError,
        r"^rng: expected a numpy.random.Generator, found int$",
    ),
    "type": (
        lambda: module_from_config({"type": "Conv"}),
        ValueError,
        r"^config\['type'\]: expected one of .*Linear.*; found 'Conv'$",
    ),
    "no type": (
        lambda: module_from_config({}),
        ValueError,
        r"^config\['type'\]: expected one of .*; found None$",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_named(name):
    call, kind, message = BAD[name]
    with pytest.raises(kind, match=message):
        call()
