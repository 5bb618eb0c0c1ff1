"""What the fuzzer of calls hands in: arrays of every kind, objects that lie, and for each parameter something right.

Everything is made from Python source, so that what a case did can be printed and run again.
"""

import numpy as np


class Mine(Exception):
    """An error of the caller's own objects, which may come back."""


class Liar:
    """An object whose special methods lie, fail or give something else each time."""

    def __init__(self, seed):
        self.r = np.random.default_rng(seed)

    def _one(self, *choices):
        return choices[self.r.integers(len(choices))]

    def __len__(self):
        return self._one(0, 3, 10**6)

    def __index__(self):
        return self._one(-1, 0, 2, 2**70)

    def __float__(self):
        return self._one(0.5, float("nan"), -1.0)

    def __getitem__(self, i):
        if self.r.random() < 0.5:
            raise IndexError(i)
        return self.r.random()

    def __array__(self, dtype=None, copy=None):
        return np.ones(self.r.integers(0, 4, self.r.integers(0, 4)), dtype)


class Failing:
    """Raises an error of its own whatever is asked of it."""

    def _fail(self, *_, **__):
        raise Mine("asked")

    __len__ = __index__ = __float__ = __getitem__ = __array__ = __iter__ = __bool__ = __repr__ = __str__ = _fail
    __eq__ = __lt__ = __le__ = __gt__ = __ge__ = __fspath__ = __call__ = _fail

    def __hash__(self):
        return 1


class Changed(np.ndarray):
    """A subclass whose attributes and methods lie: NumPy's C code sees other ones."""

    shape = property(lambda self: (5, 2, 3))
    ndim = property(lambda self: 3)
    dtype = property(lambda self: np.dtype("f4"))
    size = property(lambda self: 30)

    def astype(self, *_, **__):
        return np.ones((1, 1), "f4")

    def copy(self, *_, **__):
        return np.ones((1, 1), "f4")

    def view(self, *_, **__):
        return np.ones(1, "i8")


class Int(int):
    """Compares as if it fitted everywhere."""

    def __lt__(self, other):
        return False

    __gt__ = __lt__

    def __le__(self, other):
        return True

    __ge__ = __le__

    def __hash__(self):
        return 0


class Float(float):
    def __ge__(self, other):
        return True

    __le__ = __gt__ = __lt__ = __ge__

    def __hash__(self):
        return 0


class Str(str):
    """Is equal to every string."""

    def __eq__(self, other):
        return True

    def __hash__(self):
        return 0


class List(list):
    """Has more elements than it says, or fewer."""

    def __len__(self):
        return 2


class Dict(dict):
    """Has one more name each time it is asked, and gives arrays of another size."""

    def __getitem__(self, name):
        return np.ones(3, "f4")

    def keys(self):
        self[f"n{dict.__len__(self)}"] = 1
        return dict.keys(self)


def recursive():
    found = []
    found.append(found)
    return found


def array(seed, shape, dtype="f4", change=None):
    """An array from a seed; `change` names what is odd about it."""
    n = np.random.default_rng(seed)
    a = n.standard_normal(shape)
    kind = np.dtype(dtype).kind
    if kind in "iuM":
        a = n.integers(0, 3, shape)
    elif kind == "U":
        a = np.full(shape, "ab")
    with np.errstate(all="ignore"):
        a = np.asarray(np.asarray(a).astype(dtype))
    return a if change is None else CHANGES[change](a)


def _filled(value):
    def change(a):
        a = a.copy()
        if a.dtype.kind in "fc":
            a[...] = value
        elif a.dtype.kind in "iu" and np.isfinite(value):
            a[...] = np.iinfo(a.dtype).max if value > 0 else np.iinfo(a.dtype).min
        return a

    return change


def _readonly(a):
    a.flags.writeable = False
    return a


def _unaligned(a):
    room = np.zeros(a.nbytes + 1, "u1")[1:]
    return room.view(a.dtype).reshape(a.shape) if a.dtype.kind != "O" and a.nbytes else a


