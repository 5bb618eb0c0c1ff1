"""Wrong arguments for everything compiled, and private attributes replaced: a process of its own for `test_sizes`.

    python tests/sizes_job.py call NAME ...          of `calls()`
    python tests/sizes_job.py attributes NAME ...    of `MADE`
    python tests/sizes_job.py empty MODULE ...

It ends with 0 where each call gave a result or an error of the allowed kinds, and prints what did not.
"""

import contextlib
import importlib
import pkgutil
import sys
import warnings

import numpy as np

from fastrnn import (
    GRU,
    LSTM,
    QRNN,
    RNN,
    SRU,
    Attention,
    Conv1d,
    Embedding,
    LayerNorm,
    Linear,
    LSTMCell,
    MinGRU,
    MinLSTM,
    Seq2Seq,
    Sequential,
    engine,
)
from fastrnn.engine.kinds import KINDS
from fastrnn.engine.loops._attention import AttentionWeights
from fastrnn.engine.loops._decoder import Decoder
from fastrnn.engine.loops._engine import Engine, Span
from fastrnn.engine.loops._stream import StreamCore
from fastrnn.engine.loops._weights import Packed, Weights
from fastrnn.engine.ops import _ctc, _embedding, _layernorm, _loss, _optim, _products
from fastrnn.engine.runtime import _arrays, _blas, _kernels, _pool, _stored
from fastrnn.models.attention import make_decoder
from fastrnn.nn.module import Tape

F = np.float32
# An int that no C type holds is an OverflowError, sizes beyond all memory a MemoryError, bytes cannot be written to.
ALLOWED = (ValueError, TypeError, OverflowError, MemoryError, BufferError)


class Liar(np.ndarray):
    """Says what one likes to hear."""

    said = ()

    def __new__(cls, array, shape):
        self = np.ndarray.__new__(cls, array.shape, array.dtype, np.ascontiguousarray(array))
        self.said = shape, array.dtype
        return self

    def view(self, *_):
        return np.zeros(self.said[0], self.said[1])

    def reshape(self, *_):
        return self

    def __getitem__(self, _):
        return 7

    def __len__(self):
        return self.said[0][0]

    def max(self, *_):
        return 10**6

    sum = min = max
    shape = property(lambda self: self.said[0])
    strides = property(lambda self: (0,) * len(self.said[0]))
    ndim = property(lambda self: len(self.said[0]))
    size = property(lambda self: 10**6)
    dtype = property(lambda self: self.said[1])
    itemsize = property(lambda self: 4)
    flags = property(lambda self: np.zeros(self.said[0], self.said[1]).flags)


def wrong_arrays(a):
    """Arrays that are not quite `a`, and what is no array."""
    for axis in range(a.ndim):
        for change in (-1, 1, -a.shape[axis], 40):
            shape = list(a.shape)
            shape[axis] = max(0, shape[axis] + change)
            yield np.ones(shape, a.dtype)
            if shape[axis] < a.shape[axis]:
                yield Liar(np.ones(shape, a.dtype), a.shape)
        yield np.repeat(a, 2, axis=axis)[tuple(slice(None, None, 2 if k == axis else None) for k in range(a.ndim))]
        yield np.flip(a, axis)
        yield np.broadcast_to(a.take([0], axis) if a.shape[axis] else a, a.shape)
    yield a[None].copy()
    yield a.T.copy()
    yield a.reshape(-1).copy()
    yield a.reshape(-1)[:0].copy()
    yield np.array(1, a.dtype)
    for dtype in "f4", "f8", ">f4", "f2", "i8", "i4", "O", "c8", "u1", "?":
        yield a.astype(dtype)
    if a.dtype.kind == "i" and a.size:
        for value in -1, 2**31, 2**62, -(2**62):
            yield np.full_like(a, value)
    locked = a.copy()
    locked.flags.writeable = False
    yield locked
    if a.size:
        raw = np.zeros(a.nbytes + 8, np.uint8)[1:a.nbytes + 1]
        yield raw.view(a.dtype).reshape(a.shape)
    yield from (None, 5, "x", b"abc", [1.0], object(), a.tolist())


