"""The engine held to the reference over a drawn space of networks, and what it promises about its calls."""

import copy
import gc
import pickle
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest
import reference
import reference_options
from gradcheck import check_gradients
from hypothesis import given, settings
from hypothesis import strategies as st
from problems import Problem
from tolerances import relative_error, tolerance

import fastrnn

RUNNERS = {
    "rnn_tanh": (fastrnn.RNN, {"nonlinearity": "tanh"}),
    "rnn_relu": (fastrnn.RNN, {"nonlinearity": "relu"}),
    "lstm": (fastrnn.LSTM, {}),
    "gru_reset_after": (fastrnn.GRU, {}),
    "gru_reset_before": (fastrnn.GRU, {"reset_after": False}),
    "layer_norm_lstm": (fastrnn.LSTM, {"layer_norm": True}),
    "layer_norm_gru": (fastrnn.GRU, {"layer_norm": True}),
    **reference_options.runners(fastrnn, reference_options.SMOOTH),
}
CELLS = {
    "rnn_tanh": (fastrnn.RNNCell, {"nonlinearity": "tanh"}),
    "rnn_relu": (fastrnn.RNNCell, {"nonlinearity": "relu"}),
    "lstm": (fastrnn.LSTMCell, {}),
    "gru_reset_after": (fastrnn.GRUCell, {}),
    "gru_reset_before": (fastrnn.GRUCell, {"reset_after": False}),
    "layer_norm_lstm": (fastrnn.LSTMCell, {"layer_norm": True}),
    "layer_norm_gru": (fastrnn.GRUCell, {"layer_norm": True}),
    **reference_options.runners(fastrnn, reference_options.SMOOTH, "Cell"),
}
PROBABILITIES = "dropout", "recurrent_dropout", "zoneout", "weight_dropout"
PLAIN = [cell for cell in RUNNERS if not cell.startswith("layer_norm")]
LAYOUTS = ["time-major", "batch-first", "unbatched", "ragged"]

# Around the vector widths (4, 8, 16 lanes) and the panels made of them, where a tail can go wrong.
sizes = st.one_of(st.sampled_from([1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 24, 31, 32, 33]), st.integers(1, 40))
few = st.integers(0, 9)
thread_counts = st.integers(1, 4)
batches = st.one_of(st.integers(1, 9), st.sampled_from([13, 17, 33]))


@st.composite
def problems(draw, sizes=sizes, batches=batches, steps=few, cells=PLAIN, options=None, make=Problem, **fixed):
    """A problem and the layout of the calls; `options` draws further fields, given those drawn."""
    cell = draw(st.sampled_from(cells))
    hidden_size = draw(sizes)
    projects = cell in reference.LSTMS and hidden_size > 1 and draw(st.booleans())
    steps, batch = draw(steps), draw(batches)
    drawn = {
        "cell": cell,
        "input_size": draw(sizes),
        "hidden_size": hidden_size,
        "num_layers": draw(st.integers(1, 3)),
        "bidirectional": draw(st.booleans()),
        "bias": draw(st.sampled_from([True, True, False])),
        "proj_size": draw(st.integers(1, hidden_size - 1)) if projects else 0,
        "dtype": draw(st.sampled_from(["float32", "float64"])),
        "seed": draw(st.integers(0, 2**32)),
    }
    if options:
        drawn |= draw(options(drawn))
    layout = draw(st.sampled_from(LAYOUTS))
    if layout == "unbatched":
        batch = 1
    lengths = None
    if layout == "ragged" or (layout != "unbatched" and draw(st.booleans())):
        lengths = draw(st.lists(st.integers(0, steps), min_size=batch, max_size=batch))
    if layout == "ragged":
        steps = max(lengths)
    return make(**drawn | fixed, steps=steps, batch=batch, lengths=lengths), layout


def make_runner(problem, layout="time-major", **options):
    runner, own = RUNNERS[problem.cell]
    if problem.proj_size:
        options["proj_size"] = problem.proj_size
    probabilities = {name: getattr(problem, name) for name in PROBABILITIES}
    options = {name: p for name, p in probabilities.items() if p} | options
    rnn = runner(
        problem.input_size,
        problem.hidden_size,
        problem.num_layers,
        bias=problem.bias,
        batch_first=layout == "batch-first",
        bidirectional=problem.bidirectional,
        dtype=problem.dtype,
        init="pytorch",
        **own | options,
    )
    rnn.load_state_dict(problem.params)
    return rnn


def arrange(a, problem, layout):
    """[T, B, .] in float64 -> the layout and dtype of a call."""
    a = a.astype(problem.dtype)
    if layout == "ragged":
        return [a[:n, b].copy() for b, n in enumerate(problem.lengths)]
    if layout == "unbatched":
        return a[:, 0]
    return np.ascontiguousarray(a.swapaxes(0, 1)) if layout == "batch-first" else a


