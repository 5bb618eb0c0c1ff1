"""Sizes are those that compiled code has, whatever Python does to attributes, arrays and objects; see `sizes_job`."""

import contextlib
import copy
import gc
import inspect
import os
import pickle
import subprocess
import sys

import numpy as np
import pytest
import sizes_job

import fastrnn
from fastrnn import (
    ELU,
    GELU,
    GRU,
    LSTM,
    QRNN,
    RNN,
    SRU,
    ActivationRegularization,
    Adam,
    AdaptiveSoftmax,
    Attention,
    AttentionPooling,
    AvgPool1d,
    BatchNorm1d,
    CharModel,
    Concat,
    Conv1d,
    Dropout,
    Embedding,
    Flatten,
    GRUCell,
    Hardsigmoid,
    Inputs,
    LastStep,
    LayerNorm,
    LeakyReLU,
    Linear,
    LogSoftmax,
    LSTMCell,
    MaskedSequential,
    MaxOverTime,
    MaxPool1d,
    MeanOverTime,
    MergeDirections,
    MinGRU,
    MinLSTM,
    ReLU,
    Residual,
    Reverse,
    RNNCell,
    SampledSoftmax,
    Seq2Seq,
    Sequential,
    Sigmoid,
    SiLU,
    Softmax,
    Softplus,
    Tanh,
    clip_grad_norm,
    clip_grad_value,
)
from fastrnn.nn.module import Module, module_from_config, walk
from fastrnn.text import OneHot

F = np.float32
MODULES = {
    "RNN": lambda: RNN(3, 4, nonlinearity="relu", seed=0), "GRU": lambda: GRU(3, 4, bidirectional=True, seed=0),
    "LSTM": lambda: LSTM(3, 4, 2, dropout=0.5, proj_size=2, seed=0), "SRU": lambda: SRU(3, 4, highway_bias=-1, seed=0),
    "QRNN": lambda: QRNN(3, 4, window=3, seed=0), "MinGRU": lambda: MinGRU(3, 4, seed=0),
    "MinLSTM": lambda: MinLSTM(3, 4, seed=0), "RNNCell": lambda: RNNCell(3, 4, seed=0),
    "LSTMCell": lambda: LSTMCell(3, 4, seed=0), "GRUCell": lambda: GRUCell(3, 4, seed=0),
    "Linear": lambda: Linear(3, 4, dtype="float64", seed=0), "Embedding": lambda: Embedding(9, 4, seed=0),
    "LayerNorm": lambda: LayerNorm(3), "Dropout": lambda: Dropout(0.5, seed=0), "OneHot": lambda: OneHot(5),
    "LastStep": lambda: LastStep(bidirectional=True), "MeanOverTime": lambda: MeanOverTime(),
    "ActivationRegularization": lambda: ActivationRegularization(1, 2),
    **{cls.__name__: lambda cls=cls: cls() for cls in (
        ReLU, LeakyReLU, ELU, GELU, SiLU, Tanh, Sigmoid, Softplus, Hardsigmoid, Softmax, LogSoftmax)},
    "Attention": lambda: Attention("additive", 4, 2, seed=0),
    "CharModel": lambda: CharModel("abc", hidden_size=4, seed=0),
    "Seq2Seq": lambda: Seq2Seq(6, 6, hidden_size=4, embedding_dim=3, seed=0),
    "AdaptiveSoftmax": lambda: AdaptiveSoftmax(8, 20, [4, 9], 2.0, seed=0),
    "SampledSoftmax": lambda: SampledSoftmax(3, 9, 4, seed=0),
    "Conv1d": lambda: Conv1d(3, 4, 2, groups=1, padding="causal", seed=0),
    "MaxPool1d": lambda: MaxPool1d(2), "AvgPool1d": lambda: AvgPool1d(2, padding=1),
    "MaxOverTime": lambda: MaxOverTime(),
    "AttentionPooling": lambda: AttentionPooling(3, 4, seed=0), "BatchNorm1d": lambda: BatchNorm1d(3),
    "Inputs": lambda: Inputs(a=Linear(3, 4, seed=0), b=Conv1d(2, 3, 2, padding="causal", seed=0)),
    "Flatten": lambda: Flatten(), "Reverse": lambda: Reverse(), "MergeDirections": lambda: MergeDirections("mul"),
    "MaskedSequential": lambda: MaskedSequential(Embedding(9, 3, seed=0), LSTM(3, 4, seed=0), mask_value=1),
    "Residual": lambda: Residual(LSTM(3, 3, seed=0)), "Concat": lambda: Concat(Linear(3, 4, seed=0), GRU(3, 2, seed=0)),
    "Sequential": lambda: Sequential(Embedding(9, 3, seed=0), LSTM(3, 4, seed=0), Linear(4, 9, seed=0)),
}
MAY_CHANGE = {
    "batch_first", "dropout", "p", "eps", "ar", "tar", "recompute", "recurrent_dropout", "zoneout", "weight_dropout",
    "sampling",
}
each_module = pytest.mark.parametrize("name", MODULES)