def wrong(value):
    """Values that are not quite `value`."""
    if isinstance(value, np.ndarray):
        yield from wrong_arrays(value)
    elif isinstance(value, bool):
        yield from (None, 2, "x", [])
    elif isinstance(value, int):
        yield from (-1, 0, 1, value + 1, 40, 10**6, 2**31, 2**63 - 1, 2**63, 2**64, None, "x", 1.5)
    elif isinstance(value, float):
        yield from (-1.0, 1.5, float("nan"), float("inf"), 1e300, None, "x")
    elif isinstance(value, Span):
        for parts in ((-1, 3), (2, 1), (0, 10**9), (10**9, 10**9 + 1), (0, 2, 5), (0, 2, -1), (0, 2, 2**40), (0.5, 2),
                      (0, None), (1, 2)):
            yield Span(*parts)
        yield from (None, (0, 2, None), "x")
    elif isinstance(value, (tuple, list)):
        kind = type(value)
        yield from (None, kind(), kind(value[:-1]), kind([*value, None]), "abc", 5)
        for k, entry in enumerate(value):
            for other in wrong(entry):
                yield kind([*value[:k], other, *value[k + 1:]])
    elif isinstance(value, dict):
        yield from (None, {}, 5, {**value, "more": np.ones(3, F)})
        for name in value:
            yield {key: entry for key, entry in value.items() if key != name}
            for other in wrong(value[name]):
                yield {**value, name: other}
    elif isinstance(value, str):
        yield from (None, "", "x", 5)
    else:
        yield from (None, 5, "x", object(), np.ones((5, 2, 4), F), _pieces(), [])


def _pieces():
    """Compiled objects of other sizes than those of the calls."""
    other = LSTM(30, 20, 2, dtype="float64")
    return other._watched


def engine_arguments(kind, make, packed_rows=False):
    runner = make()
    runner.zero_grad()
    count, width = runner.num_layers * (1 + runner.bidirectional), runner.output_size
    batch, steps = 2, 5
    lengths = np.array([5, 3])
    rows = (8,) if packed_rows else (steps, batch)

    def state(value=0):
        parts = {part: np.full((count, batch, size), value, F) for part, size in zip(runner._state, runner._widths)}
        return tuple(parts.get(part) for part in "hcw")

    x, y = np.ones((*rows, runner.input_size), F), np.zeros((*rows, width), F)
    engine, span = runner._engine, Span(0, steps, 0 if runner.bidirectional else None)
    order = lengths if packed_rows else None
    if kind == "infer":
        return engine.infer, [x, y, state(), state(), order]
    if kind == "forward":
        arguments = [x, y, state(), state(), order, 0.25, 7, 0]
        if packed_rows:
            arguments += [span, engine.packs(0.0, 7, True), True]
        if runner.bidirectional:
            arguments[2:4] = [tuple(None if s is None else s[:2] for s in state()) for _ in range(2)]
        return engine.forward, arguments
    tape = engine.forward(x, y, state(), state(), order)
    dh = np.zeros((count, steps, batch, runner._out), F)
    if kind == "backward":
        return engine.backward, [tape, y.copy(), state(1), np.zeros_like(x), state(), dh]
    gates = np.zeros((count, steps, batch, 3 * runner.hidden_size), F)
    return engine.activations, [tape, gates, dh, np.zeros((count, steps, batch, runner.hidden_size), F)
                                if "c" in runner._state else None]


RUNNERS = {
    "LSTM": lambda: LSTM(3, 4, 2, seed=0), "projected": lambda: LSTM(3, 4, proj_size=2, bidirectional=True, seed=0),
    "GRU": lambda: GRU(3, 4, bidirectional=True, seed=0), "QRNN": lambda: QRNN(3, 4, 2, window=3, seed=0),
    "SRU": lambda: SRU(4, 4, 2, seed=0), "normed": lambda: LSTM(3, 4, layer_norm=True, seed=0),
}


