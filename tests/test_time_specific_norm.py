"""Batch normalisation whose statistics depend on time computes in evaluation what it computed in training."""

import copy
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest
import torch
from torch import nn

from pdeconv import (
    Adaptive,
    Euler,
    Evolve,
    Fixed,
    PDEBasicBlock,
    PDEConvError,
    Residual,
    SymmetricConvolution,
    SymplecticEuler,
    TimeSpecificNorm,
    TimeVarying,
    TwoFields,
)
from pdeconv.training.optimization import WeightAverage
from pdeconv.unproven_steps import residual_steps

STEPS, CHANNELS = 3, 4


def norm(momentum: float | None = None) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(CHANNELS, momentum=momentum)


def branch(norms: nn.Module) -> nn.Sequential:
    torch.manual_seed(0)
    layer = nn.Sequential(nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1), norms, nn.ReLU())
    for weight in norms.parameters():
        nn.init.uniform_(weight, 0.5, 2.0)
    return layer


def euler(norms: nn.Module, memory="store", points=1) -> Evolve:
    term = Residual(branch(norms))
    step = Euler(TimeVarying(term, points) if points > 1 else term)
    return Evolve(step, 3.0, Fixed(STEPS, unchecked=True), memory).double()


def symplectic(norms: nn.Module, memory="store") -> Evolve:
    term = SymmetricConvolution(CHANNELS, influence=branch(norms)[1:], norm=None)
    torch.manual_seed(1)
    step = SymplecticEuler(TwoFields(term))
    return Evolve(step, 1.0, Fixed(STEPS, unchecked=True), memory).double()


def state(batch: int = 64, channels: int = CHANNELS) -> torch.Tensor:
    return torch.rand(batch, channels, 6, 5, generator=torch.Generator().manual_seed(2)).double()


BUILDS = {
    "euler": (euler, CHANNELS),
    "weights in time": (lambda norms, memory="store": euler(norms, memory, points=2), CHANNELS),
    "symplectic": (symplectic, 2 * CHANNELS),
}


@pytest.mark.parametrize("name", BUILDS)
def test_evaluation_is_training_on_the_same_batch(name):
    """Within the unbiased variance, of 1,920 values; plain batch normalisation misses it by far."""
    build, channels = BUILDS[name]
    u = state(channels=channels)
    found = {}
    for kind, norms in (("plain", norm()), ("time", TimeSpecificNorm(norm(), STEPS))):
        layer = build(norms)
        with torch.no_grad():
            trained = layer.train()(u)
            found[kind] = (layer.eval()(u) - trained).abs().max() / trained.abs().max()
    assert found["time"] < 2e-3 and found["plain"] > 10 * found["time"]


def test_an_evolution_inside_another_has_a_time_of_its_own():
    inner = PDEBasicBlock(CHANNELS, CHANNELS, norm_layer=partial(nn.BatchNorm2d, momentum=None), steps=3)
    for steps in (1, 2):
        layer = residual_steps(nn.Sequential(nn.Conv2d(CHANNELS, CHANNELS, 1), copy.deepcopy(inner)), steps).double()
        sizes = [len(part.copies) for part in layer.modules() if isinstance(part, TimeSpecificNorm)]
        assert sizes == [3, 3]
        if steps == 1:  # else the inner one meets different states at the outer steps
            with torch.no_grad():
                trained = layer.train()(state())
                assert (layer.eval()(state()) - trained).abs().max() < 3e-3 * trained.abs().max()


def test_a_normalisation_at_two_places_stays_one():
    conv, norms = nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1), norm()
    layer = residual_steps(nn.Sequential(conv, norms, nn.ReLU(), conv, norms), 2)
    one, other = layer.step.term.module[1], layer.step.term.module[4]
    assert one is other and isinstance(one, TimeSpecificNorm) and one.copies[0] is norms
    for steps in (1, 2, 3):
        loaded = residual_steps(copy.deepcopy(nn.Sequential(conv, norm(), nn.ReLU(), conv, norm())), steps)
        branch = loaded.step.term.module
        branch[4] = branch[1]
        loaded.load_state_dict(layer.state_dict())


def test_statistics_are_taken_anew_at_every_step():
    layer = euler(TimeSpecificNorm(norm(0.1), STEPS)).train()
    for _ in range(3):
        layer(3 * state() - 1)
    torch.optim.swa_utils.update_bn([state()], layer)
    trained = copy.deepcopy(layer).train()(state())
    assert (layer.eval()(state()) - trained).abs().max() < 2e-3 * trained.abs().max()


def test_statistics_are_averaged_at_every_step():
    norms = TimeSpecificNorm(norm(0.5), STEPS)
    layer = euler(norms).train()
    average = WeightAverage(layer, 0.5)
    expected = [each.running_mean.clone() for each in norms.copies]
    for step in range(1, 4):
        layer(step * state())
        average.update(step)
        decay = min(0.5, (1 + step) / (10 + step))
        now = [each.running_mean for each in norms.copies]
        expected = [decay * mean + (1 - decay) * last for mean, last in zip(expected, now, strict=True)]
    with average.applied():
        torch.testing.assert_close([each.running_mean for each in norms.copies], expected)