def run(*arguments, fill="165"):
    """A process of its own, in which allocated and freed memory is filled."""
    ended = subprocess.run([sys.executable, sizes_job.__file__, *arguments], capture_output=True, text=True,
                           timeout=200, env={**os.environ, "MALLOC_PERTURB_": fill, "FASTRNN_NUM_THREADS": "2"})
    assert ended.returncode == 0, (ended.returncode, ended.stdout[-2000:], ended.stderr[-2000:])
    assert ended.stdout == ""


def fixed_names(cls):
    """The arguments of the constructors of a class and its bases of ours that must not be assigned."""
    names = {"dtype"}
    for base in cls.__mro__:
        if issubclass(base, Module) and "__init__" in vars(base):
            kinds = {p.name for p in inspect.signature(base).parameters.values()}
            names |= kinds - {"seed"}
    free = MAY_CHANGE - ({"dropout"} if cls in (CharModel, Seq2Seq) else set())
    return sorted(names - free - (set() if cls is Sequential else {"modules"}))


def test_every_type_of_module_is_tried():
    types = {cls for cls in vars(fastrnn).values() if isinstance(cls, type) and issubclass(cls, Module)}
    assert {cls.__name__ for cls in types - {Module}} <= MODULES.keys()


@each_module
def test_what_fixes_sizes_cannot_be_assigned_or_deleted(name):
    module = MODULES[name]()
    kind = type(module).__name__
    before = module.config()
    for attribute in fixed_names(type(module)):
        if not hasattr(module, attribute):
            continue
        now = getattr(module, attribute)
        for value in 1, now, None:
            with pytest.raises((TypeError, AttributeError), match=f"^{attribute}: fixed when the {kind} was made, "
                                                                  rf"found an assignment; build a new {kind}\("):
                setattr(module, attribute, value)
        with pytest.raises(TypeError, match=f"^{attribute}: fixed when the {kind} was made, found a deletion"):
            delattr(module, attribute)
        assert getattr(module, attribute) == now    # a method is another one each time
    assert module.config() == before


def test_a_constructor_does_not_run_a_second_time():
    rnn = LSTM(3, 4, seed=0)
    y = rnn(np.ones((2, 1, 3), F))[0]
    for again in (lambda: rnn.__init__(30, 40), lambda: Module.__init__(rnn, "float64")):
        with pytest.raises(TypeError, match="fixed when the LSTM was made"):
            again()
    np.testing.assert_array_equal(rnn(np.ones((2, 1, 3), F))[0], y)


@pytest.mark.parametrize(("name", "attribute", "good", "bad"), [
    ("LSTM", "dropout", 0.25, 1.5), ("LSTM", "batch_first", True, 1), ("LSTM", "recompute", True, "x"),
    ("LSTM", "zoneout", (0.1, 0.2), -1), ("LSTM", "weight_dropout", 0.1, 2), ("Dropout", "p", 0.25, 1),
    ("LayerNorm", "eps", 1e-3, 0), ("ActivationRegularization", "ar", 3.0, -1), ("LastStep", "batch_first", True, None),
    ("Seq2Seq", "sampling", 0.5, 2), ("Sequential", "batch_first", False, "x"),
])
def test_what_may_be_assigned_is_checked_then(name, attribute, good, bad):
    module = MODULES[name]()
    setattr(module, attribute, good)
    assert getattr(module, attribute) == good
    with pytest.raises((ValueError, TypeError), match=attribute):
        setattr(module, attribute, bad)
    assert getattr(module, attribute) == good