def weights_arguments():
    like = LSTM(3, 4, 2, proj_size=2, seed=0)
    params, grads = ({name: _arrays.room(p.shape, p.dtype) for name, p in like.params.items()} for _ in range(2))
    return Weights, [KINDS["LSTM"], {"bias", "projection"}, params, grads, ["_l0", "_l1"], [3, 2], 4, 1, 2, False, 1,
                     1.0]


def decoder_arguments(kind):
    runner, attention = GRU(5, 4, seed=0), Attention("additive", 4, 2, seed=0)
    decoder = make_decoder(runner, attention, True)
    n, batch, steps = 5, 2, 3
    memory = np.ones((batch, steps, 2), F), np.ones((batch, steps, 4), F), np.array([3, 1]), None
    state = [np.zeros((1, batch, 4), F) for _ in range(2)]
    arguments = [np.ones((n, 3), F), np.array([2, 3]), memory, state[0], None, np.zeros((n, 4), F), np.zeros((n, 2), F),
                 np.zeros((n, steps), F), state[1], None]
    if kind != "backward":
        return getattr(decoder, kind), arguments
    tape = decoder.forward(*arguments)
    return decoder.backward, [tape, np.ones((n, 4), F), np.ones((n, 2), F), np.zeros((n, 3), F), state[0], None,
                              np.zeros((batch, steps, 2), F), np.zeros((batch, steps, 4), F)]


def stepped(x, out):
    runner = GRU(3, 4, seed=0)
    core = StreamCore(runner._watched, 2, lambda x, out: (x, out))
    core.step(np.ones((2, 3), F))
    return core.step(x, out)


def linear(method):
    made = Linear(3, 4, seed=0)
    x, y = np.ones((5, 3), F), np.ones((5, 4), F)
    return getattr(made._watched, method), [y, x] if method == "forward" else [x, y]


def grouped(method):
    """The same of a convolution's product for one of two groups: 2 channels at 3 places to 4."""
    packed = Conv1d(4, 8, 3, groups=2, seed=0)._watched
    x, y = np.ones((5, 6), F), np.ones((5, 4), F)
    return getattr(packed, method), [y, x, 1] if method == "forward" else [x, y, 1, packed.backward_packings()]


def flat(count, n=6):
    return [np.ones(n, F) for _ in range(count)]


def collected(packed, p, seed):
    return LSTM(3, 4, seed=0)._engine.collect(packed, p, seed)


