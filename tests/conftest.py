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
    if "each_isa" in metafunc.fixturenames:
        from fastrnn import _kernels

        isas = [_kernels.isa()] if SANITIZED else _kernels.available_isas()
        ways = [(isa, "0") for isa in isas] + [(isas[0], "1")]
        ids = [isa + (", BLAS" if blas == "1" else "") for isa, blas in ways]
        metafunc.parametrize("each_isa", ways, ids=ids, indirect=True, scope="module")


@pytest.fixture(scope="module")
def each_isa(request):
    """Runs a test with every instruction set of this build and processor, and once with products by BLAS."""
    from fastrnn import _kernels

    kept, (isa, blas) = _kernels.isa(), request.param
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FASTRNN_BLAS", blas)
        _kernels.use_isa(isa)
        assert _kernels.isa() == isa
        assert _kernels.blas_wanted() == (blas == "1")
        yield isa
    _kernels.use_isa(kept)