CHANGES = {
    "gaps": lambda a: np.repeat(a, 2, axis=-1)[..., ::2] if a.ndim else a,
    "reversed": lambda a: a[::-1] if a.ndim else a,
    "fortran": lambda a: np.asfortranarray(a),
    "readonly": _readonly,
    "nan": _filled(np.nan), "inf": _filled(np.inf), "large": _filled(3e38), "least": _filled(-1e300),
    "zero": _filled(0.0),
    "broadcast": lambda a: np.broadcast_to(a[:1], a.shape) if a.ndim else a,
    "lying": lambda a: a.view(Changed),
    "masked": lambda a: np.ma.masked_array(a, np.arange(a.size).reshape(a.shape) % 2 == 1),
    "matrix": lambda a: a.view(np.matrix) if a.ndim == 2 else a,
    "unaligned": _unaligned,
    "list": lambda a: a.tolist(),
    "tuple": lambda a: tuple(a) if a.ndim else (a,),
    "memory": lambda a: memoryview(np.ascontiguousarray(a)) if a.dtype.kind in "fiu" else a,
}

WILD = [
    "None", "True", "False", "-1", "0", "1", "2", "1.5", "-0.0", "float('nan')", "float('inf')", "10**400",
    "-(10**5000)", "2**31 - 1", "2**31", "2**63", "-(2**63)", "2**64", "'x'", "''", "'\\ud800'", "'a\\0b'", "b'\\xff'",
    "[]", "()", "{}", "set()", "[[1], [2, 3]]", "[None]", "object()", "np.int8(3)", "np.float16(2)", "np.bool_(True)",
    "np.array('text')", "1j", "np.datetime64('2020-01-01')", "np.array([object()])", "range(3)", "iter([1, 2])",
    "(x for x in ())", "print", "int", "{1: 2}", "memoryview(b'abc')", "Path('x')", "recursive()", "Failing()",
    "Int(2**40)", "Int(-3)", "Float('nan')", "Float('inf')", "Str('x')", "List([1, 2, 3, 4])",
    "List(array(0, (3,), 'f4'))", "Dict(a=1)", "Fraction(1, 3)", "Fraction(10**400)", "Decimal(1)", "Decimal('NaN')",
    "np.zeros(2, [('a', 'f4')])", "np.nan", "bytearray(8)", "csr_matrix(np.eye(3))", "np.longdouble(1)",
    "[float('inf')] * 3", "['a', 'b']", "[[], []]", "(1, 2, 3)", "(0.9, 0.999)", "slice(2)", "Ellipsis",
    "NotImplemented", "np.ma.masked", "np.timedelta64(1)", "np.array(None)", "lambda *a, **k: None",
    "lambda *a, **k: a[0] if a else 1", "np.ones((0,))", "np.ones((3, 0))", "np.ones(())", "type('T', (), {})()",
]
SHAPES = [(5, 2, 3)] * 4 + [(2, 5, 3), (5, 3), (3,), (2, 3), (), (0,), (0, 2, 3), (5, 0, 3), (5, 2, 0), (1, 1, 1),
                            (2, 5), (5, 2), (2, 4), (4,), (1, 2, 4), (2, 2, 4), (5, 2, 4), (2, 2, 2, 2), (9, 1),
                            (5, 2, 6), (60,), (300, 1)]
DTYPES = ["f4"] * 6 + ["f8", "i8", "i4", "u1", "u8", "f2", ">f4", ">i8", "?", "c8", "O", "U2", "M8[s]", "g"]


def any_array(r, shape=None, dtype=None):
    """Source of an array of some shape, dtype, order and content."""
    shape = r.choice(SHAPES) if shape is None else shape
    dtype = r.choice(DTYPES) if dtype is None else dtype
    change = f", {r.choice(list(CHANGES))!r}" if r.random() < 0.3 else ""
    return f"array({r.randrange(1000)}, {shape}, {dtype!r}{change})"


def wild(r):
    """Source of anything at all."""
    if r.random() < 0.4:
        return any_array(r)
    if r.random() < 0.1:
        return f"Liar({r.randrange(1000)})"
    if r.random() < 0.1:
        return r.choice(["[{0}, {1}]", "({0}, {1})", "{{'a': {0}, 'b': {1}}}", "List([{0}, {1}])"]).format(
            wild(r), wild(r))
    return r.choice(WILD)