def calls():
    """name -> function that gives a function and right arguments, new ones each time."""
    found = {}
    for name, make in RUNNERS.items():
        for packed_rows in (False, True) if name in ("LSTM", "projected", "QRNN") else (False,):
            for kind in "infer", "forward", "backward", "activations":
                found[f"_engine.Engine.{kind} {name}{' packed' * packed_rows}"] = \
                    lambda kind=kind, make=make, packed_rows=packed_rows: engine_arguments(kind, make, packed_rows)
    engine = RNN(3, 4, seed=0)._engine
    dropped = LSTM(3, 4, seed=0, weight_dropout=0.5)._engine
    attention = Attention("additive", 4, 2, seed=0)
    wide = [np.ones((5, 4), F) for _ in range(3)]
    found.update({
        "_engine.Engine.drop": lambda: (engine.drop, [np.ones((5, 2, 3), F), np.array([5, 2]), 0.5, 1, 0, 1]),
        "_engine.Engine.drop packed": lambda: (engine.drop, [np.ones((7, 3), F), np.array([5, 2]), 0.5, 1, 0, 1]),
        "_engine.Engine.measure": lambda: (engine.measure, [2, 5, np.array([5, 2]), 0.5, Span(0, 5)]),
        "_engine.Engine.plan": lambda: (engine.plan, [2, 5]),
        "_engine.Engine.block": lambda: (engine.block, [2]),
        "_engine.Engine.packs": lambda: (dropped.packs, [0.5, 1, True]),
        "_engine.Engine.packs scan": lambda: (MinGRU(3, 4)._engine.packs, [0.0, 1, True]),
        "_engine.Engine.collect": lambda: (dropped.collect, [dropped.packs(0.5, 1, False), 0.5, 1]),
        "_engine.Engine": lambda: (Engine, [RNN(3, 4)._watched]),
        "_weights.Weights": weights_arguments,
        "_weights.Weights.set_dropout": lambda: (RNN(3, 4)._watched.set_dropout, [0.1, 0.1, 0.0, 0.1]),
        "_weights.Weights.set_dropout scan": lambda: (MinLSTM(3, 4)._watched.set_dropout, [0.0] * 4),
        "_weights.Packed": lambda: (Packed, [2]),
        "_attention.AttentionWeights": lambda: (AttentionWeights, [
            *({name: _arrays.room(p.shape, p.dtype) for name, p in attention.params.items()} for _ in range(2)),
            4, 4, 2, 4]),
        "_decoder.Decoder": lambda: (Decoder, [GRU(5, 4)._watched, attention._watched, True]),
        "_stream.StreamCore": lambda: (StreamCore, [GRU(3, 4)._watched, 2, None]),
        "_stream.StreamCore.step": lambda: (stepped, [np.ones((2, 3), F), np.ones((2, 4), F)]),
        "_products.PackedLinear": lambda: (_products.PackedLinear, [
            {"weight": _arrays.room((4, 3), F), "bias": _arrays.room((4,), F)}]),
        "_products.PackedLinear.backward_packings": lambda: (Linear(3, 4, seed=0)._watched.backward_packings, []),
        "_products.PackedLinear.forward": lambda: linear("forward"),
        "_products.PackedLinear.backward_input": lambda: linear("backward_input"),
        "_products.PackedLinear groups": lambda: (_products.PackedLinear, [
            {"weight": _arrays.room((4, 2, 3), F), "bias": _arrays.room((4,), F)}, 2]),
        "_products.PackedLinear.forward groups": lambda: grouped("forward"),
        "_products.PackedLinear.backward_input groups": lambda: grouped("backward_input"),
        "_products.linear_backward_weight": lambda: (_products.linear_backward_weight, [
            np.zeros((4, 3), F), np.ones((5, 4), F), np.ones((5, 3), F)]),
        "_products.sum_rows": lambda: (_products.sum_rows, [np.zeros(4, F), np.ones((5, 4), F)]),
        "_arrays.check_kept": lambda: (_arrays.check_kept, [(np.ones((2, 3), F), [np.ones(3, F)]), Tape]),
        "_arrays.room": lambda: (_arrays.room, [(2, 3), "float32"]),
        "_arrays.Pinned": lambda: (_arrays.Pinned, [{"a": np.ones((2, 3), F)}, "params"]),
        "_blas.install": lambda: (_blas.install, [4, False, False]),
        "_blas.use_limit": lambda: (_blas.use_limit, [9]),
        "_kernels.use_isa": lambda: (_kernels.use_isa, ["x"]),
        "_kernels.use_dots": lambda: (_kernels.use_dots, ["plain"]),
        "_stored.store": lambda: (_stored.store, [np.ones((2, 3), F), "int8"]),
        "_pool.set_limit": lambda: (_pool.set_limit, [2]),
        "_embedding.gather": lambda: (_embedding.gather, [np.zeros((4, 3), F), np.ones((9, 3), F), np.arange(4)]),
        "_embedding.scatter_add": lambda: (_embedding.scatter_add, [np.zeros((9, 3), F), np.ones((4, 3), F),
                                                                    np.arange(4)]),
        "_layernorm.forward": lambda: (_layernorm.forward, [wide[0], np.ones(5, F), wide[1], 1e-5]),
        "_layernorm.backward": lambda: (_layernorm.backward, [
            wide[0], np.ones(4, F), np.ones(4, F), wide[1], wide[2], np.ones(5, F), np.ones(4, F)]),
        "_loss.cross_entropy": lambda: (_loss.cross_entropy, [
            wide[0], wide[1], np.zeros(5, np.int64), np.ones(5), np.ones(4), 0.1, 1.0]),
        "_loss.log_likelihood": lambda: (_loss.log_likelihood, [
            np.zeros(6), np.zeros((6, 4), F), np.zeros(6, np.int64)]),
        "_loss.binary_cross_entropy": lambda: (_loss.binary_cross_entropy, [*flat(3), np.ones(6), 1.0, 1.0]),
        "_ctc.ctc": lambda: (_ctc.ctc, [
            np.zeros(2), np.zeros((2, 5, 4), F), np.ones((2, 5, 4), F), np.array([1, 2, 3]), np.array([0, 2, 3]),
            np.array([5, 4]), np.ones(2), 0, False, 1.0, True]),
        "_optim.sgd": lambda: (_optim.sgd, [*flat(3), 1.0, 0.1, 0.9, 0.0, True]),
        "_optim.adam": lambda: (_optim.adam, [*flat(4), 1.0, 3, 0.1, 0.9, 0.999, 1e-8, 0.0, 0.0]),
        "_optim.rmsprop": lambda: (_optim.rmsprop, [*flat(5), 1.0, 0.1, 0.9, 1e-8, 0.9, 0.0]),
        "_optim.adagrad": lambda: (_optim.adagrad, [*flat(3), 1.0, 0.1, 1e-8, 0.0]),
        "_optim.sum_squares": lambda: (_optim.sum_squares, flat(1)),
        "_optim.all_finite": lambda: (_optim.all_finite, flat(1)),
    })
    found.update({f"_kernels.{name}": lambda name=name: (getattr(_kernels, name), flat(2))
                  for name in ("exp_", "sigmoid_", "tanh_")})
    found.update({f"_decoder.Decoder.{kind}": lambda kind=kind: decoder_arguments(kind)
                  for kind in ("infer", "forward", "backward")})
    return found


