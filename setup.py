"""Build of the compiled engine: two tables, extensions and kernel files with their instruction-set flags."""

import platform
import sys
from pathlib import Path

import numpy
from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

HERE = Path(__file__).parent
CYTHON_DIR = Path("src/fastrnn")
KERNEL_DIR = Path("src/kernels")

# Table 1: one extension per Cython source; only _kernels also takes the C objects.
EXTENSIONS = sorted(path.stem for path in (HERE / CYTHON_DIR).glob("*.pyx"))

# Table 2: kernel file -> flags of its instruction set. Each body is compiled once per row and chosen at run time.
X86 = platform.machine().lower() in ("x86_64", "amd64")
KERNEL_FLAGS = {
    "isa_baseline.c": [],
    "isa_avx2.c": ["-mavx2", "-mfma"] if X86 else [],
    "isa_avx512.c": ["-mavx512f", "-mavx512dq", "-mavx512vl", "-mavx512bw", "-mfma",
                     "-mprefer-vector-width=512"] if X86 else [],
    "dispatch.c": [],
}

# No -ffast-math: NaN and bits matter. No contraction: a product and a sum fuse only where the source says so,
# so one body gives the same bits in its vector part and in its tail.
if sys.platform == "win32":
    COMMON = ["/O2"]
    KERNEL_FLAGS = {name: [] for name in KERNEL_FLAGS}
else:
    COMMON = ["-O3", "-ffp-contract=off", "-fno-math-errno", "-fvisibility=hidden"]
    KERNEL_COMMON = ["-std=c11", "-Wall", "-Wextra", "-Wno-psabi"]


class BuildKernels(build_ext):
    """build_ext that compiles each kernel file with its own flags and links the objects into ``_kernels``."""

    def build_extension(self, ext):
        if ext.name == "fastrnn._kernels":
            extra = COMMON + ([] if sys.platform == "win32" else KERNEL_COMMON)
            objects = []
            for name, flags in KERNEL_FLAGS.items():
                objects += self.compiler.compile(
                    [str(KERNEL_DIR / name)], output_dir=self.build_temp, include_dirs=[str(KERNEL_DIR)],
                    extra_postargs=extra + flags, depends=[str(p) for p in KERNEL_DIR.iterdir()])
            ext.extra_objects = objects
        super().build_extension(ext)


def extension(name):
    return Extension(
        f"fastrnn.{name}", [str(CYTHON_DIR / f"{name}.pyx")],
        include_dirs=[numpy.get_include(), str(KERNEL_DIR)],
        define_macros=[("NPY_NO_DEPRECATED_API", "NPY_1_7_API_VERSION")],
        extra_compile_args=COMMON,
        depends=[str(p) for p in KERNEL_DIR.glob("*.h")] if name == "_kernels" else [])


setup(
    ext_modules=cythonize(
        [extension(name) for name in EXTENSIONS],
        include_path=["src"],
        build_dir="build/cython",
        compiler_directives={"language_level": "3", "boundscheck": False, "wraparound": False,
                             "cdivision": True, "initializedcheck": False, "embedsignature": True}),
    cmdclass={"build_ext": BuildKernels},
)
