"""The layers import one way: a file uses only those to the left of it in its list."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
ROOT = TESTS.parent
PACKAGE, COMPILED_DIR = ROOT / "fastrnn", ROOT / "src" / "fastrnn"

# fmt: off
COMPILED = [
    "_kernels", "_blas", "_backend", "_workspace", "_panels", "_arrays", "_signals", "_pool", "_sums", "_cell",
    "_rnn", "_lstm", "_gru", "_norm", "_lnlstm", "_lngru", "_scan", "_mingru", "_minlstm", "_sru", "_qrnn", "_rows",
    "_window", "_dropout", "_noise", "_sequence", "_watch", "_weights", "_engine", "_attention", "_decoder",
    "_stream", "_products", "_embedding", "_layernorm", "_optim", "_loss", "_ctc",
]
PYTHON = [
    "_version", "_onethread", "memory", "_check", "_init", "threads", "config", "progress", "wholefile", "tensorfile",
    "module", "recurrent", "cells", "stream", "segments", "runners", "elementwise", "layers", "sequential", "windows",
    "scaling", "audio", "vocab", "bpe", "decoding", "text", "attention", "translation", "seq2seq", "losses",
    "metrics", "optim", "averaging", "schedules", "tbptt", "batches", "passes", "checkpoint", "callbacks", "history",
    "interrupt", "trainerparts", "trainerdata", "trainerstate", "trainloop", "trainer", "distributed", "diagnostics",
    "io", "textjob", "sklearn", "bench", "examples", "cli", "__init__", "__main__",
]
# fmt: on
LEAVES = {"_onethread"}  # Python that imports nothing of ours: compiled code may use it too
USERS = ["bench", "examples", "cli"]  # call the package as anybody does
CELLS = ["_rnn", "_lstm", "_gru", "_lnlstm", "_lngru", "_mingru", "_minlstm", "_sru", "_qrnn"]
PROOF = [
    "reference", "reference_elementwise", "seq2seq_reference", "gradcheck", "masks", "problems", "elementwise_problems",
    "tolerances", "test_reference", "test_gradcheck",
]  # fmt: skip

# cimport in its two forms, and the Python imports of a .pyx file
CYTHON_IMPORT = re.compile(
    r"""^\s*(?:from\s+(?P<source>[\w.]+)\s+c?import\s+(?P<names>\([^)]*\)|.*)
              |c?import\s+(?P<modules>[\w.,\ ]+))""",
    re.MULTILINE | re.VERBOSE,
)


def compiled_imports(text):
    """Dotted names that Cython source imports; ``from a cimport b`` gives ``a.b``."""
    found = set()
    for match in CYTHON_IMPORT.finditer(text):
        if match["modules"]:
            found |= {part.split(" as ")[0].strip() for part in match["modules"].split(",")}
        else:
            found |= {f"{match['source']}.{name}" for name in re.findall(r"\w+", match["names"])}
    return found


def python_imports(text, package="fastrnn"):
    """Dotted names that Python source in `package` imports, anywhere; ``from a import b`` gives ``a.b``."""
    found = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: package.count(".") + 2 - node.level] if node.level else []
            source = ".".join([*above, *filter(None, [node.module])])
            found |= {f"{source}.{alias.name}" for alias in node.names}
    return found


def imports_of(name):
    """What a file of the package imports, or all files of a subpackage."""
    paths = [*PACKAGE.glob(f"{name}.py"), *PACKAGE.glob(f"{name}/**/*.py")]
    assert paths, name
    return {
        dotted
        for path in paths
        for dotted in python_imports(path.read_text(), ".".join(path.relative_to(ROOT).parts[:-1]))
    }


def own(names, modules):
    """Those of `modules` that the dotted names of imports reach."""
    return {name.split(".")[1] for name in names if name.startswith("fastrnn.")} & set(modules)


def compiled_sources(name):
    return "\n".join(path.read_text() for path in COMPILED_DIR.glob(f"{name}.p[yx]?"))


def test_lists_are_complete():
    assert {path.stem for path in COMPILED_DIR.glob("*.p[yx]?")} - {"__init__"} == set(COMPILED)
    files = [path.relative_to(PACKAGE) for path in PACKAGE.rglob("*.py")]
    assert {path.parts[0].removesuffix(".py") for path in files} == set(PYTHON)


@pytest.mark.parametrize("name", PYTHON)
def test_python_imports_only_from_the_left(name):
    assert own(imports_of(name), PYTHON) - {name} <= set(PYTHON[: PYTHON.index(name)])


@pytest.mark.parametrize("name", PYTHON)
def test_no_file_takes_a_name_from_the_package_itself(name):
    found = imports_of(name)
    parts = {dotted.split(".")[1] for dotted in found if dotted.startswith("fastrnn.")}
    assert parts <= set(PYTHON + COMPILED) or name in USERS
    assert "fastrnn" not in found or name in USERS


@pytest.mark.parametrize("name", COMPILED)
def test_compiled_imports_only_from_the_left(name):
    found = own(compiled_imports(compiled_sources(name)), COMPILED + PYTHON) - {name}
    assert found <= set(COMPILED[: COMPILED.index(name)]) | LEAVES


@pytest.mark.parametrize("name", CELLS)
def test_no_cell_imports_another(name):
    assert not own(compiled_imports(compiled_sources(name)), CELLS) - {name}


def test_only_blas_names_scipy_among_the_compiled():
    naming = {name for name in COMPILED if re.search(r"\bscipy\b", compiled_sources(name))}
    assert naming <= {"_blas"}


def test_only_kernels_sees_c():
    extern = r'cdef\s+extern\s+from\s+"(?!Python\.h")[^"]+"'
    assert [name for name in COMPILED if re.search(extern, compiled_sources(name))] == ["_kernels"]
    assert '"kernels.h"' in compiled_sources("_kernels")


def test_kernels_know_nothing_of_python_or_numpy():
    for path in (ROOT / "src" / "kernels").iterdir():
        assert not re.search(r"#\s*include\s*[<\"](Python|numpy)", path.read_text()), path.name


def test_reference_stands_alone():
    imports = {name: python_imports((TESTS / f"{name}.py").read_text()) for name in PROOF}
    assert imports["reference"] == imports["reference_elementwise"] == {"numpy"}
    assert not any(found.startswith("fastrnn") for names in imports.values() for found in names)


def test_importing_and_serving_load_nothing_heavy():
    code = """
