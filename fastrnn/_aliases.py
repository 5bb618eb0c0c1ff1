"""Short names of modules: `fastrnn.losses` is `fastrnn.train.losses`, one module that either name imports."""

import importlib
import sys
from importlib.machinery import ModuleSpec

# folder -> its modules that people call by the short name
PUBLIC = {
    "data": ("audio", "bpe", "scaling", "vocab", "windows"),
    "models": ("io", "text"),
    "train": ("averaging", "callbacks", "losses", "metrics", "optim", "schedules"),
}
# Paths of earlier versions, which pickles and programs of that time name.
EARLIER = {
    "files": ("checkpoint", "tensorfile", "wholefile"),
    "nn": ("cells", "elementwise", "layers", "module", "recurrent", "runners", "sequential", "stream"),
    "data": ("batches", "tbptt"),
    "models": ("attention", "seq2seq", "translation"),
    "train.fit": ("history", "trainer"),
    "engine.loops": ("_attention", "_decoder", "_engine", "_stream", "_weights"),
    "engine.ops": ("_ctc", "_embedding", "_layernorm", "_loss", "_optim", "_products"),
    "engine.runtime": ("_arrays", "_blas", "_kernels", "_pool", "_watch"),
}
PACKAGE = __name__.rpartition(".")[0]
HOMES = {f"{PACKAGE}.{name}": f"{PACKAGE}.{folder}.{name}"
         for table in (PUBLIC, EARLIER) for folder, names in table.items() for name in names}


class Finder:
    """Answers an import of a short name, or of a module inside it, with the module at home."""

    @staticmethod
    def find_spec(name, path=None, target=None):
        short = ".".join(name.split(".", 2)[:2])
        if short not in HOMES:
            return None
        home = HOMES[short] + name[len(short):]
        return ModuleSpec(name, Loader(home), origin=home)


class Loader:
    """Gives an import the module at home, which it leaves as it is."""

    def __init__(self, home):
        self.home = home

    def create_module(self, spec):
        module = importlib.import_module(self.home)
        self.spec = module.__spec__
        return module

    def exec_module(self, module):
        module.__spec__ = self.spec  # the import system has just put the short name's there


def install():
    if Finder not in sys.meta_path:
        sys.meta_path.insert(0, Finder)  # before the finder of files, which would load modules inside a second time
