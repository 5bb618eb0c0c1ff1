"""A piece of work as a statement: what is timed is the same code as what is compared."""

import ast
import contextlib
import time
import timeit
from collections.abc import Callable
from dataclasses import dataclass

LEAST_SAMPLE = 1e-3  # seconds of work between two looks at the clock


@dataclass
class Work:
    """One library's way to do a cell's work.

    Parameters
    ----------
    statement : str
        Python source that is timed.
    names : dict
        What the statement refers to.
    result : str
        An expression for what the statement has computed, a dict of name -> array.
    setup : str
        Runs before the statement is run any number of times; sets what it carries on.
    calls : int
        Units of work, such as steps or updates, that one run of the statement does.
    repeat : int
        Runs of the statement after which the result is compared.
    context : callable
        Makes the context manager that all of it runs in.
    """

    statement: str
    names: dict
    result: str
    setup: str = "pass"
    calls: int = 1
    repeat: int = 1
    context: Callable = contextlib.nullcontext

    def outcome(self):
        """What the work computes."""
        names = dict(self.names)
        with self.context():
            exec(self.setup, names)
            for _ in range(self.repeat):
                exec(self.statement, names)
            return eval(self.result, names)

    def function(self):
        """The statement as a function without arguments, after the setup."""
        names = dict(self.names)
        carried = {
            node.id
            for node in ast.walk(ast.parse(self.statement))
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
        }
        lines = [f"global {', '.join(sorted(carried))}"] if carried else []
        lines += self.statement.split("\n")
        exec(self.setup, names)
        exec("def function():\n" + "\n".join(f"    {line}" for line in lines), names)
        return names["function"]


class Stopwatch:
    """Times one `Work`, in samples of at least a millisecond."""

    def __init__(self, work):
        self.work = work
        self._timer = timeit.Timer(work.statement, work.setup, globals=work.names)
        self._number = 1

    def probe(self, seconds):
        """Warm up for this long, choose the runs per sample, and return the least time of a call."""
        end = time.perf_counter() + seconds
        best = self._sample()
        while time.perf_counter() < end:
            self._number = max(1, round(LEAST_SAMPLE / (best * self.work.calls)))
            best = min(best, self._sample())
        return best

    def samples(self, seconds):
        """Times of a call, in seconds, from samples that take this long together; at least one."""
        end = time.perf_counter() + seconds
        times = [self._sample()]
        while time.perf_counter() < end:
            times.append(self._sample())
        return times

    def _sample(self):
        with self.work.context():
            return self._timer.timeit(self._number) / (self._number * self.work.calls)
