"""The same equation on a finer grid: a network trained at one resolution runs at another."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Any, TypeVar

from torch import nn

from pdeconv.control import Fixed
from pdeconv.errors import PDEConvError, UnsupportedError, checked_count, checked_number, checked_type
from pdeconv.evolve import Evolve
from pdeconv.terms import Term

Module = TypeVar("Module", bound=nn.Module)
_MODULE_ATTRIBUTES = frozenset(vars(nn.Module()))


def refine_time(module: Module, factor: int) -> Module:
    """A copy in which every ``Evolve`` takes ``factor`` times as many steps over the same duration.

    The copy has equal parameters and shares nothing. What it computes converges at the order of the step to the
    solution of the equation; ``TimeVarying`` keeps its control points, and ``TimeSpecificNorm`` its times.

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


class Coarsening:
    """A network whose equations are put onto coarser grids of time and space, in place, and exactly back again.

    Its weights stay the same tensors: those of a step are shared over the steps, and those of ``TimeVarying`` are
    control points. What changes is how many ``Fixed`` steps each ``Evolve`` takes, and the spacing of terms in physical
    units. An ``Evolve`` with a term whose weights belong to cells (``ConvVelocity``, ``SymmetricConvolution``,
    ``Residual``) keeps its spacing, and layers outside of an ``Evolve`` their kernels, whatever the size of a cell. An
    ``Evolve`` within another keeps its steps: it is part of what one step of that does.

    Args:
        module: The network as it is on the finest grid.

    Example:
        >>> from pdeconv import Constant, Diffusion, Euler
        >>> evolve = Evolve(Euler(Diffusion(Constant(1.0))), 1.0, Fixed(4))
        >>> coarsening = Coarsening(evolve)
        >>> coarsening.set(time=0.5, space=0.5)
        >>> evolve.steps, evolve.step.term.grid.spacings
        (2, (2.0, 2.0))
        >>> coarsening.set()
        >>> evolve.steps, evolve.step.term.grid.spacings
        (4, (1.0, 1.0))
    """

    def __init__(self, module: nn.Module) -> None:
        self._evolutions = {name: part for name, part in module.named_modules() if isinstance(part, Evolve)}
        parts = [part for evolve in self._evolutions.values() for part in evolve.modules()]
        self._fine = {part: _plain_attributes(part) for part in parts}
        inner = {id(part) for evolve in self._evolutions.values() for part in evolve.modules() if part is not evolve}
        self._fixed = {
            name: evolve.control
            for name, evolve in self._evolutions.items()
            if isinstance(evolve.control, Fixed) and id(evolve) not in inner
        }

    def set(self, time: float = 1.0, space: float = 1.0) -> None:
        """Put the network onto another grid. What it was before does not matter: it depends on the two scales alone.

        Args:
            time: Steps of ``Fixed`` in place of one of the finest grid, in (0, 1]; each has to have a whole number. The
                other controls choose their steps themselves, anew.
            space: Cells along an axis in place of one, in (0, 1].

        Raises:
            PDEConvError: If the network has no ``Evolve`` with ``Fixed`` steps that could be fewer, or the number of
                steps of one would not be whole. The network is then on the finest grid.
            StabilityError: If a control finds that a step of the coarser grid could be unstable.
        """
        self._restore(self._fine)
        try:
            if time != 1 and not self._fixed:
                raise PDEConvError("there is no Evolve of Fixed steps, which could be fewer; leave that scale at 1.")
            done: set[Term] = set()
            for name, evolve in self._evolutions.items():
                if space != 1:
                    self._change_spacing(evolve, space, done)
                if time != 1 and name in self._fixed:
                    evolve.set_control(_fewer_steps(name, self._fixed[name], time))
                elif space != 1:
                    evolve.set_control(evolve.control)
        except PDEConvError:
            self._restore(self._fine)
            raise

    def _change_spacing(self, evolve: Evolve, factor: float, done: set[Term]) -> None:
        """Change the spacing of all terms of an evolution, each once, or of none if one is tied to its cells."""
        terms = [term for term in _outermost_terms(evolve.step) if term not in done]
        try:
            for term in terms:
                term.refine(factor)
        except UnsupportedError:
            self._restore({part for term in terms for part in term.modules()})
        else:
            done.update(terms)

    def _restore(self, parts: Iterable[nn.Module]) -> None:
        for part in parts:
            vars(part).update(self._fine[part])


def _plain_attributes(module: nn.Module) -> dict[str, Any]:
    """What a module holds besides its parts, parameters, buffers, hooks and its mode: the same objects, not copies."""
    return {name: value for name, value in vars(module).items() if name not in _MODULE_ATTRIBUTES}


def _fewer_steps(name: str, control: Fixed, scale: float) -> Fixed:
    fewer = round(control.n * scale)
    if fewer < 1 or abs(fewer - control.n * scale) > 1e-6 * control.n:
        raise PDEConvError(
            f"the Evolve {name!r} takes {control}, of which {scale:g} times as many is no whole number; give the model "
            "more steps, such as steps=4, or another scale, or leave that scale at 1."
        )
    return Fixed(fewer, control.unchecked)
