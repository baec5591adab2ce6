"""The compiled kernels, found and called through ctypes."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import torch
from torch import Tensor

GRADS = 27  # numbers a plane, in the order of adjoint.c
KAPPA, SHARPNESS, VELOCITY, CONV, BIAS, REACTION = 0, 1, slice(2, 4), slice(4, 22), slice(22, 24), slice(24, 27)
PROFILES = ("uniform", "rational", "exponential", "charbonnier")
BOUNDARIES = ("neumann", "periodic", "dirichlet", "reflect")


class _Equation(ctypes.Structure):
    """As tile.h declares it."""

    _fields_ = (
        *((name, ctypes.c_int64) for name in ("batch", "channels", "height", "width")),
        *((name, ctypes.c_int64) for name in ("boundary", "profile", "stages", "steps")),
        *((name, ctypes.c_float) for name in ("dt", "step_y", "step_x", "ceiling")),
        *((name, ctypes.c_void_p) for name in ("alpha", "kappa", "sharpness", "velocity", "conv", "bias", "reaction")),
    )


def _load() -> ctypes.CDLL | None:
    """The compiled kernels, or None where they were not built.

    They take the symbols of OpenMP from the process, where PyTorch has loaded its own: two runtimes would make twice as
    many threads as there are cores.
    """
    for suffix in EXTENSION_SUFFIXES:
        path = Path(__file__).parent / f"_march{suffix}"
        if path.exists():
            try:
                kernels = ctypes.CDLL(str(path))
                kernels.pdeconv_layout.restype = ctypes.c_int64
                built_for = kernels.pdeconv_layout()
            except (OSError, AttributeError):
                return None
            # Sources that are newer than what was built from them would write where they must not.
            return kernels if built_for == ctypes.sizeof(_Equation) * 1000 + GRADS else None
    return None


_kernels = _load()
_enabled = _kernels is not None


def enabled() -> bool:
    """Whether the kernels are there and not switched off by :func:`plain_operators`."""
    return _enabled


@contextmanager
def plain_operators() -> Iterator[None]:
    """Within it every step is made of PyTorch operators: to compare with, and to find out what a kernel does.

    Example:
        >>> with plain_operators():
        ...     enabled()
        False
    """
    global _enabled
    before, _enabled = _enabled, False
    try:
        yield
    finally:
        _enabled = before


class Problem:
    """One call's arguments in the layout of C; holds the tensors that it points to."""

    def __init__(
        self,
        u: Tensor,
        dt: float,
        coefficients: Sequence[Tensor | None],
        profile: int,
        ceiling: float,
        boundary: int,
        spacings: Sequence[float],
        alphas: Sequence[float],
        steps: int,
    ) -> None:
        height = u.shape[2] if u.dim() == 4 else 1
        step_y = 1 / spacings[0] if u.dim() == 4 else 0.0
        held = [None if c is None else c.detach().contiguous() for c in coefficients]
        alpha = torch.tensor(alphas, dtype=torch.float32)
        pointers = [None if c is None else c.data_ptr() for c in held]
        self._held, self._u = (alpha, *held), u.contiguous()
        sizes = (u.shape[0], u.shape[1], height, u.shape[-1], boundary, profile, len(alphas), steps)
        self._equation = _Equation(*sizes, dt, step_y, 1 / spacings[-1], ceiling, alpha.data_ptr(), *pointers)

    def march(self, out: Tensor, tile: tuple[int, int], halo: int) -> None:
        """The state after all steps into ``out``, by tiles of that many rows and columns."""
        self._call("pdeconv_march", self._u, out, *tile, halo)

    def march_backward(self, grad_out: Tensor, grad_u: Tensor, grads: Tensor) -> None:
        """The gradient by the state into ``grad_u``, by the coefficients into ``grads`` (B, C, GRADS) in float64."""
        self._call("pdeconv_march_backward", self._u, grad_out, grad_u, grads)

    def _call(self, name: str, *arguments: Tensor | int) -> None:
        values = [ctypes.c_void_p(a.data_ptr()) if isinstance(a, Tensor) else ctypes.c_int64(a) for a in arguments]
        threads = ctypes.c_int64(torch.get_num_threads())
        if getattr(_kernels, name)(ctypes.byref(self._equation), *values, threads) != 0:
            raise MemoryError(f"{name} could not allocate its scratch memory.")