@each_module
def test_copies_pickles_and_configurations_work(name):
    module = MODULES[name]()
    twins = [copy.copy(module), copy.deepcopy(module), pickle.loads(pickle.dumps(module))]
    assert all(twin.config() == module.config() for twin in [*twins, module_from_config(module.config())])
    for twin in twins:
        for key, p in module.params.items():
            np.testing.assert_array_equal(twin.params[key], p)
        with pytest.raises(TypeError, match="fixed"):
            twin.dtype = "float64"


def test_subclasses_of_other_people_have_attributes_of_their_own():
    class Wide(LSTM):
        fixed = ("room",)

        def __init__(self, room=3):
            super().__init__(room, 4)
            self.room, self.name = room, "wide"

    wide = Wide()
    wide.name = "wider"
    for name in "room", "hidden_size":
        with pytest.raises(TypeError, match=f"{name}: fixed when the Wide"):
            setattr(wide, name, 5)


def test_the_size_of_a_stream_is_fixed():
    stream = GRU(3, 4, seed=0).stream(2)
    with pytest.raises(TypeError, match="batch_size: fixed when the Stream was made, found an assignment"):
        stream.batch_size = 3
    vars(stream)["batch_size"] = 3
    with pytest.raises(ValueError, match="x: expected"):
        stream.step(np.ones((3, 3), F))
    vars(stream)["batch_size"] = 2
    assert stream.step(np.ones((2, 3), F)).shape == (2, 4)


@pytest.mark.parametrize(("name", "attribute", "value", "x"), [
    ("RNN", "input_size", 2, np.ones((5, 2, 2), F)), ("RNN", "_out", 2, np.ones((5, 2, 3), F)),
    ("GRU", "bidirectional", False, np.ones((5, 2, 3), F)), ("LSTM", "num_layers", 1, np.ones((5, 2, 3), F)),
    ("LSTM", "dtype", np.dtype("float64"), np.ones((5, 2, 3))), ("LSTM", "_out", 1, np.ones((5, 2, 3), F)),
    ("QRNN", "_widths", (4, 1), np.ones((5, 2, 3), F)), ("LSTMCell", "hidden_size", 1, np.ones((5, 3), F)),
    ("Linear", "in_features", 2, np.ones((5, 2))), ("Linear", "out_features", 2, np.ones((5, 3))),
    ("Embedding", "num_embeddings", 10**6, np.full(3, 9)), ("Embedding", "embedding_dim", 1, np.zeros(3, int)),
])
def test_attributes_replaced_behind_the_back_give_an_error(name, attribute, value, x):
    module = MODULES[name]()
    vars(module)[attribute] = value
    for call in module, module.forward:
        with pytest.raises(ValueError, match="expected"):
            call(x)


@pytest.mark.parametrize("name", sizes_job.MADE)
def test_replaced_attributes_do_not_end_the_process(name):
    run("attributes", name)


# Compiled functions and types


MODULES_COMPILED = sizes_job.compiled_modules()


@pytest.mark.parametrize("module", sorted({name.partition(".")[0] for name in sizes_job.calls()}))
def test_compiled_functions_take_no_wrong_arguments(module):
    names = [name for name in sizes_job.calls() if name.partition(".")[0] == module]
    run("call", *names, fill="0" if module == "_arrays" else "165")    # gigabytes are there as long as none is filled


# Without sizes or arrays.
PLAIN = {"_kernels.available_isas", "_kernels.isa", "_kernels.dots", "_kernels.available_dots",
         "_backend.wanted", "_pool.limit", "_signals._find_main"}
