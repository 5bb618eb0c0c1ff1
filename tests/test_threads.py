"""Threads: ours, the caller's, and what a fork leaves of them."""

import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import threadpoolctl

import fastrnn
from fastrnn import threads as limits
from fastrnn._onethread import one_thread
from fastrnn.engine.runtime import _kernels

LINUX = sys.platform == "linux"


@pytest.fixture(autouse=True)
def kept_limit():
    kept = fastrnn.get_num_threads()
    yield
    fastrnn.set_num_threads(kept)


def run_python(code, **env):
    """The last line that a fresh Python prints, on stderr if it fails."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("FASTRNN_")} | env
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    return (done.stderr if done.returncode else done.stdout).strip().splitlines()[-1]


def test_set_and_get():
    for n in (1, 3, 2):
        fastrnn.set_num_threads(n)
        assert fastrnn.get_num_threads() == n


@pytest.mark.parametrize("n", [0, -1, 1.5, "two", None])
def test_set_refuses(n):
    fastrnn.set_num_threads(2)
    with pytest.raises((TypeError, ValueError)):
        fastrnn.set_num_threads(n)
    assert fastrnn.get_num_threads() == 2


PRINT_LIMIT = "import fastrnn; print(fastrnn.get_num_threads())"


@pytest.mark.parametrize("n", ["1", "3"])
def test_environment_sets_the_limit(n):
    assert run_python(PRINT_LIMIT, FASTRNN_NUM_THREADS=n) == n


@pytest.mark.parametrize("n", ["0", "-2", "1.5", "two"])
def test_environment_refuses(n):
    found = run_python(PRINT_LIMIT, FASTRNN_NUM_THREADS=n)
    assert found.startswith("ValueError: FASTRNN_NUM_THREADS: expected")


def test_default_is_within_the_cpus_of_this_process():
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    assert 1 <= int(run_python(PRINT_LIMIT)) <= usable


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no CPU affinity on this system")
def test_default_follows_the_cpu_affinity():
    pin = f"import os; os.sched_setaffinity(0, {{{min(os.sched_getaffinity(0))}}}); "
    assert run_python(pin + PRINT_LIMIT) == "1"


@pytest.mark.parametrize("quota, expected", [(None, 8), (1, 1), (3, 3), (64, 8)])
def test_default_follows_the_quota_of_the_control_groups(monkeypatch, quota, expected):
    monkeypatch.setattr(limits._cgroups, "cpu_limit", lambda: quota)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    assert limits.available_cpus() == expected


SHARED_WORK = """
import os, sys
import numpy as np, fastrnn
rnn = fastrnn.LSTM(64, 128, seed=0)
x = np.ones((50, 64, 64), np.float32)
before = len(os.listdir("/proc/self/task"))
rnn(x); _, _, tape = rnn.forward(x); rnn.backward(tape, np.ones((50, 64, 128), np.float32))
print(len(os.listdir("/proc/self/task")) - before)
"""


@pytest.mark.skipif(not LINUX, reason="reads /proc")
@pytest.mark.parametrize("n", [1, 2, 4])
def test_a_call_uses_as_many_threads_as_it_may(n):
    assert run_python(SHARED_WORK, FASTRNN_NUM_THREADS=str(n)) == str(n - 1)


@pytest.mark.skipif(not LINUX, reason="reads /proc")
def test_import_and_small_calls_start_no_thread():
    code = SHARED_WORK.replace("(50, 64, 64)", "(2, 1, 64)").replace("(50, 64, 128)", "(2, 1, 128)")
    assert run_python(code, FASTRNN_NUM_THREADS="4") == "0"


# Callers on many threads


def runners():
    kinds = [fastrnn.RNN, fastrnn.LSTM, fastrnn.GRU]
    return [kind(24, 40, 2, bidirectional=True, seed=k) for k, kind in enumerate(kinds)]


def inputs():
    rng = np.random.default_rng(8)
    shapes = [(3, 1, 24), (30, 5, 24), (17, 40, 24), (40, 16, 24), (1, 64, 24)]
    return [rng.standard_normal(shape, np.float32) for shape in shapes]


def bits(result):
    """The bytes of all arrays in nested tuples and lists."""
    if isinstance(result, np.ndarray):
        return result.tobytes()
    return b"|".join(bits(part) for part in result)


def on_many_threads(function, tasks, workers=8):
    """Results in order; all workers start together."""
    together = threading.Barrier(workers)
    with ThreadPoolExecutor(workers, initializer=together.wait) as pool:
        return list(pool.map(function, tasks))


@pytest.mark.parametrize("n", [1, 2, 4])
def test_many_threads_call_one_runner(n):
    fastrnn.set_num_threads(n)
    for rnn in runners():
        expected = [bits(rnn(x)) for x in inputs()]
        found = on_many_threads(lambda x, rnn=rnn: bits(rnn(x)), inputs() * 20)
        assert found == expected * 20


def trained(rnn, x):
    """Bytes of everything that a training step computes, on a runner of the caller's own."""
    rnn.zero_grad()
    y, state, tape = rnn.forward(x)
    dx, dstate = rnn.backward(tape, np.cos(y))
    return bits([y, state, dx, dstate, *rnn.grads.values()])


