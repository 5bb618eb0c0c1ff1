"""Optimisers against their formulas in NumPy and against torch, exact resumption, clipping, and bad input."""

import json
import math
import pickle

import numpy as np
import pytest
from tolerances import tolerance

from fastrnn import Linear, optim
from fastrnn.engine.ops import _optim

SHAPES = {"w": (5, 7), "b": (3,), "one": (1,), "none": (0, 4), "long": (1003,)}
STEPS = 30

# what is constructed: (class, keywords)
OPTIMISERS = {
    "sgd": (optim.SGD, {"lr": 0.1}),
    "sgd, decay": (optim.SGD, {"lr": 0.1, "weight_decay": 0.05}),
    "momentum": (optim.SGD, {"lr": 0.05, "momentum": 0.9}),
    "nesterov, decay": (optim.SGD, {"lr": 0.05, "momentum": 0.8, "nesterov": True, "weight_decay": 0.02}),
    "adam": (optim.Adam, {"lr": 0.02}),
    "adam, decay": (optim.Adam, {"lr": 0.02, "betas": (0.7, 0.95), "eps": 1e-6, "weight_decay": 0.1}),
    "adamw": (optim.AdamW, {"lr": 0.02}),
    "adamw, decay": (optim.AdamW, {"lr": 0.02, "betas": (0.8, 0.99), "weight_decay": 0.2}),
    "rmsprop": (optim.RMSprop, {}),
    "rmsprop, momentum": (optim.RMSprop, {"lr": 0.005, "alpha": 0.9, "momentum": 0.7, "weight_decay": 0.1}),
    "rmsprop, centred": (optim.RMSprop, {"lr": 0.005, "alpha": 0.9, "centered": True, "eps": 1e-3}),
    "rmsprop, all": (optim.RMSprop, {"alpha": 0.9, "centered": True, "momentum": 0.5, "eps": 1e-2}),
    "adagrad": (optim.Adagrad, {"lr": 0.1}),
    "adagrad, decay": (
        optim.Adagrad,
        {"lr": 0.1, "lr_decay": 0.1, "initial_accumulator": 0.3, "weight_decay": 0.1},
    ),
}


def written_out(name, keywords, p, gradients):
    """The parameter after each gradient, from the formulas of the literature, in float64."""
    p = p.astype(np.float64)
    lr, decay = keywords.get("lr", 0.01), keywords.get("weight_decay", 0.01 if "adamw" in name else 0.0)
    m, v, velocity = np.zeros_like(p), np.zeros_like(p), np.zeros_like(p)
    total = np.full_like(p, keywords.get("initial_accumulator", 0.0))
    momentum, eps = keywords.get("momentum", 0.0), keywords.get("eps", 1e-8)
    for t, g in enumerate(gradients, 1):
        d = g + decay * p
        if name.startswith("adam"):
            beta1, beta2 = keywords.get("betas", (0.9, 0.999))
            if name.startswith("adamw"):
                p, d = p - lr * decay * p, g
            m, v = beta1 * m + (1 - beta1) * d, beta2 * v + (1 - beta2) * d**2
            p = p - lr * (m / (1 - beta1**t)) / (np.sqrt(v / (1 - beta2**t)) + eps)
        elif name.startswith("rmsprop"):
            alpha = keywords.get("alpha", 0.99)
            v, m = alpha * v + (1 - alpha) * d**2, alpha * m + (1 - alpha) * d
            variance = v - m**2 if keywords.get("centered") else v
            velocity = momentum * velocity + d / (np.sqrt(variance) + eps)
            p = p - lr * velocity
        elif name.startswith("adagrad"):
            total = total + d**2
            rate = lr / (1 + (t - 1) * keywords.get("lr_decay", 0.0))
            p = p - rate * d / (np.sqrt(total) + keywords.get("eps", 1e-10))
        else:
            velocity = momentum * velocity + d
            p = p - lr * (d + momentum * velocity if keywords.get("nesterov") else velocity)
    return p


def make_params(dtype):
    rng = np.random.default_rng(1)
    return {name: rng.normal(size=shape).astype(dtype) for name, shape in SHAPES.items()}


def make_gradients(dtype, steps=STEPS):
    rng = np.random.default_rng(2)
    return [
        {name: rng.normal(size=shape).astype(dtype) for name, shape in SHAPES.items()} for _ in range(steps)
    ]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", OPTIMISERS)