# What is given no arrays: `empty` calls them.
WITHOUT_ARRAYS = {
    "_arrays.ArrayMemory", "_arrays.Pinned.intact", "_attention.Packing", "_decoder.DecoderTape", "_engine.Activations",
    "_engine.Span", "_kind.Gate", "_kind.Parameter", "_kind.Placed", "_kind.Kind", "_kind.Kind.knows",
    "_kind.Kind.completed", "_kind.Kind.layout", "_products.Packing", "_watch.Gate", "_watch.Gate.closing",
    "_watch.Watched",
    "_watch.Watched.expose", "_watch.Watched.before_load", "_watch.Watched.intact",
    "_workspace.Workspace",
}


def test_every_compiled_function_is_tried():
    called = {name.split()[0] for name in sizes_job.calls()} | PLAIN | WITHOUT_ARRAYS
    for name, module in MODULES_COMPILED.items():
        for attribute, value in vars(module).items():
            if getattr(value, "__module__", None) != module.__name__ or attribute.startswith("__"):
                continue
            assert f"{name}.{attribute}" in called
            if isinstance(value, type) and not issubclass(value, tuple):
                for method in vars(value):
                    if not method.startswith("__") and callable(getattr(value, method)):
                        owner = next(base for base in reversed(value.__mro__) if method in vars(base))
                        assert f"{owner.__module__.rpartition('.')[2]}.{owner.__name__}.{method}" in called


@pytest.mark.parametrize("module", MODULES_COMPILED)
def test_compiled_types_are_made_whole_or_not_at_all(module):
    if any(isinstance(value, type) for value in vars(MODULES_COMPILED[module]).values()):
        run("empty", module)


def test_compiled_objects_are_neither_made_again_nor_copied():
    rnn, linear, attention = LSTM(3, 4, seed=0), Linear(3, 4, seed=0), MODULES["Attention"]()
    wide = LSTM(30, 40, seed=0)
    objects = [rnn._engine, rnn._watched, rnn.stream()._core, linear._watched, attention._watched,
               MODULES["Seq2Seq"]()._decoder]
    for made in objects:
        for again in ((), (wide._watched,), (wide._watched, 9, None)):
            with contextlib.suppress(TypeError):
                made.__init__(*again)
        for copied in copy.copy, copy.deepcopy, pickle.dumps:
            with pytest.raises(TypeError):
                copied(made)
    assert rnn._engine.weights is rnn._watched
    assert rnn(np.ones((2, 1, 3), F))[0].shape == (2, 1, 4)


# Parameters and gradients


def changes():
    """Ways to change an array in its place."""
    def reshaped(a):
        a.shape = a.shape[::-1] if a.ndim > 1 else (1, -1)

    def typed(a):
        a.dtype = np.dtype(f"i{a.itemsize}")

    def swapped(a):
        a.dtype = a.dtype.newbyteorder()

    def strided(a):
        a.strides = (0,) * a.ndim

    return {"shape": reshaped, "dtype": typed, "bytes": swapped, "strides": strided}


USED = {
    "LSTM": ("weight_hh_l0", lambda m: m(np.ones((5, 2, 3), F)), np.ones((5, 2, 3), F)),
    "GRUCell": ("weight_ih", lambda m: m(np.ones((2, 3), F)), np.ones((2, 3), F)),
    "QRNN": ("bias_ih_l0", lambda m: m(np.ones((5, 2, 3), F)), np.ones((5, 2, 3), F)),
    "Linear": ("weight", lambda m: m(np.ones((5, 3))), np.ones((5, 3))),
    "Embedding": ("weight", lambda m: m(np.arange(3)), np.arange(3)),
    "LayerNorm": ("bias", lambda m: m(np.ones((3, 3), F)), np.ones((3, 3), F)),
    "SampledSoftmax": ("weight", lambda m: m(np.ones((3, 3), F)), np.ones((3, 3), F)),
}
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


def scored(module):
    """The targets of three rows, where a module takes them."""
    return {"target": np.array([0, 8, 3])} if module.scores_target else {}


