"""The same equation on a finer grid: a network trained at one resolution runs at another."""

from __future__ import annotations

import copy
from typing import TypeVar

from torch import nn

from pdeconv.control import Fixed
from pdeconv.errors import PDEConvError, checked_count, checked_number, checked_type
from pdeconv.evolve import Evolve
from pdeconv.terms import Term

Module = TypeVar("Module", bound=nn.Module)


def refine_time(module: Module, factor: int) -> Module:
    """A copy in which every ``Evolve`` takes ``factor`` times as many steps over the same duration.

    The copy has equal parameters and shares nothing. What it computes converges at the order of the step to the
    solution of the equation; ``TimeVarying`` keeps its control points.

    Args:
        module: An ``Evolve``, or a network with some.
        factor: Steps in place of one, a whole number.

    Raises:
        PDEConvError: If there is no ``Evolve``, or one whose control chooses dt by the state: ``Clamp``, ``Measured``
            and ``Adaptive`` have a finer setting of their own.

    Example:
        >>> from pdeconv import CFL, Constant, Diffusion, Euler
        >>> refine_time(Evolve(Euler(Diffusion(Constant(1.0))), 1.0, CFL(0.9)), factor=4).steps
        20
    """
    factor = checked_count("refine_time", "factor", factor)
    refined = _copy("refine_time", module)
    for evolve in _evolutions("refine_time", refined):
        if not evolve.control.static:
            raise PDEConvError(
                f"refine_time needs the control Fixed or CFL, but got {evolve.control}; make that finer itself."
            )
        unchecked = isinstance(evolve.control, Fixed) and evolve.control.unchecked
        evolve.set_control(Fixed(evolve.steps * factor, unchecked))
    return refined


def refine_space(module: Module, factor: float) -> Module:
    """A copy in which the spacing of every ``Evolve``'s terms is divided by ``factor``: for images of more cells.

    The copy has equal parameters and shares nothing. Coefficients are in physical units, so the equation is the same,
    and the solution converges to it at the order of the stencils. Rates rise, by factor² for diffusion: ``CFL`` chooses
    more steps, and ``Fixed`` may refuse; refine time first. Layers outside of an ``Evolve`` stay as they are.

    Args:
        module: An ``Evolve``, or a network with some.
        factor: Old spacing / new spacing, positive; below 1 for a coarser grid.

    Raises:
        PDEConvError: If there is no ``Evolve``.
        UnsupportedError: If a term has weights that belong to cells: ``ConvVelocity``, ``SymmetricConvolution``,
            ``Residual``.
        StabilityError: If a control finds that a step could now be unstable.

    Example:
        >>> from pdeconv import CFL, Constant, Diffusion, Euler
        >>> evolve = Evolve(Euler(Diffusion(Constant(1.0))), 1.0, CFL(1.0))
        >>> fine = refine_space(evolve, factor=2)
        >>> evolve.steps, fine.steps, fine.step.term.grid.spacings
        (4, 16, (0.5, 0.5))
    """
    factor = checked_number("refine_space", "factor", factor)
    refined = _copy("refine_space", module)
    for evolve in _evolutions("refine_space", refined):
        for term in _outermost_terms(evolve.step):
            term.refine(factor)
        evolve.set_control(evolve.control)
    return refined


def _copy(owner: str, module: Module) -> Module:
    checked_type(owner, module, nn.Module, "give an Evolve or a network with some")
    return copy.deepcopy(module)


def _evolutions(owner: str, module: nn.Module) -> list[Evolve]:
    found = [part for part in module.modules() if isinstance(part, Evolve)]
    if not found:
        raise PDEConvError(f"{owner} needs an Evolve, but {type(module).__name__} has none.")
    return found


def _outermost_terms(module: nn.Module) -> list[Term]:
    """The terms of ``module`` that are not part of another: those refine their own. Each once."""
    if isinstance(module, Term):
        return [module]
    return list(dict.fromkeys(term for child in module.children() for term in _outermost_terms(child)))
