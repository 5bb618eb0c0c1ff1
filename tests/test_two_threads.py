"""Two threads on one object: the right result or a clear error, never a crash or a hang."""

import subprocess
import sys

import pytest

START = """
import faulthandler, os, sys, tempfile, threading, time
import numpy as np
import fastrnn
from fastrnn import *
from fastrnn import losses
faulthandler.dump_traceback_later(40, exit=True)
sys.setswitchinterval(1e-6)
until = time.monotonic() + 1.0
wrong = []
def turns(work, allowed=()):
    while time.monotonic() < until:
        try:
            work()
        except allowed:
            pass
        except BaseException as error:
            wrong.append(repr(error))
            return
def together(*works, allowed=()):
    threads = [threading.Thread(target=turns, args=(w, allowed)) for w in works]
    [t.start() for t in threads]
    [t.join() for t in threads]
    assert not wrong, wrong[:3]
def check(condition):
    assert condition
r = LSTM(16, 48, num_layers=2, seed=0)
x = np.random.default_rng(0).standard_normal((12, 5, 16)).astype("f")
y = r(x)[0]
"""

CASES = {
    "inference on one runner": """
z = np.ascontiguousarray(x[:, :2])
small = r(z)[0]
together(lambda: check(np.array_equal(r(x)[0], y)), lambda: check(np.array_equal(r(z)[0], small)))
""",
    "inference beside training passes": """
def train():
    out, _, tape = r.forward(x)
    check(np.array_equal(out, y))
    r.backward(tape, out)
together(train, lambda: check(np.array_equal(r(x)[0], y)))
""",
    "two tapes of one runner": """
def passes():
    out, _, tape = r.forward(x)
    dx, _ = r.backward(tape, y)
    check(np.isfinite(dx).all())
together(passes, passes)
""",
    "one tape": """
served = [0, 0]
def make():
    global tape, taken
    tape = r.forward(x)[2]
make()
def use():
    try:
        r.backward(tape, y)
    except ValueError as error:
        assert "tape" in str(error)
        make()
together(use, use, use)
""",
    "one stream": """
s = r.stream(5)
big = LSTM(256, 256, seed=0).stream(4)
w = np.ones((4, 256), "f")
def step():
    check(np.isfinite(s.step(x[0])).all())
def run():
    check(np.isfinite(s.run(x)).all())
together(step, step, run, lambda: s.reset(), lambda: s.state, lambda: big.step(w), lambda: big.step(w),
         allowed=ValueError)
s.reset()
check(np.array_equal(np.stack([s.step(one) for one in x]), y))
""",
    "threads that are set while others compute": """
def limits():
    for n in (1, 3, 2, 8):
        fastrnn.set_num_threads(n)
together(limits, lambda: check(np.array_equal(r(x)[0], y)))
""",
    "saving beside training": """
folder = tempfile.mkdtemp()
net = Sequential(LSTM(16, 8, seed=0), LastStep(), Linear(8, 1, seed=0))
trainer = Trainer(net, "mse", seed=0)
X, t = np.ones((8, 5, 16), "f"), np.ones((8, 1), "f")
path = os.path.join(folder, "m.safetensors")
fastrnn.save(net, path)
together(lambda: trainer.fit(X, t, epochs=1, progress=False), lambda: fastrnn.save(net, path),
         lambda: check(fastrnn.load(path)(X) is not None))
check(os.listdir(folder) == ["m.safetensors"])
""",
    "objects that go while they are used": """
def use():
    one = LSTM(16, 48, seed=0)
    stream = one.stream(5)
    out, _, tape = one.forward(x)
    worker = threading.Thread(target=lambda: (stream.step(x[0]), one.backward(tape, out)))
    worker.start()
    del one, stream, tape
    worker.join()
together(use, use)
""",
    "parameters that are written beside inference": """
p = r.params["weight_hh_l0"]
def write():
    p[...] = 0.01
    p[...] = -0.01
together(write, lambda: check(np.isfinite(r(x)[0]).all()))
""",
    "losses and optimisers": """
logits, ids = np.zeros((200, 7), "f"), np.zeros(200, np.int64)
adam, params, grads = Adam(1e-3), {"p": np.ones(1000, "f")}, {"p": np.ones(1000, "f")}
def change():
    ids[:] = 2**40
    ids[:] = 0
together(lambda: losses.cross_entropy(logits, ids), change, lambda: adam.step(params, grads),
         lambda: adam.step(params, grads), allowed=ValueError)
check(np.isfinite(params["p"]).all())
""",
    "a fork while another thread computes": """
def fork():
    child = os.fork()
    if child == 0:
        os._exit(0 if np.array_equal(r(x)[0], y) else 1)
    check(os.waitpid(child, 0)[1] == 0)
together(fork, lambda: check(np.array_equal(r(x)[0], y)))
""",
    "weights that are loaded by two": """
a, b = LSTM(16, 48, num_layers=2, seed=1).state_dict(), r.state_dict()
other = LSTM(16, 48, num_layers=2, seed=1)(x)[0]
together(lambda: r.load_state_dict(a), lambda: r.load_state_dict(b),
         lambda: check((lambda found: any(np.array_equal(found, z) for z in (y, other)))(r(x)[0])))
""",
}


@pytest.mark.parametrize("name", CASES)
def test_two_threads(name):
    if "fork" in name and sys.platform == "win32":
        pytest.skip("no fork")
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", START + CASES[name]], capture_output=True, text=True,
                          timeout=90, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
