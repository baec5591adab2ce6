"""Law: reactions follow their equations (against SciPy and py-pde), and keep what they say, no more."""

import itertools
import math

import numpy as np
import pytest
import torch
from catalogue import STEPS, build
from scipy.integrate import solve_ivp
from states import CHANNELS, excess, number, randomise

from pdeconv import (
    RK4,
    SSPRK3,
    BackwardEuler,
    Bistable,
    Constant,
    CrankNicolson,
    Diffusion,
    Euler,
    Evolve,
    Exact,
    Fidelity,
    FitzHughNagumo,
    Fixed,
    FixedCoefficient,
    GrayScott,
    Grid,
    Heun,
    Lie,
    Logistic,
    Measured,
    PDEConvError,
    PerChannel,
    PeronaMalik,
    PointwiseNetwork,
    Reaction,
)

REACTIONS = ("decay", "logistic", "bistable", "gray_scott", "fitz_hugh_nagumo", "friction", "pointwise_network")


@torch.no_grad()
@pytest.mark.parametrize("name", [*REACTIONS, "fidelity"])
def test_against_scipy(name):
    """RK4 of 200 steps, beside DOP853: each cell is an ordinary differential equation."""
    term = build(name)
    u = torch.rand(1, CHANNELS, 3, dtype=torch.float64)

    def slope(_, values):
        v = torch.from_numpy(values).reshape(u.shape)
        return term(v)(v).flatten().numpy()

    expected = solve_ivp(slope, (0, 5), u.flatten().numpy(), method="DOP853", rtol=1e-11, atol=1e-12).y[:, -1]
    ours = Evolve(RK4(term), 5.0, Fixed(200, unchecked=True))(u)
    assert np.abs(ours.flatten().numpy() - expected).max() < 1e-7
    assert float((ours - u).abs().max()) > 0.05


def written_out(name, u, v):
    """The equations as their papers have them."""
    if name == "gray_scott":
        return 0.04 * (1 - u) - u * v**2, u * v**2 - (0.04 + 0.06) * v
    return u - u**3 / 3 - v + 0.5, 0.08 * (u + 0.7 - 0.8 * v)


@pytest.mark.parametrize("name", ["gray_scott", "fitz_hugh_nagumo"])
def test_couplings_are_those_of_the_papers(name):
    law = GrayScott(Constant(0.04), Constant(0.06)) if name == "gray_scott" else FitzHughNagumo(Constant(0.08))
    u, v = torch.rand(2, 3, 4, 5, dtype=torch.float64), torch.rand(2, 3, 4, 5, dtype=torch.float64)
    state = torch.cat((u, v), 1)
    assert torch.allclose(Reaction(law)(state)(state), torch.cat(written_out(name, u, v), 1), atol=1e-14)
    with pytest.raises(PDEConvError, match="two fields"):
        Reaction(law)(state[:, :3])


@pytest.mark.parametrize(
    ("boundary", "food", "catalyst"),
    [
        (
            "periodic",
            (0.7091323808494263, 0.11959374495782116, 0.7824294649671734, 34.2141865960686),
            (0.1224712963378843, 0.6497746508322059, 0.06383599552707234, 18.79355263683813),
        ),
        (
            "neumann",
            (0.4352687359215949, 0.12221945842571187, 0.8879756751769227, 35.75366900169145),
            (0.25216224306717927, 0.6126585030775434, 0.030866595746286852, 17.446490071651393),
        ),
    ],
)
def test_gray_scott_against_py_pde(boundary, food, catalyst):
    """Three cells and the sum of each field, as py-pde 0.59.0 computes them with DOP853 at a tolerance of 1e-11."""
    x, y = torch.meshgrid(*[torch.arange(8, dtype=torch.float64)] * 2, indexing="ij")
    v = 0.5 * torch.exp(-((x - 3) ** 2 + (y - 2) ** 2) / 4)
    spread = FixedCoefficient(torch.tensor([0.16, 0.08], dtype=torch.float64))
    equation = Diffusion(spread, Grid(boundary=boundary)) + Reaction(GrayScott(Constant(0.04), Constant(0.06)))
    after = Evolve(RK4(equation), 20.0, Fixed(200, unchecked=True))(torch.stack((1 - v, v))[None])
    for field, expected in zip(after[0], (food, catalyst), strict=True):
        found = [float(field[0, 0]), float(field[3, 2]), float(field[5, 6]), float(field.sum())]
        assert found == pytest.approx(expected, abs=1e-6)


def corners(low, high, cells=400):
    """Random states of two fields in the rectangle, many of them at its corners and sides."""
    unit = (torch.rand(1, 2, cells, dtype=torch.float64) * 1.6 - 0.3).clamp(0, 1)
    low, high = (torch.tensor(side, dtype=torch.float64).reshape(1, 2, 1) for side in (low, high))
    return low + unit * (high - low)


