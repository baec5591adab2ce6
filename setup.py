"""Builds the native kernels of pdeconv, where there is a compiler for them; everything else is in pyproject.toml."""

import platform
import sys

from setuptools import Extension, setup

FLAGS = ["-O3", "-fno-math-errno", "-fno-trapping-math"]
if sys.platform == "linux":  # PyTorch brings the OpenMP library, so it is not linked
    FLAGS += ["-fopenmp", "-fno-tree-loop-distribute-patterns"]
if platform.machine() == "x86_64":
    FLAGS += ["-mprefer-vector-width=512"]
SOURCES = [f"pdeconv/native/{name}.c" for name in ("stage", "march", "adjoint")]

setup(
    ext_modules=[
        Extension(
            "pdeconv.native._march",
            SOURCES,
            depends=["pdeconv/native/tile.h"],
            extra_compile_args=FLAGS,
            optional=True,  # without a compiler the plain operators do the same
        )
    ]
)
