"""The report tells what is proven, what is not, and what is wrong, and leaves the network as it was."""

import math

import pytest
import torch
import torchvision
from catalogue import TERMS, build
from states import state
from torch import nn

import pdeconv
from pdeconv import (
    CFL,
    Adaptive,
    Bistable,
    BogackiShampine,
    Constant,
    Diffusion,
    Euler,
    Evolve,
    Exact,
    Fixed,
    Heun,
    Measured,
    PDEBasicBlock,
    PDEConvError,
    PeronaMalik,
    Reaction,
    create_model,
)
from pdeconv.analysis import report
from pdeconv.evolving_block import EvolvingBlock


def euler(term, duration=1.0, control=None):
    return Evolve(Euler(term).double(), duration, control)


def test_a_step_within_its_limit_is_proven():
    found = report(euler(Diffusion(PeronaMalik(2)), control=CFL(0.9)), state())
    (block,) = found.blocks
    assert found.verdict == block.verdict == "stable" and block.dt is not None
    assert block.dt <= block.limit and block.courant is not None and block.courant <= 0.9 + 1e-9
    assert "keeps range" in block.reason and block.remedy == ""
    assert block.growth <= 1 + 1e-6
    assert report(euler(Diffusion(Constant(1.0))), state()).blocks[0].gain <= 1 + 1e-6  # linear: so nothing grows


def test_a_step_beyond_the_limit_of_its_states_is_unstable_and_the_remedy_helps():
    term = Diffusion(Constant(1.0))
    (block,) = report(euler(term, 1.0, Fixed(2, unchecked=True)), state()).blocks
    assert block.verdict == "unstable" and "exceeds the limit" in block.reason and "Fixed(4)" in block.remedy
    assert report(euler(term, 1.0, Fixed(4)), state()).verdict == "stable"


def test_a_step_that_is_safe_here_but_not_everywhere_is_unproven():
    """A flat state lets Perona and Malik's diffusivity at its ceiling; a steep one does not."""
    steep = 1000 * torch.rand(1, 1, 8, 8, dtype=torch.float64)
    (block,) = report(euler(Diffusion(PeronaMalik(1)), 1.0, Fixed(2, unchecked=True)), steep).blocks
    assert block.verdict == "unproven" and "not of every state" in block.reason


def test_a_control_that_looks_at_the_state_is_stable():
    (block,) = report(euler(Diffusion(PeronaMalik(2)), 1.0, Measured()), state()).blocks
    assert block.verdict == "stable" and block.dt is block.steps is None


@pytest.mark.parametrize(("step", "control"), [(Heun, Measured()), (BogackiShampine, Adaptive())])
def test_a_control_that_proves_nothing_is_unproven(step, control):
    """A limit measured at a state covers one stage of Euler; an error control knows no limit."""
    (block,) = report(Evolve(step(Diffusion(PeronaMalik(2))).double(), 1.0, control), state()).blocks
    assert block.verdict == "unproven" and "chooses dt" in block.reason


@pytest.mark.parametrize("name", TERMS)
def test_every_term_can_be_reported(name):
    evolve = Evolve(Euler(build(name)), 0.01, Fixed(1, unchecked=True))
    (block,) = report(evolve, 0.5 * state().sigmoid()).blocks
    assert block.verdict in ("stable", "unproven") and block.reason


def test_a_proof_for_two_fields_is_one_for_each():
    react = Evolve(Euler(build("fitz_hugh_nagumo")), 0.1)
    assert report(react, torch.zeros(1, 2, 4, 4).double()).verdict == "stable"
    far = torch.zeros(1, 2, 4, 4).double()
    far[:, 1] = 100.0
    assert "enter with 0 to 100" in report(react, far).blocks[0].reason


