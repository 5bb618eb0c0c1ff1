"""Each cell of the grid under pytest-benchmark; one library per run, as thread pools disturb each other."""

import pytest

from fastrnn.bench.problem import build_problem
from fastrnn.bench.work import Stopwatch

PROBE = 0.1  # seconds to find out how fast a variant is


def test_cell(benchmark, library, cell):
    works = library.works(cell, build_problem(cell))
    if not works:
        pytest.skip("the library does not do this work")
    variant = min(works, key=lambda name: Stopwatch(works[name]).probe(PROBE))
    work = works[variant]
    benchmark.group = f"{cell.table}: {cell.name}"
    benchmark.extra_info.update(cell.to_dict(), variant=variant, calls_per_round=work.calls)
    with work.context():
        benchmark(work.function())
