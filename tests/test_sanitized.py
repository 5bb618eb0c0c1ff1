"""In a build with address sanitizers whoever leaves an array of an arena is found."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(
    "address" not in os.environ.get("FASTRNN_SANITIZE", ""), reason="needs a build with address sanitizers"
)

SOURCE = Path(__file__).parent.parent / "src"
WRITER = """
# cython: language_level=3
from fastrnn._workspace cimport Arena, Workspace, take_array

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
"""
SETUP = """
import numpy
from Cython.Build import cythonize
from setuptools import Extension, setup
flags = ["-O1", "-fsanitize=address"]
setup(ext_modules=cythonize([Extension("writer", ["writer.pyx"], [numpy.get_include(), {kernels!r}],
                                       extra_compile_args=flags, extra_link_args=flags)], include_path=[{source!r}]))
"""


@pytest.fixture(scope="module")
def writer(tmp_path_factory):
    folder = tmp_path_factory.mktemp("writer")
    (folder / "writer.pyx").write_text(WRITER)
    (folder / "setup.py").write_text(SETUP.format(kernels=str(SOURCE / "kernels"), source=str(SOURCE)))
    quiet = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}
    command = [sys.executable, "setup.py", "-q", "build_ext", "--inplace"]
    done = subprocess.run(command, cwd=folder, env=quiet, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr

    def write(*arguments):
        options = os.environ["ASAN_OPTIONS"].split(":")
        env = {**os.environ, "ASAN_OPTIONS": ":".join(word for word in options if not word.startswith("log_path"))}
        code = f"import writer; writer.write(*{arguments})"
        done = subprocess.run([sys.executable, "-c", code], cwd=folder, env=env, capture_output=True, text=True)
        return done.returncode, done.stderr
    return write


@pytest.mark.parametrize("again", [False, True])
@pytest.mark.parametrize("floats", [1, 7, 16, 32])
def test_an_overflow_by_one_float_is_found(writer, floats, again):
    assert writer(floats, -1, again)[0] == 0
    code, said = writer(floats, 0, again)
    assert code != 0
    assert "use-after-poison" in said
    assert "writer" in said