@torch.no_grad()
def test_gray_scott_stays_non_negative():
    """Euler at the measured limit, and no further; frozen implicit and exact steps for every dt, from any v."""
    reaction = Reaction(randomise(GrayScott(PerChannel(1, 0.1), PerChannel(1, 0.2)).double()))
    u = corners((0.0, 0.0), (1.0, 50.0))
    for name, dts in (
        ("Euler", [float(Euler(reaction).limit(u))]),
        ("BackwardEuler", (0.1, 1e3)),
        ("Exact", (0.1, 9.0)),
    ):
        for dt in dts:
            after = STEPS[name](reaction)(u, number(dt))
            assert after.isfinite().all() and after.min() > -1e-12 and after[:, 0].max() < 1 + 1e-12, name
    assert Euler(reaction)(u, 1.2 * Euler(reaction).limit(u)).min() < -0.01


@torch.no_grad()
def test_gray_scott_keeps_its_triangle():
    feed, kill = 0.04, 0.06
    reaction = Reaction(GrayScott(Constant(feed), Constant(kill)))
    u = torch.rand(1, 2, 1000, dtype=torch.float64)
    u = torch.where(u.sum(1, keepdim=True) > 1, 1 - u, u)
    u[..., :3] = torch.tensor([[0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    for step in (Euler(reaction), Heun(reaction), SSPRK3(reaction)):
        v = u
        for _ in range(50):
            v = step(v, number(1 / (feed + 1)))
            assert v.min() >= 0 and v.sum(1).max() < 1 + 1e-12
    assert Euler(reaction)(u, number(4 / (feed + 1))).min() < -0.01  # at v = 1 itself u is 0, so not at once beyond


@torch.no_grad()
def test_gray_scott_with_diffusion_is_safe_by_splitting_or_measured():
    """Unequal diffusivities: backward Euler parts need no limit; the explicit sum is stepped at its measured rate."""
    spread = randomise(Diffusion(PerChannel(2, 0.5)).double())
    reaction = Reaction(GrayScott(Constant(0.04), Constant(0.06)))
    u = corners((0.0, 0.0), (1.0, 3.0), 64).reshape(1, 2, 8, 8)
    split = Lie(BackwardEuler(spread), BackwardEuler(reaction))
    assert math.isinf(split.guaranteed_limit) and (0.0, math.inf) in split.keeps
    assert Evolve(split, 40.0, Fixed(4))(u).min() >= 0
    explicit = Evolve(Euler(spread + reaction), 4.0, Measured(safety=1.0))
    assert explicit(u).min() > -1e-12
    with pytest.raises(PDEConvError, match="ceiling is infinite"):
        Evolve(Euler(spread + reaction), 4.0, Fixed(40))


@torch.no_grad()
@pytest.mark.parametrize(("offset", "decay", "drive"), [(0.7, 0.8, 0.5), (0.0, 50.0, 0.0), (-2.0, 0.1, -3.0)])
def test_fitz_hugh_nagumo_keeps_its_rectangle(offset, decay, drive):
    law = FitzHughNagumo(Constant(0.08), offset, decay, drive)
    potential, slow = law.bounds
    assert potential**3 / 3 - potential == pytest.approx(slow + abs(drive), rel=1e-6)
    u = corners((-potential, -slow), (potential, slow))
    for step in (Euler, Heun, SSPRK3, BackwardEuler, CrankNicolson, Exact):
        step, v = step(Reaction(law)), u
        for _ in range(20):
            v = step(v, number(step.guaranteed_limit))
            assert max(excess(v[:, 0], -potential, potential), excess(v[:, 1], -slow, slow)) < 1e-9, step.name


@torch.no_grad()
def test_fitz_hugh_nagumo_leaves_its_rectangle_beyond():
    law = FitzHughNagumo(Constant(0.08))
    potential, slow = law.bounds
    u = corners((-potential, -slow), (potential, slow), 4000)
    after = Euler(Reaction(law))(u, number(1.2 / law.ceiling))
    assert excess(after[:, 0], -potential, potential) > 1e-3


@torch.no_grad()
def test_fisher_fronts_run_at_their_speed():
    """Fisher–KPP, Diffusion + Reaction(Logistic): 2√(κs), approached as 2√(κs) − 3√(κ/s)/(2t)."""
    kappa, s, dx, time = 0.5, 0.8, 0.5, 60.0
    grid = Grid((dx,))
    equation = Diffusion(Constant(kappa), grid) + Reaction(Logistic(Constant(s)))
    u = torch.zeros(1, 1, 320, dtype=torch.float64)
    u[..., :20] = 1
    later = Evolve(Heun(equation), 20.0)
    first = Evolve(Heun(equation), time - 20.0)(u)
    second = later(first)
    speed = float((second - first).sum()) * dx / 20.0
    expected = 2 * math.sqrt(kappa * s) - 3 * math.sqrt(kappa / s) / (2 * (time - 10.0))
    assert float(second[0, 0, -1]) < 1e-3
    assert speed == pytest.approx(expected, rel=0.02)


@torch.no_grad()
def test_allen_cahn_lowers_its_energy():
    """Diffusion + Reaction(Bistable) is the gradient flow of Σ κ|∇u|²/2 + s(1 − u²)²/4."""
    kappa, s = 0.5, 1.5
    equation = Diffusion(Constant(kappa)) + Reaction(Bistable(Constant(s)))
    u = 2 * torch.rand(1, 1, 16, 16, dtype=torch.float64) - 1
    diffusion = Diffusion(Constant(kappa))
    trajectory = Evolve(Heun(equation), 10.0).trajectory(u)
    energies = [
        float((-(v * diffusion(v)(v)) / 2 + s * (1 - v.square()).square() / 4).sum()) for v in trajectory.states
    ]
    assert all(later <= earlier for earlier, later in itertools.pairwise(energies))
    assert energies[-1] < 0.2 * energies[0]
    assert excess(trajectory.states[-1], -1.0, 1.0) == 0


def test_a_pointwise_network_is_lipschitz_and_stays_in_its_interval():
    for scale in (0.1, 1.0, 30.0):
        law = randomise(PointwiseNetwork(5, 7, ceiling=2.0, lipschitz=0.9, interval=(-1.0, 3.0)).double(), scale)
        u = 3 * torch.randn(1, 5, 1, dtype=torch.float64)
        jacobian = torch.autograd.functional.jacobian(
            lambda v, law=law: law.target(v[None, :, None])[0, :, 0], u[0, :, 0]
        )
        assert torch.linalg.matrix_norm(jacobian, 2) <= 0.9
        assert excess(law.target(u), -1.0, 3.0) == 0
        step = Euler(Reaction(law))
        inside = 4 * torch.rand(1, 5, 200, dtype=torch.float64) - 1
        assert excess(step(inside, number(step.guaranteed_limit)), -1.0, 3.0) < 1e-12
    # Where nothing saturates the ceiling is reached, not only respected.
    law = PointwiseNetwork(1, 1, lipschitz=4.0, interval=(-1.0, 1.0)).double()
    with torch.no_grad():
        law.weight_in.fill_(50.0), law.weight_out.fill_(50.0)
    v = torch.tensor([[[-1e-4, 1e-4]]], dtype=torch.float64)
    assert float(law.target(v).diff() / v.diff()) == pytest.approx(4.0, rel=0.02)


def test_states_do_not_part_in_a_nonexpansive_network():
    law = PointwiseNetwork(4, 8, lipschitz=1.0, interval=(-1.0, 1.0)).double()
    randomise(law, 3.0)
    torch.nn.init.zeros_(law.strength.weight)
    u, v = (torch.randn(1, 4, 50, dtype=torch.float64) for _ in range(2))
    after = [Evolve(Heun(Reaction(law)), 1.0, Fixed(2))(w) for w in (u, v)]
    assert ((after[0] - after[1]).norm(dim=1) <= (u - v).norm(dim=1) * (1 + 1e-12)).all()


class Restore(torch.nn.Module):
    """A network that is given its data at run time."""

    def __init__(self):
        super().__init__()
        self.diffusion = Diffusion(PeronaMalik(1, contrast=0.3))
        self.fidelity = Fidelity(PerChannel(1, ceiling=0.5))

    def forward(self, data):
        return Evolve(Euler(self.diffusion + self.fidelity.towards(data)), 2.0)(data)


def test_fidelity_hides_nothing():
    """The strength is shared with the bound term and trains; the data is in no state_dict; the range holds."""
    restore, data = Restore().double(), torch.randn(2, 1, 6, 7, dtype=torch.float64)
    keys = list(restore.state_dict())
    restored = restore(data)
    assert list(restore.state_dict()) == keys
    assert not any("data" in key for key in restore.fidelity.towards(data).state_dict())
    assert excess(restored.detach(), data.min(), data.max()) < 1e-12
    restored.square().sum().backward()
    assert restore.fidelity.strength.weight.grad.abs().max() > 0
    plain = Evolve(Euler(restore.diffusion), 2.0)(data)
    assert (restored - data).norm() < (plain - data).norm()
    with pytest.raises(PDEConvError, match="towards"):
        restore.fidelity(data)


class Restart(Restore):
    """The same by hand: a graph may build terms and steps, but not an Evolve."""

    def forward(self, data):
        step, u = Euler(self.diffusion + self.fidelity.towards(data)), data
        for _ in range(2):
            u = step(u, data.new_full((), 0.2))
        return u


def test_fidelity_compiles_where_it_is_used():
    restore, data = Restart(), torch.rand(2, 1, 6, 7)
    compiled = torch.compile(restore, fullgraph=True, backend="aot_eager")
    assert torch.allclose(compiled(data), restore(data), atol=1e-6)