def test_many_threads_train_runners_of_their_own():
    fastrnn.set_num_threads(2)
    tasks = [(k, x) for k in range(3) for x in inputs()]
    expected = [trained(runners()[k], x) for k, x in tasks]
    assert on_many_threads(lambda task: trained(runners()[task[0]], task[1]), tasks * 6) == expected * 6


def test_many_threads_forward_on_one_runner_and_keep_their_tapes():
    fastrnn.set_num_threads(2)
    for rnn in runners():

        def forward(x, rnn=rnn):
            y, state, tape = rnn.forward(x)
            return bits([y, state]), tape

        expected = [(bits(rnn(x)), trained(rnn, x)) for x in inputs()]
        found = on_many_threads(forward, inputs() * 4)
        for (found_bits, tape), x, (_, expected_gradients) in zip(found, inputs() * 4, expected * 4):
            y, state, _ = rnn.forward(x)
            assert found_bits == bits([y, state])
            rnn.zero_grad()
            dx, dstate = rnn.backward(tape, np.cos(y))
            assert bits([y, state, dx, dstate, *rnn.grads.values()]) == expected_gradients


def test_many_threads_stream_from_one_runner():
    for kind in (fastrnn.RNN, fastrnn.LSTM, fastrnn.GRU):
        rnn = kind(12, 33, 2, seed=0)
        x = np.random.default_rng(1).standard_normal((60, 12), np.float32)

        def stream(scale, rnn=rnn, x=x):
            s = rnn.stream()
            return bits([s.step(np.float32(scale) * x_t) for x_t in x])

        expected = [stream(scale) for scale in range(5)]
        assert on_many_threads(stream, list(range(5)) * 20) == expected * 20


def test_the_limit_may_change_while_others_run():
    rnn = runners()[1]
    expected = [bits(rnn(x)) for x in inputs()]
    stop = threading.Event()

    def change():
        n = 0
        while not stop.is_set():
            n = n % 4 + 1
            fastrnn.set_num_threads(n)
            time.sleep(0.0002)

    changer = threading.Thread(target=change)
    changer.start()
    try:
        assert on_many_threads(lambda x: bits(rnn(x)), inputs() * 20, workers=4) == expected * 20
    finally:
        stop.set()
        changer.join()


def test_other_python_threads_run_during_a_call():
    rnn = fastrnn.LSTM(256, 256, seed=0)
    x = np.ones((150, 64, 256), np.float32)
    fastrnn.set_num_threads(1)
    rnn(x)
    started, ended = [], []

    def call():
        started.append(time.perf_counter())
        rnn(x)
        ended.append(time.perf_counter())

    caller = threading.Thread(target=call)
    caller.start()
    seen = []
    while not ended:
        seen.append(time.perf_counter())
        time.sleep(0.0005)
    caller.join()
    middle = (ended[0] - started[0]) / 3
    assert any(started[0] + middle < t < ended[0] - middle for t in seen), "the call held the GIL"