@pytest.mark.parametrize("step", [Heun, Exact])
def test_a_proof_for_an_interval_says_nothing_of_states_beyond_it(step):
    """Allen and Cahn's reaction is proven from −1 to 1; from 5 Heun's step of it overflows, the exact flow does not."""
    react = Evolve(step(Reaction(Bistable(1))).double(), 4.0)
    inside, beyond = state(channels=1).clamp(-1, 1), torch.full((1, 1, 4, 4), 5.0, dtype=torch.float64)
    assert report(react, inside).verdict == "stable"
    (block,) = report(react, beyond).blocks
    assert block.verdict == ("unstable" if step is Heun else "unproven")
    assert "enter with 5 to 5" in block.reason and "Tanh" in block.remedy
    assert ("Exact" in block.remedy) == ("not stay finite" in block.reason) == (step is Heun)
    assert report(nn.Sequential(nn.Tanh(), react), beyond).verdict == "stable"


def test_a_network_that_calls_no_evolution_is_not_called_stable():
    class Idle(nn.Module):
        def __init__(self):
            super().__init__()
            self.evolve = euler(Diffusion(Constant(1.0)))

        def forward(self, u):
            return u

    with pytest.raises(PDEConvError, match="calls none"):
        report(Idle(), state())


def test_a_diverged_network_is_reported_all_the_same():
    net = create_model("adr_classifier", widths=(4,), depths=(1,))
    with torch.no_grad():
        net.stem[0].weight.fill_(math.nan)
    assert report(net, torch.rand(1, 3, 8, 8)).verdict == "unstable"


def test_a_state_that_blows_up_is_unstable():
    grown = euler(Reaction(Bistable(2)), 30.0, Fixed(8, unchecked=True))
    (block,) = report(grown, 20 * state()).blocks
    assert block.verdict == "unstable" and math.isinf(block.gain)


@pytest.mark.parametrize(
    "name", ["adr_classifier", "hamiltonian_classifier", "adr_residual_classifier", "ode_classifier"]
)
def test_models_are_looked_at_evolution_by_evolution(name):
    model = create_model(name)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    found = report(model, torch.rand(2, 3, 16, 16))
    assert model.training and all(torch.equal(before[key], value) for key, value in model.state_dict().items())
    assert not any(part._forward_pre_hooks for part in model.modules())
    assert found.blocks and found.decomposition is not None
    assert found.verdict == ("stable" if name == "adr_classifier" else "unproven")
    text = str(found)
    assert "u_t = " in text and "carries most in" in text and name.partition("_")[0] in text.lower()


def test_a_residual_network_is_looked_at_as_euler_steps():
    found = report(torchvision.models.resnet18(num_classes=4).eval(), torch.rand(1, 3, 32, 32), iterations=2)
    assert [block.name for block in found.blocks][:2] == ["layer1.0.evolve", "layer1.1.evolve"]
    for block in found.blocks:
        assert block.verdict == "unproven" and "StabilisedBlocks" in block.remedy
        assert block.courant is not None and block.gain <= 1 + block.courant


def test_blocks_that_take_steps_already_are_looked_at_as_they_are():
    branch = nn.Conv2d(2, 2, 3, padding=1)
    for net in (EvolvingBlock(branch, steps=3, duration=2.0), PDEBasicBlock(2, 2, steps=3, duration=2.0)):
        (block,) = report(nn.Sequential(net).double(), state(channels=2)).blocks
        assert (block.steps, block.dt) == (3, pytest.approx(2 / 3))


def test_a_bounded_residual_branch_is_told_from_one_that_is_not():
    net = create_model("adr_residual_classifier", widths=(4,), depths=(1,)).double()
    (block,) = report(net, state(channels=3)).blocks
    assert "limit_lipschitz(evolve.step.term.module, 0.9)" in block.remedy
    for evolve in [part for part in net.modules() if isinstance(part, Evolve)]:
        pdeconv.limit_lipschitz(evolve.step.term.module, 0.9)  # pyright: ignore
    (block,) = report(net, state(channels=3)).blocks
    assert block.remedy == "" and "at most 1.9 times" in block.reason and block.gain <= 1.9
    assert "dt·L ≤ 0.9" in str(report(net, state(channels=3)))


def test_what_cannot_be_reported_says_why():
    with pytest.raises(PDEConvError, match="register_residual_block"):
        report(nn.Conv2d(1, 1, 3), torch.rand(1, 1, 8, 8))
    with pytest.raises(PDEConvError, match="finite batch"):
        report(euler(Diffusion(Constant(1.0))), torch.full((1, 1, 4, 4), math.nan))
