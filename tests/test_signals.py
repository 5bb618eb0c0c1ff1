"""A signal ends a long native call soon, and leaves everything as it was."""

import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from conftest import SANITIZED

import fastrnn
from fastrnn import LSTM, Linear, Sequential

pytestmark = pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no timer signals")

# Seconds: 0.1 is what is promised, more is for busy machines, and for builds with sanitizers.
SOON = 60.0 if SANITIZED else 1.0


class Stop(Exception):
    pass


@pytest.fixture
def alarm():
    """Lets a signal come after so many seconds whose handler raises Stop; gives the moment at which it came."""
    came = []

    def raise_stop(number, frame):
        came.append(time.monotonic())
        raise Stop

    def start(seconds):
        came.clear()
        start.due = time.monotonic() + seconds
        signal.setitimer(signal.ITIMER_REAL, seconds)
        return came

    before = signal.signal(signal.SIGALRM, raise_stop)
    yield start
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture(params=[1, 2, 3])
def threads(request):
    before = fastrnn.get_num_threads()
    fastrnn.set_num_threads(request.param)
    yield request.param
    fastrnn.set_num_threads(before)


def until_stopped(alarm, after, call):
    """Seconds from the signal to the end of `call`, which must be long enough for it."""
    alarm(after)
    with pytest.raises(Stop):
        call()
    return time.monotonic() - alarm.due


KINDS = [fastrnn.LSTM, fastrnn.GRU, fastrnn.RNN, fastrnn.SRU, fastrnn.QRNN]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("batch", [1, 12])
def test_inference(alarm, threads, kind, batch):
    rnn = kind(256, 256, num_layers=2, seed=0)
    x = np.zeros((400_000 // batch, batch, 256), np.float32)
    few = rnn(x[:50])[0]
    assert until_stopped(alarm, 0.1, lambda: rnn(x)) < SOON
    np.testing.assert_array_equal(rnn(x[:50])[0], few)


def test_a_batch_whose_every_step_is_long(alarm, threads):
    rnn = fastrnn.LSTM(512, 512, seed=0)
    x = np.zeros((40, 8192, 512), np.float32)
    assert until_stopped(alarm, 0.3, lambda: rnn(x)) < SOON


@pytest.mark.parametrize("options", [{}, {"recompute": True}, {"bidirectional": True, "num_layers": 2}], ids=str)
@pytest.mark.parametrize("kind", [fastrnn.LSTM, fastrnn.SRU])
def test_bptt(alarm, threads, kind, options):
    """Wherever BPTT is: in its loop, at dx, or at the weight gradients."""
    rnn = kind(320, 320, seed=0, **options)
    x = np.random.default_rng(0).standard_normal((120, 64, 320)).astype(np.float32)
    y, _, tape = rnn.forward(x)
    begun = time.monotonic()
    rnn.backward(tape, y)
    took = time.monotonic() - begun
    assert any(grad.any() for grad in rnn.grads.values())
    grads = {name: grad.copy() for name, grad in rnn.grads.items()}
    stopped = 0
    for part in (0.2, 0.5, 0.8):
        _, _, tape = rnn.forward(x)
        ended = False
        try:
            alarm(part * took)
            rnn.backward(tape, y)
            ended = True        # it was faster this time
            signal.setitimer(signal.ITIMER_REAL, 0)
        except Stop:
            assert time.monotonic() - alarm.due < SOON
        if ended:
            rnn.grads.update(grads)
            continue
        stopped += 1
        for name, grad in rnn.grads.items():
            np.testing.assert_array_equal(grad, grads[name])
    assert stopped
    y2, _, tape = rnn.forward(x)
    np.testing.assert_array_equal(y2, y)


def test_a_handler_that_returns_changes_no_bit(threads):
    rnn = fastrnn.LSTM(256, 256, seed=0)
    x = np.random.default_rng(0).standard_normal((600, 24, 256)).astype(np.float32)
    expected, calls = rnn(x)[0], []
    small = fastrnn.GRU(8, 8, seed=0)

    def handle(number, frame):
        calls.append(small(x[:3, 0, :8])[0].sum())     # a call from within a call

    before = signal.signal(signal.SIGALRM, handle)
    signal.setitimer(signal.ITIMER_REAL, 0.03, 0.03)
    try:
        np.testing.assert_array_equal(rnn(x)[0], expected)
        assert calls
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def test_another_thread_s_call_goes_on(alarm, threads):
    """Python runs handlers in the main thread only."""
    rnn = fastrnn.LSTM(128, 128, seed=0)
    x = np.zeros((1000, 32, 128), np.float32)
    expected, found, done = rnn(x)[0], [], threading.Event()
    worker = threading.Thread(target=lambda: (found.append(rnn(x)[0]), done.set()))
    worker.start()
    with pytest.raises(Stop):
        alarm(0.05)
        time.sleep(10)
    assert done.wait(60)
    np.testing.assert_array_equal(found[0], expected)


def test_ctrl_c_in_a_program():
    code = """
import numpy as np, fastrnn, signal, time
signal.signal(signal.SIGINT, signal.default_int_handler)    # a job in the background may have inherited to ignore it
rnn = fastrnn.LSTM(512, 512, seed=0); x = np.zeros((20000, 16, 512), "f")
print("ready", flush=True)
try:
    rnn(x)
except KeyboardInterrupt:
    print("stopped", flush=True)
"""
    program = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert program.stdout.readline() == "ready\n"
    time.sleep(0.5)
    begun = time.monotonic()
    program.send_signal(signal.SIGINT)
    assert program.stdout.readline() == "stopped\n"
    assert time.monotonic() - begun < SOON
    assert program.wait(30) == 0


def test_a_network_s_gradients(alarm):
    """A signal in any module's backward pass leaves the gradients of all as they were."""
    net = Sequential(Linear(256, 512, seed=0), LSTM(512, 320, seed=0), Linear(320, 4000, seed=0))
    x = np.random.default_rng(0).standard_normal((32, 100, 256)).astype(np.float32)
    y, _, tape = net.forward(x)
    begun = time.monotonic()
    net.backward(tape, y)
    took = time.monotonic() - begun
    grads = {name: grad.copy() for name, grad in net.grads.items()}
    stopped = 0
    for part in (0.1, 0.3, 0.5, 0.7):
        _, _, tape = net.forward(x)
        ended = False
        try:
            alarm(part * took)
            net.backward(tape, y)
            ended = True
            signal.setitimer(signal.ITIMER_REAL, 0)
        except Stop:
            assert time.monotonic() - alarm.due < SOON
        if ended:
            net.grads.update(grads)
            continue
        stopped += 1
        for name, grad in net.grads.items():
            np.testing.assert_array_equal(grad, grads[name])
    assert stopped


def test_a_linear_layer(alarm):
    layer = Linear(4096, 512, seed=0)
    x = np.ones((40_000, 4096), np.float32)
    assert until_stopped(alarm, 0.2, lambda: layer(x)) < SOON