def restore(a, problem, layout):
    """The result of a call -> [T, B, .], after a check of dtype and, for a ragged list, of its lengths."""
    if layout == "ragged":
        assert [len(part) for part in a] == problem.lengths
        padded = np.zeros((problem.steps, problem.batch, a[0].shape[1]), a[0].dtype)
        for b, part in enumerate(a):
            padded[: len(part), b] = part
        a = padded
    elif layout == "unbatched":
        a = a[:, None]
    elif layout == "batch-first":
        a = a.swapaxes(0, 1)
    assert a.dtype == problem.dtype
    return a


def arrange_state(state, problem, layout):
    state = tuple(s.astype(problem.dtype) for s in state)
    if layout == "unbatched":
        state = tuple(s[:, 0] for s in state)
    return state if problem.cell in reference.LSTMS else state[0]


def restore_state(state, problem, layout):
    state = state if problem.cell in reference.LSTMS else (state,)
    assert all(s.dtype == problem.dtype for s in state)
    return tuple(s[:, None] if layout == "unbatched" else s for s in state)


def lengths_argument(problem, layout):
    return None if layout == "ragged" else problem.lengths


def assert_close(name, found, expected, problem):
    kind = "engine, layer-normalised" if problem.cell.startswith("layer_norm") else \
        "engine, dropping" if any(getattr(problem, chance) for chance in PROBABILITIES) else "engine"
    allowed = tolerance(f"{kind}, {problem.dtype}")
    error = relative_error(found, expected, tolerance("engine, smallest scale"))
    assert error < allowed, f"{name}: relative error {error}, allowed {allowed}"


def assert_state_close(found, expected, problem):
    for k, (a, b) in enumerate(zip(found, expected, strict=True)):
        assert_close(f"state[{k}]", a, b, problem)


def without_state(problem):
    problem.state = tuple(np.zeros_like(s) for s in problem.state)


@contextmanager
def threads(n):
    kept = fastrnn.get_num_threads()
    fastrnn.set_num_threads(n)
    try:
        yield
    finally:
        fastrnn.set_num_threads(kept)


@settings(max_examples=300)
@given(problems(), st.booleans(), thread_counts)
def test_inference(each_isa, drawn, with_state, n):
    problem, layout = drawn
    if not with_state:
        without_state(problem)
    expected_y, expected_state = problem.infer()
    state = arrange_state(problem.state, problem, layout) if with_state else None
    with threads(n):
        y, state = make_runner(problem, layout)(
            arrange(problem.x, problem, layout), state, lengths=lengths_argument(problem, layout)
        )
    assert_close("y", restore(y, problem, layout), expected_y, problem)
    assert_state_close(restore_state(state, problem, layout), expected_state, problem)


given_gradients = st.sampled_from(["dy", "dstate", "both"])


@settings(max_examples=300)
@given(problems(), st.booleans(), given_gradients, thread_counts)
def test_training(each_isa, drawn, with_state, gradients, n):
    check_training(*drawn, with_state, gradients, n)


# Work that is worth sharing among as many threads as there are, so that each has a part of it.
large = problems(st.integers(30, 50), st.integers(10, 40), st.integers(20, 25), num_layers=2)


@settings(max_examples=50)
@given(large, st.booleans(), given_gradients, st.integers(2, 6))
def test_training_on_several_threads(drawn, with_state, gradients, n):
    check_training(*drawn, with_state, gradients, n)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("input_size", "hidden_size", "batch"), [(600, 300, 70), (1, 515, 5), (1030, 3, 2)])
@pytest.mark.parametrize("cell", RUNNERS)
def test_training_of_large_layers(cell, input_size, hidden_size, batch, dtype):
    lengths = [3, 1, 2] + [3] * (batch - 3) if batch > 2 else None
    problem = Problem(cell, input_size, hidden_size, steps=3, batch=batch, lengths=lengths, dtype=dtype)
    check_training(problem, "time-major", True, "both", 2)


def check_training(problem, layout, with_state, gradients, n):
    if not with_state:
        without_state(problem)
    if gradients == "dy":
        problem.dstate = tuple(np.zeros_like(s) for s in problem.dstate)
    if gradients == "dstate":
        problem.dy[:] = 0
    expected_y, expected_state, tape = problem.forward()
    expected_dx, expected_dstate, expected_grads = reference.backward(tape, problem.dy, problem.dstate)

    state = arrange_state(problem.state, problem, layout) if with_state else None
    dy = None if gradients == "dstate" else arrange(problem.dy, problem, layout)
    dstate = None if gradients == "dy" else arrange_state(problem.dstate, problem, layout)
    with threads(n):
        rnn = make_runner(problem, layout)
        y, state, tape = rnn.forward(
            arrange(problem.x, problem, layout),
            state,
            lengths=lengths_argument(problem, layout),
            seed=problem.mask_seed,
            first_step=problem.first_step,
        )
        dx, dstate = rnn.backward(tape, dy, dstate)

    assert_close("y", restore(y, problem, layout), expected_y, problem)
    assert_state_close(restore_state(state, problem, layout), expected_state, problem)
    assert_close("dx", restore(dx, problem, layout), expected_dx, problem)
    for k, found in enumerate(restore_state(dstate, problem, layout)):
        assert_close(f"dstate[{k}]", found, expected_dstate[k], problem)
    assert rnn.grads.keys() == expected_grads.keys()
    for name, found in rnn.grads.items():
        assert_close(f"gradient of {name}", found, expected_grads[name], problem)


