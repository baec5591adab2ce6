"""Fidelity to data, u_t = λ(f − u)."""

from __future__ import annotations

import math

from torch import Tensor, nn

from pdeconv.coefficient import Coefficient
from pdeconv.errors import PDEConvError, checked_type
from pdeconv.grid import Grid
from pdeconv.operator import RANGE_WITH_DATA, Operator
from pdeconv.terms.reaction import Affine
from pdeconv.terms.term import Term


class Fidelity(nn.Module):
    """Fidelity to data f, u_t = λ(f − u), as in Tikhonov's, Mumford and Shah's and Rudin, Osher and Fatemi's flows.

    The data is given at run time: :meth:`towards` returns a term that is bound to it and shares the learned strength.
    Nothing of the data stays in this module. Within a compiled graph call a step of the bound term, or its operator:
    an ``Evolve`` is built outside of it.

    Args:
        strength: Coefficient λ, 1/time.

    Rate: λ; at most its ceiling.
    Solve: (r + dt·λf) / (1 + dt·λ) for the right-hand side r.
    Flow: f + (v − f)·exp(−dt·λ).
    Keeps: Every interval that contains the data; named, "range with data" is every interval that contains 0 too, so
        that diffusion keeps it under any boundary. Which numbers these are is known with the data only.

    References:
        D. Mumford, J. Shah. Optimal approximations by piecewise smooth functions and associated variational problems.
        Comm. Pure Appl. Math. 42, 1989.
        N. Nordström. Biased anisotropic diffusion. Image and Vision Computing 8(4), 1990.

    Example:
        >>> import torch
        >>> from pdeconv import CFL, Diffusion, Euler, Evolve, PerChannel, PeronaMalik
        >>> diffusion, fidelity = Diffusion(PeronaMalik(channels=1)), Fidelity(PerChannel(1, ceiling=0.5))
        >>> noisy = torch.rand(2, 1, 8, 8)
        >>> restore = Evolve(Euler(diffusion + fidelity.towards(noisy)), duration=2.0, control=CFL(0.9))
        >>> restore(noisy).shape
        torch.Size([2, 1, 8, 8])
    """

    def __init__(self, strength: Coefficient) -> None:
        super().__init__()
        checked_type("Fidelity", strength, Coefficient, "give for example PerChannel(channels, ceiling=0.5)")
        self.strength = strength

    def towards(self, data: Tensor) -> Term:
        """The term u_t = λ(f − u) for the data f, of the state's shape or broadcasting to it."""
        return FidelityTo(data, self.strength)

    def forward(self, u: Tensor) -> Operator:
        raise PDEConvError("Fidelity needs data to be a term; write fidelity.towards(data).")


class FidelityTo(Term):
    """u_t = λ(f − u) for data f; made by :meth:`Fidelity.towards`."""

    equation = "λ(f − u)"
    keeps = frozenset({RANGE_WITH_DATA})
    data: Tensor

    def __init__(self, data: Tensor, strength: Coefficient) -> None:
        super().__init__()
        checked_type("Fidelity.towards", data, Tensor, "give the data as a tensor (B, C, *S)")
        self.strength, self.ceiling = strength, strength.ceiling
        self.radius = strength.radius if data.numel() == 1 else math.inf  # data of cells belong to one image
        self.register_buffer("data", data, persistent=False)  # moves with the module, is never saved with it

    def forward(self, u: Tensor) -> Operator:
        if not all(n in (1, m) for n, m in zip(self.data.shape[::-1], u.shape[::-1], strict=False)):
            raise PDEConvError(
                f"Fidelity has data of shape {tuple(self.data.shape)} for a state of shape {tuple(u.shape)}; give "
                "data of the state's shape, or one that broadcasts to it."
            )
        strength = self.strength(u, Grid(dims=u.dim() - 2))
        return Affine(-strength, strength * self.data.to(u.dtype), u.new_full((), self.ceiling), self.keeps, 0.0)
