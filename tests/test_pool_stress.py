"""More threads than CPUs, large and small teams in turn, forks, limits that change, several callers: the same bits."""

import os
import subprocess
import sys

import pytest

# A build with sanitizers makes fewer turns in the same time.
SECONDS = "6" if "FASTRNN_SANITIZE" in os.environ else "0.8"

START = """
import faulthandler, os, random, sys, threading, time
import numpy as np
import fastrnn
faulthandler.dump_traceback_later(60, exit=True)
threads, seconds = int(sys.argv[1]), float(sys.argv[2])
fastrnn.set_num_threads(threads)
data = np.random.default_rng(0)
def problem(rnn, steps, batch):
    x = data.standard_normal((steps, batch, rnn.input_size)).astype("f")
    expected = rnn(x)[0].copy()
    def check():
        assert np.array_equal(rnn(x)[0], expected)
    return check
# Parts of a batch for all threads, a few threads, and lone sequences whose columns a team shares.
checks = [problem(fastrnn.LSTM(64, 64, seed=0), 30, 16), problem(fastrnn.LSTM(128, 200, seed=1), 6, 1),
          problem(fastrnn.GRU(32, 48, seed=2), 90, 3), problem(fastrnn.GRU(64, 256, seed=3), 5, 1),
          problem(fastrnn.SRU(64, 64, seed=4), 100, 1), problem(fastrnn.RNN(8, 8, seed=5), 3, 2)]
until = time.monotonic() + seconds
turns = 0
def turn(seed=0):
    global turns
    draw = random.Random(seed)
    while time.monotonic() < until:
        draw.choice(checks)()
        turns += 1
"""

JOBS = {
    "one caller": "turn()",
    "several callers": """
callers = [threading.Thread(target=turn, args=(k,)) for k in range(3)]
[c.start() for c in callers]; turn(9); [c.join() for c in callers]
""",
    "limits that change": """
caller = threading.Thread(target=turn, args=(1,)); caller.start()
draw = random.Random(0)
while time.monotonic() < until:
    fastrnn.set_num_threads(draw.randint(1, 8)); draw.choice(checks)(); turns += 1
caller.join()
""",
    "forks": """
caller = threading.Thread(target=turn, args=(1,)); caller.start()
while time.monotonic() < until:
    checks[0](); turns += 1
    child = os.fork()
    if child == 0:
        for check in checks * 3:
            check()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
caller.join()
""",
    "training beside inference": """
def train():
    rnn = fastrnn.LSTM(48, 64, seed=0); x = data.standard_normal((40, 12, 48)).astype("f")
    expected = None
    fastrnn.set_num_threads(threads)
    while time.monotonic() < until:
        rnn.zero_grad(); y, _, tape = rnn.forward(x); rnn.backward(tape, y)
        found = rnn.grads["weight_hh_l0"].copy()
        assert expected is None or np.array_equal(found, expected)
        expected = found
trainer = threading.Thread(target=train); trainer.start(); turn(); trainer.join()
""",
}


@pytest.mark.parametrize("threads", [3, 5, 8])
@pytest.mark.parametrize("name", JOBS)
def test_stress(name, threads):
    if name == "forks" and not hasattr(os, "fork"):
        pytest.skip("no fork")
    code = START + JOBS[name] + "\nassert turns > 20, turns\n"
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code, str(threads), SECONDS], capture_output=True,
                          text=True, timeout=90, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert not done.stderr, done.stderr[-2000:]


@pytest.mark.skipif(sys.platform != "linux", reason="limits of Linux")
def test_threads_that_cannot_start_cost_nothing():
    """Every call tries again, and keeps nothing of what has failed."""
    code = START + """
import resource
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 4_000_000,) * 2)     # no room for another thread's stack
try:
    threading.Thread(target=print).start()
except RuntimeError:
    pass
else:
    raise SystemExit("skip")
def memory():
    return int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize()
for _ in range(300):
    checks[0]()
before = memory()
for _ in range(3000):
    checks[0]()
assert memory() - before < 400_000, memory() - before
"""
    code = code.replace("fastrnn.set_num_threads(threads)", "fastrnn.set_num_threads(1)", 1).replace(
        "import resource", "fastrnn.set_num_threads(threads)\nimport resource", 1)
    done = subprocess.run([sys.executable, "-c", code, "4", "1"], capture_output=True, text=True, timeout=90,
                          check=False)
    if "skip" in done.stderr:
        pytest.skip("threads start all the same")
    assert done.returncode == 0, done.stderr[-2000:]
