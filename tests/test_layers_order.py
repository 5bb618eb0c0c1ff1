"""Imports go one way: a folder, and a file in it, uses only those to the left of it in its list."""

import ast
import graphlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

from fastrnn._aliases import HOMES

TESTS = Path(__file__).parent
ROOT = TESTS.parent
PACKAGE, COMPILED_DIR = ROOT / "fastrnn", ROOT / "src" / "fastrnn" / "engine"

# fmt: off
COMPILED = {
    "runtime": [
        "_kernels", "_blas", "_backend", "_workspace", "_panels", "_arrays", "_signals", "_pool", "_sums", "_rows",
        "_stored", "_watch",
    ],
    "cells": ["_activations", "_cell", "_kind", "_rnn", "_lstm", "_gru", "_general", "_norm", "_lnlstm", "_lngru"],
    "scan": ["_scan", "_mingru", "_minlstm", "_sru", "_window", "_qrnn"],
    "loops": [
        "_dropout", "_noise", "_sequence", "_weights", "_call", "_carve", "_run", "_engine", "_attention", "_decoder",
        "_stream",
    ],
    "ops": ["_products", "_embedding", "_layernorm", "_optim", "_loss", "_ctc"],
}
COMPILED_ORDER = [f"{folder}.{name}" for folder, names in COMPILED.items() for name in names]
# What each folder holds, from the bottom to the top; its __init__ and __main__ come after all others.
ORDERS = {
    "fastrnn": [
        "_version", "_onethread", "_cgroups", "_tree", "engine", "memory", "check", "threads", "config", "files", "nn",
        "data", "decoding", "models", "formats", "train", "distributed", "diagnostics", "sklearn", "bench", "examples",
        "cli", "_aliases",
    ],
    "fastrnn.engine": [*COMPILED, "kinds"],
    **{f"fastrnn.engine.{folder}": [] for folder in COMPILED},
    "fastrnn.check": [
        "values", "named", "arrays", "sequences", "states", "params", "targets", "symbols", "saved", "plain",
    ],
    "fastrnn.files": ["bfloat16", "wholefile", "tensorfile", "checkpoint"],
    "fastrnn.nn": [
        "_init", "rows", "fewbits", "module", "options", "recurrent", "cells", "stream", "recompute", "runners",
        "elementwise", "layers", "directions", "modulestream", "container", "containerstream", "sequential", "branches",
        "inputs", "masked",
    ],
    "fastrnn.nn.layers": [
        "axes", "base", "embedding", "linear", "norm", "dropout", "activations", "softmax", "vocabulary", "shape",
        "windows", "convolution", "windowpooling", "batchnorm", "regularization", "overtime", "attentionpooling",
    ],
    "fastrnn.data": [
        "tbptt", "batch", "mapped", "given", "weights", "batches", "named", "source", "windows", "scaling", "audio",
        "vocab", "bpe",
    ],
    "fastrnn.decoding": ["states", "errors", "language", "sampling", "beam", "ctc"],
    "fastrnn.models": ["text", "attention", "translation", "seq2seq", "build", "io", "quantization"],
    "fastrnn.formats": ["build", "plain", "names", "verify", "zipped", "arrayfile", "pytorch", "keras", "onnx"],
    "fastrnn.formats.keras": ["options", "weights", "recurrent", "layers", "graph", "hdf5", "reader", "writer"],
    "fastrnn.formats.pytorch": [
        "pickled", "tensors", "archive", "weightnorm", "channels", "modules", "reader", "writer",
    ],
    "fastrnn.formats.onnx": [
        "wire", "messages", "tensors", "graph", "ops", "fusion", "program", "control", "stream", "sequential", "model",
        "layers",
        "writing",
    ],
    "fastrnn.formats.onnx.writing": ["graph", "scans", "runners", "modules", "overtime", "seq2seq", "export"],
    "fastrnn.formats.onnx.ops": [
        "registry", "elementwise", "shapes", "indexing", "reduction", "normalization", "products", "windows",
        "convolution", "pooling", "quantized", "recurrent", "recurrent_quantized",
    ],
    "fastrnn.train": [
        "progress", "losses", "metrics", "optim", "averaging", "direction", "schedules", "callbacks", "fit",
    ],
    "fastrnn.train.callbacks": [
        "base", "early_stopping", "model_checkpoint", "non_finite", "progress_bar", "epoch_line", "records",
        "sampling",
    ],
    "fastrnn.train.fit": [
        "history", "interrupt", "figures", "position", "lossparts", "passes", "parts", "data", "savedparts", "state",
        "evaluation", "update", "loop", "trainer",
    ],
    "fastrnn.distributed": [
        "guard", "lifeline", "muted", "share", "wishes", "ranks", "merged", "update", "evaluation", "loop", "trainer",
    ],
    "fastrnn.diagnostics": ["criteria", "measures", "findings", "plot", "report", "probe", "diagnose", "monitor"],
    "fastrnn.sklearn": [
        "frames", "calendar", "inputs", "series", "strategies", "heads", "classes", "checks", "values", "base",
        "supervised", "anomaly", "classifier", "forecaster", "regressor", "tagger", "files",
    ],
    "fastrnn.bench": [
        "cells", "work", "onnx_graph", "problem", "peers", "workers", "worker", "compare", "driver", "machine", "cold",
        "plot", "report", "command",
    ],
    "fastrnn.bench.peers": ["fastrnn", "blas", "jax", "onnxruntime", "openvino", "torch"],
    "fastrnn.examples": [
        "files", "nab", "statistical", "gradients", "adding", "digits", "addition", "anomaly", "captions", "character",
        "forecasting", "long", "music", "names", "search", "sentiment", "strings", "translation",
    ],
    "fastrnn.cli": ["textjob", "frameworks", "convert", "quantizing", "command"],
}
# fmt: on
LEAVES = {"_onethread"}  # Python that imports nothing of ours: compiled code may use it too
ENDS = ["__init__", "__main__"]
USERS = ("fastrnn.bench", "fastrnn.examples", "fastrnn.cli")  # call the package as anybody does
CELLS = [
    "cells._rnn", "cells._lstm", "cells._gru", "cells._lnlstm", "cells._lngru", "scan._mingru",
    "scan._minlstm", "scan._sru", "scan._qrnn",
]  # fmt: skip
PROOF = [
    "reference", "reference_elementwise", "reference_layers", "reference_options", "seq2seq_reference", "gradcheck",
    "masks", "problems", "elementwise_problems", "tolerances", "test_reference", "test_gradcheck",
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


def dotted(path):
    """The name of a file's module; that of a folder's __init__.py is the folder's with ".__init__"."""
    return ".".join(path.relative_to(ROOT).with_suffix("").parts)


FILES = {dotted(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def at_home(name):
    """The dotted name, without the short name of a module in it."""
    parts = name.split(".")
    return ".".join([HOMES.get(".".join(parts[:2]), ".".join(parts[:2])), *parts[2:]])


def file_of(name):
    """The file of ours that an import of a dotted name loads: a module's, or the one that a name is taken from."""
    for candidate in (name, f"{name}.__init__", name.rpartition(".")[0], f"{name.rpartition('.')[0]}.__init__"):
        if candidate in FILES:
            return candidate
    return None


def files_imported(name):
    """The files of ours that a file imports, anywhere in it."""
    found = python_imports(FILES[name].read_text(), name.rpartition(".")[0])
    compiled = tuple(f"fastrnn.engine.{one}" for one in COMPILED_ORDER)
    return {file_of(at_home(one)) for one in found if not one.startswith(compiled)} - {None}


def compiled_in(names):
    """The compiled modules that the dotted names of imports reach, as folder.module; others of ours by their name."""
    ours = {name.removeprefix("fastrnn.") for name in names if name.startswith("fastrnn.")}
    return {".".join(name.split(".")[1:3]) if name.startswith("engine.") else name.split(".")[0] for name in ours}


def own(names, modules):
    """Those of `modules` that the dotted names of imports reach."""
    return {name.split(".")[1] for name in names if name.startswith("fastrnn.")} & set(modules)


def compiled_sources(name):
    return "\n".join(path.read_text() for path in COMPILED_DIR.glob(f"{name.replace('.', '/')}.p[yx]?"))


def test_lists_are_complete():
    for folder in ["", *COMPILED]:
        held = {path.stem for path in (COMPILED_DIR / folder).glob("*.p[yx][xd]")} - {"__init__"}
        assert held == set(COMPILED.get(folder, ()))
    assert {path.name for path in COMPILED_DIR.iterdir() if path.is_dir()} == set(COMPILED)
    held = {}
    for name in FILES:
        parts = name.split(".")
        for depth in range(1, len(parts)):
            held.setdefault(".".join(parts[:depth]), set()).add(parts[depth])
    assert {folder: names - set(ENDS) for folder, names in held.items()} == {f: set(o) for f, o in ORDERS.items()}
    assert all("__init__" in names for names in held.values())
    packages = re.search(r"^packages = \[(.*?)\]", (ROOT / "pyproject.toml").read_text(), re.DOTALL | re.MULTILINE)[1]
    assert re.findall(r"[\w.]+", packages) == sorted(ORDERS)


@pytest.mark.parametrize("folder", ORDERS)
def test_a_file_imports_only_from_the_left(folder):
    order = [*ORDERS[folder], *ENDS]
    for name in FILES:
        if not name.startswith(f"{folder}."):
            continue
        entry = name.removeprefix(f"{folder}.").split(".")[0]
        imported = {one.removeprefix(f"{folder}.").split(".")[0] for one in files_imported(name)
                    if one.startswith(f"{folder}.")}
        if name.startswith(USERS):
            imported -= {"__init__"} if folder == "fastrnn" else set()
        assert imported - {entry} <= set(order[: order.index(entry)]), name


def test_no_circle_of_imports():
    graph = {name: files_imported(name) - {name} for name in FILES}
    assert sum(map(len, graph.values())) > 300
    tuple(graphlib.TopologicalSorter(graph).static_order())


def test_only_users_take_names_from_the_package_itself_or_by_a_short_path():
    for name in FILES:
        if not name.startswith(USERS):
            found = python_imports(FILES[name].read_text(), name.rpartition(".")[0])
            assert "fastrnn" not in found, name
            assert not {one for one in found if at_home(one) != one}, name
            assert "fastrnn.__init__" not in files_imported(name), name


@pytest.mark.parametrize("name", COMPILED_ORDER)
def test_compiled_imports_only_from_the_left(name):
    found = compiled_in(compiled_imports(compiled_sources(name))) - {name}
    assert found <= set(COMPILED_ORDER[: COMPILED_ORDER.index(name)]) | LEAVES


@pytest.mark.parametrize("name", CELLS)
def test_no_cell_imports_another(name):
    base = {"cells._lnlstm": {"cells._lstm"}, "cells._lngru": {"cells._gru"}}.get(name, set())  # whose kind they serve
    assert not compiled_in(compiled_imports(compiled_sources(name))) & set(CELLS) - {name} - base


def test_only_blas_names_scipy_among_the_compiled():
    naming = {name for name in COMPILED_ORDER if re.search(r"\bscipy\b", compiled_sources(name))}
    assert naming <= {"runtime._blas"}


def test_only_kernels_sees_c():
    extern = r'cdef\s+extern\s+from\s+"(?!Python\.h")[^"]+"'
    assert [name for name in COMPILED_ORDER if re.search(extern, compiled_sources(name))] == ["runtime._kernels"]
    assert '"kernels.h"' in compiled_sources("runtime._kernels")


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
from fastrnn.engine.cells._cell cimport Arena, \\
    Layer
from fastrnn.engine.runtime import _rows
from fastrnn.engine.loops._dropout cimport (
    drop, keep)
cimport fastrnn.engine.runtime._pool as pool, numpy
    import fastrnn.engine.loops._weights
from fastrnn.engine.runtime._workspace import take
"""
    expected = {
        "cells._cell", "runtime._rows", "loops._dropout", "runtime._pool", "loops._weights", "runtime._workspace",
    }  # fmt: skip
    assert compiled_in(compiled_imports(cython)) == expected
    python = """
from . import io, losses as l
from .module import Module
import fastrnn.text
def f():
    from fastrnn import optim
    from .cells import LSTMCell
"""
    expected = {"io", "losses", "module", "text", "optim", "cells"}
    assert own(python_imports(python), expected) == expected
    relative = "from . import a\nfrom ..b import c\nfrom ...d.e import f"
    assert python_imports(relative, "fastrnn.bench.peers") == {
        "fastrnn.bench.peers.a", "fastrnn.bench.b.c", "fastrnn.d.e.f"}
    assert file_of(at_home("fastrnn.losses.mse")) == file_of("fastrnn.train.losses") == "fastrnn.train.losses"
    assert file_of("fastrnn.LSTM") == "fastrnn.__init__" and file_of("fastrnn.decoding.ctc") == "fastrnn.decoding.ctc"
    assert file_of(at_home("fastrnn.callbacks.Callback")) == "fastrnn.train.callbacks.__init__"


def test_leaves_import_nothing_of_ours():
    for name in LEAVES:
        found = python_imports((PACKAGE / f"{name}.py").read_text())
        assert not [one for one in found if one.startswith("fastrnn")]