def size(r):
    return r.choice(["3", "4", "4", "3", "1", "2", "6", "0", "-1", "2**31 - 1", "2**31", "2**40", "2**63", "10**30",
                     "np.int64(4)", "np.int16(3)", "True", "4.0", "'4'", "Int(4)"])


def fraction(r):
    return r.choice(["0.0", "0.1", "0.5", "0.9", "1.0", "1e-300", "1e300", "-0.1", "np.float32(0.5)", "1", "0", "2"])


def switch(r):
    return r.choice(["True", "False", "np.True_"])


def module(r):
    """Source of a small network or layer."""
    cell = r.choice(["LSTM", "GRU", "RNN", "SRU", "QRNN", "MinGRU", "MinLSTM"])
    both = ", bidirectional=True" if r.random() < 0.2 else ""
    first = ", batch_first=True" if r.random() < 0.3 else ""
    return "fastrnn." + r.choice([
        f"{cell}(3, 4, seed=0{both}{first})", f"{cell}(3, 4, 2, seed=0, dtype='float64'{both})",
        "Linear(3, 4, seed=0)", "Embedding(3, 4, seed=0)",
        f"Sequential(fastrnn.{cell}(3, 4, seed=0), fastrnn.LastStep(), fastrnn.Linear(4, 2, seed=0))",
        f"Sequential(fastrnn.Embedding(6, 3, seed=0), fastrnn.{cell}(3, 4, seed=0), fastrnn.Linear(4, 6, seed=0))",
        f"Sequential(fastrnn.{cell}(3, 4, seed=0), fastrnn.Linear(4, 3, seed=0))",
        "Seq2Seq(6, 6, hidden_size=4, embedding_dim=3, seed=0)", "CharModel('abc', hidden_size=4, seed=0)",
        "LSTMCell(3, 4, seed=0)", "GRUCell(3, 4, seed=0)", "RNNCell(3, 4, seed=0)", "LayerNorm(3)", "MeanOverTime()",
        "Residual(fastrnn.LSTM(3, 3, seed=0))", "Concat(fastrnn.GRU(3, 2, seed=0), fastrnn.Linear(3, 2, seed=0))",
        "Reverse()", "Sequential(fastrnn.GRU(3, 4, seed=0), fastrnn.Flatten(), fastrnn.Linear(20, 2, seed=0))",
        "Conv1d(3, 4, 2, seed=0)", "Conv1d(3, 4, 3, padding='causal', batch_first=True, seed=0)",
        "Sequential(fastrnn.Conv1d(3, 4, 2, stride=2, seed=0), fastrnn.GRU(4, 2, seed=0))",
        "BatchNorm1d(3)", "MaxPool1d(2)", "AvgPool1d(2, 1)", "AttentionPooling(3, seed=0)", "MaxOverTime()",
        "Inputs(a=fastrnn.GRU(3, 2, seed=0), b=fastrnn.Linear(3, 2, seed=0))",
        "Dropout(0.5, seed=0)", "ReLU()", "GELU()", "Softplus(2.0)", "Softmax()", "text.OneHot(4)",
        "Sequential(fastrnn.Linear(3, 4, seed=0), fastrnn.ELU(), fastrnn.Linear(4, 2, seed=0))",
        "Attention('additive', 4, 4, 3, seed=0)",
        "LSTM(3, 4, proj_size=2, seed=0)", "LSTM(3, 4, layer_norm=True, dropout=0.5, seed=0)",
        "GRU(3, 4, zoneout=0.3, weight_dropout=0.2, recompute=True, seed=0)",
    ])


def of(*choices):
    return lambda r: r.choice(choices)


def ids(r):
    return r.choice(["[0, 1, 2]", "[[0, 1], [2]]", "np.arange(3)", "[np.arange(2), np.arange(3)]",
                     f"array(0, {r.choice([(2, 5), (5, 2), (3,)])}, 'i8')", any_array(r, dtype="i8")])


