"""Eigenvalues of a linear map that is known by its products alone."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from pdeconv.errors import PDEConvError, checked_count

Product = Callable[[Tensor], Tensor]


def lanczos(product: Product, start: Tensor, iterations: int) -> Tensor:
    """Approximate eigenvalues of a symmetric map, in ascending order: the extreme ones converge first.

    Those of the projection of the map onto the space of start, A·start, A²·start …, of which an orthonormal basis is
    kept whole, so that rounding brings no eigenvalue twice. Each lies within the spectrum.

    Args:
        product: v ↦ A·v, symmetric, of any shape.
        start: Where to begin; not zero.
        iterations: Products at most; fewer where the space is used up.

    Returns:
        (k,), k ≤ ``iterations``.

    References:
        G. H. Golub, C. F. Van Loan. Matrix computations, 4th ed., section 10.1. Johns Hopkins 2013.

    Example:
        >>> diagonal = torch.tensor([1.0, 2.0, 5.0])
        >>> lanczos(lambda v: diagonal * v, torch.ones(3), 3).round(decimals=4)
        tensor([1., 2., 5.])
    """
    matrix, _ = _projected(product, start, iterations)
    return torch.linalg.eigvalsh(matrix.cpu().double()).to(start.dtype)


def largest_eigenpair(product: Product, start: Tensor, iterations: int) -> tuple[float, Tensor]:
    """The largest eigenvalue of a symmetric map, from below, and its vector, of the shape of ``start`` and norm 1.

    By :func:`lanczos`. Begun with the vector of a map that was nearly the same, a few iterations do.

    Example:
        >>> diagonal = torch.tensor([1.0, 2.0, 5.0])
        >>> value, vector = largest_eigenpair(lambda v: diagonal * v, torch.ones(3), 3)
        >>> round(value, 4), vector.abs().round(decimals=3)
        (5.0, tensor([0., 0., 1.]))
    """
    matrix, basis = _projected(product, start, iterations)
    values, vectors = torch.linalg.eigh(matrix.cpu().double())
    return float(values[-1]), (vectors[:, -1].to(start) @ torch.stack(basis)).reshape(start.shape)


def _projected(product: Product, start: Tensor, iterations: int) -> tuple[Tensor, list[Tensor]]:
    """The tridiagonal projection of a symmetric map, and the flat vectors of the basis."""
    iterations = min(checked_count("lanczos", "iterations", iterations), start.numel())
    basis, diagonal, beside = [_unit("lanczos", start).flatten()], [], []
    while True:
        image = product(basis[-1].reshape(start.shape)).flatten()
        if not image.isfinite().all():
            raise PDEConvError("lanczos needs finite products, but one holds NaN or infinity.")
        size = image.norm()
        diagonal.append(torch.dot(basis[-1], image))
        if len(basis) == iterations:
            break
        for _ in range(2):  # once leaves what rounding made of what was taken away
            for vector in basis:
                image = image - torch.dot(vector, image) * vector
        length = image.norm()
        if not length > 1e3 * torch.finfo(image.dtype).eps * size:
            break
        beside.append(length)
        basis.append(image / length)
    matrix = torch.diag(torch.stack(diagonal))
    if beside:
        matrix = matrix + torch.diag(torch.stack(beside), 1) + torch.diag(torch.stack(beside), -1)
    return matrix, basis


def dominant_eigenvalues(
    product: Product, start: Tensor, count: int = 4, iterations: int = 200, tolerance: float = 1e-4
) -> Tensor:
    """The eigenvalues of largest magnitude of any real map, by orthogonal iteration.

    That is a power iteration of a few vectors: one does not settle where the largest pair is complex, a plane does.

    Args:
        product: v ↦ A·v, of a shape that stays.
        start: Of that shape, for device and type alone; the vectors begin at random, by the default generator.
        count: Vectors.
        iterations: At most.
        tolerance: Relative change of the largest magnitude at which to stop.

    Returns:
        (count,), complex, by magnitude, the largest first; fewer where the space has fewer dimensions.

    References:
        G. H. Golub, C. F. Van Loan. Matrix computations, 4th ed., section 7.3.2. Johns Hopkins 2013.

    Example:
        >>> quarter = torch.tensor([[0.0, -2.0], [2.0, 0.0]])  # turns and doubles
        >>> dominant_eigenvalues(lambda v: quarter @ v, torch.ones(2), count=2).abs().round(decimals=4)
        tensor([2., 2.])
    """
    count = min(checked_count("dominant_eigenvalues", "count", count), start.numel())
    vectors = torch.linalg.qr(torch.randn(start.numel(), count, dtype=start.dtype)).Q.to(start.device)
    before, settled = None, 0
    values = torch.zeros(count)
    for _ in range(checked_count("dominant_eigenvalues", "iterations", iterations)):
        images = torch.stack([product(v.reshape(start.shape)).flatten() for v in vectors.T], 1)
        values = torch.linalg.eigvals((vectors.T @ images).cpu())
        largest = float(values.abs().max())
        settled = settled + 1 if before is not None and abs(largest - before) <= tolerance * largest else 0
        if settled == 3 or largest == 0.0:
            break
        before = largest
        vectors = torch.linalg.qr(images.cpu()).Q.to(start)
    return values[values.abs().argsort(descending=True)]


def _unit(owner: str, start: Tensor) -> Tensor:
    length = start.norm()
    if not (length > 0 and length.isfinite()):
        raise PDEConvError(f"{owner} needs a start that is finite and not zero, but its norm is {float(length):g}.")
    return start / length