@given(problems(num_layers=1, bidirectional=False, proj_size=0), st.booleans())
def test_cells(drawn, unbatched):
    problem, _ = drawn
    problem = replace(problem, steps=1, batch=1 if unbatched else problem.batch, lengths=None)
    kind, options = CELLS[problem.cell]
    options = options | {name: getattr(problem, name) for name in PROBABILITIES if name != "dropout"}
    cell = kind(problem.input_size, problem.hidden_size, bias=problem.bias, dtype=problem.dtype, **options)
    assert {f"{name}_l0" for name in cell.params} == problem.params.keys()
    for name, value in cell.params.items():
        value[...] = problem.params[f"{name}_l0"]
    x, state = problem.x[0].astype(problem.dtype), [s[0].astype(problem.dtype) for s in problem.state]
    if unbatched:
        x, state = x[0], [s[0] for s in state]
    found = cell(x, tuple(state) if problem.cell in reference.LSTMS else state[0])
    _, expected = problem.infer()
    found = found if problem.cell in reference.LSTMS else (found,)
    for a, b in zip(found, expected, strict=True):
        assert a.dtype == problem.dtype
        assert_close("state", a, b[0, 0] if unbatched else b[0], problem)



# Dropout. A network of two ReLU layers, the first putting out ones, the second its input, shows the mask.


def mask_of(steps, batch, hidden_size, dropout, seed, lengths=None):
    """[T, B, H]: the factors that forward() applies between two layers when it draws from `seed`."""
    rnn = fastrnn.RNN(1, hidden_size, 2, nonlinearity="relu", dropout=dropout, dtype="float64")
    for value in rnn.params.values():
        value[...] = 0
    rnn.params["bias_ih_l0"][...] = 1
    rnn.params["weight_ih_l1"][...] = np.eye(hidden_size)
    rnn.set_rng(np.random.default_rng(seed))
    return rnn.forward(np.zeros((steps, batch, 1)), lengths=lengths)[0]


@pytest.mark.parametrize("dropout", [0.1, 0.5, 0.9])
def test_dropout_keeps_the_stated_share_and_the_mean(dropout):
    mask = mask_of(50, 8, 64, dropout, seed=3)
    assert relative_error(np.unique(mask), [0, 1 / (1 - dropout)]) <= tolerance("engine, float64")
    # 25600 draws: five standard deviations
    assert abs((mask > 0).mean() - (1 - dropout)) < 5 * np.sqrt(dropout * (1 - dropout) / mask.size)
    assert len({mask[t].tobytes() for t in range(50)}) == 50, "steps share a mask"
    assert len({mask[:, b].tobytes() for b in range(8)}) == 8, "sequences share a mask"


@pytest.mark.parametrize("lengths", [None, [3, 0, 5, 1]])
@pytest.mark.parametrize("cell", RUNNERS)
def test_dropout_equals_the_reference_with_the_same_mask(cell, lengths):
    mask_seed = int(np.random.default_rng(11).integers(2**63))
    problem = Problem(cell, 3, 6, num_layers=2, steps=5, lengths=lengths, dropout=0.4, mask_seed=mask_seed)
    valid = np.arange(5)[:, None] < (lengths or [5] * 4)
    found = mask_of(5, 4, 6, 0.4, seed=11, lengths=lengths)
    np.testing.assert_array_equal(found, problem.layer_masks()[0] * valid[..., None])
    expected_y, _, tape = problem.forward()
    rnn = make_runner(problem)
    rnn.set_rng(np.random.default_rng(11))
    y, _, tape_found = rnn.forward(problem.x, arrange_state(problem.state, problem, "time-major"), lengths)
    assert_close("y", y, expected_y, problem)
    expected_dx, _, expected = reference.backward(tape, problem.dy, problem.dstate)
    dx, _ = rnn.backward(tape_found, problem.dy, arrange_state(problem.dstate, problem, "time-major"))
    assert_close("dx", dx, expected_dx, problem)
    for name, found in rnn.grads.items():
        assert_close(name, found, expected[name], problem)


@pytest.mark.parametrize(
    ("cell", "options"),
    [(cell, {"bidirectional": b}) for cell in RUNNERS for b in (False, True)] + [("lstm", {"proj_size": 2})],
)
def test_gradients_of_a_network_with_dropout_by_finite_differences(cell, options):
    problem = Problem(cell, num_layers=3, steps=3, batch=3, lengths=[2, 0, 3], **options)
    rnn = make_runner(problem, dropout=0.4)

    def forward():
        rnn.set_rng(np.random.default_rng(5))
        return rnn.forward(problem.x, arrange_state(problem.state, problem, "time-major"), problem.lengths)

    def loss():
        y, state, _ = forward()
        pairs = zip((y, *restore_state(state, problem, "time-major")), (problem.dy, *problem.dstate))
        return sum(np.sum(a * b) for a, b in pairs)

    dx, dstate = rnn.backward(forward()[2], problem.dy, arrange_state(problem.dstate, problem, "time-major"))
    initial = {f"state[{k}]": s for k, s in enumerate(problem.state)}
    dstate = {f"state[{k}]": d for k, d in enumerate(restore_state(dstate, problem, "time-major"))}
    assert any(np.abs(g).max() > 0.1 for g in rnn.grads.values())
    check_gradients(loss, {"x": problem.x, **initial, **rnn.params}, {"x": dx, **dstate, **rnn.grads})


