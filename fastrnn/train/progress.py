"""Live progress: a bar on a terminal, plain lines in a log."""

import os
import sys
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any

FIRST = 2.0  # seconds before anything shows: a shorter task needs no progress
LONGEST = 60.0  # most seconds between two plain lines


class Progress:
    """Progress of a task of `total` units: nothing in its first two seconds, then a bar or plain lines.

    On a terminal a tqdm bar. Anywhere else one line at a time, after 2 seconds, then 4, 8, and so on up to
    a minute apart. Usable as a context manager.

    Parameters
    ----------
    total : int
    unit : str
        Name of a unit, in the singular, for example "step".
    done : int
        Units of an earlier run; they do not count for the speed or the time left.
    stream : file, optional
        Standard error by default.
    delay : float
        Seconds before anything shows.
    """

    def __init__(self, total: int, unit: str = "step", done: int = 0, stream: "Any" = None,
                 delay: float = FIRST) -> None:
        self.stream = sys.stderr if stream is None else stream
        self.total, self.unit = total, unit
        self.done = self._initial = done
        self._started = time.monotonic()
        self._interval = max(delay, FIRST)
        self._next = self._started + self._interval
        self._note = ""
        self._bar = None
        if self.stream.isatty():
            from tqdm import tqdm

            shape = {"dynamic_ncols": True} if _has_shape(self.stream) else {"ncols": 80, "nrows": 24}
            self._bar = tqdm(
                total=total,
                unit=unit,
                initial=done,
                file=self.stream,
                delay=delay,
                unit_scale=True,
                smoothing=0.1,
                **shape,
            )

    def advance(self, amount: int = 1, title: str = "", note: str = "") -> None:
        """Count `amount` units; `title` goes before and `note` behind the figures."""
        self.done += amount
        self._note = note
        if self._bar is not None:
            self._bar.set_description_str(title, refresh=False)
            self._bar.set_postfix_str(note, refresh=False)
            self._bar.update(amount)
        elif time.monotonic() >= self._next:
            self._interval = min(2 * self._interval, LONGEST)
            self._next = time.monotonic() + self._interval
            print(self._line(title), file=self.stream, flush=True)

    def write(self, line: str, file: "Any" = None) -> None:
        """Print a separate line to `file`, standard error by default, above the bar if there is one."""
        if self._bar is not None:
            self._bar.write(line, file=file or self.stream)
        else:
            print(line, file=file or self.stream, flush=True)

    def close(self) -> None:
        """End the display; a bar stays as it is."""
        if self._bar is not None:
            self._bar.close()

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _line(self, title):
        elapsed = time.monotonic() - self._started
        speed = (self.done - self._initial) / elapsed
        parts = [
            title,
            f"{self.done:,}/{self.total:,} {self.unit}s ({100 * self.done / max(self.total, 1):.0f}%)",
            self._note,
            f"{_rate(speed)} {self.unit}s/s",
            f"{_clock(elapsed)} elapsed",
        ]
        if speed > 0:
            parts.append(f"{_clock((self.total - self.done) / speed)} left")
        return ", ".join(part for part in parts if part)


def _has_shape(stream):
    """Whether a terminal knows its columns and lines; under recorders and in containers some say 0."""
    try:
        return min(os.get_terminal_size(stream.fileno())) > 0
    except (OSError, ValueError):
        return False


def _clock(seconds):
    """12 s, 3:05, 1:02:03"""
    seconds = round(seconds)
    if seconds < 60:
        return f"{seconds} s"
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


def _rate(speed):
    return f"{speed:,.0f}" if speed >= 10 else f"{speed:.2g}"