def tried(what, call):
    """What the call gives; says what it should not give."""
    try:
        return call()
    except ALLOWED:
        return None
    except Exception as error:
        print(f"{what}: {type(error).__name__}: {error}")
        return None


def run_call(name):
    make = calls()[name]
    function, arguments = make()
    if "functions" not in name and "use_isa" not in name:
        function(*arguments)    # right ones are taken
    for k in range(len(arguments)):
        for n, other in enumerate(wrong(make()[1][k])):
            function, fresh = make()
            fresh[k] = other
            tried(f"{name}, argument {k}, change {n}: {type(fresh[k]).__name__}", lambda f=function, a=fresh: f(*a))


MADE = {
    "LSTM": lambda: LSTM(3, 64, 2, bidirectional=True, dropout=0.1, init="pytorch", seed=0),
    "GRU": lambda: GRU(3, 64, init="pytorch", seed=0, recompute=True),
    "QRNN": lambda: QRNN(3, 64, 2, window=3, init="pytorch", seed=0),
    "LSTMCell": lambda: LSTMCell(3, 64, init="pytorch", seed=0), "Linear": lambda: Linear(3, 64, seed=0),
    "LayerNorm": lambda: LayerNorm(3), "Embedding": lambda: Embedding(50, 64, seed=0),
    "Seq2Seq": lambda: Seq2Seq(9, 9, hidden_size=16, embedding_dim=8, attention="additive", seed=0),
    "Sequential": lambda: Sequential(Embedding(50, 8, seed=0), LSTM(8, 16, seed=0), Linear(16, 50, seed=0)),
}
NEW = (0, 1, 2, 5, 640, -1, 2**40, False, None, "LSTM", ("h", "c"), ("c", "w"), (640, 640), np.dtype("float64"), {})


