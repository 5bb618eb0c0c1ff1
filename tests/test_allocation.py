"""Nothing is allocated in a time loop: calls of malloc are counted in a process of their own."""

import json
import os
import pathlib
import platform
import shutil
import subprocess
import sys

import pytest

HERE = pathlib.Path(__file__).parent
COMPILER = shutil.which("cc") or shutil.which("gcc")

pytestmark = pytest.mark.skipif(
    COMPILER is None or platform.libc_ver()[0] != "glibc", reason="needs a C compiler and glibc"
)


@pytest.fixture(scope="module")
def counter(tmp_path_factory):
    library = tmp_path_factory.mktemp("count") / "count_malloc.so"
    source = HERE / "count_malloc.c"
    subprocess.run([COMPILER, "-O1", "-fno-builtin", "-shared", "-fPIC", "-o", library, source], check=True)
    return library


@pytest.mark.parametrize("threads", [1, 2])
def test_time_loops_allocate_nothing(counter, threads):
    environment = {**os.environ, "LD_PRELOAD": str(counter)}
    job = [sys.executable, str(HERE / "allocation_job.py"), str(threads)]
    done = subprocess.run(job, env=environment, capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    assert found.pop("malloc is counted") >= 10
    for name, (first, second) in found.items():
        if name.startswith("steps"):
            assert (first, second) == (0, 0), name
        else:  # a call may allocate results, a tape, a new thread's workspace, but nothing for each of 180 more steps
            assert abs(first - second) < 5, name
