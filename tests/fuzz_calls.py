"""Random calls of everything public: no signal, no hang, no memory beyond the sizes, only ValueError and TypeError.

    python tests/fuzz_calls.py --calls 1000000 --seed 0

A case is a number: from it follow a public class or function, arguments that are mostly of the right kind, and for an
object some methods, attributes that are set, and calls after that. Cases run in a process of their own, in a row; one
that ends by a signal or takes too long is named, and the next process goes on behind it.
"""

import argparse
import contextlib
import importlib
import inspect
import io
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np

SECONDS = 1.0           # of processor time, for one call
MEGABYTES = 50.0        # that a case may add to the largest size of the process
SKIPPED = {
    "set_num_threads",              # changes the run itself; has tests of its own
    "DistributedTrainer", "launch", "Share", "Lifeline",    # start processes
    "Spectrum", "Decay", "Gate", "Finding", "Weights", "Layer", "Diagnosis",    # plain records of results
    "Hypothesis", "Monitor", "Callback", "Optimizer", "Schedule", "Symbols", "Average", "plot_decays",
}
# A trainer calls the methods of these, and only their constructors are anybody's.
DRIVEN = ("fastrnn.callbacks", "fastrnn.averaging", "fastrnn.diagnostics.monitor")
MODULES = ("losses", "metrics", "optim", "averaging", "schedules", "callbacks", "decoding", "text", "vocab", "bpe",
           "windows", "scaling", "audio", "diagnostics")
ALLOWED = (ValueError, TypeError)


class Liar:
    """An object whose special methods lie, fail or give something else each time."""

    def __init__(self, r):
        self.r = r

    def __len__(self):
        return self.r.choice([0, 3, 10**6])

    def __index__(self):
        return self.r.choice([-1, 0, 2, 2**70])

    def __float__(self):
        return self.r.choice([0.5, float("nan"), -1.0])

    def __getitem__(self, i):
        if self.r.random() < 0.5:
            raise IndexError(i)
        return self.r.random()

    def __array__(self, dtype=None, copy=None):
        return np.ones([self.r.randrange(4) for _ in range(self.r.randrange(4))], dtype)


class Changed(np.ndarray):
    """A subclass whose shape is not the one that NumPy's C code sees."""

    @property
    def shape(self):
        return (5, 2, 3)


def wild(r):
    """Anything at all."""
    return r.choice([
        lambda: None, lambda: True, lambda: -1, lambda: 0, lambda: 1.5, lambda: float("nan"), lambda: float("inf"),
        lambda: 10**400, lambda: -(10**5000), lambda: 2**31, lambda: 2**63, lambda: -(2**63), lambda: "x", lambda: "",
        lambda: b"\xff", lambda: [], lambda: (), lambda: {}, lambda: [[1], [2, 3]], lambda: [None], lambda: object(),
        lambda: np.int8(3), lambda: np.float16(2), lambda: np.bool_(True), lambda: np.array("text"), lambda: 1j,
        lambda: np.datetime64("2020-01-01"), lambda: np.array([object()]), lambda: range(3), lambda: iter([1, 2]),
        lambda: Liar(r), lambda: np.ma.masked_array([1.0, 2.0], [0, 1]), lambda: (x for x in ()), lambda: print,
        lambda: array(r), lambda: array(r), lambda: array(r), lambda: array(r), lambda: {"a": array(r)},
        lambda: [array(r), array(r)], lambda: int, lambda: {1: 2}, lambda: memoryview(b"abc"), lambda: Path("x"),
    ])()


def array(r, shape=None, dtype=None):
    """An array of some shape, dtype, order and content."""
    n = np.random.default_rng(r.randrange(2**32))
    if shape is None:
        shape = r.choice([(5, 2, 3), (2, 5, 3), (5, 3), (3,), (2, 3), (), (0,), (0, 2, 3), (5, 0, 3), (5, 2, 0),
                          (1, 1, 1), (2, 5), (5, 2), (2, 4), (4,), (1, 2, 4), (2, 2, 4), (5, 2, 4), (2, 2, 2, 2),
                          (9, 1)])
    if dtype is None:
        dtype = r.choice(["f4", "f4", "f4", "f8", "i8", "i4", "u1", "u8", "f2", ">f4", ">i8", "?", "c8", "O", "U2",
                          "M8[s]"])
    a = n.standard_normal(shape) * r.choice([1, 1, 1, 1e-40, 1e30, 1e300])
    with np.errstate(all="ignore"):
        if np.dtype(dtype).kind in "iuM":
            a = n.integers(0, r.choice([3, 3, 3, 200]), shape)
        elif np.dtype(dtype).kind == "U":
            a = np.full(shape, "ab")
        a = np.asarray(a).astype(dtype)
    change = r.randrange(14)
    if change == 0 and a.ndim:
        a = np.repeat(a, 2, axis=-1)[..., ::2]
    elif change == 1 and a.ndim:
        a = a[::-1]
    elif change == 2:
        a = a.T.copy().T
    elif change == 3:
        a.flags.writeable = False
    elif change == 4 and a.size and a.dtype.kind == "f":
        a[...] = r.choice([np.nan, np.inf, -np.inf, 0])
    elif change == 5 and a.ndim:
        a = np.broadcast_to(a[:1], a.shape)
    elif change == 6:
        a = a.view(Changed)
    return a


