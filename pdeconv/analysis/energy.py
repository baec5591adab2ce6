"""What changes along a trajectory: energies, and other functionals of the state, against time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from pdeconv.errors import PDEConvError, checked_type
from pdeconv.evolve import Trajectory

Functional = Callable[[Tensor], Tensor]
"""Of a state (B, C, *S), a number for each sample (B,)."""


def mean(u: Tensor) -> Tensor:
    """Of all values of a sample, (B, C, *S) → (B,)."""
    return u.flatten(1).mean(1)


def lowest(u: Tensor) -> Tensor:
    """The least value of a sample, (B, C, *S) → (B,)."""
    return u.flatten(1).amin(1)


def highest(u: Tensor) -> Tensor:
    """The greatest value of a sample, (B, C, *S) → (B,)."""
    return u.flatten(1).amax(1)


def squared_norm(u: Tensor) -> Tensor:
    """½‖u‖² of a sample, (B, C, *S) → (B,): the energy that terms with ``keeps="energy"`` do not let grow."""
    return u.flatten(1).square().sum(1) / 2


def dirichlet_energy(u: Tensor) -> Tensor:
    """½Σ|∇u|² with differences of neighbouring cells, (B, C, *S) → (B,): what linear diffusion descends."""
    return sum((d.flatten(1).square().sum(1) for d in _differences(u)), u.new_zeros(len(u))) / 2


def total_variation(u: Tensor) -> Tensor:
    """Σᵢ Σ|∂ᵢu| with differences of neighbouring cells, (B, C, *S) → (B,): how much edge there is; anisotropic."""
    return sum((d.flatten(1).abs().sum(1) for d in _differences(u)), u.new_zeros(len(u)))


def entropy(u: Tensor) -> Tensor:
    """−Σ p log p of p = |u|/Σ|u|, in nats, (B, C, *S) → (B,): diffusion of a non-negative image raises it.

    References:
        J. Weickert. Anisotropic diffusion in image processing. Teubner 1998, section 2.4.
    """
    size = u.flatten(1).abs()
    share = size / size.sum(1, keepdim=True).clamp(min=torch.finfo(u.dtype).tiny)
    return -torch.special.xlogy(share, share).sum(1)


FUNCTIONALS: Mapping[str, Functional] = {
    "mean": mean,
    "lowest": lowest,
    "highest": highest,
    "½‖u‖²": squared_norm,
    "½‖∇u‖²": dirichlet_energy,
    "total variation": total_variation,
    "entropy": entropy,
}


def along(trajectory: Trajectory, functional: Functional) -> Tensor:
    """A functional at each time of a trajectory, (T, B).

    Example:
        >>> from pdeconv import Constant, Diffusion, Euler, Evolve
        >>> trajectory = Evolve(Euler(Diffusion(Constant(1.0))), 0.5).trajectory(torch.eye(4)[None, None])
        >>> along(trajectory, mean)[:, 0]
        tensor([0.2500, 0.2500, 0.2500, 0.2500], dtype=torch.float64)
    """
    checked_type("along", trajectory, Trajectory, "give what evolve.trajectory(u) returns")
    with torch.no_grad():
        return torch.stack([functional(_precise(state)) for state in trajectory.states])


def _precise(state: Tensor) -> Tensor:
    """In double precision, where the device has it: sums over an image lose digits."""
    return state if state.device.type == "mps" else state.double()


@dataclass(frozen=True)
class Descent:
    """Whether a functional falls along a trajectory.

    Attributes:
        values: (T, B), the functional at each time.
        rises: The numbers of the steps, from 1, in which it rises for some sample by more than rounding.
        largest_rise: The largest of these, relative to the functional before and after; 0 if there is none.
    """

    values: Tensor
    rises: tuple[int, ...]
    largest_rise: float

    def __bool__(self) -> bool:
        return not self.rises


def descends(trajectory: Trajectory, functional: Functional, tolerance: float | None = None) -> Descent:
    """Check that a functional is a Lyapunov function of a trajectory: that it does not rise in any step.

    Args:
        trajectory: What ``evolve.trajectory(u)`` returns.
        functional: (B, C, *S) → (B,), such as ``squared_norm``, or the energy of a term.
        tolerance: Relative rise in a step that counts as rounding; by default 100 ε of the type of the states.

    Returns:
        True in a condition if it descends; otherwise it says where not.

    Example:
        >>> from pdeconv import Constant, Diffusion, Euler, Evolve
        >>> trajectory = Evolve(Euler(Diffusion(Constant(1.0))), 0.5).trajectory(torch.rand(1, 1, 8, 8))
        >>> bool(descends(trajectory, dirichlet_energy)), bool(descends(trajectory, entropy))
        (True, False)
    """
    values = along(trajectory, functional)
    if not values.isfinite().all():
        raise PDEConvError("descends needs a finite functional, but found NaN or infinity; is the evolution stable?")
    small = 100 * torch.finfo(trajectory.states[0].dtype).eps if tolerance is None else tolerance
    scale = torch.maximum(values[1:].abs(), values[:-1].abs()).clamp(min=torch.finfo(values.dtype).tiny)
    relative = values.diff(dim=0) / scale
    up = relative > small
    rises = tuple(step + 1 for step in up.any(1).nonzero().flatten().tolist())
    return Descent(values, rises, float(relative[up].max()) if rises else 0.0)


def _differences(u: Tensor) -> list[Tensor]:
    return [u.narrow(axis, 1, u.shape[axis] - 1) - u.narrow(axis, 0, u.shape[axis] - 1) for axis in range(2, u.dim())]
