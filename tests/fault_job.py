"""Every allocation of the engine and of NumPy's arrays fails in turn, and nothing else may go wrong.

    python tests/fault_job.py                   every case, with 1 and 2 threads; prints figures
    python tests/fault_job.py --only stream     cases whose name has this in it

A case is built anew for each allocation: that one fails, or with `--all-after` all from there on. Then the call has to
raise MemoryError or ValueError and leave everything as it was, and the same call again has to give the bits that it
gives where nothing has failed. The process runs itself with `fail_malloc.c` preloaded.
"""

import argparse
import ctypes
import faulthandler
import os
import shutil
import subprocess
import sys
import tempfile
import traceback
from pathlib import Path

import numpy as np

import fastrnn
from fastrnn import losses

HERE = Path(__file__).parent
NEVER = 2**62
MOST = 5000     # allocations of one call; more mean that the case does not end


def compiled(folder):
    """The library that lets allocations fail, or None where it cannot be made."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None or not sys.platform.startswith("linux"):
        return None
    library = Path(folder) / "fail_malloc.so"
    command = [compiler, "-O1", "-fno-builtin", "-shared", "-fPIC", "-o", library, HERE / "fail_malloc.c"]
    return library if subprocess.run(command, capture_output=True, check=False).returncode == 0 else None


# Where NumPy runs out of memory while it indexes by arrays, it raises SystemError or crashes: here only our own
# allocations fail.
ONLY_OURS = ("Sequential", "Seq2Seq", "translate", "evaluate", "fit", "resume", "checkpoint", "ctc", "cross entropy")
# A network's modules go back one after another, and an optimiser goes through its arrays: small ones keep no copies for
# the case of an error.
NOT_AS_BEFORE = ("backward Sequential", "optimiser")


def code_ranges(numpy):
    """Where the code of our extensions lies, and that of NumPy's arrays."""
    found = []
    for line in Path("/proc/self/maps").read_text().splitlines():
        bounds, mode, *_, path = line.split(maxsplit=5)
        if "x" in mode and ("/fastrnn/engine/" in path or (numpy and "_multiarray_umath" in path)):
            found += (int(at, 16) for at in bounds.split("-"))
    return found


def digest(value):
    """What can be compared, bit for bit."""
    if isinstance(value, np.ndarray):
        return (value.shape, value.dtype.str, value.tobytes())
    if isinstance(value, dict):
        return tuple((key, digest(value[key])) for key in value)
    if isinstance(value, list | tuple):
        return tuple(map(digest, value))
    return value


# Cases: what `make(folder)` gives is the call, and a function for all that the call may change.

def data(*shape, seed=3):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def of(*modules):
    """All that calls of modules may change."""
    return lambda: [(module.params, module.grads) for module in modules]


def forward(make, *shape, lengths=None):
    """The forward pass of training, with given masks where there are any."""
    def case(folder):
        module, x = make(), data(*shape)
        seed = {"seed": 5} if hasattr(module, "zoneout") else {}
        return lambda: module.forward(x, lengths=lengths, **seed)[:2], of(module)
    return case


def backward(make, *shape, lengths=None):
    """The backward pass alone: its tape stays good where it fails."""
    def case(folder):
        module = make()
        y, _, tape = module.forward(data(*shape), lengths=lengths)
        return lambda: module.backward(tape, np.ones_like(y)), of(module)
    return case


def inference(make, *shape, lengths=None):
    def case(folder):
        module, x = make(), data(*shape)
        return lambda: module(x, lengths=lengths), of(module)
    return case


def construction(make):
    def case(folder):
        return lambda: make().params, lambda: ()
    return case


def stream(make, batch, warm):
    def case(folder):
        session, x = make().stream(batch), data(batch, 5)
        if warm:
            session.step(x)
        return lambda: session.step(x), lambda: session.state
    return case


def chunk(make, batch):
    def case(folder):
        session, x = make().stream(batch), data(9, batch, 5)
        return lambda: session.run(x), lambda: session.state
    return case


def opened(make):
    def case(folder):
        module = make()

        def call():
            session = module.stream(2)
            return session.step(data(2, 5)), session.copy().state
        return call, of(module)
    return case


