"""Law: a kernel that is kept is the one that would be computed, whatever became of its weight meanwhile."""

import copy
import pickle

import pytest
import torch
from torch.func import functional_call, jvp, vmap
from torch.utils.flop_counter import FlopCounterMode

from pdeconv import SymmetricConvolution, filter_bank


@pytest.fixture
def computed(monkeypatch):
    """How often a bound has been computed."""
    calls, bound = [], filter_bank.convolution_norm_bound
    monkeypatch.setattr(filter_bank, "convolution_norm_bound", lambda weight: calls.append(1) or bound(weight))
    return calls


def filters(**options) -> SymmetricConvolution:
    torch.manual_seed(0)
    term = SymmetricConvolution(4, **options)
    with torch.no_grad():
        term.weight.mul_(3)
    return term


def test_once_without_gradients_and_each_time_with_them(computed):
    term, u = filters(), torch.rand(1, 4, 6, 6)
    with torch.no_grad():
        first = term(u)(u)
        assert all(torch.equal(term(u)(u), first) for _ in range(3)) and len(computed) == 1
    assert torch.equal(term(u)(u), first) and len(computed) == 2
    term.kernel.sum().backward()
    assert term.weight.grad is not None and term.weight.grad.any()


@torch.no_grad()
def test_a_kernel_without_a_bound_is_not_kept(computed):
    term = filters(norm=None, influence=torch.nn.ReLU())
    assert torch.equal(term.kernel, term.weight / 3) and not computed and term._known is None


@torch.no_grad()
def test_whatever_changes_the_weight():
    """Behind the back of autograd too, which counts no version then."""

    def by_data(term):
        term.weight.data.mul_(2)

    def by_loading(term):
        term.load_state_dict({key: value + 1 for key, value in term.state_dict().items()})

    def by_assigning(term):
        term.load_state_dict({key: value - 1 for key, value in term.state_dict().items()}, assign=True)

    def by_optimizer(term):
        term.weight.grad = torch.rand_like(term.weight)
        torch.optim.SGD(term.parameters(), lr=1.0).step()

    def by_type(term):
        term.double()

    def by_narrower_type(term):
        term.bfloat16()

    term = filters()
    for change in (by_data, by_loading, by_assigning, by_optimizer, by_type, by_narrower_type):
        before = term.kernel
        change(term)
        with torch.enable_grad():
            expected = term.kernel.detach()
        assert term.kernel.dtype == term.weight.dtype == expected.dtype
        assert torch.equal(term.kernel, expected) and not torch.equal(before.double(), expected.double())
    assert term.to("meta").kernel.is_meta


def test_copies_and_files_are_without_it():
    term = filters()
    size = len(pickle.dumps(term))
    with torch.no_grad():
        kernel = term.kernel
        assert len(pickle.dumps(term)) == size
        for other in (copy.deepcopy(term), pickle.loads(pickle.dumps(term))):
            assert torch.equal(other.kernel, kernel) and other.kernel is not kernel
            other.weight.mul_(2)
            assert torch.equal(term.kernel, kernel)
    assert list(term.state_dict()) == ["weight"]


def test_a_kernel_of_inference_mode_is_of_use_outside():
    term, u = filters(), torch.rand(1, 4, 6, 6)
    with torch.inference_mode():
        kernel = term.kernel
    with torch.no_grad():
        operator = term(u)
        assert term.kernel is kernel and not kernel.is_inference()
    other = torch.rand_like(u).requires_grad_()
    operator(other).sum().backward()
    assert other.grad is not None


@torch.no_grad()
@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::torch.jit.TracerWarning")
def test_not_while_somebody_transforms_traces_or_counts():
    term, u = filters(), torch.rand(1, 4, 6, 6)
    expected, branch = term(u)(u), lambda weight: functional_call(term, {"weight": weight}, (u,))(u)
    counts = []
    for _ in range(2):
        with FlopCounterMode(display=False) as counter:
            term(u)(u)
        counts.append(counter.get_total_flops())
    assert counts[0] == counts[1] > 2 * 2 * 4 * 4 * 9 * 16
    weights = torch.stack([term.weight.detach(), 2 * term.weight.detach()])
    torch.testing.assert_close(vmap(branch)(weights)[0], expected)
    for fresh in (term, filters()):
        value, slope = jvp(lambda v, fresh=fresh: fresh(u)(v), (u,), (u,))
        torch.testing.assert_close(value, expected)
        torch.testing.assert_close(slope, expected)
        torch.testing.assert_close(fresh(u)(u), expected)
    traced = torch.jit.trace(Applied(term), u)
    torch.testing.assert_close(traced(u), expected)
    exported = torch.export.export(Applied(term), (u,))
    assert [node for node in exported.graph.nodes if "weight" in node.name]
    exported.state_dict["term.weight"].mul_(0.0)
    torch.testing.assert_close(exported.module()(u), torch.zeros_like(u))


class Applied(torch.nn.Module):
    def __init__(self, term: SymmetricConvolution) -> None:
        super().__init__()
        self.term = term

    def forward(self, u: torch.Tensor) -> torch.Tensor:
        return self.term(u)(u)


def test_a_compiled_network_follows_its_weight():
    torch.compiler.reset()
    term, u = filters(), torch.rand(1, 4, 6, 6)
    compiled = torch.compile(Applied(term), backend="eager", fullgraph=True)
    with torch.no_grad():
        term.kernel  # noqa: B018 - is now kept
        for _ in range(2):
            torch.testing.assert_close(compiled(u), term(u)(u))
            term.weight.mul_(0.5)
    torch.compiler.reset()