def sizes(r):
    return r.choice([3, 4, 4, 3, 1, 2, 0, -1, 2**31 - 1, 2**31, 2**40, 2**63, 10**30, np.int64(4), np.int16(3), True,
                     4.0, "4"])


def module(r):
    import fastrnn as f

    cell = r.choice([f.LSTM, f.GRU, f.RNN, f.SRU, f.QRNN, f.MinGRU, f.MinLSTM])
    options = {} if cell in (f.SRU, f.QRNN, f.MinGRU, f.MinLSTM) else {"bidirectional": r.random() < 0.2}
    return r.choice([
        lambda: cell(3, 4, seed=0, **options), lambda: f.Linear(3, 4, seed=0), lambda: f.Embedding(3, 4, seed=0),
        lambda: f.Sequential(cell(3, 4, seed=0), f.LastStep(), f.Linear(4, 2, seed=0)),
        lambda: f.Sequential(f.Embedding(6, 3, seed=0), cell(3, 4, seed=0), f.Linear(4, 6, seed=0)),
        lambda: f.Seq2Seq(6, 6, hidden_size=4, seed=0), lambda: f.CharModel("abc", hidden_size=4, seed=0),
        lambda: f.LSTMCell(3, 4, seed=0), lambda: f.LayerNorm(3), lambda: f.MeanOverTime(),
    ])()


# By the name of a parameter, something of the kind that is wanted.
RIGHT = {
    ("x", "X", "chunk", "series", "prediction", "dy", "state", "dstate", "waves", "sound", "samples", "logits", "h",
     "log_probs", "sequences", "values"): array,
    ("y", "target", "targets", "labels"): lambda r: array(r, r.choice([(2,), (2, 5), (5, 2), (2, 2)]),
                                                          r.choice(["i8", "f4"])),
    ("lengths", "target_lengths"): lambda r: [r.randrange(6) for _ in range(2)],
    ("input_size", "hidden_size", "num_layers", "num_embeddings", "embedding_dim", "in_features", "out_features",
     "features", "size", "source_size", "target_size", "batch_size", "proj_size", "length", "stride", "horizon",
     "kernel_size", "window", "attention_size", "readout_size", "max_length", "beam_size", "width", "blank", "steps",
     "epochs", "patience", "every", "keep", "query_size", "memory_size", "top_k", "merges"): sizes,
    ("dropout", "recurrent_dropout", "zoneout", "weight_dropout", "lr", "weight_decay", "momentum", "eps", "p", "alpha",
     "temperature", "top_p", "penalty", "quantile", "delta", "gamma", "factor", "max_norm", "max_value",
     "label_smoothing", "decay"): lambda r: r.choice([0.0, 0.1, 0.5, 0.9, 1.0, 1e-300, 1e300]),
    ("bias", "batch_first", "bidirectional", "layer_norm", "reset_after", "recompute", "centered", "nesterov",
     "progress", "normalize", "zero_infinity", "from_logits"): lambda r: r.random() < 0.5,
    ("dtype",): lambda r: r.choice(["float32", "float64", np.float32, np.float64]),
    ("seed", "random_state"): lambda r: r.choice([0, 1, None, np.random.default_rng(0)]),
    ("model", "network", "runner", "layer", "module", "params_or_grads", "decoder", "encoder"): module,
    ("path", "stem", "paths"): lambda r: os.path.join(tempfile.gettempdir(), "fuzz_calls", r.choice(["a", "b/c"])),
    ("loss",): lambda r: r.choice(["mse", "mae", "cross_entropy", "huber"]),
    ("optimizer",): lambda r: importlib.import_module("fastrnn").Adam(1e-3),
    ("text", "texts", "prompt", "vocabulary"): lambda r: r.choice(["abc", "", ["ab", "c"], "a\u0301b"]),
    ("ids", "prompts", "source"): lambda r: r.choice([[0, 1, 2], [[0, 1], [2]], np.arange(3), array(r)]),
    ("reduction",): lambda r: r.choice(["mean", "sum"]),
    ("cell",): lambda r: r.choice(["lstm", "gru", "rnn"]),
    ("verbose",): lambda r: 0,
    ("progress",): lambda r: False,
}
KINDS = {name: make for names, make in RIGHT.items() for name in names}
BOUNDED = {"epochs": (0, 1, 2, -1, "1"), "length": (0, 1, 3, 20, -1, 2.5), "max_length": (1, 3, 20, -1),
           "merges": (0, 1, 5, -1), "beam_size": (0, 1, 3, -2), "steps": (1, 3, 50, 0, -1),
           "num_layers": (1, 2, 3, 0, "2"), "n_jobs": (1,), "progress": (False,), "threads": (1, 2, 0)}