def blas_threads():
    return [pool["num_threads"] for pool in threadpoolctl.threadpool_info() if pool["user_api"] == "blas"]


def test_threads_of_blas_are_left_as_they_were(monkeypatch):
    monkeypatch.setenv("FASTRNN_BLAS", "1")
    _kernels.use_isa(_kernels.isa())
    x = np.ones((20, 16, 24), np.float32)
    with threadpoolctl.threadpool_limits(3, user_api="blas"):
        trained(runners()[0], x)
        before = blas_threads()
        assert 3 in before
        on_many_threads(lambda k: trained(runners()[k % 3], x), range(64))
        assert blas_threads() == before
    monkeypatch.undo()
    _kernels.use_isa(_kernels.isa())


def test_overlapping_calls_leave_the_threads_of_blas_as_they_were():
    with threadpoolctl.threadpool_limits(3, user_api="blas"):
        before = blas_threads()
        first, second = one_thread, one_thread
        first.__enter__()
        second.__enter__()
        first.__exit__(None, None, None)
        assert set(blas_threads()) == {1}
        second.__exit__(None, None, None)
        assert blas_threads() == before


# Forks


fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")


def child_exits_with_zero(function, seconds=60):
    """Run `function` in a forked child; True if it returned within `seconds`."""
    child = os.fork()
    if child == 0:
        try:
            function()
        except BaseException:
            os._exit(1)
        os._exit(0)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status) == 0
        time.sleep(0.01)
    os.kill(child, 9)
    os.waitpid(child, 0)
    return False


@fork
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_forked_child_computes_the_same():
    fastrnn.set_num_threads(4)
    rnn = runners()[1]
    x = inputs()[3]
    expected, expected_training = bits(rnn(x)), trained(rnn, x)

    def child():
        assert fastrnn.get_num_threads() == 4
        for _ in range(3):
            assert bits(rnn(x)) == expected
            assert trained(rnn, x) == expected_training
        assert child_exits_with_zero(grandchild)

    def grandchild():
        assert bits(rnn(x)) == expected

    for _ in range(3):
        assert child_exits_with_zero(child)
    assert bits(rnn(x)) == expected


@fork
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_child_forked_while_others_compute():
    fastrnn.set_num_threads(3)
    rnn = runners()[2]
    x = inputs()[3]
    expected = bits(rnn(x))
    stop = threading.Event()

    def keep_busy():
        while not stop.is_set():
            rnn(x)

    def child():
        assert bits(rnn(x)) == expected

    busy = [threading.Thread(target=keep_busy) for _ in range(2)]
    for thread in busy:
        thread.start()
    try:
        for _ in range(10):
            assert child_exits_with_zero(child)
    finally:
        stop.set()
        for thread in busy:
            thread.join()


@pytest.mark.parametrize("variable", ["FASTRNN_ISA", "FASTRNN_NUM_THREADS"])
def test_the_command_line_says_a_bad_environment_in_one_line(variable):
    done = subprocess.run([sys.executable, "-m", "fastrnn", "info"], env={**os.environ, variable: "x"},
                          capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith(f"fastrnn: error: {variable}: expected") and done.stderr.count("\n") == 1


def test_what_was_chosen_stays():
    job = "import fastrnn, fastrnn.threads as t; {} t.set_default(3); print(fastrnn.get_num_threads())"
    env = {name: value for name, value in os.environ.items() if name != "FASTRNN_NUM_THREADS"}

    def said(first, **more):
        command = [sys.executable, "-c", job.format(first)]
        return int(subprocess.run(command, env={**env, **more}, capture_output=True, text=True, check=True).stdout)

    assert said("") == 3
    assert said("fastrnn.set_num_threads(2);") == 2
    assert said("", FASTRNN_NUM_THREADS="1") == 1
