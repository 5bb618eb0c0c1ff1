"""Progress: nothing for what is quick, a bar on a terminal, plain lines elsewhere."""

import io
import os
import sys

import numpy as np
import pytest

from fastrnn import LSTM, SGD, Linear, Sequential, Trainer, schedules
from fastrnn.callbacks import EpochLine, ProgressBar
from fastrnn.train import progress
from fastrnn.train.progress import Progress


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def clock(monkeypatch):
    class Clock:
        now = 100.0

        def monotonic(self):
            return self.now

    fake = Clock()
    monkeypatch.setattr(progress, "time", fake)
    return fake


def test_what_is_quick_shows_nothing(clock):
    log = io.StringIO()
    with Progress(10, stream=log) as bar:
        for _ in range(10):
            clock.now += 0.19
            bar.advance()
    assert log.getvalue() == ""
    terminal = Terminal()
    with Progress(10, stream=terminal) as bar:
        bar.advance(10)
    assert terminal.getvalue().strip() == ""


def test_plain_lines_come_ever_more_rarely(clock):
    log = io.StringIO()
    with Progress(2000, "step", stream=log) as bar:
        for _ in range(200):
            clock.now += 1
            bar.advance(5, "epoch 1", "loss 0.5")
    lines = log.getvalue().splitlines()
    assert lines[0] == "epoch 1, 10/2,000 steps (0%), loss 0.5, 5 steps/s, 2 s elapsed, 6:38 left"
    assert len(lines) == 7, lines  # after 2, 6, 14, 30, 62, 122, 182 seconds
    assert "\r" not in log.getvalue()


def test_what_was_done_before_counts_for_no_speed(clock):
    log = io.StringIO()
    bar = Progress(100, "char", done=50, stream=log)
    clock.now += 10
    bar.advance(25)
    assert log.getvalue() == "75/100 chars (75%), 2.5 chars/s, 10 s elapsed, 10 s left\n"


def test_a_terminal_gets_a_bar_and_lines_above_it():
    terminal = Terminal()
    with Progress(10, "char", stream=terminal, delay=0.0) as bar:
        bar.advance(4, "epoch 1", "2.0 bits")
        bar.write("a line")
        bar.advance(6, "epoch 1", "1.5 bits")
    shown = terminal.getvalue()
    assert "\r" in shown and "epoch 1: 100%" in shown and "10.0/10.0" in shown and "1.5 bits" in shown
    assert "a line\n" in shown


X = np.random.default_rng(0).normal(size=(8, 5, 2))
Y = np.random.default_rng(1).integers(0, 3, (8, 5))


def trainer(**options):
    return Trainer(Sequential(LSTM(2, 3, seed=0), Linear(3, 3, seed=0)), optimizer=SGD(0.5), seed=0, **options)


def test_a_fit_prints_a_line_an_epoch_if_asked(capsys):
    fitted = trainer(metrics=("perplexity",), schedule=schedules.ExponentialDecay(0.5, 0.5))
    history = fitted.fit(X, Y, epochs=2, validation_split=0.25, verbose=True)
    out, err = capsys.readouterr()
    assert err == ""
    shown = "loss", "perplexity", "val_loss", "val_perplexity", "lr"
    for k, line in enumerate(out.splitlines()):
        figures = [f"{name} {history[name][k]:.4g}" for name in shown]
        assert line == f"epoch {k + 1}/2: {', '.join(figures)}, {history['seconds'][k]:.1f} s"
    assert out.count("\n") == 2
    fitted.fit(X, Y, epochs=1, verbose=True, progress=False)
    assert capsys.readouterr().out.startswith("epoch 1/1: loss"), "the epochs of this fit"
    fitted.fit(X, Y, epochs=1)
    assert capsys.readouterr() == ("", "")
    with pytest.raises(TypeError, match="verbose: expected True or False, found 2"):
        fitted.fit(X, Y, verbose=2)


def test_lines_of_epochs_go_above_the_bar(monkeypatch):
    terminal, log = Terminal(), io.StringIO()
    monkeypatch.setattr(sys, "stderr", terminal)
    bar = ProgressBar(delay=0.0)
    trainer(callbacks=[EpochLine(stream=log, beside=bar)]).fit(X, Y, epochs=2, progress=bar)
    assert [line.partition(":")[0] for line in log.getvalue().splitlines()] == ["epoch 1", "epoch 2"]
    monkeypatch.setattr(sys, "stdout", terminal)
    trainer().fit(X, Y, epochs=2, progress=ProgressBar(delay=0.0), verbose=True)
    shown = terminal.getvalue()
    assert "epoch 2/2: loss" in shown and "\repoch 1/2: loss" in shown, "the bar is cleared first"


@pytest.mark.skipif(sys.platform == "win32", reason="no pseudo-terminals")
@pytest.mark.parametrize("columns", [0, 60, 200])
def test_a_bar_fits_its_terminal(columns, monkeypatch):
    import fcntl
    import pty
    import struct
    import termios

    reader, writer = pty.openpty()
    fcntl.ioctl(writer, termios.TIOCSWINSZ, struct.pack("HHHH", columns // 4, columns, 0, 0))
    with os.fdopen(writer, "w") as stream, monkeypatch.context() as patch:
        patch.setattr(sys, "stderr", stream)  # tqdm asks for the shape of this one only
        bar = Progress(10, "char", delay=0.0)
        bar.advance(10, "epoch 1", "2.0 bits")
        bar.close()
        shown = ""
        while "100%" not in shown:
            shown += os.read(reader, 100_000).decode()
    os.close(reader)
    last = [line for line in shown.replace("\n", "\r").split("\r") if line.strip()][-1]
    assert "epoch 1: 100%" in last and len(last) <= (columns or 80)


@pytest.mark.parametrize("seconds, text", [(0.4, "0 s"), (59, "59 s"), (61, "1:01"), (3725, "1:02:05")])
def test_clock(seconds, text):
    assert progress._clock(seconds) == text
