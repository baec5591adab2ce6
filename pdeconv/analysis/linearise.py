"""A map linearised at a state: products with its Jacobian, and with the transpose, without the matrix."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from pdeconv.errors import PDEConvError, checked_type


class Linearised:
    """J = ∂f/∂u at a state: ``linear(v)`` is J·v, ``linear.transposed(w)`` is Jᵀ·w.

    f is computed once. Both products are exact derivatives, by reverse mode: Jᵀw is linear in w, and so its derivative
    with respect to w along v is J·v. Where a layer cannot be differentiated twice, J·v is by forward mode.

    Args:
        function: f, a map of tensors; a module is to be in evaluation.
        state: u, in a floating type.

    Attributes:
        state: u.
        value: f(u).

    Raises:
        PDEConvError: If the value or a derivative is not finite, or f gives no tensor.

    Example:
        >>> linear = Linearised(torch.sin, torch.zeros(3))
        >>> linear(torch.tensor([1.0, 2.0, 3.0]))
        tensor([1., 2., 3.])
    """

    def __init__(self, function: Callable[[Tensor], Tensor], state: Tensor) -> None:
        checked_type("Linearised", state, Tensor, "give the state at which to linearise")
        if not state.is_floating_point():
            raise PDEConvError(
                f"Linearised needs a state in a floating type, but got {state.dtype}; give state.float()."
            )
        self._function = function
        with torch.enable_grad():
            self._state = state.detach().requires_grad_()
            value = function(self._state)
            checked_type("Linearised", value, Tensor, "give a map of one tensor to one tensor")
            if not value.isfinite().all():
                raise PDEConvError("Linearised needs a finite f(u), but it holds NaN or infinity; is the state finite?")
            self._value = value
            self._weights = torch.zeros_like(value, requires_grad=True)
            self._pulled = self._product(value, self._state, self._weights, create_graph=True)
        self.state, self.value = state.detach(), value.detach()

    def __call__(self, v: Tensor) -> Tensor:
        """J·v, of the shape of f(u)."""
        try:
            return self._product(self._pulled, self._weights, v)
        except RuntimeError as error:
            if "not implemented" not in str(error):
                raise
            return torch.func.jvp(self._function, (self.state,), (v,))[1]  # some layers have no second derivative

    def transposed(self, w: Tensor) -> Tensor:
        """Jᵀ·w, of the shape of u."""
        return self._product(self._value, self._state, w)

    @staticmethod
    def _product(output: Tensor, source: Tensor, along: Tensor, create_graph: bool = False) -> Tensor:
        if not output.requires_grad:
            return torch.zeros_like(source)
        (found,) = torch.autograd.grad(
            output, source, along, retain_graph=True, create_graph=create_graph, allow_unused=True
        )
        return torch.zeros_like(source) if found is None else found
