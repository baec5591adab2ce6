"""How far a field is from solving an equation: the physics-informed loss."""

from __future__ import annotations

from torch import Tensor

from pdeconv.errors import PDEConvError, checked_type
from pdeconv.terms import Term


def pde_residual(u_t: Tensor, u: Tensor, term: Term) -> Tensor:
    """r = u_t − A(u)u, which is 0 where u solves the equation of the term.

    Its mean square is a loss: added to another one, it pulls the output of any network towards solutions of an equation
    that is given (the forward problem); minimised over the coefficients of the term, it finds those with which a field
    that was measured solves it (the inverse problem). It is differentiable in all three arguments. Where u was
    measured with noise, ``identify`` and ``fit_snapshots`` are better, as they do not differentiate the noise.

    Args:
        u_t: (B, C, *S), the rate of change, such as (u_next − u_before) / (2 dt) of three frames; 0 at rest.
        u: (B, C, *S), the state at that time.
        term: The right-hand side, with its grid.

    Raises:
        PDEConvError: If the shapes differ.

    References:
        M. Raissi, P. Perdikaris, G. E. Karniadakis. Physics-informed neural networks: a deep learning framework for
        solving forward and inverse problems involving nonlinear partial differential equations. J. Comput. Phys. 378,
        2019.

    Example:
        >>> import torch
        >>> from pdeconv import Constant, Diffusion
        >>> still = torch.zeros(1, 1, 8, 8)
        >>> pde_residual(still, torch.full((1, 1, 8, 8), 3.0), Diffusion(Constant(1.0))).abs().max()
        tensor(0.)
    """
    checked_type("pde_residual", term, Term, "give the right-hand side, for example Diffusion(PerChannel(1))")
    if u_t.shape != u.shape:
        raise PDEConvError(f"pde_residual needs u_t of the shape of u, {tuple(u.shape)}, but got {tuple(u_t.shape)}.")
    return u_t - term(u)(u)
