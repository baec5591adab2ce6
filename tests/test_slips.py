"""A user's slip is answered by one clear error: what was expected, what came, what to do."""

import numpy as np
import pytest
import torch

from pdeconv import (
    Advection,
    Coefficient,
    Constant,
    ConstantVelocity,
    Decay,
    Diffusion,
    Euler,
    Evolve,
    Fidelity,
    Fixed,
    FixedCoefficient,
    Grid,
    Law,
    PDEBlock,
    PDEConvError,
    PointwiseNetwork,
    Reaction,
    Strang,
    Term,
    VelocityField,
    operator,
)

U = torch.zeros(2, 3, 8, 8)
HEAT = Diffusion(Constant(1.0))
COARSE = Diffusion(Constant(1.0), Grid(2.0))
SMALL = Fidelity(Constant(1.0)).towards(torch.ones(9, 9))


class Undeclared(Coefficient):
    def forward(self, u, grid):
        return u.new_full((), 0.1)


class UndeclaredLaw(Law):
    def forward(self, u):
        return -torch.ones_like(u)


SLIPS = {
    "a size for a shape": (lambda: VelocityField(8), "give the cells along each axis"),
    "a tensor for a spacing": (lambda: Grid(spacing=torch.tensor(1.0)), "Grid needs a number"),  # pyright: ignore
    "spacings and dims": (lambda: Grid(spacing=(1.0, 1.0, 1.0), dims=2), "3 spacings for dims=2"),
    "a number for an interval": (lambda: PointwiseNetwork(3, 4, interval=5), r"an interval \(low, high\)"),
    "numbers of another size": (lambda: FixedCoefficient(torch.ones(1, 1, 5, 5))(U, Grid()), r"shape \(1, 1, 5, 5\)"),
    "numbers below 0": (lambda: FixedCoefficient(torch.tensor([-1.0])), "at least 0"),
    "numbers of other channels": (lambda: FixedCoefficient(torch.ones(2))(U, Grid()), "built for 2 channels"),
    "an interval upside down": (lambda: PointwiseNetwork(3, 4, interval=(1.0, 0.0)), "low < high"),
    "an array for a trajectory": (lambda: Evolve(Euler(HEAT), 1.0).trajectory(np.zeros((1, 1, 4, 4))), "got ndarray"),
    "other channels in a block": (lambda: PDEBlock(8)(U), "built for 8 channels, but the state has 3"),
    "data of another size": (lambda: Euler(SMALL)(U, torch.tensor(0.1)), r"data of shape \(9, 9\)"),
    "fidelity without data": (lambda: Euler(Fidelity(Constant(1.0))), r"fidelity\.towards\(data\)"),
    "a number for dt": (lambda: Euler(HEAT)(U, 0.1), r"give dt as torch\.tensor\(0\.1\)"),
    "an invariant that is none": (lambda: operator(lambda v: v, 1.0, keeps="rnge"), "keeps='rnge'"),
    "an interval that is none": (lambda: operator(lambda v: v, 1.0, keeps=(1.0, 0.0)), r"keeps=\(1\.0, 0\.0\)"),
    "an invariant in two lists": (lambda: operator(lambda v: v, 1.0, keeps=[[0.0, 1.0]]), "an invariant is one of"),
    "a term's invariant": (lambda: type("Mine", (Term,), {"keeps": "rang"}), "Mine declares keeps='rang'"),
    "a coefficient without a ceiling": (lambda: Evolve(Euler(Diffusion(Undeclared())), 1.0), "a ceiling is infinite"),
    "a law without a ceiling": (lambda: Evolve(Euler(Reaction(UndeclaredLaw())), 1.0), "no proven limit"),
    "two grids in a splitting": (lambda: Strang(Euler(HEAT), Euler(COARSE)), "need one grid"),
    "a diffusivity for a velocity": (lambda: Euler(Advection(Constant(1.0)))(U, torch.tensor(0.1)), "needs a velocity"),
}


@pytest.mark.parametrize("name", SLIPS)
def test_a_slip_is_answered_by_a_clear_error(name):
    slip, message = SLIPS[name]
    with pytest.raises(PDEConvError, match=message):
        slip()


def test_what_is_no_slip():
    """Neighbours of the slips that must work."""
    assert ConstantVelocity((np.float32(-1.0), 0.0)).ceiling == 1.0  # pyright: ignore
    assert Grid(spacing=(0.5, 0.5)) == Grid(spacing=0.5) and hash(Grid((1.0, 1.0))) == hash(Grid())
    assert Grid(spacing=(1.0, 1.0, 1.0)).dims == 3 and Grid(spacing=2.0, dims=3).spacings == (2.0, 2.0, 2.0)
    assert len(sum([HEAT, Reaction(Decay(3)), Diffusion(Constant(0.5))]).parts) == 3  # pyright: ignore
    assert operator(lambda v: v, 1.0, keeps=(0.0, 1.0)).keeps == {(0.0, 1.0)}
    assert operator(lambda v: v, 1.0, keeps=["range", "energy"]).keeps == {"range", "energy"}
    assert type("Mine", (Term,), {"keeps": "energy"}).keeps == frozenset({"energy"})
    assert torch.equal(FixedCoefficient(torch.ones(3))(U, Grid()), torch.ones(1, 3, 1, 1))
    unproven = Evolve(Euler(Diffusion(Undeclared())), 1.0, Fixed(2, unchecked=True))
    assert torch.equal(unproven(U), U)
