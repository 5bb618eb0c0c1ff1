"""Options of the pytest-benchmark side: which library, how many threads, how much of the grid."""

import importlib
import os

import pytest

from fastrnn.bench.cells import grid
from fastrnn.bench.peers import OURS, PEERS


def pytest_addoption(parser):
    parser.addoption("--peer", choices=tuple(PEERS), default=OURS, help="the library to time (default: %(default)s)")
    parser.addoption("--bench-threads", type=int, default=1, metavar="N", help="(default: %(default)s)")
    parser.addoption("--full", action="store_true", help="the whole grid instead of its quick part")


def pytest_generate_tests(metafunc):
    if "cell" in metafunc.fixturenames:
        config = metafunc.config
        threads = config.getoption("--bench-threads")
        cells = [cell for cell in grid(not config.getoption("--full"), [threads]) if cell.threads == threads]
        metafunc.parametrize(
            "cell", cells, ids=[f"{cell.table} {cell.name}".replace(" ", "-").replace("=", "") for cell in cells]
        )


@pytest.fixture(scope="session")
def library(request):
    """The library's `Peer`, set up as in a worker process of ``fastrnn bench``."""
    name, threads = request.config.getoption("--peer"), request.config.getoption("--bench-threads")
    source = PEERS[name]
    if source.missing():
        pytest.skip(f"{name} is not installed (pip install {' '.join(source.missing())})")
    os.environ.update(source.environment)
    if source.affinity and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
    return importlib.import_module(f"fastrnn.bench.peers.{name}").Peer(threads)