def test_dropout_follows_the_seed_and_moves_on():
    def outputs(seed):
        rnn = fastrnn.LSTM(3, 16, 2, dropout=0.5, seed=seed)
        return [rnn.forward(x)[0] for _ in range(2)]

    x = np.ones((4, 2, 3), np.float32)
    first, again, other = outputs(1), outputs(1), outputs(2)
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first[0], first[1])
    assert not np.array_equal(first[0], other[0])


def test_dropout_is_for_training_and_between_layers_only():
    problem = Problem("lstm", num_layers=2, steps=6)
    plain, dropping = make_runner(problem), make_runner(problem, dropout=0.9)
    np.testing.assert_array_equal(plain(problem.x)[0], dropping(problem.x)[0])
    assert not np.array_equal(plain.forward(problem.x)[0], dropping.forward(problem.x)[0])
    problem = Problem("lstm", num_layers=1, steps=6)
    with pytest.warns(UserWarning, match="dropout"):
        plain, dropping = make_runner(problem), make_runner(problem, dropout=0.9)
    np.testing.assert_array_equal(plain.forward(problem.x)[0], dropping.forward(problem.x)[0])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_dropout_at_its_edges(dtype):
    problem = Problem("gru_reset_after", num_layers=2, steps=6, dtype=dtype)
    x = problem.x.astype(dtype)
    plain = make_runner(problem).forward(x)[0]
    tiny = make_runner(problem, dropout=np.finfo(dtype).tiny).forward(x)[0]
    np.testing.assert_array_equal(tiny, plain)
    # Every connection is cut: the second layer runs on its biases, whatever x is.
    for all_but in (0.0, 2.0**-20):
        rnn = make_runner(problem, dropout=1 - all_but)
        y, _, tape = rnn.forward(x)
        np.testing.assert_array_equal(y, rnn.forward(0 * x)[0])
        dx, _ = rnn.backward(tape, np.ones_like(y))
        np.testing.assert_array_equal(dx, 0)
        assert rnn.grads["bias_ih_l1"].any()
        assert all(np.isfinite(g).all() for g in rnn.grads.values())


# Promises about calls


@pytest.fixture(params=RUNNERS)
def small(request):
    """A problem of two bidirectional layers in float64, and its runner."""
    problem = Problem(request.param, num_layers=2, bidirectional=True, lengths=[3, 0, 4, 1])
    return problem, make_runner(problem)


def train(problem, rnn, scale=1.0):
    _, _, tape = rnn.forward(problem.x, lengths=problem.lengths)
    rnn.backward(tape, scale * problem.dy)


def test_gradients_accumulate(small):
    problem, rnn = small
    train(problem, rnn)
    once = {name: g.copy() for name, g in rnn.grads.items()}
    live = dict(rnn.grads)
    train(problem, rnn, 0.5)
    for name, g in rnn.grads.items():
        assert g is live[name]
        assert_close(name, g, 1.5 * once[name], problem)
    rnn.zero_grad()
    for name, g in rnn.grads.items():
        assert g is live[name]
        assert not g.any()
    train(problem, rnn)
    for name, g in rnn.grads.items():
        np.testing.assert_array_equal(g, once[name], err_msg=name)


def test_tapes_are_independent_of_each_other(small):
    problem, rnn = small
    train(problem, rnn)
    expected = {name: g.copy() for name, g in rnn.grads.items()}
    rnn.zero_grad()
    _, _, first = rnn.forward(problem.x, lengths=problem.lengths)
    _, _, second = rnn.forward(2 * problem.x, lengths=[4, 4, 4, 4])
    rnn(3 * problem.x)
    rnn.backward(second, problem.dy)
    rnn.zero_grad()
    rnn.backward(first, problem.dy)
    for name, g in rnn.grads.items():
        np.testing.assert_array_equal(g, expected[name], err_msg=name)


def test_a_tape_serves_once(small):
    problem, rnn = small
    _, _, tape = rnn.forward(problem.x)
    rnn.backward(tape, problem.dy)
    kept = {name: g.copy() for name, g in rnn.grads.items()}
    with pytest.raises(ValueError, match=r"^tape\b"):
        rnn.backward(tape, problem.dy)
    _, _, other = rnn.forward(2 * problem.x)
    with pytest.raises(ValueError, match=r"^tape\b"):
        rnn.backward(tape, problem.dy)
    for name, g in rnn.grads.items():
        np.testing.assert_array_equal(g, kept[name])
    rnn.backward(other, problem.dy)