@pytest.mark.parametrize("name", USED)
@pytest.mark.parametrize("change", changes())
def test_parameters_with_another_shape_are_found(name, change):
    key, use, x = USED[name]
    module = MODULES[name]()
    use(module)
    y, _, tape = module.forward(x, **scored(module))
    changes()[change](module.params[key])
    for call in (lambda: use(module), lambda: module.forward(x, **scored(module)),
                 lambda: module.backward(tape, np.ones_like(y))):
        with pytest.raises(ValueError, match=rf"params\['{key}'\]: expected the array as it was made"):
            call()
    if hasattr(module, "stream"):
        with pytest.raises(ValueError, match=rf"params\['{key}'\]: expected the array as it was made"):
            module.stream().step(x[0, :1] if x.ndim == 3 else x[0])


@pytest.mark.parametrize("name", USED)
@pytest.mark.parametrize("change", changes())
def test_gradients_with_another_shape_are_found(name, change):
    key, _, x = USED[name]
    module = MODULES[name]()
    y, _, tape = module.forward(x, **scored(module))
    others = {other: grad.copy() for other, grad in module.grads.items() if other != key}
    changes()[change](module.grads[key])
    with pytest.raises(ValueError, match=rf"grads\['{key}'\]: expected the array as it was made"):
        module.backward(tape, np.ones_like(y))
    for other, grad in others.items():
        np.testing.assert_array_equal(module.grads[other], grad)


@pytest.mark.parametrize("name", USED)
def test_a_gradient_that_was_replaced_or_cannot_be_written_to_is_found(name):
    key, _, x = USED[name]
    module = MODULES[name]()
    y, _, tape = module.forward(x, **scored(module))
    grad = module.grads[key]
    grad.flags.writeable = False
    with pytest.raises(ValueError, match=rf"grads\['{key}'\]: expected a writeable array"):
        module.backward(tape, np.ones_like(y))
    grad.flags.writeable = True
    for replace in (lambda: dict.__setitem__(module.grads, key, np.zeros_like(grad)),
                    lambda: dict.pop(module.grads, key), lambda: dict.clear(module.grads)):
        replace()
        with pytest.raises(ValueError, match=r"grads\['.*'\]: expected the array as it was made"):
            module.backward(tape, np.ones_like(y))
    assert not grad.any()


@pytest.mark.parametrize("name", USED)
def test_a_parameter_that_was_replaced_is_found(name):
    key, use, x = USED[name]
    module = MODULES[name]()
    for replace in (lambda p: dict.__setitem__(p, key, np.zeros((1, 1), F)), lambda p: dict.pop(p, key), dict.clear):
        replace(module.params)
        for call in (lambda: use(module), lambda: module.forward(x, **scored(module))):
            with pytest.raises(ValueError, match=r"params\['.*'\]: expected the array as it was made"):
                call()


@each_module
def test_nobody_can_resize_parameters_gradients_and_states(name):
    module = MODULES[name]()
    arrays = [array for part in walk(module) for kind in (part.params, part.grads) for array in kind.values()]
    if hasattr(module, "stream") and name not in ("GRU", "LastStep") and not module.needs_whole_sequences:
        stream = module.stream()
        for core in (getattr(s, "_core", None) for s in getattr(stream, "_streams", [stream])):
            arrays += [s for s in (core and (core.h, core.c, core.w)) or () if s is not None]
    for array in arrays:
        for shape in ((1,), (10**6,))[array.size == 1 :]:   # of one element it is no other size
            with pytest.raises(ValueError, match=r"own its data|resize"):
                array.resize(shape, refcheck=False)
        # Nor through what owns it.
        assert not isinstance(array.base, np.ndarray)
        assert not any(isinstance(owner, np.ndarray) for owner in gc.get_referents(array.base))
        assert array.ctypes.data % 64 == 0


def test_a_state_of_another_shape_does_not_reach_the_steps():
    stream = LSTM(3, 4, seed=0).stream(2)
    twin = stream.copy()
    stream._core.h.shape = (8,)
    stream._core.c.strides = (0, 0, 0)
    x = np.ones((2, 3), F)
    np.testing.assert_array_equal(stream.step(x), twin.step(x))
    np.testing.assert_array_equal(stream.step(x), twin.step(x))


