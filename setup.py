"""Build of the compiled engine: two tables, extension -> sources and kernel file -> instruction-set flags."""

import os
import platform
import re
import shutil
import sys
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.command.build_py import build_py
from setuptools.command.sdist import sdist
from setuptools.errors import CompileError

CYTHON = Path("src/fastrnn")
KERNELS = Path("src/kernels")
HERE = Path(__file__).parent
WINDOWS = sys.platform == "win32"
CPUS = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
X86 = platform.machine().lower() in ("x86_64", "amd64") and not WINDOWS

# Table 1: one extension for each Cython source. Only KERNEL_TABLE also takes the C objects of table 2.
KERNEL_TABLE = "fastrnn.engine.runtime._kernels"
SOURCES = {".".join(path.relative_to(HERE / "src").with_suffix("").parts): path.relative_to(HERE)
           for path in sorted((HERE / CYTHON).rglob("*.pyx"))}

# Table 2: each body is compiled once per instruction set and chosen at run time. Nothing here is assumed of the
# machine that runs it; other processors and compilers get the empty or the baseline version of a file.
AVX2 = ["-mavx2", "-mfma"] if X86 else []
AVX512 = ["-mavx512f", "-mavx512dq", "-mavx512vl", "-mavx512bw", "-mfma", "-mprefer-vector-width=512"] if X86 else []
INSTRUCTION_SETS = {
    "isa_baseline.c": [],
    "isa_avx2.c": AVX2,
    "isa_avxvnni.c": [*AVX2, "-mavxvnni"] if X86 else [],
    "isa_avx512.c": AVX512,
    "isa_avx512vnni.c": [*AVX512, "-mavx512vnni"] if X86 else [],
    "isa_avx512bf16.c": [*AVX512, "-mavx512bf16"] if X86 else [],
    "isa_amx.c": [*AVX512, "-mavx512vnni", "-mavx512bf16", "-mamx-tile", "-mamx-int8", "-mamx-bf16"] if X86 else [],
    "dispatch.c": [],
}

# No -ffast-math: NaN and bits matter. No contraction: a product and a sum fuse only where the source says so, so that
# one body gives the same bits in its vector part and in its tail. -g0: debug data is nine tenths of the package.
FLAGS = ["/O2"] if WINDOWS else ["-O3", "-ffp-contract=off", "-fno-math-errno", "-fvisibility=hidden", "-g0"]
if os.environ.get("FASTRNN_DEBUG") == "1":
    FLAGS = [*FLAGS, "-DFR_DEBUG"]  # the process ends where memory is asked for more than it has, see sizes.h
LINK_FLAGS = []
SANITIZE = os.environ.get("FASTRNN_SANITIZE")  # "address,undefined" or "thread": see .ci/sanitize
if SANITIZE:
    LINK_FLAGS = [f"-fsanitize={SANITIZE}"]
    FLAGS = ["-O1", "-ffp-contract=off", "-fno-math-errno", "-fvisibility=hidden", "-g1", "-fno-omit-frame-pointer",
             "-fno-sanitize-recover=all", "-DFR_DEBUG", *LINK_FLAGS]
KERNEL_FLAGS = [*FLAGS, *(["-O2"] if SANITIZE else [])]
if not WINDOWS:
    KERNEL_FLAGS += ["-std=c11", "-Wall", "-Wextra", "-Wno-psabi"]
DIRECTIVES = {"language_level": "3", "boundscheck": False, "wraparound": False, "cdivision": True,
              "initializedcheck": False, "embedsignature": True,
              "auto_pickle": False}  # raw memory must not be pickled as bytes


def files(folder, *patterns):
    return sorted(str(path.relative_to(HERE)) for pattern in patterns for path in (HERE / folder).glob(pattern))