def test_formulas(name, dtype):
    kind, keywords = OPTIMISERS[name]
    params, gradients = make_params(dtype), make_gradients(dtype)
    live, start = dict(params), {key: p.copy() for key, p in params.items()}
    optimiser = kind(**keywords)
    for grads in gradients:
        kept = {key: g.copy() for key, g in grads.items()}
        optimiser.step(params, grads)
        assert all(np.array_equal(grads[key], kept[key]) for key in grads)
    assert optimiser.steps == STEPS
    for key, p in params.items():
        assert p is live[key]
        expected = written_out(name, keywords, start[key], [g[key].astype(np.float64) for g in gradients])
        np.testing.assert_allclose(
            p, expected, rtol=0, atol=tolerance(f"optimisers' formulas, {dtype}"), err_msg=key
        )


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", OPTIMISERS)
def test_torch_agrees(name, dtype):
    torch = pytest.importorskip("torch")
    kind, keywords = OPTIMISERS[name]
    params, gradients = make_params(dtype), make_gradients(dtype)
    tensors = {key: torch.nn.Parameter(torch.tensor(p)) for key, p in params.items()}
    renamed = {"initial_accumulator": "initial_accumulator_value"}
    reference = getattr(torch.optim, kind.__name__)(
        tensors.values(), **{renamed.get(key, key): value for key, value in keywords.items()}
    )
    optimiser = kind(**keywords)
    for grads in gradients:
        optimiser.step(params, grads)
        for key, tensor in tensors.items():
            tensor.grad = torch.tensor(grads[key])
        reference.step()
    for key, p in params.items():
        expected = tensors[key].detach().numpy()
        np.testing.assert_allclose(
            p, expected, rtol=0, atol=tolerance(f"optimisers against torch, {dtype}"), err_msg=key
        )


@pytest.mark.parametrize("name", ["adam", "adamw", "rmsprop", "adagrad"])
def test_defaults_are_those_of_torch(name):
    torch = pytest.importorskip("torch")
    kind, _ = OPTIMISERS[name]
    optimiser = kind()
    theirs = getattr(torch.optim, kind.__name__)([torch.nn.Parameter(torch.zeros(1))]).defaults
    for key in optimiser.hyper:
        assert theirs[{"initial_accumulator": "initial_accumulator_value"}.get(key, key)] == getattr(
            optimiser, key
        )


@pytest.mark.parametrize("name", OPTIMISERS)
def test_resuming_is_exact(name):
    kind, keywords = OPTIMISERS[name]
    gradients = make_gradients("float32", 10)
    whole, params = kind(**keywords), make_params("float32")
    for grads in gradients[:5]:
        whole.step(params, grads)
    state = whole.state_dict()
    plain = json.loads(json.dumps({key: value for key, value in state.items() if key != "arrays"}))
    rest = pickle.loads(pickle.dumps(state["arrays"]))
    resumed, copy = kind(lr=0.5), {key: p.copy() for key, p in params.items()}
    resumed.load_state_dict({**plain, "arrays": rest})
    for optimiser, arrays in (whole, params), (resumed, copy):
        optimiser.lr = optimiser.lr / 2
        for grads in gradients[5:]:
            optimiser.step(arrays, grads)
    for key, p in params.items():
        assert p.tobytes() == copy[key].tobytes(), key
    again, found = whole.state_dict(), resumed.state_dict()
    assert {key: again[key] for key in plain} == {key: found[key] for key in plain}
    assert all(again["arrays"][key].tobytes() == found["arrays"][key].tobytes() for key in again["arrays"])


def test_state_dicts_are_copies():
    optimiser, params = optim.Adam(), make_params("float32")
    optimiser.step(params, make_gradients("float32", 1)[0])
    state = optimiser.state_dict()
    state["arrays"]["mean/w"][:] = 7
    assert not (optimiser.state_dict()["arrays"]["mean/w"] == 7).any()
    optimiser.load_state_dict(state)
    state["arrays"]["mean/w"][:] = 8
    assert (optimiser.state_dict()["arrays"]["mean/w"] == 7).all()


def test_a_state_before_the_first_step_loads():
    optimiser = optim.Adam(lr=0.3)
    optimiser.load_state_dict(optim.Adam(lr=0.7).state_dict())
    assert optimiser.lr == 0.7 and optimiser.steps == 0
    optimiser.step(make_params("float32"), make_gradients("float32", 1)[0])


def test_momentum_may_be_turned_on_later():
    optimiser, params, (grads,) = optim.SGD(0.1), make_params("float64"), make_gradients("float64", 1)
    start = params["w"].copy()
    optimiser.step(params, grads)
    optimiser.momentum = 0.5
    optimiser.step(params, grads)
    optimiser.step(params, grads)
    np.testing.assert_allclose(params["w"], start - 0.1 * (1 + 1 + 1.5) * grads["w"])


