"""Two fields that drive each other, each by a term of its own."""

from __future__ import annotations

import math

from torch import Tensor

from pdeconv.errors import checked_type
from pdeconv.grid import common_grid
from pdeconv.terms.term import Term
from pdeconv.terms.wave import SeparableTerm


class TwoFields(SeparableTerm):
    """u_t = −A₁(v)v, v_t = A₂(u)u, on states (u, v) of 2C channels: oscillations of two dissipative terms.

    With two ``SymmetricConvolution`` it is Ruthotto and Haber's Hamiltonian layer, u_t = K₁ᵀσ(K₁v), v_t = −K₂ᵀσ(K₂u);
    without ``first``, u_t = v and so u_tt = A₂(u)u, their second-order layer, a wave equation with learned kernels.

    Args:
        second: A₂, on states of C channels.
        first: A₁; by default −1, so that v is the velocity of u.

    Rate: Infinite, and the frequency unproven; ``Wave`` and ``HamiltonianSystem`` have a proven one.
    Solve, Flow: Undefined; those of each of its ``halves`` are exact.
    Keeps: No set of values. Reversible by steps of the halves, whatever the terms.

    References:
        L. Ruthotto, E. Haber. Deep neural networks motivated by partial differential equations. JMIV 62, 2020.
        B. Chang et al. Reversible architectures for arbitrarily deep residual neural networks. AAAI 2018.

    Example:
        >>> import torch
        >>> from pdeconv import Evolve, Fixed, SymmetricConvolution, SymplecticEuler
        >>> term = TwoFields(SymmetricConvolution(4), first=SymmetricConvolution(4))
        >>> layer = Evolve(SymplecticEuler(term), 1.0, Fixed(2, unchecked=True), memory="reversible")
        >>> layer(torch.rand(1, 8, 8, 8)).shape
        torch.Size([1, 8, 8, 8])
    """

    equation = "−A₁(v)v, v_t = A₂(u)u"
    frequency = math.inf

    def __init__(self, second: Term, first: Term | None = None) -> None:
        super().__init__()
        checked_type("TwoFields", second, Term, "give for example SymmetricConvolution(channels)")
        if first is not None:
            checked_type("TwoFields", first, Term, "give for example SymmetricConvolution(channels)")
        self.second, self.first = second, first
        self._declare()

    def _declare(self) -> None:
        if self.first is None:
            self.equation = "v, v_t = A₂(u)u"
        parts = [self.second] if self.first is None else [self.first, self.second]
        self.grid, self.radius = common_grid(part.grid for part in parts), max(part.radius for part in parts)

    def refine(self, factor: float) -> None:
        for part in dict.fromkeys((self.first, self.second)):  # once, if they are the same
            if part is not None:
                part.refine(factor)
        self._declare()

    def drive_first(self, second: Tensor) -> Tensor:
        return second if self.first is None else -self.first(second)(second)

    def drive_second(self, first: Tensor) -> Tensor:
        return self.second(first)(first)
