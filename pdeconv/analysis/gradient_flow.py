"""Learning as an evolution of the weights: gradient descent is forward Euler of the gradient flow w_t = −∇L(w)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor

from pdeconv.analysis.krylov import largest_eigenpair
from pdeconv.errors import PDEConvError, checked_type
from pdeconv.operator import Operator, operator
from pdeconv.terms import Term


def sharpness(loss: Tensor, parameters: Iterable[Tensor], iterations: int = 15) -> float:
    """The largest eigenvalue of the Hessian of a loss, ∇²L(w): gradient descent with lr is stable for lr·sharpness ≤ 2.

    By Lanczos iteration with products of the Hessian, each as costly as two gradients.

    Args:
        loss: L, a scalar of which the graph is still there; it is used up.
        parameters: w, those that need a gradient.
        iterations: Products.

    Raises:
        PDEConvError: If the loss is no finite scalar, or depends on no parameter.

    References:
        J. Cohen et al. Gradient descent on neural networks typically occurs at the edge of stability. ICLR 2021.

    Example:
        >>> w = torch.tensor([1.0, 1.0], requires_grad=True)
        >>> round(sharpness((w * w * torch.tensor([1.0, 3.0])).sum(), [w]), 4)
        6.0
    """
    return sharpest_direction(loss, parameters, iterations)[0]


def sharpest_direction(
    loss: Tensor, parameters: Iterable[Tensor], iterations: int, start: Tensor | None = None
) -> tuple[float, Tensor | None]:
    """The sharpness as of :func:`sharpness`, and its direction (P,) in the parameters that the loss depends on.

    Args:
        loss, parameters, iterations: As there.
        start: The direction found a little earlier, from which a few iterations do; None to begin at random.
    """
    checked_type("sharpness", loss, Tensor, "give a loss")
    weights = [weight for weight in parameters if weight.requires_grad]
    if loss.numel() != 1 or not loss.isfinite():
        raise PDEConvError(f"sharpness needs a finite scalar loss, but got a shape of {tuple(loss.shape)}: {loss}.")
    if not loss.requires_grad or not weights:
        raise PDEConvError("sharpness needs a loss with a graph, and parameters that require a gradient.")
    gradients = torch.autograd.grad(loss, weights, create_graph=True, allow_unused=True)
    used = [(weight, g) for weight, g in zip(weights, gradients, strict=True) if g is not None and g.requires_grad]
    if not used:
        return 0.0, None  # the loss is linear in the weights
    weights, gradients = [weight for weight, _ in used], [g for _, g in used]

    def product(vector: Tensor) -> Tensor:
        parts = vector.split([weight.numel() for weight in weights])
        parts = [part.reshape(weight.shape) for part, weight in zip(parts, weights, strict=True)]
        found = torch.autograd.grad(gradients, weights, parts, retain_graph=True, allow_unused=True)
        return torch.cat(
            [(torch.zeros_like(w) if h is None else h).flatten() for w, h in zip(weights, found, strict=True)]
        )

    count = sum(weight.numel() for weight in weights)
    random = torch.randn(count, dtype=weights[0].dtype, device=weights[0].device)
    if start is not None and start.shape == (count,):
        # With something of all directions, or one that has become sharper would not be seen.
        random = start / start.norm() + 0.1 * random / random.norm()
    return largest_eigenpair(product, random, iterations)


class GradientFlow(Term):
    """w_t = −∇L(w), the weights of a small model as the state of an evolution: what training with lr → 0 does.

    The state is (B, P, 1): B starts of P numbers, each with a loss of its own. ``Euler`` with a dt of lr is gradient
    descent, ``Evolve(DormandPrince(GradientFlow(loss)), duration, Adaptive())`` the flow itself.

    Args:
        loss: (P,) → (), of one start.

    Rate: Unproven: ``sharpness`` measures half of it.
    Solve, Flow: Undefined.
    Keeps: Nothing is proven of steps; the flow descends the loss.

    Example:
        >>> from pdeconv import Adaptive, DormandPrince, Evolve
        >>> flow = GradientFlow(lambda w: w.square().sum() / 2)  # w_t = −w
        >>> evolve = Evolve(DormandPrince(flow), 1.0, Adaptive(rtol=1e-6, atol=1e-8))
        >>> evolve(torch.ones(1, 2, 1)).flatten()  # 1/e
        tensor([0.3679, 0.3679])
    """

    def __init__(self, loss: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.loss = loss

    def forward(self, u: Tensor) -> Operator:
        if u.dim() != 3 or u.shape[2] != 1:
            raise PDEConvError(f"GradientFlow needs a state (B, P, 1) of weights, but got {tuple(u.shape)}.")

        def descent(v: Tensor) -> Tensor:
            with torch.enable_grad():
                w = v if v.requires_grad else v.detach().requires_grad_()
                total = torch.stack([self.loss(start.squeeze(-1)) for start in w]).sum()
                (gradient,) = torch.autograd.grad(total, w, create_graph=v.requires_grad)
            return -gradient

        return operator(descent, rate=u.new_full((), torch.inf))


def pack(tensors: Sequence[Tensor]) -> Tensor:
    """Weights as the state of a :class:`GradientFlow`, (1, P, 1)."""
    return torch.cat([tensor.detach().flatten() for tensor in tensors]).reshape(1, -1, 1)
