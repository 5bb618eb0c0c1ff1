"""In a build with sanitizers whoever leaves an array of an arena is found, and whoever races."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

SANITIZED = os.environ.get("FASTRNN_SANITIZE", "")
needs_address = pytest.mark.skipif("address" not in SANITIZED, reason="needs a build with address sanitizers")
needs_thread = pytest.mark.skipif("thread" not in SANITIZED, reason="needs a build with thread sanitizers")

SOURCE = Path(__file__).parent.parent / "src"
WRITER = """
# cython: language_level=3
from fastrnn.engine.runtime._workspace cimport Arena, Workspace, take_array

def write(int floats, int place, bint again):
    '''Write to place `place` behind so many floats, which other floats follow; again: where one more was before.'''
    cdef Workspace memory = Workspace()
    cdef Arena arena
    cdef float *first = NULL
    cdef int turn
    for turn in range(2 + again):
        arena.base, arena.used = memory.data, 0
        first = <float *>take_array(&arena, floats + (again and turn < 2), 1, sizeof(float))
        take_array(&arena, 9, 1, sizeof(float))
        memory.reserve(arena.used)
    first[floats + place] = 1

def count(long[::1] at, int turns):
    cdef int i
    with nogil:
        for i in range(turns):
            at[0] += 1
"""
SETUP = """
import numpy
from Cython.Build import cythonize
from setuptools import Extension, setup
flags = ["-O0", "-fsanitize={sanitizer}"]
setup(ext_modules=cythonize([Extension("writer", ["writer.pyx"], [numpy.get_include(), {kernels!r}],
                                       extra_compile_args=flags, extra_link_args=flags)], include_path=[{source!r}]))
"""


@pytest.fixture(scope="module")
def writer(tmp_path_factory):
    folder = tmp_path_factory.mktemp("writer")
    (folder / "writer.pyx").write_text(WRITER)
    places = {"kernels": str(SOURCE / "kernels"), "source": str(SOURCE)}
    (folder / "setup.py").write_text(SETUP.format(sanitizer=SANITIZED.partition(",")[0], **places))
    quiet = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}
    command = [sys.executable, "setup.py", "-q", "build_ext", "--inplace"]
    done = subprocess.run(command, cwd=folder, env=quiet, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr

    def run(code):
        options = {name: ":".join(word for word in os.environ[name].split(":") if not word.startswith("log_path"))
                   for name in ("ASAN_OPTIONS", "TSAN_OPTIONS")}
        command = [sys.executable, "-c", f"import writer\n{code}"]
        done = subprocess.run(command, cwd=folder, env={**os.environ, **options}, capture_output=True, text=True)
        return done.returncode, done.stderr
    return run


@needs_address
@pytest.mark.parametrize("again", [False, True])
@pytest.mark.parametrize("floats", [1, 7, 16, 32])
def test_an_overflow_by_one_float_is_found(writer, floats, again):
    assert writer(f"writer.write({floats}, -1, {again})")[0] == 0
    code, said = writer(f"writer.write({floats}, 0, {again})")
    assert code != 0
    assert "use-after-poison" in said
    assert "writer" in said


@needs_thread
@pytest.mark.parametrize("callers", [1, 2])
def test_a_race_is_found(writer, callers):
    code, said = writer(f"""
import threading
import numpy as np
at = np.zeros(1, int)
threads = [threading.Thread(target=writer.count, args=(at, 1_000_000)) for _ in range({callers})]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
""")
    assert (code != 0) == ("data race" in said) == (callers > 1), said