# By the name of a parameter, source of something of the kind that is wanted.
RIGHT = {
    ("x", "X", "chunk", "series", "prediction", "dy", "state", "dstate", "signal", "logits", "dh", "features", "draws",
     "sequences", "values", "matrix", "seen", "weight", "mask", "frequency", "pitch", "scale", "mean"): any_array,
    ("y", "target", "targets", "labels"): lambda r: any_array(r, r.choice([(2,), (2, 5), (5, 2), (2, 2), (5, 2, 3)]),
                                                              r.choice(["i8", "f4"])),
    ("lengths", "target_lengths"): of("[1, 2]", "[5, 0]", "np.array([2, 5])", "[2]", "None"),
    ("input_size", "hidden_size", "num_embeddings", "embedding_dim", "in_features", "out_features", "size",
     "source_size", "target_size", "batch_size", "proj_size", "stride", "horizon", "window", "attention_size",
     "readout_size", "width", "blank", "patience", "every", "keep", "query_size", "memory_size", "top_k",
     "encoder_size", "every_epochs", "every_steps", "seq_len", "total", "cooldown", "bands", "coefficients", "order",
     "batch", "positions", "rows", "count", "n_best", "min_count", "max_size", "season", "candidates", "bos", "eos",
     "end", "accumulate", "tbptt", "first_step", "repetition_window", "n_iter_no_change", "frame_size", "context",
     "step", "k", "i", "epoch"): size,
    ("dropout", "recurrent_dropout", "zoneout", "weight_dropout", "lr", "weight_decay", "momentum", "eps", "p",
     "alpha", "temperature", "top_p", "penalty", "quantile", "delta", "gamma", "factor", "max_norm", "max_value",
     "label_smoothing", "decay", "ar", "tar", "beta", "calibration_fraction", "clip_norm", "clip_value", "coverage",
     "emphasis", "end_factor", "floor", "hop", "initial_accumulator", "l2", "learning_rate", "length_penalty", "low",
     "high", "lr_decay", "min_delta", "min_lr", "min_scale", "pos_weight", "repetition_penalty", "rise", "sampling",
     "start_factor", "threshold", "validation_fraction", "validation_split", "contamination", "highway_bias",
     "metric"): fraction,
    ("bias", "batch_first", "bidirectional", "layer_norm", "reset_after", "recompute", "centered", "nesterov",
     "zero_infinity", "from_logits", "best_only", "early_stop", "early_stopping", "standardize", "tie_embeddings",
     "variational", "warm_start", "warmup", "restore_best", "bucket_by_length", "deep", "shuffle"): switch,
    ("dtype",): of("'float32'", "'float64'", "np.float32", "np.float64"),
    ("seed", "random_state", "rng"): of("0", "1", "None", "np.random.default_rng(0)"),
    ("model", "network", "runner", "layer", "module", "params_or_grads", "decoder", "encoder", "modules",
     "embedding"): module,
    ("path", "stem", "paths", "prefix"): of("'a'", "'b/c'", "Path('a')", "'.'", "''"),
    ("loss",): of("'mse'", "'mae'", "'cross_entropy'", "'huber'", "fastrnn.losses.mse"),
    ("optimizer",): of("fastrnn.Adam(1e-3)", "'adam'", "fastrnn.SGD(0.1, momentum=0.5)"),
    ("text", "texts", "vocabulary", "symbols", "prompt", "alphabet", "specials"): of(
        "'abc'", "''", "['ab', 'c']", "'a\\u0301b'", "['a', 'b', 'a']", "()"),
    ("ids", "prompts", "source", "found", "wanted", "forbid", "indices"): ids,
    ("reduction",): of("'mean'", "'sum'", "'none'"),
    ("cell",): of("'lstm'", "'gru'", "'rnn'"),
    ("per", "every"): of("'batch'", "'epoch'"),
    ("mode",): of("'min'", "'max'", "'auto'", "'direct'", "'recursive'"),
    ("kind",): of("'additive'", "'dot'", "'general'", "'linear'", "'inverse_sigmoid'"),
    ("pooling",): of("'last'", "'mean'", "'max'"),
    ("attention",): of("'additive'", "'dot'", "'general'", "None"),
    ("level",): of("'word'", "'char'"),
    ("init",): of("'default'", "'pytorch'", "'irnn'", "{'recurrent': 'identity'}", "{'forget_bias': 2.0}"),
    ("rate",): of("8000", "16000", "1", "100.5"),
    ("quantiles", "levels"): of("(0.1, 0.9)", "[0.5]", "(0.9, 0.1)", "()"),
    ("betas",): of("(0.9, 0.999)", "(0, 0)", "[0.5, 1.0]"),
    ("class_weight",): of("None", "[1.0, 2.0]", "'balanced'", "{0: 1.0, 1: 2.0}", "[1.0, 1.0, 1.0]"),
    ("sample_weight",): of("None", "[1.0, 2.0]", "np.ones((2, 5))", "[0.0, 0.0]"),
    ("schedule", "after"): of("None", "fastrnn.schedules.StepDecay(0.1, 1)", "fastrnn.schedules.CosineDecay(0.1, 3)"),
    ("callbacks",): of("()", "[fastrnn.callbacks.EarlyStopping(patience=1)]", "[fastrnn.callbacks.ProgressBar()]"),
    ("metrics",): of("()", "['accuracy']", "[fastrnn.metrics.accuracy]", "'accuracy'"),
    ("average",): of("None", "fastrnn.averaging.EMA(0.5)", "fastrnn.averaging.SWA()"),
    ("params", "grads"): of("{'p': np.ones(3, 'f4')}", "{'p': np.zeros(3, 'f4')}", "{'p': np.ones((2, 2))}", "{}"),
    ("mapping", "config"): of("{}", "{'type': 'LSTM'}", "{'weight': np.ones((4, 3), 'f4'), 'bias': np.zeros(4, 'f4')}"),
    ("trainer",): of("fastrnn.Trainer(fastrnn.Linear(3, 1, seed=0), 'mse')"),
    ("verbose", "show", "progress"): of("False"),
    ("decays",): of("fastrnn.diagnostics.diagnose(fastrnn.LSTM(3, 4, seed=0), np.ones((5, 2, 3)), loss='mse').decays"),
    ("classes",): of("3", "[0, 1]", "np.array([0, 1])"),
    ("monitor",): of("'loss'", "'val_loss'"),
    ("logs",): of("{'loss': 1.0, 'epoch': 0}", "{}"),
    ("name", "title", "tokenizer"): of("'x'"),
    ("lm",): of("None", "lambda prefix, label: -1.0"),
    ("error",): of("ValueError('x')"),
    ("function", "finish"): of("fastrnn.metrics.accuracy", "float"),
    ("start",): of("0", "1", "[0, 1]", "0.1"),
}
KINDS = {name: make for names, make in RIGHT.items() for name in names}

# What decides how long a call takes: neither right nor wrong values are large.
BOUNDED = {
    "epochs": ("0", "1", "2", "-1", "'1'", "1.0", "None"), "length": ("0", "1", "3", "20", "-1", "2.5", "'3'"),
    "max_length": ("1", "3", "20", "-1", "None", "2.0"), "beam_size": ("0", "1", "3", "-2", "[]"),
    "steps": ("1", "3", "50", "0", "-1", "1.5"), "num_layers": ("1", "2", "3", "0", "'2'", "-(2**63)"),
    "n_jobs": ("1",), "progress": ("False",), "threads": ("1", "2", "0"), "n_paths": ("1", "20", "0", "'1'"),
    "verbose": ("False",), "show": ("False",), "delay": ("1e9",), "count": ("1", "2", "3", "0", "-1", "10**400", "'2'"),
    "max_epochs": ("1",), "every_seconds": ("None", "1000.0", "-1", "'x'"), "plot": ("None",),
}
ALWAYS = {"epochs", "progress", "n_paths", "length", "max_length", "show",
          "hidden_size", "embedding_dim"}       # whose default may take long, or much memory