def test_a_tape_serves_its_own_runner(small):
    problem, rnn = small
    _, _, tape = rnn.forward(problem.x)
    other = make_runner(problem)
    with pytest.raises(ValueError, match=r"^tape\b"):
        other.backward(tape, problem.dy)
    assert not any(g.any() for g in other.grads.values())
    rnn.backward(tape, problem.dy)


def test_results_are_the_callers_and_arguments_stay_as_they_are(small):
    problem, rnn = small
    state = arrange_state(problem.state, problem, "time-major")
    dstate = arrange_state(problem.dstate, problem, "time-major")
    arguments = {**problem.arrays(), "dy": problem.dy}
    arguments |= {f"dstate[{k}]": d for k, d in enumerate(problem.dstate)}
    kept_arguments = {name: a.copy() for name, a in arguments.items()}

    def results(scale):
        y, final = rnn(scale * problem.x, state, problem.lengths)
        y_training, final_training, tape = rnn.forward(scale * problem.x, state, problem.lengths)
        dx, d_initial = rnn.backward(tape, problem.dy, dstate)
        groups = [restore_state(s, problem, "time-major") for s in (final, final_training, d_initial)]
        return [y, y_training, dx, *(s for group in groups for s in group)]

    found = results(1.0)
    kept = [a.copy() for a in found]
    results(2.0)
    for a, b in zip(found, kept):
        np.testing.assert_array_equal(a, b)
    for name, a in arguments.items():
        np.testing.assert_array_equal(a, kept_arguments[name], err_msg=name)
    for a in found:
        a[...] = np.nan  # writable, and in nobody else's memory
    for a, b in zip(results(1.0), kept):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("cell", RUNNERS)
def test_writing_to_any_parameter_takes_effect_at_the_next_call(cell):
    problem = Problem(cell, 9, 17, num_layers=2, bidirectional=True, dtype="float32")
    x = problem.x.astype("float32")
    rnn = make_runner(problem)
    before = rnn(x)[0]
    for name, value in rnn.params.items():
        at = tuple(n - 1 for n in value.shape)
        value[at] = np.nextafter(value[at], np.float32(np.inf))
        value[(0,) * value.ndim] += 1
        problem.params[name] = value.astype(np.float64)
        fresh = make_runner(problem)
        after = rnn(x)[0]
        assert not np.array_equal(after, before), name
        np.testing.assert_array_equal(after, fresh(x)[0], err_msg=name)
        np.testing.assert_array_equal(rnn.forward(x)[0], fresh.forward(x)[0], err_msg=name)
        before = after
    rnn.load_state_dict(make_runner(Problem(cell, 9, 17, num_layers=2, bidirectional=True)).state_dict())
    assert not np.array_equal(rnn(x)[0], before)


HOLDERS = {
    "array": lambda rnn, name: rnn.params[name],
    "view": lambda rnn, name: rnn.params[name][:1],
    "memoryview": lambda rnn, name: memoryview(rnn.params[name]),
    "dict": lambda rnn, name: rnn.params,
}


@pytest.mark.parametrize("holder", HOLDERS)
@pytest.mark.parametrize("cell", RUNNERS)
def test_writing_through_what_was_taken_earlier_takes_effect(cell, holder):
    problem = Problem(cell, dtype="float32")
    x = problem.x.astype("float32")
    for name in problem.params:
        rnn = make_runner(problem)
        rnn(x)
        held = HOLDERS[holder](rnn, name)
        for _ in range(3):
            before = rnn(x)[0]
        held = held[name] if holder == "dict" else held
        np.asarray(held)[0] += 1
        after = rnn(x)[0]
        assert not np.array_equal(after, before), name
        fresh = make_runner(problem)
        fresh.load_state_dict(rnn.state_dict())
        np.testing.assert_array_equal(after, fresh(x)[0], err_msg=name)


def test_streams_and_runners_share_the_parameters():
    rnn = fastrnn.GRU(3, 5, seed=0)
    x = np.ones((1, 3), np.float32)
    stream, weight = rnn.stream(), rnn.params["weight_ih_l0"]
    before = stream.step(x[0]).copy()
    weight += 1
    stream.reset()
    after = stream.step(x[0])
    assert not np.array_equal(after, before)
    np.testing.assert_array_equal(after, rnn(x)[0][0])


def test_state_dict_copies(small):
    problem, rnn = small
    before = rnn(problem.x)[0]
    for value in rnn.state_dict().values():
        value[...] = 0
    np.testing.assert_array_equal(rnn(problem.x)[0], before)


def spread(a):
    """The values of `a` in a layout with gaps, a negative stride and no aligned rows."""
    wide = np.empty((a.shape[0], 2 * a.shape[1], a.shape[2] + 3), a.dtype)
    view = wide[::-1, ::2, 1 : 1 + a.shape[2]]
    view[...] = a
    assert not view.flags.c_contiguous
    return view


def read_only(a):
    a = a.copy()
    a.flags.writeable = False
    return a


def unaligned(a):
    raw = np.empty(a.nbytes + 1, np.uint8)[1:]
    view = raw.view(a.dtype).reshape(a.shape)
    view[...] = a
    assert not view.flags.aligned
    return view


