"""Law: a sample does not know its batch-mates, whatever the step, the control, or the sickness of a neighbour."""

import pytest
import torch
from cases import build_case, cases
from catalogue import STEPS, build
from pairing import cover
from states import grid_of, state

from pdeconv import CFL, Clamp, Evolve, Fixed, Measured

CONTROLS = {"Fixed": Fixed(3, unchecked=True), "CFL": CFL(0.9), "Clamp": Clamp(3), "Measured": Measured(0.8)}
PROVEN = [pair for pair in cover() if STEPS[pair[1]](build(pair[0])).keeps]


def proven_step(term_name, step_name, control):
    step = STEPS[step_name](build(term_name, grid_of("neumann", 2))).double()
    if control == "CFL" and step.guaranteed_limit == 0:
        pytest.skip("no ceiling: the limit is measured")
    return step


@torch.no_grad()
@pytest.mark.parametrize("control", CONTROLS)
@pytest.mark.parametrize(("term_name", "step_name"), cases())
def test_alone_or_together(term_name, step_name, control):
    """What has no proven limit goes with Fixed alone."""
    step, channels = build_case(term_name, step_name, "neumann", 2)
    if (not step.keeps and control != "Fixed") or (step.guaranteed_limit == 0 and control == "CFL"):
        pytest.skip("no limit, or one that is measured only")
    evolve = Evolve(step, 0.3, CONTROLS[control])
    u = state(2, batch=3, channels=channels)
    u[1] = u[1] * 0.2 + 0.4  # another measured rate
    together = evolve(u)
    alone = torch.cat([evolve(sample[None]) for sample in u])
    assert torch.allclose(together, alone, atol=1e-12)


@torch.no_grad()
@pytest.mark.parametrize("control", ["Fixed", "CFL", "Clamp"])
@pytest.mark.parametrize(("term_name", "step_name"), PROVEN)
def test_a_sick_sample_stays_alone(term_name, step_name, control):
    evolve = Evolve(proven_step(term_name, step_name, control), 0.3, CONTROLS[control])
    u = state(2, batch=3)
    sick = u.clone()
    sick[1, 0, 2, 2] = torch.nan
    after = evolve(sick)
    assert torch.equal(after[::2], evolve(u)[::2])
    assert not after[1].isfinite().all()


def test_an_empty_batch_stays_empty():
    for name in ("perona_malik", "conv_advection", "logistic", "tanh_convolution", "windowed_nonlocal"):
        for control in (CFL(0.9), Fixed(9)):
            u = state(2)[:0]
            assert Evolve(STEPS["Euler"](build(name)), 0.3, control)(u).shape == u.shape
