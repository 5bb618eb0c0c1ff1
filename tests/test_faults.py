"""Allocations that fail: an error each, nothing changed, and the same bits from the next call."""

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

JOB = Path(__file__).parent / "fault_job.py"

pytestmark = [
    pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc"),
    pytest.mark.skipif("FASTRNN_SANITIZE" in os.environ, reason="sanitizers have a malloc of their own"),
]


@pytest.mark.parametrize("options", ["--threads 2", "--threads 1 --all-after --only RNN"])
def test_every_allocation_may_fail(options):
    done = subprocess.run([sys.executable, str(JOB), *options.split()], capture_output=True, text=True, timeout=300)
    if "needs gcc" in done.stderr:
        pytest.skip("needs gcc")
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    cases, failed = [int(word) for word in done.stdout.splitlines()[-1].split() if word.isdecimal()][:2]
    assert cases >= 20 and failed >= 100
