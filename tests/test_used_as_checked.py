"""What was checked is what is used: arguments that change, tapes and streams with two callers, sizes of memory."""

import collections.abc
import os
import shutil
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from conftest import SANITIZED

import fastrnn
from fastrnn import (
    GRU,
    LSTM,
    QRNN,
    RNN,
    SRU,
    Attention,
    CharModel,
    Dropout,
    Embedding,
    GRUCell,
    LayerNorm,
    Linear,
    LSTMCell,
    MeanOverTime,
    MinGRU,
    Seq2Seq,
    Sequential,
    losses,
)
from fastrnn.check import arrays, sequences, symbols, targets
from fastrnn.decoding import CTCBeamSearch, stream_step
from fastrnn.engine.loops._attention import AttentionWeights
from fastrnn.engine.loops._decoder import Decoder
from fastrnn.engine.loops._engine import Activations
from fastrnn.models.attention import make_decoder
from fastrnn.nn.module import Turn
from fastrnn.text import OneHot

COMPILER = shutil.which("cc") or shutil.which("gcc")
KERNELS = os.path.join(os.path.dirname(__file__), "..", "src", "kernels")
X = np.random.default_rng(0).normal(size=(5, 3, 4)).astype("float32")
IDS = np.array([[1, 2, 3], [3, 0, 0]])


def run_python(code, **env):
    """A process of its own with a watchful allocator; its errors, if it does not end well."""
    environment = {**os.environ, "MALLOC_CHECK_": "3", "MALLOC_PERTURB_": "165", **env}
    command = [sys.executable, "-c", "import numpy as np\nfrom fastrnn import *\nfrom fastrnn import losses\n" + code]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, (done.returncode, done.stderr[-600:])


class Given:
    """Something that NumPy makes an array of, by running `before` first."""

    def __init__(self, array, before):
        self.array, self.before = array, before

    def __array__(self, dtype=None, copy=None):
        self.before()
        return self.array