# Arrays that lie


def lies(real, shape):
    return sizes_job.Liar(np.zeros(real, F), shape)


def test_results_are_not_written_into_arrays_that_lie():
    rnn = GRU(3, 400, seed=0)
    stream, layers = rnn.stream(4), LastStep().stream(4)
    x, chunk = np.ones((4, 3), F), np.ones((9, 4, 3), F)
    y, _, tape = rnn.forward(chunk)
    calls = [
        lambda: stream.step(x, out=lies((1, 1), (4, 400))), lambda: stream.run(chunk, out=lies((1, 1, 1), (9, 4, 400))),
        lambda: layers.step(x, out=lies((1, 1), (4, 3))),
        lambda: rnn.backward(tape, None, dh=lies((1, 1, 1, 1), (1, 9, 4, 400))),
        lambda: rnn.backward(tape, lies((1, 1, 1), y.shape)), lambda: rnn(lies((1, 1, 1), (9, 4, 3))),
        lambda: rnn(chunk, lies((1, 1, 1), (1, 4, 400))),
        lambda: rnn(chunk, lengths=sizes_job.Liar(np.ones(1, int), (4,))),
    ]
    for call in calls:
        with pytest.raises((ValueError, TypeError), match="expected"):
            call()
    rnn.backward(tape, y)       # the tape is as it was


class Honest(np.ndarray):
    """A subclass of some sort."""


def test_an_out_of_a_subclass_is_written_into():
    stream = GRU(3, 4, seed=0).stream(2)
    twin = stream.copy()
    out = np.zeros((2, 4), F).view(Honest)
    assert stream.step(np.ones((2, 3), F), out=out) is out
    np.testing.assert_array_equal(np.asarray(out), twin.step(np.ones((2, 3), F)))


def test_an_out_that_is_also_the_input_gets_the_right_result():
    rnn = GRU(4, 4, 2, seed=0)
    x = np.arange(8, dtype=F).reshape(2, 4)
    wanted = rnn.stream(2).step(x)
    both = x.copy()
    np.testing.assert_array_equal(rnn.stream(2).step(both, out=both), wanted)
    room = np.arange(-2, 10, dtype=F)
    room[2:10] = x.ravel()
    got = rnn.stream(2).step(room[2:10].reshape(2, 4), out=room[:8].reshape(2, 4))
    np.testing.assert_array_equal(got, wanted)


@pytest.mark.parametrize("out", [
    np.broadcast_to(F(0), (2, 4)), np.zeros((4, 2), F).T, np.zeros((2, 8), F)[:, ::2], np.zeros((2, 4)),
    np.zeros((2, 4), ">f4"), np.zeros(33, np.uint8)[1:].view(F).reshape(2, 4), np.zeros((2, 5), F), [0] * 8,
])
def test_an_out_that_cannot_be_written_into_is_refused(out):
    stream = GRU(3, 4, seed=0).stream(2)
    with pytest.raises((ValueError, TypeError), match="out: expected"):
        stream.step(np.ones((2, 3), F), out=out)
    with pytest.raises((ValueError, TypeError), match="out: expected"):
        stream.run(np.ones((1, 2, 3), F), out=np.asarray(out)[None] if isinstance(out, np.ndarray) else out)
    assert not stream.state.any()


def test_optimisers_and_clipping_see_arrays_as_they_are():
    lying, real = lies((1,), (6,)), np.ones(6, F)
    for params, grads in ({"w": lying}, {"w": real}), ({"w": real}, {"w": lying}):
        with pytest.raises((ValueError, TypeError), match="expected"):
            Adam().step(params, grads)
    np.testing.assert_array_equal(real, 1)
    grads = [sizes_job.Liar(np.full(3, 4, F), (6,))]
    assert clip_grad_norm(grads, 1.0) == pytest.approx(48**0.5)
    clip_grad_value(grads, 0.25)
    np.testing.assert_array_equal(np.ndarray.view(grads[0], np.ndarray), 0.25)