import sys, numpy, fastrnn
fastrnn.LSTM(3, 4)(numpy.ones((2, 2, 3)))
print({name.split(".")[0] for name in sys.modules} & {"scipy", "tqdm", "safetensors", "threadpoolctl"})
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_importing_leaves_random_numbers_to_their_first_use():
    code = """
import sys, numpy
loaded = "numpy.random" in sys.modules
import fastrnn
print(loaded, "numpy.random" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() in ("False False", "True True")      # NumPy before 2.0 loads it itself


def test_the_parsers_find_every_form():
    cython = """
from fastrnn._cell cimport Arena, \\
    Layer
from fastrnn cimport _rows
from fastrnn._dropout cimport (
    drop, keep)
cimport fastrnn._pool as pool, numpy
    import fastrnn._weights
from fastrnn._workspace import take
"""
    expected = {"_cell", "_rows", "_dropout", "_pool", "_weights", "_workspace"}
    assert own(compiled_imports(cython), COMPILED) == expected
    python = """
from . import io, losses as l
from .module import Module
import fastrnn.text
def f():
    from fastrnn import optim
    from .cells import LSTMCell
"""
    assert own(python_imports(python), PYTHON) == {"io", "losses", "module", "text", "optim", "cells"}
    relative = "from . import a\nfrom ..b import c"
    assert python_imports(relative, "fastrnn.bench") == {"fastrnn.bench.a", "fastrnn.b.c"}


def test_leaves_import_nothing_of_ours():
    for name in LEAVES:
        assert PYTHON.index(name) <= len(LEAVES)
        found = python_imports((PACKAGE / f"{name}.py").read_text())
        assert not [dotted for dotted in found if dotted.startswith("fastrnn")]
