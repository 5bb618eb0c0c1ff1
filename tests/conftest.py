"""Settings and fixtures for all tests: Hypothesis draws the same examples in every run."""

import os

import pytest
from hypothesis import HealthCheck, settings

# Built with sanitizers everything takes 3 to 10 times as long, and .ci/sanitize runs one instruction set at a time.
SANITIZED = "FASTRNN_SANITIZE" in os.environ

settings.register_profile(
    "reproducible",
    derandomize=True,
    database=None,
    deadline=None,
    max_examples=25 if SANITIZED else 150,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("reproducible")


def pytest_generate_tests(metafunc):
    for name in {"each_isa", "each_isa_of_ours"} & set(metafunc.fixturenames):
        from fastrnn.engine.runtime import _kernels

        isas = [_kernels.isa()] if SANITIZED else _kernels.available_isas()
        ways = [(isa, "0") for isa in isas] + ([(isas[0], "1")] if name == "each_isa" else [])
        ids = [isa + (", BLAS" if blas == "1" else "") for isa, blas in ways]
        metafunc.parametrize(name, ways, ids=ids, indirect=True, scope="module")


@pytest.fixture(scope="module")
def each_isa(request):
    """Runs a test with every instruction set of this build and processor, and once with all products by BLAS."""
    yield from using(*request.param)


@pytest.fixture(scope="module")
def each_isa_of_ours(request):
    """The same without BLAS, for what is promised of our kernels only: bits."""
    yield from using(*request.param)


def using(isa, blas):
    from fastrnn.engine.runtime import _backend, _kernels

    kept = _kernels.isa()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FASTRNN_BLAS", blas)
        _kernels.use_isa(isa)
        assert _kernels.isa() == isa
        assert set(_backend.wanted().values()) == {"forward and BPTT" if blas == "1" else "nothing"}
        yield isa
    _kernels.use_isa(kept)