def set_state(folder):
    session = fastrnn.LSTM(5, 7, 2, seed=1).stream(2)
    session.step(data(2, 5))
    new = tuple(data(*part.shape) for part in session.state)

    def call():
        session.state = new
        return session.state
    return call, lambda: session.state


def load_weights(make):
    def case(folder):
        module = make()
        module(data(2, 9, 5))
        new = {name: data(*value.shape) for name, value in module.params.items()}

        def load():
            module.load_state_dict(new)
            return module.params
        return load, of(module)
    return case


def loss(function, *arguments):
    def case(folder):
        return lambda: function(*arguments), lambda: arguments
    return case


def optimiser(make):
    def case(folder):
        steps = make()
        params, grads = {"a": data(3, 4), "b": data(200)}, {"a": data(3, 4, seed=4), "b": data(200, seed=5)}
        return lambda: steps.step(params, grads), lambda: (params, grads, steps.state_dict())
    return case


def clip(folder):
    grads = {"a": data(3, 4), "b": data(2000)}
    return lambda: fastrnn.clip_grad_norm(grads, 0.5), lambda: grads


def files_of(folder):
    return [(path.name, path.read_bytes()) for path in sorted(Path(folder).iterdir())]


def saving(make):
    def case(folder):
        old, new = make(1), make(2)
        fastrnn.save(old, folder / "m.safetensors")
        return lambda: fastrnn.save(new, folder / "m.safetensors"), lambda: (files_of(folder), new.params)
    return case


def loading(make):
    def case(folder):
        fastrnn.save(make(1), folder / "m.safetensors")
        return lambda: fastrnn.load(folder / "m.safetensors").params, lambda: files_of(folder)
    return case


def network(seed=0):
    return fastrnn.Sequential(fastrnn.Embedding(11, 5, seed=seed), fastrnn.LSTM(5, 6, seed=seed + 1),
                              fastrnn.LayerNorm(6), fastrnn.Linear(6, 11, seed=seed + 2))


def trainer(seed=0):
    return fastrnn.Trainer(network(seed), optimizer="adam", clip_norm=1.0, seed=seed)


IDS = np.random.default_rng(1).integers(0, 11, (8, 12))


def evaluating(folder):
    made = trainer()
    return lambda: made.evaluate(IDS, IDS, progress=False), lambda: made.model.params


def checkpoint(folder):
    made = trainer()
    made.fit(IDS, IDS, progress=False)
    made.save_checkpoint(folder / "c.ckpt")
    return lambda: made.save_checkpoint(folder / "c.ckpt"), lambda: (files_of(folder), made.model.params)


def resuming(folder):
    made = trainer()
    made.fit(IDS, IDS, progress=False)
    made.save_checkpoint(folder / "c.ckpt")

    def call():
        again = fastrnn.Trainer.resume(folder / "c.ckpt")
        return again.model.params, again.optimizer.state_dict()
    return call, lambda: ()     # files hold times


def fitting(folder):
    """A fit that fails may have made some updates: the parameters are those of one of them."""
    made = trainer()
    made.fit(IDS, IDS, progress=False)

    def call():
        return trainer().fit(IDS, IDS, progress=False, batch_size=4)["loss"]
    return call, lambda: made.model.params


def translator():
    return fastrnn.Seq2Seq(9, 8, hidden_size=6, embedding_dim=5, seed=0)


def translating(folder):
    model = translator()
    return lambda: model.translate([[2, 3, 4], [5, 6]], beam_size=2, max_length=5), of(model)


def translation_training(folder):
    model = translator()
    source, target = [[2, 3, 4], [5, 6]], [[2, 3], [4, 5, 6]]
    made = fastrnn.Trainer(model, seed=0)
    return lambda: made.evaluate(source, target, progress=False), of(model)