def at_once(count, function, *arguments):
    """What ``function(*arguments)`` returned or raised in each of `count` threads that start together."""
    barrier, found = threading.Barrier(count), []

    def work():
        barrier.wait()
        try:
            found.append(function(*arguments))
        except Exception as error:
            found.append(error)

    threads = [threading.Thread(target=work) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


# ids and targets


def test_ids_that_change_after_forward_do_not_matter(tmp_path):
    mapped = np.memmap(tmp_path / "ids", dtype="int64", mode="w+", shape=(4,))
    held = np.array([1, 2, 3, 3])
    for ids, argument in [(mapped, mapped), (held, held), (held, Given(held, lambda: None))]:
        ids[:] = [1, 2, 3, 3]
        table = Embedding(6, 2, seed=0)
        y, _, tape = table.forward(argument)
        ids[:] = 5
        table.backward(tape, np.ones_like(y))
        np.testing.assert_array_equal(table.grads["weight"][:, 0], [0, 1, 1, 2, 0, 0])


def test_an_array_is_asked_for_once():
    """The second answer would be other ids."""
    answers = iter([np.array([1, 0]), np.array([10**12, -(10**12)])])

    class Ids:
        def __array__(self, dtype=None, copy=None):
            return next(answers)

    logits = np.zeros((2, 3), "float32")
    _, gradient = losses.cross_entropy(logits, Ids())
    np.testing.assert_array_equal(gradient, losses.cross_entropy(logits, [1, 0])[1])
    answers = iter([np.array([1, 0]), np.array([10**12, -(10**12)])])
    np.testing.assert_array_equal(Embedding(3, 2, seed=0)(Ids()), Embedding(3, 2, seed=0)([1, 0]))


def test_lengths_that_change_after_forward_do_not_matter():
    for r in LSTM(3, 4, seed=0), GRU(3, 4, bidirectional=True, recompute=True, seed=0):
        x, lengths = np.ones((6, 2, 3), "float32"), np.array([6, 2])
        y, _, tape = r.forward(x, lengths=lengths)
        lengths[:] = 10**9
        dx, _ = r.backward(tape, np.ones_like(y))
        other = type(r)(**{k: v for k, v in r.config().items() if k != "type"}, seed=0)
        y, _, tape = other.forward(x, lengths=[6, 2])
        np.testing.assert_array_equal(dx, other.backward(tape, np.ones_like(y))[0])


def test_a_list_of_targets_that_grows_while_it_is_read():
    model = Seq2Seq(5, 6, embedding_dim=3, hidden_size=4, seed=0)
    targets = [np.array([2, 3])]
    targets.append(Given(np.array([4]), lambda: targets.append(np.array([2]))))
    logits = model([[1, 2], [3]], target=targets)
    assert len(logits) == 5
    with pytest.raises(ValueError, match="target: expected 2 arrays"):
        model([[1, 2], [3]], target=targets)
    xs = [np.ones((2, 3)), Given(np.ones((1, 3)), lambda: xs.append(np.ones((4, 3))))]
    assert [len(y) for y in LSTM(3, 4)(xs)[0]] == [2, 1]


@pytest.mark.parametrize("use", [
    lambda ids: Embedding(3, 2, seed=0)(ids), lambda ids: OneHot(3)(ids), lambda ids: CharModel("ab").decode(ids),
    lambda ids: losses.cross_entropy(np.ones((2, 3), "f"), ids), lambda ids: RNN(2, 2, seed=0)(X[:, :2, :2], None, ids),
    lambda ids: losses.ctc(np.ones((2, 3, 3), "f"), [[1], [2]], ids),
    lambda ids: losses.ctc(np.ones((2, 3, 3), "f"), [[1, 2], [1, 2]], target_lengths=ids),
    lambda ids: Seq2Seq(4, 5, embedding_dim=2, hidden_size=3, seed=0)([[1], [2]], target=[ids, [1]]),
    lambda ids: Seq2Seq(4, 5, embedding_dim=2, hidden_size=3, seed=0)(IDS, ids, target=[[2], [3]]),
])  # fmt: skip
def test_the_copy_is_made_before_the_check(use, monkeypatch):
    """What another thread writes between the two is not seen."""
    ids, check = np.array([1, 2]), arrays.in_range
    expected = use(ids)

    def late(*arguments):
        if np.array_equal(arguments[0], [1, 2]):
            ids[:] = 10**12
        return check(*arguments)

    for user in sequences, symbols, targets:
        monkeypatch.setattr(user, "in_range", late)
    found = use(ids)
    assert (ids == 10**12).all()
    for part, plain in zip(found, expected):
        np.testing.assert_array_equal(part, plain)


def test_arrays_that_get_another_shape_while_others_are_converted():
    """Of the same size, so that the memory is still theirs; the shape that was checked counts."""
    def reshaped(array, shape, given):
        return Given(given, lambda: setattr(array, "shape", shape))

    r = LSTM(4, 5, seed=0)
    expected_y, _, tape = r.forward(X)
    dstate = (np.ones((1, 3, 5), "f"), None)
    expected, _ = r.backward(tape, np.ones_like(expected_y), dstate)
    x, dy, dh = X.copy(), np.ones_like(expected_y), np.empty((1, 5, 3, 5), "f")
    y, _, tape = r.forward(x, (reshaped(x, (1, 15, 4), np.zeros((1, 3, 5), "f")), None))
    np.testing.assert_array_equal(y, expected_y)
    found, _ = r.backward(tape, dy, (reshaped(dy, (75, 1, 1), dstate[0]), None), dh=dh)
    np.testing.assert_array_equal(found, expected)

    z = np.random.default_rng(0).normal(size=(2, 6, 3))
    for loss, target in [(losses.cross_entropy, np.ones((2, 6), int)), (losses.mse, np.ones((2, 6, 3))),
                         (losses.ctc, [np.array([1, 2]), np.array([1])])]:
        expected, gradient = loss(z, target)
        moving = z.copy()
        given = reshaped(moving, (1, 1, 36), target) if loss is not losses.ctc else \
            [reshaped(moving, (1, 1, 36), target[0]), target[1]]
        found, again = loss(moving, given)
        assert found == expected
        np.testing.assert_array_equal(again, gradient)


def test_an_optimiser_asks_a_mapping_once():
    class Grads(collections.abc.Mapping):
        """Gives smaller arrays from the second time on."""

        def __init__(self):
            self.arrays = iter([np.ones(1000, "f")])

        def __getitem__(self, name):
            return next(self.arrays, np.ones(1, "f"))

        def __iter__(self):
            return iter(["w"])

        def __len__(self):
            return 1

    for optimizer in fastrnn.SGD(1.0), fastrnn.Adam(1.0), fastrnn.RMSprop(1.0), fastrnn.Adagrad(1.0):
        params, plain = {"w": np.zeros(1000, "f")}, {"w": np.zeros(1000, "f")}
        optimizer.step(params, Grads())
        type(optimizer)(1.0).step(plain, {"w": np.ones(1000, "f")})
        np.testing.assert_array_equal(params["w"], plain["w"])


WRITER = """
import sys, threading, time
sys.setswitchinterval(1e-6)
ids, stop = np.zeros(100000, np.int64), False
def write():
    while not stop:
        ids[:] = 2**40
        ids[:] = 0
writer = threading.Thread(target=write)
writer.start()
end = time.time() + 1.2
{prepare}
while time.time() < end:
    try:
        {call}
    except ValueError:
        pass
stop = True
writer.join()
"""
CALLS = {
    "embedding": ("e = Embedding(9, 4)", "e(ids)"),
    "cross entropy": ("z = np.zeros((len(ids), 8), 'f')", "losses.cross_entropy(z, ids)"),
}


@pytest.mark.parametrize("name", CALLS)
def test_another_thread_writes_to_ids(name):
    prepare, call = CALLS[name]
    run_python(WRITER.format(prepare=prepare, call=call))


# tapes

MODULES = {
    "RNN": (lambda: RNN(4, 5, seed=0), X),
    "LSTM": (lambda: LSTM(4, 5, 2, seed=0), X),
    "GRU, again": (lambda: GRU(4, 5, recompute=True, seed=0), X),
    "QRNN": (lambda: QRNN(4, 5, bidirectional=True, seed=0), X),
    "LSTMCell": (lambda: LSTMCell(4, 5, seed=0), X[0]),
    "GRUCell": (lambda: GRUCell(4, 5, seed=0), X[0]),
    "Linear": (lambda: Linear(4, 5, seed=0), X),
    "Embedding": (lambda: Embedding(4, 5, seed=0), IDS),
    "LayerNorm": (lambda: LayerNorm(4), X),
    "Dropout": (lambda: Dropout(0.5, seed=0), X),
    "MeanOverTime": (lambda: MeanOverTime(), X),
    "MergeDirections": (lambda: fastrnn.MergeDirections("mul"), X),
    "MaskedSequential": (lambda: fastrnn.MaskedSequential(Embedding(4, 5, seed=0), LSTM(5, 3, seed=0)), IDS),
    "Concat": (lambda: fastrnn.Concat(fastrnn.Reverse(), fastrnn.Residual(LSTM(4, 4, seed=0))), X),
    "Conv1d": (lambda: fastrnn.Conv1d(4, 5, 3, padding=1, seed=0), X),
    "MaxPool1d": (lambda: fastrnn.MaxPool1d(2), X),
    "MaxOverTime": (lambda: fastrnn.MaxOverTime(), X),
    "AttentionPooling": (lambda: fastrnn.AttentionPooling(4, seed=0), X),
    "BatchNorm1d": (lambda: fastrnn.BatchNorm1d(4), X),
    "Flatten": (lambda: fastrnn.Flatten(), X),
    "GELU": (lambda: fastrnn.GELU(), X),
    "Softmax": (lambda: fastrnn.Softmax(), X),
    "Sequential": (lambda: Sequential(Embedding(4, 5, seed=0), LSTM(5, 3, seed=0), Linear(3, 2, seed=0)), IDS),
    "Seq2Seq": (lambda: Seq2Seq(4, 5, embedding_dim=3, hidden_size=4, readout_size=3, seed=0), IDS),
}


def forward(module, x):
    more = {"target": [[2, 3], [4]]} if isinstance(module, Seq2Seq) else {}
    y, _, tape = module.forward(x, **more)
    return np.ones_like(y), tape


@pytest.fixture(params=MODULES)
def case(request):
    """(a module, its input, the gradients that one pass gives it)"""
    make, x = MODULES[request.param]
    module = make()
    dy, tape = forward(module, x)
    module.backward(tape, dy)
    once = {name: grad.copy() for name, grad in module.grads.items()}
    module.zero_grad()
    if isinstance(module, Dropout):
        module.set_rng(np.random.default_rng(0))
    return module, x, once


def assert_grads(module, expected):
    for name, grad in module.grads.items():
        np.testing.assert_array_equal(grad, expected[name], err_msg=name)


def test_a_tape_is_used_by_one_of_many_threads(case):
    module, x, once = case
    for _ in range(10):
        dy, tape = forward(module, x)
        module.zero_grad()
        found = at_once(6, module.backward, tape, dy)
        errors = [error for error in found if isinstance(error, Exception)]
        assert len(errors) == 5
        assert all(isinstance(error, ValueError) and "tape: expected one from a new" in str(error) for error in errors)
        assert_grads(module, once)


def test_a_tape_used_while_its_gradient_is_converted(case):
    """The memory of the tape then serves another pass; the first caller must not touch it."""
    module, x, once = case
    dy, tape = forward(module, x)
    kept = []

    def again():
        module.backward(tape, dy)
        kept.append(forward(module, x))

    with pytest.raises(ValueError, match="tape: expected one from a new"):
        module.backward(tape, Given(dy, again))
    assert_grads(module, once)
    module.zero_grad()
    dy, tape = kept[0]
    module.backward(tape, dy)
    assert_grads(module, once)


def test_a_tape_serves_after_a_call_with_wrong_arguments(case):
    module, x, once = case
    dy, tape = forward(module, x)
    for wrong in (np.ones(7), "abc", [dy, dy]):
        with pytest.raises((ValueError, TypeError), match="dy"):
            module.backward(tape, wrong)
    with pytest.raises((ValueError, TypeError), match="dstate"):
        module.backward(tape, dy, np.ones(7))
    if isinstance(module, (RNN, LSTM, GRU, QRNN)):
        with pytest.raises((ValueError, TypeError), match="dh"):
            module.backward(tape, dy, dh=np.ones(7))
    module.backward(tape, dy)
    assert_grads(module, once)


@pytest.mark.parametrize("recompute", [False, True])
def test_activations_and_backward_side_by_side(recompute):
    r = LSTM(4, 5, 2, recompute=recompute, seed=0)
    y, _, tape = r.forward(X)
    expected = r.activations(tape)
    for _ in range(20):
        y, _, tape = r.forward(X)
        calls = iter([r.backward, r.activations, r.activations, lambda tape: r.forward(X[:, :1])])
        found = at_once(4, lambda calls, tape: next(calls)(tape), calls, tape)
        for result in found:
            if isinstance(result, dict):
                for name, array in result.items():
                    np.testing.assert_array_equal(array, expected[name])
            elif isinstance(result, Exception):
                assert "tape: expected one from a new" in str(result)
    y, _, tape = r.forward(X)
    r.activations(tape)
    r.backward(tape, np.ones_like(y))
    with pytest.raises(ValueError, match="has used"):
        r.activations(tape)


def test_the_engine_takes_each_of_its_tapes_once():
    def passes(r):
        y, final = np.empty((5, 3, 5), "float32"), (np.empty((1, 3, 5), "float32"), None, None)
        return r._engine.forward(X, y, (None,) * 3, final)

    r, other = RNN(4, 5, seed=0), RNN(4, 5, seed=1)
    act, dx, initial = passes(r), np.empty_like(X), (None,) * 3
    assert not act.served
    for engine, tape in [(other._engine, act), (r._engine, Activations.__new__(Activations))]:
        with pytest.raises(ValueError, match="tape"):
            engine.backward(tape, None, (None,) * 3, dx, initial)
    r._engine.backward(act, None, (None,) * 3, dx, initial)
    assert act.served
    passes(r)   # takes its memory
    for use in (lambda: r._engine.backward(act, None, (None,) * 3, dx, initial),
                lambda: r._engine.activations(act, None, None, None)):
        with pytest.raises(ValueError, match="tape"):
            use()


@pytest.mark.skipif(SANITIZED, reason="sanitizers take addresses of their own")
def test_a_tape_serves_after_bptt_found_no_memory():
    pytest.importorskip("resource")
    run_python("""
import resource
set_num_threads(1)
r, x = LSTM(8, 512, seed=0), np.ones((100, 200, 8), "f")
y, _, tape = r.forward(x)
dy = np.ones_like(y)
limits = resource.getrlimit(resource.RLIMIT_AS)
with open("/proc/self/statm") as file:
    used = int(file.read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 30_000_000, limits[1]))
try:
    r.backward(tape, dy)
except MemoryError:
    failed = True
resource.setrlimit(resource.RLIMIT_AS, limits)
assert failed and not any(grad.any() for grad in r.grads.values())
r.backward(tape, dy)
assert r.grads["weight_ih_l0"].any()
""")


def test_a_turn_has_one_caller():
    turn = Turn("door")
    with turn, pytest.raises(ValueError, match="door: expected one caller at a time, found two"), turn:
        pass
    with turn:
        pass


# rooms


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_more_gates_than_the_scratch_of_a_product_has_room_for(dtype):
    run_python(f"""
set_num_threads(1)
r = LSTM(1, 80000, proj_size=1, init="pytorch", dtype="{dtype}", seed=0)
y, _, tape = r.forward(np.ones((2, 1, 1), "{dtype}"))
r.backward(tape, np.ones_like(y))
found, expected = r.grads["bias_ih_l0"], r.grads["weight_ih_l0"][:, 0]
np.testing.assert_array_equal(found, r.grads["bias_hh_l0"])
np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-12)
""")


def test_sizes_that_no_memory_has_do_not_wrap():
    assert sum(LSTM(1, 512, init="pytorch")._engine.measure(2**30, 2**30)) >= 2**62
    assert sum(QRNN(1, 512, window=3)._engine.measure(2**30, 2**29)) >= 2**62


@pytest.mark.skipif(COMPILER is None or sys.platform == "win32", reason="needs a C compiler")
def test_a_debug_build_ends_where_a_room_is_too_small(tmp_path):
    source = tmp_path / "sizes.c"
    source.write_text("""
#include "sizes.h"
int main(int count, char **words)
{
    (void)words;
    if (fr_bytes(3, 5, 4) != 60 || fr_bytes(0, -1, 4) != FR_TOO_MUCH || fr_bytes(-1, 1, 4) != FR_TOO_MUCH)
        return 2;
    if (fr_bytes((fr_int)1 << 40, (fr_int)1 << 20, 8) != FR_TOO_MUCH || fr_times(0, FR_TOO_MUCH) != 0)
        return 3;
    fr_must(count < 2, "too small");
    return 0;
}
""")
    for flags, code in ([], 0), (["-DFR_DEBUG"], -6):
        program = tmp_path / f"sizes{len(flags)}"
        subprocess.run([COMPILER, *flags, f"-I{KERNELS}", "-o", program, source], check=True)
        assert subprocess.run([program], check=False).returncode == 0
        done = subprocess.run([program, "more"], stderr=subprocess.PIPE, text=True, check=False)
        assert done.returncode == code
        assert ("too small" in done.stderr) == bool(flags)


def test_dimensions_beyond_what_blas_takes_are_not_handed_to_it(monkeypatch):
    from fastrnn.engine.runtime import _blas, _kernels

    monkeypatch.setenv("FASTRNN_BLAS", "1")
    _kernels.use_isa(_kernels.isa())
    try:
        for dtype, bound in ("float32", 1e-5), ("float64", 1e-12):
            expected = None
            for most in (2**31 - 1, 40, 9, 3):      # of z's rows, of h and x; of x; of none
                _blas.use_limit(most)
                rnn = LSTM(7, 5, dtype=dtype, seed=0)
                x = np.random.default_rng(0).standard_normal((6, 3, 7)).astype(dtype)
                y, _, tape = rnn.forward(x)
                dx, _ = rnn.backward(tape, y)
                found = [y, dx, *rnn.grads.values()]
                expected = expected or found
                for one, other in zip(found, expected):
                    np.testing.assert_allclose(one, other, rtol=bound, atol=bound)
    finally:
        _blas.use_limit()
        monkeypatch.undo()
        _kernels.use_isa(_kernels.isa())


# decoders


@pytest.mark.parametrize("make", [
    lambda: LSTM(7, 5, layer_norm=True), lambda: GRU(7, 5, layer_norm=True), lambda: LSTM(7, 5, proj_size=3),
    lambda: RNN(7, 5, bidirectional=True), lambda: MinGRU(7, 5), lambda: fastrnn.MinLSTM(7, 5), lambda: SRU(7, 5),
    lambda: SRU(5, 5), lambda: QRNN(7, 5, window=3), lambda: QRNN(7, 5, window=1),
])  # fmt: skip
@pytest.mark.parametrize("attends", [False, True])
def test_a_decoder_takes_plain_cells_only(make, attends):
    with pytest.raises(ValueError, match="weights: expected"):
        make_decoder(make(), Attention("additive", 5, 2) if attends else None, attends)


def test_a_decoder_and_its_attention_must_fit():
    with pytest.raises(ValueError, match="attention: expected queries of 5"):
        make_decoder(RNN(7, 5), Attention("additive", 4, 2), True)
    with pytest.raises(ValueError, match="attention: expected queries of 5 values of 4 bytes"):
        make_decoder(RNN(7, 5), Attention("additive", 5, 2, dtype="float64"), True)
    for width in 7, 9:
        with pytest.raises(ValueError, match=f"weights: expected more inputs than the {width}"):
            make_decoder(RNN(7, 5), Attention("additive", 5, width), True)
    make_decoder(RNN(7, 5), Attention("additive", 5, 9), False)
    for runner, attention in [(Linear(7, 5), None), (RNN(7, 5), RNN(7, 5)), (None, None), (RNN(7, 5), 3)]:
        with pytest.raises(TypeError, match=r"expected an (RNN|Attention)"):
            make_decoder(runner, attention, False)
    with pytest.raises(TypeError):
        Decoder(None, None, True)
    with pytest.raises(TypeError):
        Decoder.__new__(Decoder)
    w = np.ones((3, 5), "float32")
    for params in [{"weight_query": w}, {"score": w[0]}, {"weight_query": w.T, "score": np.ones(3, "float32")}]:
        with pytest.raises(ValueError, match="params"):
            AttentionWeights(params, params, 5, 3, 2, 4)


def decoder_arguments(batch=2, width=2):
    n, s = 5, 3
    f = np.float32
    memory = np.ones((batch, s, width), f), np.ones((batch, s, 4), f), np.array([3, 1]), None
    return {"x": np.ones((n, 3), f), "lengths": np.array([2, 3]), "memory": memory, "h0": np.zeros((1, batch, 5), f),
            "c0": None, "y": np.empty((n, 5), f), "context": np.empty((n, width), f),
            "weights": np.empty((n, s), f), "hn": np.empty((1, batch, 5), f), "cn": None}


WRONG = {
    "x": [np.ones((5, 4), "f"), np.ones((4, 3), "f"), np.ones((5, 3)), np.ones((3, 5), "f").T, None],
    "lengths": [np.array([2, 4]), np.array([-1, 6]), np.array([2**62, 2**62])],
    "h0": [np.ones((1, 2, 4), "f"), np.ones((1, 1, 5), "f"), np.ones((2, 5), "f")],
    "y": [np.ones((5, 4), "f"), np.ones((4, 5), "f"), np.ones((5, 5)), None, np.broadcast_to(np.float32(0), (5, 5))],
    "context": [np.ones((5, 1), "f"), None], "weights": [np.ones((5, 2), "f")],
    "hn": [np.ones((1, 2, 4), "f"), np.ones((1, 2, 5))],
}


@pytest.mark.parametrize("name", WRONG)
@pytest.mark.parametrize("training", [False, True])
def test_a_decoder_checks_its_arrays(name, training):
    decoder = make_decoder(RNN(5, 5, seed=0), Attention("additive", 5, 2, 4, seed=0), True)
    run = decoder.forward if training else decoder.infer
    for wrong in WRONG[name]:
        with pytest.raises(ValueError, match=name):
            run(*{**decoder_arguments(), name: wrong}.values())
    run(*decoder_arguments().values())


@pytest.mark.parametrize("place, wrong", [
    (0, np.ones((2, 3, 3), "f")), (0, np.ones((2, 3), "f")), (1, np.ones((2, 2, 4), "f")), (2, np.array([4, 1])),
    (2, np.array([3, -1])), (2, np.array([3])), (3, np.array([0, 2])), (3, np.array([-1, 0])), (3, np.array([0])),
])  # fmt: skip
def test_a_decoder_checks_its_memory(place, wrong):
    decoder = make_decoder(RNN(5, 5, seed=0), Attention("additive", 5, 2, 4, seed=0), True)
    arguments = decoder_arguments()
    arguments["memory"] = tuple(wrong if k == place else part for k, part in enumerate(arguments["memory"]))
    with pytest.raises(ValueError, match="memory"):
        decoder.infer(*arguments.values())


def test_a_decoders_ints_are_its_own_and_its_gradients_are_checked():
    def passes(change):
        decoder = make_decoder(RNN(5, 5, seed=0), Attention("additive", 5, 2, 4, seed=0), True)
        given = decoder_arguments()
        tape = decoder.forward(*given.values())
        if change:
            given["lengths"][:] = given["memory"][2][:] = 10**9
        g = {"dy": np.ones((5, 5), "f"), "dcontext": np.ones((5, 2), "f"), "dx": np.empty((5, 3), "f"),
             "dh0": np.empty((1, 2, 5), "f"), "dc0": None, "dvalues": np.zeros((2, 3, 2), "f"),
             "dkeys": np.zeros((2, 3, 4), "f")}
        for name, wrong in [("dy", np.ones((4, 5), "f")), ("dx", None), ("dx", np.ones((5, 5), "f")),
                            ("dkeys", np.ones((2, 3, 2), "f")), ("dh0", np.ones((1, 5, 2), "f"))]:
            with pytest.raises(ValueError, match=name):
                decoder.backward(tape, *{**g, name: wrong}.values())
        assert not tape.served
        decoder.backward(tape, *g.values())
        with pytest.raises(ValueError, match="tape"):
            decoder.backward(tape, *g.values())
        return g["dx"], g["dkeys"]

    for changed, plain in zip(passes(True), passes(False)):
        np.testing.assert_array_equal(changed, plain)


# parameters that change during a call


def test_an_inference_reads_its_packed_copy_only():
    r = SRU(64, 256, seed=0)
    weight = r.params["weight_c_l0"]
    x = np.ones((4000, 8, 64), "float32")
    expected = r(x)[0]
    for wait in np.linspace(0, 1, 10):
        start = time.perf_counter()
        r(x)
        taken = time.perf_counter() - start
        kept = weight.copy()
        writer = threading.Timer(wait * taken, lambda: weight.fill(np.nan))
        writer.start()
        found = r(x)[0]
        writer.join()
        weight[:] = kept
        assert np.array_equal(found, expected) or np.isnan(found).all()


def test_a_linear_layer_reads_its_packed_bias():
    layer, x, stop = Linear(8, 8, seed=0), np.ones((60000, 8), "float32"), False
    bias = layer.params["bias"]

    def write():
        while not stop:
            bias[:] = np.nan
            bias[:] = 0

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    thread = threading.Thread(target=write)
    thread.start()
    try:
        for _ in range(60):
            assert len(np.unique(np.isnan(layer(x)))) == 1
    finally:
        stop = True
        thread.join()
        sys.setswitchinterval(interval)


# streams

STREAMS = {
    "small": (lambda: LSTM(4, 8, seed=0), X[:, 0]),
    "large": (lambda: LSTM(4, 400, seed=0), X[:, 0]),
    "scan": (lambda: SRU(4, 8, seed=0), X[:, 0]),
    "network": (lambda: Sequential(GRU(4, 8, seed=0), Linear(8, 2, seed=0)), X[:, 0]),
    "mean": (lambda: Sequential(GRU(4, 8, seed=0), MeanOverTime()), X[:, 0]),
    "characters": (lambda: CharModel("abc", hidden_size=8, embedding_dim=3, seed=0), np.array([[1], [2], [3], [0]])),
    "one-hot": (lambda: Sequential(OneHot(4), RNN(4, 8, seed=0)), np.array([[1], [2], [3], [0]])),
}


@pytest.mark.parametrize("name", STREAMS)
def test_a_stream_has_one_caller_at_a_time(name):
    """A second thread, and a call from within a call, get the same error at every size; the first goes on."""
    make, steps = STREAMS[name]
    network = make()
    stream, plain = network.stream(), network.stream()
    np.testing.assert_array_equal(stream.step(steps[0]), plain.step(steps[0]))
    errors = []

    def others():
        state = plain.state
        calls = [lambda: stream.step(steps[1]), lambda: stream.run(steps[1:3, None]), lambda: stream.state,
                 lambda: setattr(stream, "state", state), stream.reset, stream.copy]
        for call in calls:
            found = [*at_once(1, call)]
            try:
                call()
            except Exception as error:
                found.append(error)
            errors.extend(found)

    found = stream.step(Given(steps[1], others))
    np.testing.assert_array_equal(found, plain.step(steps[1]))
    assert len(errors) == 12
    for error in errors:
        assert isinstance(error, ValueError), error
        assert str(error) == "stream: expected one caller at a time, found two"
    np.testing.assert_array_equal(stream.step(steps[2]), plain.step(steps[2]))


def test_threads_on_one_stream_get_an_error_or_a_step_of_their_own():
    network = LSTM(256, 512, seed=0)
    stream = network.stream()
    x = np.ones(256, "float32")
    steps = sum(not isinstance(found, Exception) for _ in range(30) for found in at_once(3, lambda: stream.step(x)))
    expected = network.stream()
    for _ in range(steps):
        expected.step(x)
    np.testing.assert_array_equal(stream.state[0], expected.state[0])


def test_a_failed_step_leaves_the_stream_free():
    stream = LSTM(4, 8, seed=0).stream()
    for wrong in (np.ones(3), "abc", object()):
        with pytest.raises((ValueError, TypeError), match="x"):
            stream.step(wrong)
        with pytest.raises((ValueError, TypeError), match="chunk"):
            stream.run(wrong)
    stream.step(X[0, 0])


def test_a_stepped_network_serves_several_threads():
    network = CharModel("abc", hidden_size=64, embedding_dim=8, seed=0)
    step = stream_step(network)
    ids = np.array([1, 2])
    expected, state = step(ids, None)
    for found, after in at_once(8, lambda: step(ids, None)):
        np.testing.assert_array_equal(found, expected)
        np.testing.assert_array_equal(after[1][0], state[1][0])


def test_a_search_has_one_caller_at_a_time():
    search = CTCBeamSearch(3)

    def lm(labels):
        if labels:
            search.step(np.zeros(3))
        return np.zeros(3)

    search = CTCBeamSearch(3, lm=lm)
    with pytest.raises(ValueError, match="search: expected one caller at a time"):
        search.step(np.zeros(3))


def test_an_anomaly_detector_has_one_caller_at_a_time():
    pytest.importorskip("sklearn")
    from fastrnn.sklearn import RNNAnomalyDetector

    detector = RNNAnomalyDetector(hidden_size=4, window=8, epochs=1, random_state=0)
    detector.fit(np.sin(np.arange(80.0)))
    first = detector.update(0.5)
    scaler, errors = detector._scaler, []

    def slow(x, dtype):
        errors.extend(at_once(1, lambda: detector.update(0.1)) + at_once(1, detector.reset))
        return scaler(x, dtype)

    detector._scaler = slow
    detector.update(0.4)
    detector._scaler = scaler
    assert [str(error) for error in errors] == ["stream: expected one caller at a time, found two"] * 2
    assert detector.reset().update(0.5) == first
