"""Measuring a cell: prepare and compare in every library, then time them in turn, round after round."""

import statistics
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from .compare import TOLERANCE, difference
from .peers import OURS
from .problem import build_problem, least_seconds, recurrent_bytes
from .workers import Worker, WorkerError


@dataclass(frozen=True)
class Effort:
    """How long to measure: rounds, and seconds of a library's turn in each and of its warm-up."""

    rounds: int
    turn: float
    warm_up: float


FULL = Effort(rounds=9, turn=0.1, warm_up=0.15)
QUICK = Effort(rounds=5, turn=0.05, warm_up=0.08)
HOPELESS = 1.5  # a variant that warms up this much slower than its library's best is not timed further


def measure(cells, peers, effort, limits, on_start=None):
    """Measure cells that share one number of threads.

    Parameters
    ----------
    cells : list of Cell
    peers : list of str
        Names of installed libraries, ours first.
    effort : Effort
    limits : machine.Limits
    on_start : callable, optional
        Told {peer: version} and {peer: reason why it did not start}.

    Yields
    ------
    dict
        A record for each cell, see `measure_cell`.
    """
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory()))
        workers = {}
        for name in peers:  # all start at the same time
            workers[name] = Worker(name, cells[0].threads)
            stack.callback(workers[name].close)
        absent = {}
        for name in peers:
            try:
                workers[name].begin()
            except WorkerError as error:
                _check_ours(name, error)
                absent[name] = str(error)
                del workers[name]
        if on_start:
            on_start({name: worker.version for name, worker in workers.items()}, absent)
        for cell in cells:
            yield measure_cell(cell, workers, effort, limits, folder)


def measure_cell(cell, workers, effort, limits, folder):
    """One cell through all libraries; a worker whose process ends is taken out of `workers`.

    Returns
    -------
    dict
        The cell's fields; `least_possible`, seconds; `failed`, library -> reason; and `results`, library ->
        dict of its best `variant`, the `median`, `least` and `quartiles` of that one's seconds per call, the
        number of `samples`, the `error` against ours, and the medians of all `variants`, or for those that
        were not timed to the end their least time in the warm-up.
    """
    data = build_problem(cell)
    np.savez(folder / "data.npz", **data)
    failed = {}
    errors = _compare(cell, _prepare(cell, workers, folder, failed), data.get("lengths"), failed)
    probes = _attempt(
        workers,
        failed,
        lambda worker, name: {variant: worker.probe(variant, effort.warm_up) for variant in errors[name]},
        errors,
    )
    samples = _rounds(workers, probes, effort, failed)
    _attempt(workers, failed, lambda worker, name: worker.release(), list(workers))
    bandwidth = limits.bandwidth(recurrent_bytes(cell))
    return {
        **cell.to_dict(),
        "least_possible": least_seconds(cell, data, limits.flops, bandwidth),
        "failed": failed,
        "results": {name: _summary(samples[name], probes[name], errors[name]) for name in samples},
    }


def _attempt(workers, failed, action, names):
    """name -> action(worker, name) for those that work; the others are noted in `failed`."""
    done = {}
    for name in names:
        try:
            done[name] = action(workers[name], name)
        except WorkerError as error:
            _check_ours(name, error)
            failed[name] = str(error)
            if not workers[name].alive():
                del workers[name]
    return done


def _check_ours(name, error):
    if name == OURS:
        raise error


def _prepare(cell, workers, folder, failed):
    """library -> variant -> what it computes."""

    def prepare(worker, name):
        variants = worker.prepare(cell, folder / "data.npz", folder / name)
        return {variant: _outcome(folder, name, variant) for variant in variants}

    outcomes = _attempt(workers, failed, prepare, list(workers))
    return {name: variants for name, variants in outcomes.items() if variants}


def _outcome(folder, name, variant):
    with np.load(f"{folder / name}.{variant}.npz") as arrays:
        return dict(arrays)


def _compare(cell, outcomes, lengths, failed):
    """library -> variant -> error against ours, for the variants that did the same work."""
    (expected,) = outcomes[OURS].values()
    errors = {}
    for name, variants in outcomes.items():
        found = {variant: difference(cell, expected, outcome, lengths) for variant, outcome in variants.items()}
        errors[name] = {variant: error for variant, error in found.items() if error <= TOLERANCE[cell.table]}
        if OURS not in errors or not errors[OURS]:
            raise WorkerError(f"{OURS}: expected finite outputs for {cell}")
        wrong = [f"{variant} by {found[variant]:.1e}" for variant in found if variant not in errors[name]]
        if wrong:
            failed[name] = f"outputs differ: {', '.join(wrong)}"
    return {name: variants for name, variants in errors.items() if variants}


def _rounds(workers, probes, effort, failed):
    """library -> variant -> seconds of calls; the libraries take turns, A, B, C, A, B, C, ..."""
    samples = {
        name: {variant: [] for variant, least in variants.items() if least <= HOPELESS * min(variants.values())}
        for name, variants in probes.items()
    }

    def turn(worker, name):
        for variant, times in samples[name].items():
            times += worker.time(variant, effort.turn)

    for _ in range(effort.rounds):
        done = _attempt(workers, failed, turn, samples)
        samples = {name: samples[name] for name in done}
    return samples


def _summary(samples, probes, errors):
    medians = {variant: statistics.median(times) for variant, times in samples.items()}
    best = min(medians, key=medians.get)
    times = samples[best]
    return {
        "variant": best,
        "median": medians[best],
        "least": min(times),
        "quartiles": np.quantile(times, (0.25, 0.75)).tolist(),
        "samples": len(times),
        "error": errors[best],
        "variants": {**probes, **medians},
    }