def kinds():
    """name -> function that makes a runner with 5 inputs."""
    f, plain = fastrnn, {"seed": 0, "init": "pytorch"}  # without np.linalg.qr, in which NumPy itself may crash
    return {
        "RNN": lambda: f.RNN(5, 7, 2, **plain),
        "LSTM": lambda: f.LSTM(5, 7, 2, bidirectional=True, dropout=0.3, **plain),
        "LSTM proj": lambda: f.LSTM(5, 7, proj_size=3, **plain),
        "LSTM probabilities": lambda: f.LSTM(5, 7, recurrent_dropout=0.2, zoneout=0.1, weight_dropout=0.2, **plain),
        "LSTM recompute": lambda: f.LSTM(5, 7, 2, recompute=True, **plain),
        "LSTM norm": lambda: f.LSTM(5, 7, layer_norm=True, **plain),
        "GRU": lambda: f.GRU(5, 7, 2, **plain),
        "GRU norm": lambda: f.GRU(5, 7, layer_norm=True, **plain),
        "large GRU": lambda: f.GRU(5, 260, 2, **plain),
        "large RNN": lambda: f.RNN(5, 300, 2, bidirectional=True, **plain),
        "MinGRU": lambda: f.MinGRU(5, 7, 2, **plain),
        "MinLSTM": lambda: f.MinLSTM(5, 7, **plain),
        "SRU": lambda: f.SRU(5, 7, 2, bidirectional=True, **plain),
        "QRNN": lambda: f.QRNN(5, 7, 2, **plain),
    }


def cases():
    """name -> case."""
    found = {}
    for name, make in kinds().items():
        shape = (4, 60, 5) if "large" in name else (3, 9, 5)
        found[f"construct {name}"] = construction(make)
        found[f"infer {name}"] = inference(make, *shape)
        found[f"forward {name}"] = forward(make, *shape)
        found[f"backward {name}"] = backward(make, *shape)
        if not make().bidirectional:
            found[f"stream {name}"] = opened(make)
            found[f"step {name}"] = stream(make, 2, False)
            found[f"warm step {name}"] = stream(make, 1, True)
            found[f"chunk {name}"] = chunk(make, 2)
        found[f"weights {name}"] = load_weights(make)
    lengths = [3, 0, 1, 2, 3, 3, 2, 1, 3]
    found["infer lengths"] = inference(kinds()["LSTM"], 3, 9, 5, lengths=lengths)
    found["forward lengths"] = forward(kinds()["LSTM"], 3, 9, 5, lengths=lengths)
    found["backward lengths"] = backward(kinds()["LSTM"], 3, 9, 5, lengths=lengths)
    found["state of a stream"] = set_state
    layers = {
        "Linear": lambda: fastrnn.Linear(5, 6, seed=0), "LayerNorm": lambda: fastrnn.LayerNorm(5),
        "Dropout": lambda: fastrnn.Dropout(0.3, seed=0),
        "Sequential": lambda: fastrnn.Sequential(fastrnn.GRU(5, 6, seed=0), fastrnn.LastStep(),
                                                 fastrnn.Linear(6, 4, seed=0)),
    }
    for name, make in layers.items():
        found[f"construct {name}"] = construction(make)
        found[f"infer {name}"] = inference(make, 3, 9, 5)
        if name != "Dropout":
            found[f"forward {name}"] = forward(make, 3, 9, 5)
        found[f"backward {name}"] = backward(make, 3, 9, 5)
    found["construct Seq2Seq"] = construction(translator)
    found["translate"] = translating
    found["evaluate Seq2Seq"] = translation_training
    y, target = data(3, 9, 5), np.random.default_rng(2).integers(0, 5, (3, 9))
    found["cross entropy"] = loss(losses.cross_entropy, y, target)
    for name in ("mse", "mae", "huber"):
        found[name] = loss(getattr(losses, name), y, data(3, 9, 5, seed=8))
    found["ctc"] = loss(losses.ctc, y, [[1, 2], [3], [4, 4, 1]])
    for name in ("SGD", "Adam", "AdamW", "RMSprop", "Adagrad"):
        found[f"optimiser {name}"] = optimiser(getattr(fastrnn, name))
    found["optimiser momentum"] = optimiser(lambda: fastrnn.SGD(0.1, momentum=0.9))
    found["clip"] = clip
    found["save"], found["load"] = saving(network), loading(network)
    found["evaluate"], found["checkpoint"] = evaluating, checkpoint
    found["resume"], found["fit"] = resuming, fitting
    return found


