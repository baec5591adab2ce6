"""Fast transforms of one axis to the modes of a boundary's Laplacian, each by a real FFT."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from pdeconv.grid import Boundary


class FourierLine(NamedTuple):
    """The transform of ``size`` cells, and back: DCT-II, real Fourier, DST-I or DCT-I by the boundary.

    The modes are real, in an order and a scale of their own: only functions of ``values`` are to multiply them. A real
    FFT gives complex numbers, two modes each, which lie side by side; a mode that is always 0 may be among them.

    Args:
        size: Number of cells N.
        boundary: See :class:`pdeconv.grid.Grid`.
        values: The eigenvalues of δ² in the order of the modes, (M,), N ≤ M ≤ N + 2.
        phase: That of a cosine about the edge of the first cell, (N // 2 + 1,); of no use but under neumann.

    References:
        J. Makhoul. A fast cosine transform in one and two dimensions. IEEE Trans. ASSP 28(1), 1980.

    Example:
        >>> line = FourierLine(3, "dirichlet", *build_fourier_line(3, "dirichlet", torch.float32, torch.device("cpu")))
        >>> u = torch.tensor([[[1.0, 2.0, 4.0]]])
        >>> line.from_modes(line.values * line.to_modes(u, 2), 2).round(decimals=4) + 0.0
        tensor([[[ 0.,  1., -6.]]])
    """

    size: int
    boundary: Boundary
    values: Tensor
    phase: Tensor

    def to_modes(self, u: Tensor, axis: int) -> Tensor:
        """(…, N, …) to (…, M, …)."""
        u = torch.movedim(u, axis, -1)
        if self._is_cosine:  # even cells, then odd ones backwards: a cosine of half the frequency goes round once
            u = torch.cat((u[..., ::2], u[..., 1::2].flip(-1)), -1)
            modes = torch.view_as_real(torch.fft.rfft(u) * self.phase).flatten(-2)
        elif self.boundary == "periodic":
            modes = torch.view_as_real(torch.fft.rfft(u)).flatten(-2)
        else:
            modes = self._about_cells(u)
        return torch.movedim(modes, -1, axis)

    def from_modes(self, spectrum: Tensor, axis: int) -> Tensor:
        """(…, M, …) to (…, N, …)."""
        spectrum = torch.movedim(spectrum, axis, -1)
        if self._is_cosine:
            u = torch.fft.irfft(_complex(spectrum) * self.phase.conj(), self.size)
            half = (self.size + 1) // 2
            even, odd = u[..., :half], u[..., half:].flip(-1)
            u = torch.stack((even[..., : self.size - half], odd), -1).flatten(-2)
            u = torch.cat((u, even[..., self.size - half :]), -1) if self.size % 2 else u
        elif self.boundary == "periodic":
            u = torch.fft.irfft(_complex(spectrum), self.size)
        else:  # its own inverse, but for a factor
            around = 2 * self.size + (2 if self.boundary == "dirichlet" else -2)
            u = self._about_cells(spectrum) / around
        return torch.movedim(u, -1, axis)

    @property
    def _is_cosine(self) -> bool:
        return self.boundary == "neumann" or (self.size == 1 and self.boundary == "reflect")

    def _about_cells(self, u: Tensor) -> Tensor:
        """DCT-I or DST-I: a line goes on, mirrored about its end cells or odd about those beyond, and is periodic."""
        if self.boundary == "reflect":
            return torch.fft.rfft(torch.cat((u, u[..., 1:-1].flip(-1)), -1)).real
        zero = torch.zeros_like(u[..., :1])
        return torch.fft.rfft(torch.cat((zero, u, zero, -u.flip(-1)), -1)).imag[..., 1:-1]


def build_fourier_line(
    size: int, boundary: Boundary, dtype: torch.dtype, device: torch.device
) -> tuple[Tensor, Tensor]:
    """The ``values`` and ``phase`` of a :class:`FourierLine`, in ``dtype`` and the complex type of its precision."""
    half = torch.arange(size // 2 + 1, dtype=dtype, device=device)
    cell = torch.arange(size, dtype=dtype, device=device)
    if boundary == "neumann" or (size == 1 and boundary == "reflect"):
        angles = torch.stack((half, size - half), 1).flatten() * (math.pi / size)
    elif boundary == "reflect":
        angles = cell * (math.pi / (size - 1))
    elif boundary == "dirichlet":
        angles = (cell + 1) * (math.pi / (size + 1))
    else:
        angles = half.repeat_interleave(2) * (2 * math.pi / size)
    turn = half * (math.pi / (2 * size))
    return eigenvalues(angles), torch.complex(torch.cos(turn), -torch.sin(turn))


def eigenvalues(angle: Tensor) -> Tensor:
    """Those of δ² for modes of that angle per cell, −4 sin²(θ/2); a difference to 2 would lose the slow ones' digits.

    Example:
        >>> eigenvalues(torch.tensor([0.0, 1e-4]))
        tensor([-0.0000e+00, -1.0000e-08])
    """
    return -4 * torch.sin(angle / 2).square()


def _complex(pairs: Tensor) -> Tensor:
    return torch.view_as_complex(pairs.unflatten(-1, (-1, 2)).contiguous())