def test_rates_of_zero_change_nothing():
    params, (grads,) = make_params("float32"), make_gradients("float32", 1)
    start = {key: p.copy() for key, p in params.items()}
    optim.AdamW(lr=0).step(params, grads)
    assert all(np.array_equal(params[key], start[key]) for key in params)


def test_denormals_do_not_stick():
    optimiser = optim.Adam()
    params, grads = {"w": np.ones(1000, np.float32)}, {"w": np.full(1000, 1e-30, np.float32)}
    optimiser.step(params, grads)
    grads["w"][:] = 0
    for _ in range(300):
        optimiser.step(params, grads)
    assert not optimiser.state_dict()["arrays"]["mean/w"].any()


STATE = optim.Adam().state_dict()
LINEAR = {"w": np.zeros((2, 3), np.float32)}
BAD = {
    "lr below 0": (
        lambda: optim.SGD(-0.1),
        ValueError,
        r"^lr: expected a finite number at least 0, found -0\.1$",
    ),
    "lr set": (lambda: setattr(optim.Adam(), "lr", math.nan), ValueError, r"^lr: expected a finite number"),
    "lr a word": (lambda: optim.Adam("fast"), TypeError, r"^lr: expected a number, found 'fast'$"),
    "momentum": (
        lambda: optim.SGD(0.1, momentum=1),
        ValueError,
        r"^momentum: .* at least 0 and below 1, found 1\.0$",
    ),
    "nesterov": (lambda: optim.SGD(0.1, nesterov=True), ValueError, r"^nesterov: expected momentum above 0"),
    "nesterov a number": (
        lambda: optim.SGD(0.1, 0.9, nesterov=1),
        TypeError,
        r"^nesterov: expected True or False",
    ),
    "betas": (lambda: optim.Adam(betas=(0.9, 1.0)), ValueError, r"^betas\[1\]: "),
    "one beta": (
        lambda: optim.Adam(betas=0.9),
        TypeError,
        r"^betas: expected a pair of numbers, found 0\.9$",
    ),
    "eps": (lambda: optim.RMSprop(eps=0), ValueError, r"^eps: expected a finite number above 0, found 0\.0$"),
    "weight_decay": (lambda: optim.Adagrad(weight_decay=-1), ValueError, r"^weight_decay: "),
    "params a list": (
        lambda: optim.SGD().step([1], LINEAR),
        TypeError,
        r"^params: expected a dict, found list$",
    ),
    "other names": (
        lambda: optim.SGD().step(LINEAR, {"v": LINEAR["w"]}),
        ValueError,
        r"^params: expected the names in grads, v; found w$",
    ),
    "other shape": (
        lambda: optim.SGD().step(LINEAR, {"w": np.zeros((3, 2), np.float32)}),
        ValueError,
        r"^params\['w'\]: expected float32 of shape \(3, 2\) as in the gradient, found float32 of shape",
    ),
    "other dtype": (
        lambda: optim.SGD().step(LINEAR, {"w": np.zeros((2, 3))}),
        ValueError,
        r"^params\['w'\]: expected float64 of shape \(2, 3\) as in the gradient, found float32",
    ),
    "ints": (
        lambda: optim.SGD().step({"w": np.zeros(2, int)}, {"w": np.zeros(2, int)}),
        TypeError,
        r"^params\['w'\]: expected a float32 or float64 array, found int64$",
    ),
    "not contiguous": (
        lambda: optim.SGD().step({"w": np.zeros((4, 4))[:, ::2]}, {"w": np.zeros((4, 2))}),
        ValueError,
        r"^params\['w'\]: expected a C-contiguous, aligned array, found strides \(32, 16\)$",
    ),
    "read-only": (
        lambda: optim.SGD().step({"w": np.broadcast_to(np.zeros(1), (1,))}, {"w": np.zeros(1)}),
        ValueError,
        r"^params\['w'\]: expected a writeable array, found a read-only one$",
    ),
    "state's type": (
        lambda: optim.SGD().load_state_dict(STATE),
        ValueError,
        r"^state\['type'\]: expected 'SGD', found 'Adam'$",
    ),
    "state's keys": (
        lambda: optim.SGD().load_state_dict({"lr": 1}),
        ValueError,
        r"^state: expected keys type, steps, hyper, arrays; found lr$",
    ),
    "state's hyper": (
        lambda: optim.Adam().load_state_dict({**STATE, "hyper": {"lr": 1}}),
        ValueError,
        r"^state\['hyper'\]: expected lr, betas, eps, weight_decay; found lr$",
    ),
    "state's lr": (
        lambda: optim.Adam().load_state_dict({**STATE, "hyper": {**STATE["hyper"], "lr": -1}}),
        ValueError,
        r"^lr: expected a finite number at least 0",
    ),
    "state's arrays": (
        lambda: optim.Adam().load_state_dict({**STATE, "steps": 3, "arrays": {"mean/w": np.zeros(3)}}),
        ValueError,
        r"^state\['arrays'\]: expected every parameter under .* \['mean', 'square'\], found \['mean/w'\]$",
    ),
    "state's array": (
        lambda: optim.Adam().load_state_dict({**STATE, "arrays": {"mean/w": [0.0]}}),
        TypeError,
        r"^state\['arrays'\]\['mean/w'\]: expected a float32 or float64 array, found list$",
    ),
    "max_norm": (
        lambda: optim.clip_grad_norm(LINEAR, 0),
        ValueError,
        r"^max_norm: expected a finite number above 0",
    ),
    "max_value": (lambda: optim.clip_grad_value(LINEAR, "x"), TypeError, r"^max_value: expected a number"),
    "no arrays": (
        lambda: optim.clip_grad_norm([1.0], 1),
        TypeError,
        r"^params_or_grads: expected a module or float32 or float64 arrays, found float$",
    ),
    "None": (
        lambda: optim.clip_grad_norm(None, 1),
        TypeError,
        r"^params_or_grads: expected a module or float32 or float64 arrays, found None$",
    ),
    "int arrays": (
        lambda: optim.grad_norm([np.zeros(2, int)]),
        TypeError,
        r"^params_or_grads: .* found int64 array$",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_named(name):
    call, kind, message = BAD[name]
    with pytest.raises(kind, match=message):
        call()


def test_other_parameters_than_before_change_nothing():
    optimiser, params, (grads,) = optim.Adam(), make_params("float32"), make_gradients("float32", 1)
    optimiser.step(params, grads)
    before = optimiser.state_dict()
    params["w"] = np.zeros((5, 8), np.float32)
    grads["w"] = np.zeros((5, 8), np.float32)
    start = {key: p.copy() for key, p in params.items()}
    with pytest.raises(
        ValueError, match=r"^params\['w'\]: expected float32 of shape \(5, 7\) as in the earlier steps"
    ):
        optimiser.step(params, grads)
    with pytest.raises(ValueError, match=r"^params: expected the names in the earlier steps"):
        optimiser.step({"w": start["w"]}, {"w": grads["w"]})
    assert all(np.array_equal(params[key], start[key]) for key in params)
    after = optimiser.state_dict()
    assert after["steps"] == before["steps"] == 1
    assert all(np.array_equal(after["arrays"][key], before["arrays"][key]) for key in before["arrays"])


def test_a_failed_load_changes_nothing():
    optimiser = optim.Adam(lr=0.3)
    optimiser.step(make_params("float32"), make_gradients("float32", 1)[0])
    before = optimiser.state_dict()
    spoiled = {**before, "hyper": {**before["hyper"], "lr": 0.9}, "steps": 7}
    spoiled["arrays"] = {key: a for key, a in before["arrays"].items() if key != "square/b"}
    with pytest.raises(ValueError, match=r"^state\['arrays'\]"):
        optimiser.load_state_dict(spoiled)
    assert optimiser.lr == 0.3 and optimiser.steps == 1
    assert optimiser.state_dict()["arrays"].keys() == before["arrays"].keys()


# Norms and clipping


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("size", [0, 1, 7, 8, 9, 16, 1003])
def test_norm(size, dtype):
    x = np.random.default_rng(size).normal(size=size).astype(dtype)
    expected = math.sqrt(math.fsum(float(v) ** 2 for v in x))
    assert optim.grad_norm([x]) == pytest.approx(expected, rel=1e-14)
    assert _optim.sum_squares(x) == pytest.approx(expected**2, rel=1e-14)


def test_norm_neither_overflows_nor_hides_what_is_not_finite():
    assert optim.grad_norm([np.full(4, 1e200), np.zeros(2)]) == pytest.approx(2e200)
    assert optim.grad_norm([np.full(4, 3e38, np.float32)]) == pytest.approx(6e38, rel=1e-6)
    assert optim.grad_norm([np.full(4, 1e200), np.array([np.inf])]) == math.inf
    assert math.isnan(optim.grad_norm([np.full(4, 1e200), np.array([np.nan])]))
    assert optim.grad_norm([]) == 0.0


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_all_finite(bad, dtype):
    x = np.full(37, np.finfo(dtype).max, dtype)
    x[5] = np.finfo(dtype).smallest_subnormal
    assert optim.all_finite([x])
    for at in range(x.size):
        spoiled = x.copy()
        spoiled[at] = bad
        assert not optim.all_finite({"x": x, "spoiled": spoiled})
        assert not math.isfinite(optim.grad_norm([spoiled]))


@pytest.mark.parametrize("form", ["module", "dict", "list"])
def test_clip_by_norm(form):
    module = Linear(3, 4, seed=0)
    for name, g in module.grads.items():
        g[...] = np.random.default_rng(len(name)).normal(size=g.shape)
    given = {"module": module, "dict": module.grads, "list": list(module.grads.values())}[form]
    before = {name: g.copy() for name, g in module.grads.items()}
    norm = math.sqrt(sum((g.astype(np.float64) ** 2).sum() for g in before.values()))
    assert optim.clip_grad_norm(given, 100.0) == pytest.approx(norm, rel=1e-12)
    assert all(np.array_equal(g, before[name]) for name, g in module.grads.items())
    assert optim.clip_grad_norm(given, 0.25) == pytest.approx(norm, rel=1e-12)
    for name, g in module.grads.items():
        np.testing.assert_allclose(g, before[name] * 0.25 / norm, rtol=1e-6)
    assert optim.grad_norm(given) == pytest.approx(0.25, rel=1e-5)


def test_clip_by_norm_leaves_what_is_not_finite():
    g = np.array([1.0, np.inf, 2.0])
    assert optim.clip_grad_norm([g], 1.0) == math.inf
    np.testing.assert_array_equal(g, [1.0, np.inf, 2.0])


@pytest.mark.parametrize("clip", [optim.clip_grad_norm, optim.clip_grad_value])
def test_clipping_takes_generators_and_all_arrays_or_none(clip):
    arrays = [np.full(3, 2.0), np.full(2, 3.0)]
    clip((a for a in arrays), 0.5)
    assert optim.grad_norm(a for a in arrays) < 2 and arrays[0].max() <= 0.5 and arrays[1].max() <= 0.5
    before = arrays[0].copy()
    arrays[1].flags.writeable = False
    with pytest.raises(ValueError, match=r"^params_or_grads: expected writeable arrays, found a read-only one$"):
        clip(arrays, 0.1)
    np.testing.assert_array_equal(arrays[0], before)


def test_clip_by_norm_takes_views():
    g = np.random.default_rng(0).normal(size=(6, 6))
    rest = g[:, 1::2].copy()
    norm = optim.clip_grad_norm([g[:, ::2]], 0.1)
    assert norm > 0.1
    assert np.linalg.norm(g[:, ::2]) == pytest.approx(0.1, rel=1e-5)
    np.testing.assert_array_equal(g[:, 1::2], rest)


def test_clip_by_value():
    g = np.array([-3.0, -0.5, 0.0, 0.5, 3.0, np.nan], np.float32)
    assert optim.clip_grad_value({"g": g}, 0.75) is None
    np.testing.assert_array_equal(g, np.array([-0.75, -0.5, 0.0, 0.5, 0.75, np.nan], np.float32))


def test_torch_clips_alike():
    torch = pytest.importorskip("torch")
    grads = make_gradients("float32", 1)[0]
    parameters = [torch.nn.Parameter(torch.tensor(g)) for g in grads.values()]
    for parameter, g in zip(parameters, grads.values()):
        parameter.grad = torch.tensor(g)
    expected = torch.nn.utils.clip_grad_norm_(parameters, 0.01).item()
    assert optim.clip_grad_norm(grads, 0.01) == pytest.approx(expected, rel=1e-6)
    for parameter, g in zip(parameters, grads.values()):
        np.testing.assert_allclose(g, parameter.grad.numpy(), rtol=1e-6)


def test_hyperparameters_that_are_set_later_are_checked():
    optimizer = optim.SGD(0.1, momentum=0.9, nesterov=True)
    for name, value in (("momentum", 1.5), ("momentum", 0), ("momentum", "x"), ("weight_decay", -1), ("lr", np.nan),
                        ("nesterov", 1), ("steps", -1), ("steps", 0.5), ("steps", 10**400)):
        with pytest.raises((ValueError, TypeError), match=name):
            setattr(optimizer, name, value)
    assert (optimizer.lr, optimizer.momentum, optimizer.nesterov, optimizer.steps) == (0.1, 0.9, True, 0)
    optimizer.momentum = 0.5
    optimizer.load_state_dict(optim.SGD(0.2).state_dict())    # without momentum and so without Nesterov's form
    assert (optimizer.lr, optimizer.momentum, optimizer.nesterov) == (0.2, 0.0, False)