FORMS = {
    "gaps and negative strides": spread,
    "Fortran order": np.asfortranarray,
    "read-only": read_only,
    "unaligned": unaligned,
    "float64": lambda a: a.astype(np.float64),
    "float16": lambda a: a.astype(np.float16),
    "other byte order": lambda a: a.astype(a.dtype.newbyteorder()),
    "int64": lambda a: a.astype(np.int64),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("cell", ["lstm", "gru_reset_after"])
def test_form_of_the_arguments_does_not_matter(cell, batch_first, form):
    problem = Problem(cell, 3, 5, dtype="float32", lengths=[3, 4, 0, 2])
    rnn = make_runner(problem, "batch-first" if batch_first else "time-major")
    change = FORMS[form]
    # Halves between -4 and 4, or whole numbers, which every form holds exactly.
    step = 1 if form == "int64" else 0.5
    as_given = [
        [np.round(a / step) * step for a in group]
        for group in ([problem.x], problem.state, [problem.dy], problem.dstate)
    ]
    plain, changed = (
        [[f(a.astype(np.float32)) for a in group] for group in as_given] for f in (np.array, change)
    )

    def run(x, state, dy, dstate):
        state, dstate = (tuple(s) if cell == "lstm" else s[0] for s in (state, dstate))
        rnn.zero_grad()
        y, final, tape = rnn.forward(x[0], state, problem.lengths)
        dx, d_initial = rnn.backward(tape, dy[0], dstate)
        inferred, inferred_final = rnn(x[0], state, problem.lengths)
        states = [s for group in (final, d_initial, inferred_final) for s in np.asarray(group)]
        return [y, dx, inferred, *states, *(g.copy() for g in rnn.grads.values())]

    for a, b in zip(run(*plain), run(*changed), strict=True):
        assert a.dtype == b.dtype == np.float32
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("dtype", ["u1", "i4", "i8", ">i8"])
def test_form_of_the_lengths_does_not_matter(small, dtype):
    problem, rnn = small
    expected = rnn(problem.x, lengths=problem.lengths)[0]
    for lengths in (np.array(problem.lengths, dtype), tuple(problem.lengths)):
        np.testing.assert_array_equal(rnn(problem.x, lengths=lengths)[0], expected)


@pytest.mark.parametrize("batch_first", [False, True])
def test_an_empty_batch(batch_first):
    rnn = fastrnn.LSTM(3, 4, 2, bidirectional=True, batch_first=batch_first)
    x = np.zeros((0, 5, 3) if batch_first else (5, 0, 3), np.float32)
    y, (h, c), tape = rnn.forward(x)
    assert y.shape == (*x.shape[:2], 8)
    assert h.shape == c.shape == (4, 0, 4)
    dx, (dh, dc) = rnn.backward(tape, y, (h, c))
    assert dx.shape == x.shape
    assert dh.shape == dc.shape == h.shape
    assert not any(g.any() for g in rnn.grads.values())
    assert rnn(x)[0].shape == y.shape
    assert rnn([])[0] == []


def test_float64_arguments_of_a_float32_runner_are_rounded(small):
    problem, _ = small
    problem = replace(problem, dtype="float32")
    x = np.random.default_rng(1).standard_normal(problem.x.shape)
    rnn = make_runner(problem)
    y, _ = rnn(x)
    assert y.dtype == np.float32
    np.testing.assert_array_equal(y, rnn(x.astype(np.float32))[0])


def test_nan_reaches_its_own_sequence_and_no_other(small):
    problem, rnn = small
    clean, _ = rnn(problem.x)
    problem.x[1, 2] = np.nan
    for y in (rnn(problem.x)[0], rnn.forward(problem.x)[0]):
        assert np.isnan(y[1:, 2]).all()
        others = [0, 1, 3]
        assert np.isfinite(y[:, others]).all()
    np.testing.assert_array_equal(rnn(problem.x)[0][:, [0, 1, 3]], clean[:, [0, 1, 3]])


def test_what_lies_beyond_a_length_is_never_read(small):
    problem, rnn = small
    beyond = np.arange(problem.steps)[:, None] >= problem.lengths

    def results():
        y, _ = rnn(problem.x, lengths=problem.lengths)
        y_training, _, tape = rnn.forward(problem.x, lengths=problem.lengths)
        rnn.zero_grad()
        dx, _ = rnn.backward(tape, problem.dy)
        return [y, y_training, dx, *(g.copy() for g in rnn.grads.values())]

    clean = results()
    problem.x[beyond] = np.nan
    problem.dy[beyond] = np.nan
    for found, expected in zip(results(), clean, strict=True):
        np.testing.assert_array_equal(found, expected)


def test_infinities_saturate():
    problem = Problem("lstm", dtype="float32")
    x = problem.x.astype(np.float32)
    x[0] = np.inf
    with np.errstate(invalid="ignore"):
        y, (h, c) = make_runner(problem)(np.abs(x) * np.float32(1e38))
    for a in (y, h, c):
        assert not np.isinf(a).any()


BAD_CALLS = {
    "x has another input size": (lambda r, p: r(p.x[..., :1]), ValueError, r"^x\b"),
    "x has four axes": (lambda r, p: r(p.x[None]), ValueError, r"^x\b"),
    "x has one axis": (lambda r, p: r(p.x[0, 0]), ValueError, r"^x\b"),
    "x is text": (lambda r, p: r("text"), (TypeError, ValueError), r"^x\b"),
    "x is complex": (lambda r, p: r(p.x + 1j), (TypeError, ValueError), r"^x\b"),
    "x is None": (lambda r, p: r(None), (TypeError, ValueError), r"^x\b"),
    "lengths are too few": (lambda r, p: r(p.x, lengths=[1, 2, 3]), ValueError, r"^lengths\b"),
    "a length is beyond T": (lambda r, p: r(p.x, lengths=[1, 2, 3, 5]), ValueError, r"^lengths\b"),
    "a length is negative": (lambda r, p: r(p.x, lengths=[1, 2, 3, -1]), ValueError, r"^lengths\b"),
    "lengths are fractions": (
        lambda r, p: r(p.x, lengths=[1.0, 2.5, 3.0, 1.0]),
        (TypeError, ValueError),
        r"^lengths\b",
    ),
    "the state is for another batch": (
        lambda r, p: r(p.x, arrange_state([s[:, :3] for s in p.state], p, "time-major")),
        ValueError,
        r"^state\b",
    ),
    "the state lacks a layer": (
        lambda r, p: r(p.x, arrange_state([s[1:] for s in p.state], p, "time-major")),
        ValueError,
        r"^state\b",
    ),
    "the state is three arrays": (
        lambda r, p: r(p.x, (p.state[0],) * 3),
        (TypeError, ValueError),
        r"^state\b",
    ),
    "a ragged array has another size": (lambda r, p: r([p.x[:, 0], p.x[:, 0, :1]]), ValueError, r"^x\b"),
    "a ragged list with lengths": (lambda r, p: r([p.x[:, 0]], lengths=[4]), ValueError, r"^lengths\b"),
    "forward: x has another input size": (lambda r, p: r.forward(p.x[..., :1]), ValueError, r"^x\b"),
    "forward: a length is beyond T": (
        lambda r, p: r.forward(p.x, lengths=[1, 2, 3, 5]),
        ValueError,
        r"^lengths\b",
    ),
    "backward: no tape": (lambda r, p: r.backward(None, p.dy), (TypeError, ValueError), r"^tape\b"),
    "load: a name is missing": (
        lambda r, p: r.load_state_dict({k: v + 1 for k, v in p.params.items() if k != "bias_hh_l1"}),
        ValueError,
        "bias_hh_l1",
    ),
    "load: a name is unexpected": (
        lambda r, p: r.load_state_dict({k: v + 1 for k, v in p.params.items()} | {"extra": p.x}),
        ValueError,
        "extra",
    ),
    "load: a shape is wrong": (
        lambda r, p: r.load_state_dict({k: v + 1 for k, v in p.params.items()} | {"bias_hh_l1": p.x}),
        ValueError,
        "bias_hh_l1",
    ),
}


@pytest.mark.parametrize("bad", BAD_CALLS)
def test_a_failed_call_changes_nothing(small, bad):
    problem, rnn = small
    call, error, argument = BAD_CALLS[bad]
    train(problem, rnn)
    params = {name: value.copy() for name, value in rnn.params.items()}
    grads = {name: value.copy() for name, value in rnn.grads.items()}
    with pytest.raises(error, match=argument) as raised:
        call(rnn, problem)
    assert "\n" not in str(raised.value)
    for name in params:
        np.testing.assert_array_equal(rnn.params[name], params[name])
        np.testing.assert_array_equal(rnn.grads[name], grads[name])


@pytest.mark.parametrize("wrong", ["dy of another shape", "dy as text", "dstate of another shape"])
def test_a_failed_backward_leaves_its_tape_usable(small, wrong):
    problem, rnn = small
    train(problem, rnn)
    expected = {name: g.copy() for name, g in rnn.grads.items()}
    rnn.zero_grad()
    _, _, tape = rnn.forward(problem.x, lengths=problem.lengths)
    dy, dstate = problem.dy, None
    if wrong == "dy of another shape":
        dy = problem.dy[:, :3]
    elif wrong == "dy as text":
        dy = "text"
    else:
        dstate = arrange_state([s[1:] for s in problem.dstate], problem, "time-major")
    with pytest.raises((TypeError, ValueError), match=r"^dstate\b" if dstate is not None else r"^dy\b"):
        rnn.backward(tape, dy, dstate)
    assert not any(g.any() for g in rnn.grads.values())
    rnn.backward(tape, problem.dy)
    for name, g in rnn.grads.items():
        np.testing.assert_array_equal(g, expected[name])


def test_denormals_are_flushed_inside_a_call_only():
    tiny = np.float32(1e-40)
    rnn = fastrnn.LSTM(4, 8, seed=0)
    _, _, tape = rnn.forward(np.ones((3, 2, 4), np.float32))
    rnn.backward(tape, np.ones((3, 2, 8), np.float32))
    rnn(np.ones((3, 2, 4), np.float32))
    assert tiny * np.float32(0.5) > 0


def test_a_decaying_state_does_not_slow_down():
    rnn = fastrnn.RNN(1, 64, nonlinearity="relu", bias=False)
    rnn.params["weight_hh_l0"][...] = 0.5 * np.eye(64)
    y, state = rnn(np.zeros((400, 1, 1), np.float32), np.ones((1, 1, 64), np.float32))
    assert y[100, 0, 0] == np.float32(2.0**-101)
    assert not np.any((y != 0) & (np.abs(y) < np.finfo(np.float32).tiny)), "a denormal survived"
    assert not state.any()


def test_padding_costs_next_to_nothing():
    rnn = fastrnn.LSTM(64, 64, seed=0)
    x = np.ones((300, 32, 64), np.float32)

    def seconds(lengths):
        best = np.inf
        for _ in range(5):
            start = time.perf_counter()
            y, _, tape = rnn.forward(x, lengths=lengths)
            rnn.backward(tape, y)
            best = min(best, time.perf_counter() - start)
        return best

    with threads(1):
        assert seconds([300] + [1] * 31) < seconds([300] * 32) / 3


@pytest.mark.parametrize(
    "make", [lambda: fastrnn.LSTM(3, 4), lambda: fastrnn.GRUCell(3, 4), lambda: fastrnn.Linear(3, 4)]
)
def test_parameters_are_watched_only_while_somebody_holds_them(make):
    module = make()
    x = np.ones((1, 1, 3), np.float32) if isinstance(module, fastrnn.LSTM) else np.ones((1, 3), np.float32)
    for _ in range(3):
        module(x)
        assert not module._watched.exposed
        params = module.params
        module(x)
        assert module._watched.exposed      # the dict is held
        view = next(iter(params.values()))[:1]
        del params
        module(x)
        assert module._watched.exposed      # a view of an array is held
        del view
        module(x)
        assert not module._watched.exposed
        module.load_state_dict(module.state_dict())
        assert module._watched.exposed


def test_names_of_parameters_and_gradients_are_fixed():
    rnn = fastrnn.LSTM(3, 4, seed=0)
    y, _, tape = rnn.forward(np.ones((2, 1, 3), np.float32))
    for arrays in (rnn.grads, rnn.params):
        for change in (arrays.clear, arrays.popitem, lambda a=arrays: a.pop("weight_ih_l0"),
                       lambda a=arrays: a.__delitem__("weight_ih_l0"), lambda a=arrays: a.setdefault("x", 1)):
            with pytest.raises(TypeError, match="expected the names to stay"):
                change()
    live = rnn.params["bias_ih_l0"]
    params = rnn.params
    params |= {"bias_ih_l0": np.ones(16, np.float32)}
    assert rnn.params["bias_ih_l0"] is live and (live == 1).all()
    rnn.backward(tape, y)


def test_copies_of_what_holds_memory():
    rnn = fastrnn.LSTM(3, 4, seed=0)
    x = np.ones((1, 3), np.float32)
    stream = rnn.stream()
    stream.step(x[0])
    for twin in (copy.copy(stream), copy.deepcopy(stream)):
        np.testing.assert_array_equal(twin.step(x[0]), stream.copy().step(x[0]))
    tape = rnn.forward(x[None])[2]
    for held in (tape, rnn._engine, rnn._watched, stream._core):
        for how in (copy.copy, copy.deepcopy, pickle.dumps):
            with pytest.raises(TypeError):
                how(held)
    gc.collect()
    rnn.backward(tape, np.ones((1, 1, 4), np.float32))


@pytest.mark.skipif(sys.platform != "linux", reason="limits the address space")
@pytest.mark.parametrize("make", ["fastrnn.LSTM(2048, 1024, init='pytorch')", "fastrnn.Linear(4096, 4096)"])
def test_running_out_of_memory_while_packing_is_an_error_each_time(make):
    code = f"""
import resource, numpy as np, fastrnn
fastrnn.set_num_threads(1)
module = {make}
x = np.ones((1, 1, 2048) if "LSTM" in {make!r} else (1, 4096), np.float32)
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 8 * 2**20, -1))
for _ in range(3):
    try:
        module(x)
        print("ran")
    except MemoryError:
        print("short")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["short"] * 3


def test_a_failed_chunk_leaves_the_stream_as_it_was():
    stream = fastrnn.GRU(3, 4, seed=0).stream(2)
    stream.run(np.ones((5, 2, 3), np.float32))
    before = stream.state
    for chunk, out, message in ((np.ones((5, 3, 3)), None, "chunk: expected shape"), (np.ones((5, 3)), None, "chunk"),
                                (np.ones((5, 2, 3)), np.empty((9, 9), np.float32), "out: expected shape")):
        with pytest.raises(ValueError, match=message):
            stream.run(chunk, out)
    with pytest.raises(TypeError, match="chunk"):
        stream.run([[1, 2], [3]])
    np.testing.assert_array_equal(stream.state, before)