class Faults:
    """Runs cases with failing allocations and keeps what goes wrong."""

    def __init__(self, all_after=False):
        self.library = ctypes.CDLL(None)
        self.library.fault_disarm.restype = ctypes.c_long
        self.library.fault_arm.argtypes = (ctypes.c_long, ctypes.c_long)
        self.all_after = all_after
        self.failed = self.tolerated = 0
        self.wrong = []

    def use_code(self, name):
        """Once all modules are loaded."""
        bounds = code_ranges(not any(text in name for text in ONLY_OURS))
        array = (ctypes.c_size_t * len(bounds))(*bounds)
        assert bounds and self.library.fault_code(array, len(bounds) // 2) == 0

    def made(self, case):
        folder = Path(tempfile.mkdtemp(dir=self.folder))
        return case(folder)

    def run(self, name, case):
        with tempfile.TemporaryDirectory() as folder:
            self.folder = folder
            call, state = self.made(case)
            expected = digest(call()), digest(state())
            for number in range(1, MOST):
                asked = self.turn(f"{name}, allocation {number}", case, number, expected)
                if asked < number:
                    return number - 1
        self.wrong.append(f"{name}: no end")
        return MOST

    def turn(self, name, case, number, expected):
        call, state = self.made(case)
        before = digest(state())
        error = result = None
        self.library.fault_arm(number, NEVER if self.all_after else number)
        try:
            result = call()
        except BaseException as raised:
            error = raised
        asked = self.library.fault_disarm()
        if asked < number:
            return asked
        if error is None:
            self.tolerated += 1
            if (digest(result), digest(state())) != expected:
                self.wrong.append(f"{name}: nothing was raised, and the result differs")
            return asked
        self.failed += 1
        if not isinstance(error, MemoryError | ValueError):
            self.wrong.append(f"{name}: {''.join(traceback.format_exception(error))}")
        error.__traceback__ = None
        if name.startswith(NOT_AS_BEFORE):
            return asked
        if digest(state()) != before:
            self.wrong.append(f"{name}: {error!r} has left another state")
        try:
            if (digest(call()), digest(state())) != expected:
                self.wrong.append(f"{name}: another result after {error!r}")
        except Exception as again:
            self.wrong.append(f"{name}: after {error!r} {''.join(traceback.format_exception(again))}")
        return asked


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--only", default="", help="cases whose name has this in it")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--all-after", action="store_true", help="all allocations fail after the first that does")
    options = parser.parse_args()
    if not hasattr(ctypes.CDLL(None), "fault_arm"):
        with tempfile.TemporaryDirectory() as folder:
            library = compiled(folder)
            if library is None:
                sys.exit("needs gcc and glibc")
            before = os.environ.get("LD_PRELOAD")
            environment = {**os.environ, "LD_PRELOAD": f"{before}:{library}" if before else str(library)}
            sys.exit(subprocess.run([sys.executable, *sys.argv], env=environment, check=False).returncode)
    faulthandler.enable()
    faults, total = Faults(options.all_after), 0
    chosen = {name: case for name, case in cases().items() if options.only in name}
    for case in chosen.values():        # imports what it needs
        with tempfile.TemporaryDirectory() as folder:
            case(Path(folder))[0]()
    for threads in options.threads:
        fastrnn.set_num_threads(threads)
        for name, case in chosen.items():
            faulthandler.dump_traceback_later(60, exit=True)
            wrong = len(faults.wrong)
            faults.use_code(name)
            count = faults.run(name, case)
            total += count
            print(f"{threads} threads, {name}: {count}", flush=True)
            print("".join(f"WRONG {text}\n" for text in faults.wrong[wrong:]), end="", flush=True)
    faulthandler.cancel_dump_traceback_later()
    print(f"{len(chosen)} cases, {total} allocations, {faults.failed} errors, {faults.tolerated} without, "
          f"{len(faults.wrong)} wrong")
    return 1 if faults.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
