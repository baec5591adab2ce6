"""Inpainting by linear diffusion, solved to the end: what learned diffusion is compared with."""

from collections.abc import Callable

import torch
from torch import Tensor

from pdeconv.conjugate_gradient import conjugate_gradient
from pdeconv.discretisation import SecondOrder
from pdeconv.grid import Grid

TOLERANCE = 1e-5


def homogeneous(image: Tensor, known: Tensor) -> Tensor:
    """Δu = 0 in the holes, u = f where the image f is known.

    Args:
        image: (B, C, H, W).
        known: (B, 1, H, W), True where it is known.

    Example:
        >>> homogeneous(torch.tensor([[[[1.0, 0, 0, 4]]]]), torch.tensor([[[[True, False, False, True]]]]))
        tensor([[[[1., 2., 3., 4.]]]])
    """
    return _solved(image, known, lambda v: -SecondOrder().laplacian(v, Grid()))


def biharmonic(image: Tensor, known: Tensor) -> Tensor:
    """Δ²u = 0 in the holes, u = f where the image f is known: smooth across known pixels, and it may overshoot."""

    def twice(v: Tensor) -> Tensor:
        laplacian = SecondOrder().laplacian
        return laplacian(laplacian(v, Grid()), Grid())

    return _solved(image, known, twice)


def _solved(image: Tensor, known: Tensor, matvec: Callable[[Tensor], Tensor]) -> Tensor:
    """The u with M u = 0 in the holes; M is symmetric, and positive there."""
    given = torch.where(known, image, 0.0).double()
    right = torch.where(known, 0.0, -matvec(given))
    inside = conjugate_gradient(
        lambda v: torch.where(known, v, matvec(torch.where(known, 0.0, v))), right, tolerance=TOLERANCE
    )
    return torch.where(known, image, inside.to(image.dtype))