def argument(r, name):
    if name in BOUNDED:
        return r.choice(BOUNDED[name])
    if r.random() < 0.15 or name not in KINDS:
        return wild(r)
    return KINDS[name](r)


def arguments(r, function):
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return [wild(r) for _ in range(r.randrange(3))], {}
    args, named = [], {}
    for p in parameters:
        if p.kind == p.VAR_POSITIONAL:
            args += [argument(r, p.name.rstrip("s")) for _ in range(r.randrange(3))]
        elif p.kind == p.VAR_KEYWORD:
            continue
        elif p.default is p.empty and p.kind != p.KEYWORD_ONLY:
            args.append(argument(r, p.name))
        elif p.default is p.empty or r.random() < 0.3:
            named[p.name] = argument(r, p.name)
    return args, named


def targets():
    """Everything public, by its full name."""
    fastrnn = importlib.import_module("fastrnn")
    found = {}
    for name in fastrnn.__all__:
        value = getattr(fastrnn, name)
        if callable(value) and name not in SKIPPED:
            found[name] = value
    for home in MODULES:
        space = getattr(fastrnn, home)
        for name in getattr(space, "__all__", dir(space)):
            value = getattr(space, name)
            if (callable(value) and not name.startswith("_") and name not in SKIPPED and not name.startswith("check_")
                    and getattr(value, "__module__", "").startswith(f"fastrnn.{home}")):
                found[f"{home}.{name}"] = value
    with contextlib.suppress(ImportError):
        space = importlib.import_module("fastrnn.sklearn")
        found.update({f"sklearn.{name}": getattr(space, name) for name in space.__all__})
    return found


class Found(Exception):
    """What a case has shown."""


def tried(what, call):
    """The result of a call, None after an error of the allowed kinds."""
    began = time.thread_time()
    try:
        return call()
    except ALLOWED as error:
        if type(error).__module__ == "numpy.exceptions" and not str(error):
            raise Found(f"{what}: an error without words") from error
        return None
    except (KeyboardInterrupt, Found):
        raise
    except BaseException as error:
        raise Found(f"{what}: {type(error).__name__}: {str(error)[:200]}") from error
    finally:
        took = time.thread_time() - began
        if took > SECONDS:
            raise Found(f"{what}: {took:.1f} s")


def attributes(value):
    return [name for name in dir(type(value)) if not name.startswith("_")] + [
        name for name in getattr(value, "__dict__", ()) if not name.startswith("_")]


def run_case(seed, public):
    """One case; raises Found."""
    r = random.Random(seed)
    name = r.choice(sorted(public))
    target = public[name]
    args, named = arguments(r, target)
    value = tried(name, lambda: target(*args, **named))
    if isinstance(target, type) and value is None and hasattr(target, "backward"):
        value = module(r)
    if not isinstance(value, (type(None), int, float, str, tuple, list, dict, np.ndarray)):
        for _ in range(r.randrange(1, 6)):
            value = use(r, name, value) or value