def use(module, poke):
    """Everything that a module is used for, each a function; `poke` comes between passes that belong together."""
    features = vars(module).get("input_size", vars(module).get("in_features", vars(module).get("features", 3)))
    x = np.ones((7, 4, features if type(features) is int and 0 <= features < 999 else 3), F)
    if isinstance(module, (Embedding, Sequential)):
        x = np.arange(28).reshape(7, 4)
    if isinstance(module, LSTMCell):
        x = x[0]
    named = {"target": [[3, 4]] * len(x)} if isinstance(module, Seq2Seq) else {}
    if named:
        x = np.arange(28).reshape(7, 4) % 9

    def trained():
        y, _, tape = module.forward(x, **named)
        poke()
        return module.backward(tape, np.ones_like(y))

    def streamed():
        stream = module.stream(4)
        stream.step(x[0])
        poke()
        stream.step(x[0])
        return stream.run(x)

    yield trained
    yield lambda: module(x, **named)
    if hasattr(module, "stream"):
        yield streamed
        yield lambda: module.stream(4).run(x)
    if hasattr(module, "activations"):
        yield lambda: module.activations(module.forward(x)[2])
        yield lambda: module([np.ones((3, 3), F), np.ones((5, 3), F)])
    if hasattr(type(module), "recurrent_dropout"):
        yield lambda: setattr(module, "zoneout", 0.5)
        yield lambda: setattr(module, "weight_dropout", 0.5)


def run_attributes(name):
    """Each attribute, and those of the class, given another value behind the module's back, before or between calls:
    whatever Python makes of it, the process lives."""
    first = MADE[name]()
    other = MADE["GRU" if name != "GRU" else "LSTM"]()
    names = sorted({*vars(first), "kind", "_state", "_window", "_watched", "recurrent", "pools_time"})
    for attribute in names:
        mine = getattr(other, attribute, None)
        for value in (*NEW, *([mine] if mine is not None else [])):
            module = MADE[name]()

            def poke(module=module, attribute=attribute, value=value):
                object.__setattr__(module, attribute, value)

            for at_once in False, True:
                if at_once:
                    poke()
                for call in use(module, poke):
                    with contextlib.suppress(Exception):
                        call()


def run_empty(name):
    """Every compiled type of a module, made by __new__ alone, and its methods."""
    module = compiled_modules()[name]
    for kind in (value for value in vars(module).values() if isinstance(value, type)):
        if kind.__module__ != module.__name__ or issubclass(kind, tuple):
            continue
        for arguments in ((), (None,), (None,) * 2, (None,) * 3, (1,), (5,), ({}, {}), ({}, "x"), ({}, {}, 1, 1, 1, 4)):
            made = tried(f"{kind.__name__}.__new__", lambda kind=kind, a=arguments: kind.__new__(kind, *a))
            if made is not None:
                misuse(made)


def misuse(made):
    what = type(made).__name__
    for name in sorted({*dir(type(made)), "__setstate__", "__setstate_cython__"}):
        if name in ("__class__", "__new__", "__dir__", "__doc__", "__init_subclass__", "__subclasshook__"):
            continue
        for arguments in ((), (None,), (5,), ({},), (None, None), (None,) * 3, (None,) * 5, (None,) * 6, (None,) * 10,
                          (np.ones((2, 3), F), None), (np.ones((2, 3), F),) * 2, (2, 5)):
            try:
                value = getattr(made, name, None)
                if callable(value):
                    value(*arguments)
            except (*ALLOWED, AttributeError):
                pass
            except Exception as error:
                print(f"{what}.{name}{arguments}: {type(error).__name__}: {error}")


def compiled_modules():
    """The compiled modules by their own name, which no two have in common."""
    found = {}
    for entry in pkgutil.walk_packages(engine.__path__, f"{engine.__name__}."):
        module = importlib.import_module(entry.name)
        name = module.__name__.rpartition(".")[2]
        if not str(module.__file__).endswith(".py"):
            assert name not in found
            found[name] = module
    assert len(found) > 30
    return found


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    np.seterr(all="ignore")
    kind, *names = sys.argv[1:]
    for given in names:
        {"call": run_call, "attributes": run_attributes, "empty": run_empty}[kind](given)