def assert_equal(state_dict, other):
    assert all(torch.equal(value, other[key]) for key, value in state_dict.items())


@pytest.mark.parametrize("name", ["euler", "symplectic"])
def test_threads_do_not_disturb_each_other(name):
    build, channels = BUILDS[name]
    norms = TimeSpecificNorm(norm(0.3), STEPS)
    layer = build(norms)
    with torch.no_grad():
        layer.train()(state(channels=channels))
        layer.eval()
        before = copy.deepcopy(layer.state_dict())
        inputs = [number * state(2, channels) for number in range(1, 5)]
        expected = [layer(u) for u in inputs]
        norms.copies[0].register_forward_hook(lambda *_: assert_equal(layer.state_dict(), before))

        def outputs(u):
            with torch.no_grad():
                return [layer(u) for _ in range(30)]

        with ThreadPoolExecutor(4) as pool:
            found = list(pool.map(outputs, inputs))
    assert all(torch.equal(each, right) for of, right in zip(found, expected, strict=True) for each in of)


@pytest.mark.parametrize("memory", ["checkpoint", "reversible"])
def test_memory_changes_no_gradient_and_reversible_no_statistics(memory):
    grads, statistics = [], []
    for chosen in ("store", memory):
        norms = TimeSpecificNorm(norm(0.3), STEPS)
        layer = symplectic(norms, chosen).train()
        layer(state(8, 2 * CHANNELS)).square().sum().backward()
        grads.append([weight.grad for weight in layer.parameters()])
        statistics.append(list(norms.buffers()))
    torch.testing.assert_close(*grads)
    if memory == "reversible":
        torch.testing.assert_close(*statistics)


def test_the_nearest_time_where_the_steps_are_others():
    norms = TimeSpecificNorm(norm(), STEPS)
    for place, each in enumerate(norms.copies):
        each.running_mean.fill_(float(place))
    taken = []
    hook = norms.copies[0].register_forward_pre_hook(lambda module, _: taken.append(float(module.running_mean[0])))
    layer = euler(norms).eval()
    for steps, expected in ((1, [1]), (2, [0, 2]), (3, [0, 1, 2]), (6, [0, 0, 1, 1, 2, 2])):
        layer.set_control(Fixed(steps, unchecked=True))
        taken.clear()
        layer(state())
        assert taken == expected
    hook.remove()
    assert float(norms.copies[0].running_mean[0]) == 0  # its own are there again


def test_weights_are_shared_and_one_step_is_the_plain_normalisation():
    plain, own = norm(0.1), TimeSpecificNorm(norm(0.1), 1)
    assert len(list(TimeSpecificNorm(norm(), 5).parameters())) == 2
    a, b = euler(plain).train(), euler(own).train()
    assert torch.equal(a(state()), b(state()))
    assert torch.equal(a.eval()(state()), b.eval()(state()))


@pytest.mark.parametrize("before", [None, 1, 2, 3, 6])
def test_statistics_of_another_number_of_steps_load(before):
    old = norm() if before is None else TimeSpecificNorm(norm(), before)
    for place, each in enumerate([old] if before is None else old.copies):
        each.running_mean.fill_(float(place))
    saved = old.state_dict()
    new = nn.Sequential(TimeSpecificNorm(norm(), STEPS))
    assert not any(new.load_state_dict({f"0.{name}": value for name, value in saved.items()}))
    means = {None: [0, 0, 0], 1: [0, 0, 0], 2: [0, 1, 1], 3: [0, 1, 2], 6: [1, 3, 5]}[before]
    assert [float(each.running_mean[0]) for each in new[0].copies] == means
    assert list(saved) == list(old.state_dict())  # as it was


def test_what_does_not_fit_is_refused():
    with pytest.raises(PDEConvError, match="GroupNorm"):
        TimeSpecificNorm(nn.GroupNorm(1, 4), 2)
    with pytest.raises(PDEConvError, match="track_running_stats=False"):
        TimeSpecificNorm(nn.BatchNorm2d(4, track_running_stats=False), 2)
    with pytest.raises(PDEConvError, match="steps"):
        TimeSpecificNorm(norm(), 0)
    with pytest.raises(PDEConvError, match=r"LazyBatchNorm2d cannot keep statistics of each of 2 steps"):
        residual_steps(nn.Sequential(nn.LazyBatchNorm2d()), 2)
    with pytest.raises(PDEConvError, match="TimeSpecificNorm needs a dt that does not depend on the state"):
        Evolve(Euler(Residual(branch(TimeSpecificNorm(norm(), 2)))), 1.0, Adaptive())


def test_it_exports_with_the_statistics_of_each_step():
    norms = TimeSpecificNorm(norm(), STEPS)
    layer = euler(norms)
    layer.train()(state())
    layer.eval()
    exported = torch.export.export(layer, (state(2),)).module()
    torch.testing.assert_close(exported(state(2)), layer(state(2)))