def use(r, name, value):
    """Sets an attribute, calls the object, or calls one of its methods; a new object, if that gives one."""
    what = r.randrange(6)
    if what == 0:
        attribute = r.choice(attributes(value) or ["x"])
        new = wild(r)
        try:
            setattr(value, attribute, new)
        except (*ALLOWED, AttributeError):
            pass
        except Exception as error:
            raise Found(f"{name}.{attribute} = ...: {type(error).__name__}: {error}") from error
        return None
    if what == 1 and callable(value):
        args, named = arguments(r, value)
        tried(f"{name}(...)", lambda: value(*args, **named))
        return None
    attribute = r.choice(attributes(value) or ["x"])
    method = tried(f"{name}.{attribute}", lambda: getattr(value, attribute, None))
    # scikit-learn makes the methods that end so, which it lets nobody call
    if not callable(method) or attribute in SKIPPED or attribute.endswith("_request"):
        return None
    if type(value).__module__.startswith(DRIVEN):
        return None
    args, named = arguments(r, method)
    result = tried(f"{name}.{attribute}(...)", lambda: method(*args, **named))
    if inspect.isgenerator(result) or hasattr(result, "__next__"):
        tried(f"{name}.{attribute}(...) read", lambda: [x for x, _ in zip(result, range(5))])
        return None
    if attribute == "forward" and isinstance(result, tuple) and len(result) == 3:
        dy = result[0] if r.random() < 0.7 else wild(r)
        tried(f"{name}.backward(...)", lambda: value.backward(result[2], dy))
        return None
    return result if type(result).__module__.startswith("fastrnn") and attribute != "copy" else None


@contextlib.contextmanager
def quiet():
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        yield


def memory():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def work(first, count):
    """Runs cases in this process; a line for each that shows something, and the number of each before it starts."""
    warnings.simplefilter("ignore")
    np.seterr(all="ignore")
    folder = Path(tempfile.gettempdir()) / "fuzz_calls"
    folder.mkdir(exist_ok=True)
    os.chdir(folder)
    out = os.fdopen(os.dup(1), "w")
    public = targets()
    for seed in range(200):     # what is imported or made once
        with contextlib.suppress(Found), quiet():
            run_case(10**9 + seed, public)
    before = memory()
    for seed in range(first, first + count):
        print(json.dumps({"case": seed}), file=out, flush=True)
        try:
            with quiet():
                run_case(seed, public)
        except Found as found:
            print(json.dumps({"case": seed, "found": str(found)}), file=out, flush=True)
        except Exception as error:
            print(json.dumps({"case": seed, "found": f"fuzzer: {error!r}"}), file=out, flush=True)
        now = memory()
        if now - before > MEGABYTES:
            print(json.dumps({"case": seed, "found": f"{now - before:.0f} MB"}), file=out, flush=True)
        before = max(before, now)


def search(first, count, patience=30, chunk=2000, report=print):
    """Runs cases in processes of their own; the list of (case, what it shows)."""
    shown, at, end = [], first, first + count
    while at < end:
        stop = min(at + chunk, end)
        command = [sys.executable, "-X", "faulthandler", __file__, "--work", str(at), str(stop - at)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
                                   env={**os.environ, "MALLOC_CHECK_": "3", "MALLOC_PERTURB_": "165"})
        os.set_blocking(process.stdout.fileno(), True)
        last = at - 1
        import selectors

        with selectors.DefaultSelector() as waiting:
            waiting.register(process.stdout, selectors.EVENT_READ)
            while True:
                if not waiting.select(timeout=patience + (60 if last < at else 0)):
                    process.kill()
                    break
                line = process.stdout.readline()
                if not line:
                    break
                said = json.loads(line)
                last = said["case"]
                if "found" in said:
                    shown.append((last, said["found"]))
                    report(f"case {last}: {said['found']}")
        code = process.wait()
        if code != 0:
            what = f"no answer in {patience} s" if code == -9 else f"exit {code}"
            shown.append((last, what))
            report(f"case {last}: {what}")
            at = max(last + 1, at + 1)
        else:
            at = stop
        if (at - first) % 20000 < chunk:
            report(f"{at - first} of {count} cases, {len(shown)} shown")
    return shown


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--calls", type=int, default=10000, help="how many cases (default: 10000)")
    parser.add_argument("--seed", type=int, default=0, help="the number of the first case (default: 0)")
    parser.add_argument("--case", type=int, help="run this one here, with its traceback")
    parser.add_argument("--work", nargs=2, type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work:
        work(*options.work)
    elif options.case is not None:
        run_case(options.case, targets())
    else:
        shown = search(options.seed, options.calls, report=lambda line: print(line, flush=True))
        print(f"{options.calls} cases, {len(shown)} shown")
        sys.exit(bool(shown))


if __name__ == "__main__":
    main()