def write_kernel_view():
    """Cython's view of the table of kernels, from the list in kernels.inc.h; written where it has changed."""
    listed = re.sub(r"/\*.*?\*/", "", (HERE / KERNELS / "kernels.inc.h").read_text(), flags=re.DOTALL)
    found = re.findall(r"FR_KERNEL\((\w+),\s*(\([^()]*\))\)", listed)
    lines = ["int itemsize", "int lanes", "fr_format own", "const fr_format *forward", "const fr_format *backward",
             "fr_int gemm_tn_work",
             *(f"void (*{name}){' '.join(arguments.split())} noexcept nogil" for name, arguments in found)]
    text = "".join(['cdef extern from "kernels.h" nogil:\n    ctypedef struct fr_kernels:\n',
                    *(f"        {line}\n" for line in lines)])
    path = HERE / CYTHON / "engine" / "runtime" / "kernels.pxi"
    if not path.exists() or path.read_text() != text:
        path.write_text(text)


class BuildEngine(build_ext):
    """Cython to C under the build folder, kernel files with their own flags, everything into the package."""

    def finalize_options(self):
        super().finalize_options()
        self.parallel = self.parallel or CPUS

    def run(self):
        import numpy
        from Cython.Build import cythonize
        write_kernel_view()
        for ext in self.extensions:
            ext.include_dirs = [numpy.get_include(), str(KERNELS)]
        made = cythonize([Extension(ext.name, list(ext.sources)) for ext in self.extensions], include_path=["src"],
                         build_dir=str(Path("build") / "cython"), compiler_directives=DIRECTIVES, quiet=True,
                         # elsewhere a new process would run this file again
                         nthreads=self.parallel if sys.platform == "linux" else 0)
        for ext, generated in zip(self.extensions, made):
            ext.sources = generated.sources
        super().run()

    def build_extension(self, ext):
        if ext.name == KERNEL_TABLE:
            ext.extra_objects = [
                built for name, flags in INSTRUCTION_SETS.items()
                for built in self.compiler.compile([str(KERNELS / name)], output_dir=self.build_temp,
                                                   include_dirs=[str(KERNELS)],
                                                   extra_postargs=KERNEL_FLAGS + self.known(flags))]
        super().build_extension(ext)

    def known(self, flags):
        """These flags, or none where the compiler does not know the newest of them: the file is then empty."""
        if not flags:
            return []
        probe = Path(self.build_temp) / "probe.c"
        probe.parent.mkdir(parents=True, exist_ok=True)
        probe.write_text("int probe;\n")
        try:
            self.compiler.compile([str(probe)], output_dir=self.build_temp, extra_postargs=flags)
        except CompileError:
            return []
        return flags


class BuildPackage(build_py):
    """Adds the .pxd files and the headers they name, so that other Cython code can call the engine."""

    def run(self):
        super().run()
        if self.editable_mode:
            return
        package = Path(self.build_lib) / "fastrnn"
        (package / "include").mkdir(parents=True, exist_ok=True)
        for name in files(CYTHON, "**/*.pxd", "**/*.pxi"):
            shutil.copy(name, package / Path(name).relative_to(CYTHON))
        for name in files(KERNELS, "*.h"):
            shutil.copy(name, package / "include")


class SourceArchive(sdist):
    """Adds the whole test suite and the benchmarks."""

    def make_release_tree(self, base_dir, found):
        extra = files("tests", "*.py", "*.c") + files("bench", "*.py", "*.md", "*.svg")
        extra += ["CHANGELOG.md", "SECURITY.md"]
        super().make_release_tree(base_dir, sorted({*found, *extra}))


setup(
    ext_modules=[
        Extension(name, [str(source)], extra_compile_args=FLAGS, extra_link_args=LINK_FLAGS,
                  define_macros=[("NPY_NO_DEPRECATED_API", "NPY_1_7_API_VERSION")],
                  depends=[*files(CYTHON, "**/*.pxd", "**/*.pxi"),
                           *(files(KERNELS, "*.h", "*.c") if name == KERNEL_TABLE else [])])
        for name, source in SOURCES.items()],
    cmdclass={"build_ext": BuildEngine, "build_py": BuildPackage, "sdist": SourceArchive},
)
