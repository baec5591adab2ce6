"""Laws of all classifiers: options that do something, proofs that hold. Features: test_classifier_features.py."""

import inspect

import pytest
import torch
from classifiers import CLASSIFIERS, group_norm, images, small
from torch import nn
from torch.nn.functional import cross_entropy

from pdeconv import (
    Constant,
    Diffusion,
    Evolve,
    Exact,
    PDEConvError,
    SymmetricConvolution,
    TimeSpecificNorm,
    TimeVarying,
    create_model,
    list_models,
)
from pdeconv.models import Classifier
from pdeconv.models.heat_classifier import HeatConduction
from pdeconv.models.registry import model_constructor, model_options
from pdeconv.models.spiking_classifier import Neurons

every = pytest.mark.parametrize("name", CLASSIFIERS)
every_dims = pytest.mark.parametrize("dims", [1, 2, 3])


def test_all_are_listed():
    assert set(CLASSIFIERS) == set(list_models("*classifier"))
    assert all(issubclass(model_constructor(name), Classifier) for name in CLASSIFIERS)


class CountedNorm(nn.BatchNorm2d):
    pass


class CountedActivation(nn.SiLU):
    pass


@every
@torch.no_grad()
def test_layers_of_ones_own_are_used(name):
    """All of them in the forward pass, and no other in their place."""
    for option, counted, other in (
        ("norm_layer", CountedNorm, (nn.BatchNorm2d, nn.GroupNorm)),
        ("act_layer", CountedActivation, (nn.ReLU, nn.GELU, nn.SiLU)),
    ):
        if option not in model_options(name):
            assert (name, option) == ("spiking_classifier", "act_layer"), "its neurons are the activation"
            continue
        model, called = small(name, **{option: counted}).eval(), []
        layers = [layer for layer in model.modules() if isinstance(layer, counted)]
        strangers = [layer for layer in model.modules() if isinstance(layer, other) and not isinstance(layer, counted)]
        strangers = [layer for layer in strangers if getattr(layer, "affine", True)]  # else statistics of a step
        assert layers and not strangers
        for layer in layers:
            layer.register_forward_hook(lambda layer, _, __, called=called: called.append(layer))
        model(images())
        unused = set(layers) - set(called)
        assert not unused or any(isinstance(part, TimeVarying) for part in model.modules())


@every
def test_every_weight_learns(name):
    model = small(name)
    cross_entropy(model(images(4)), torch.tensor([0, 1, 2, 3])).backward()
    for key, weight in model.named_parameters():
        assert weight.grad is not None and weight.grad.isfinite().all() and weight.grad.any(), key


@every
def test_samples_do_not_see_each_other(name):
    """In evaluation; and in training too with group normalisation."""
    image = images(3)
    for model in (small(name).eval(), small(name, norm_layer=group_norm)):
        alone = torch.cat([model(sample[None]) for sample in image])
        assert torch.allclose(model(image), alone, atol=1e-5)
        sick = image.clone()
        sick[1, 0, 2, 2] = torch.nan
        assert torch.allclose(model(sick)[::2], alone[::2], atol=1e-5)


@every
@torch.no_grad()
def test_steps_change_the_result_and_no_weight(name):
    few, many = (small(name, steps=steps, norm_layer=group_norm) for steps in (4, 6))
    assert list(few.state_dict()) == list(many.state_dict())
    many.load_state_dict(few.state_dict())
    assert not torch.equal(few(images()), many(images()))
    for bad in (0, 1.5, "2", True):
        with pytest.raises(PDEConvError, match="at least 1"):
            small(name, steps=bad)


PROVEN_STEPS = {"adr_classifier", "global_diffusion_classifier", "spiking_classifier"}  # with no normalisation inside


@pytest.mark.parametrize("name", sorted(CLASSIFIERS.keys() - PROVEN_STEPS))
def test_batch_normalisation_has_statistics_of_each_step(name):
    """Weights of one step load, and one step has the plain layers."""
    once, model = small(name, steps=1), small(name, steps=3)
    evolutions = [part for part in model.modules() if isinstance(part, Evolve) and part.steps > 1]
    specific = [part for evolve in evolutions for part in evolve.modules() if isinstance(part, TimeSpecificNorm)]
    known = {each for part in specific for each in part.copies}
    inside = {part for evolve in evolutions for part in evolve.modules() if isinstance(part, nn.BatchNorm2d)}
    assert inside == known and all(len(part.copies) == 3 for part in specific)
    assert specific
    assert not any(isinstance(part, TimeSpecificNorm) for part in once.modules())
    model.load_state_dict(once.state_dict())
    model.train()(images())
    for first, *later in (part.copies for part in specific):
        took_part = first.num_batches_tracked > 0  # of weights that vary in time, the first ones are replaced
        assert all((each.num_batches_tracked > 0) == took_part for each in later)
        assert all(torch.equal(first.running_mean, each.running_mean) != took_part for each in later)
    for steps in (1, 2, 6):
        other = small(name, steps=steps)
        other.load_state_dict(model.state_dict())
        model.load_state_dict(other.state_dict())
    assert all(torch.equal(*weights) for weights in zip(once.parameters(), model.parameters(), strict=True))


@every
@torch.no_grad()
def test_the_way_ends_where_the_features_are(name):
    model, image = small(name), images()
    model(images(4))  # so that `last` is not the identity: its running statistics have moved
    model.eval()
    way = model.trajectory(image)
    assert len(way.times) == len(way.states) >= 3 and (way.times.diff() >= 0).all()
    assert torch.allclose(model.forward_head(model.last(way.states[-1])), model(image), atol=1e-6)
    durations = sum(part.duration for part in model.stages.modules() if isinstance(part, Evolve))
    inner = sum(part.heat.duration for part in model.modules() if isinstance(part, HeatConduction))
    assert float(way.times[-1]) == pytest.approx(model.frames if name == "spiking_classifier" else durations - inner)
    if "spiking" not in name and "resnet" not in name and "global" not in name:
        finer = small(name, steps=3).eval().trajectory(image)
        assert len(finer.states) > len(way.states) and finer.times[-1] == way.times[-1]


@every
@torch.no_grad()
def test_the_way_of_stages_without_blocks(name):
    if name in ("resnet_classifier", "global_diffusion_classifier"):
        return  # their transitions are blocks
    model = small(name, depths=(0, 0)).eval()
    assert len(model.trajectory(images()).states) == (3 if name == "spiking_classifier" else 1)
    assert model(images()).shape == (2, 10)


@every
def test_slips(name):
    width = small(name).num_features
    for bad in (
        dict(widths=(width,)),
        dict(depths=(1, 1, 1)),
        dict(widths=(0, width)),
        dict(widths=(8.0, 16.0)),
        dict(widths="88"),
        dict(widths=8),
        dict(widths=()),
        dict(depths=(1, -1)),
        dict(depths=(1, 1.5)),
        dict(depths="11"),
        dict(num_classes=-1),
        dict(num_classes="ten"),
        dict(in_channels=0),
    ):
        with pytest.raises(PDEConvError):
            small(name, **bad)
    for option in set(model_options(name)) - {"tolerance", "window"}:
        default = inspect.signature(model_constructor(name)).parameters[option].default
        if isinstance(default, int | float) and option != "num_classes":
            with pytest.raises(PDEConvError, match=option):
                small(name, **{option: 0})
    with pytest.raises(PDEConvError, match="No weights for"):
        create_model(name, pretrained=True, in_channels=5)


@every
@torch.no_grad()
def test_a_seed_repeats(name):
    first, again = small(name), small(name)
    assert all(torch.equal(a, b) for a, b in zip(first.state_dict().values(), again.state_dict().values(), strict=True))
    assert torch.equal(first(images()), again(images()))


@pytest.mark.parametrize("name", ["parabolic_classifier", "hamiltonian_classifier", "second_order_classifier"])
def test_kernels_have_a_bound_where_it_proves_something(name):
    for layers, norm in (({}, None), ({"norm_layer": group_norm}, None), ({"norm_layer": nn.Identity}, 1.0)):
        terms = [part for part in small(name, **layers).modules() if isinstance(part, SymmetricConvolution)]
        assert terms and all(term.norm == norm for term in terms)


@pytest.mark.parametrize("name", [name for name in CLASSIFIERS if "memory" in model_options(name)])
def test_memory_changes_no_gradient(name):
    gradients = []
    for memory in ("store", "checkpoint", *(() if name == "ode_classifier" else ("reversible",))):
        model = small(name, memory=memory, steps=2, norm_layer=group_norm).double()
        cross_entropy(model(images().double()), torch.tensor([0, 1])).backward()
        gradients.append([weight.grad for weight in model.parameters()])
    for others in gradients[1:]:
        assert all(torch.allclose(a, b, atol=1e-9) for a, b in zip(gradients[0], others, strict=True))


@pytest.mark.parametrize("name", ["hamiltonian_classifier", "second_order_classifier"])
def test_undoing_steps_counts_a_batch_once(name):
    """With batch normalisation, the default: the gradients and the running statistics are those of stored steps."""
    models = [small(name, memory=memory, steps=2).double() for memory in ("store", "reversible")]
    for model in models:
        cross_entropy(model(images().double()), torch.tensor([0, 1])).backward()
    stored, undone = models
    pairs = zip(stored.parameters(), undone.parameters(), strict=True)
    assert all(torch.allclose(a.grad, b.grad, atol=1e-8) for a, b in pairs)
    assert all(torch.allclose(a, b) for a, b in zip(stored.buffers(), undone.buffers(), strict=True))


def outgrown(name, dims=2):
    """A small model whose weights have gone astray."""
    model = small(name, dims=dims).eval().double()
    for weight in model.parameters():
        weight.add_(2 * torch.randn_like(weight))
    return model


def keeps_the_range(before, after):
    cells = tuple(range(2, before.dim()))
    low, high = before.amin(cells, keepdim=True), before.amax(cells, keepdim=True)
    return bool(((after >= low - 1e-9) & (after <= high + 1e-9)).all())


@torch.no_grad()
def test_adr_features_stay_within_one():
    for state in outgrown("adr_classifier").trajectory(images().double()).states:
        assert state.abs().max() <= 1 + 1e-12


@torch.no_grad()
@every_dims
@pytest.mark.parametrize("steps", [4, 7])
def test_global_layers_keep_the_range(steps, dims):
    model = small("global_diffusion_classifier", steps=steps, dims=dims).double()
    layers = [layer for layer in model.stages.modules() if isinstance(layer, Evolve) and "DuFort" in layer.step.name]
    assert len(layers) == 2
    for layer in layers:
        for weight in layer.parameters():
            weight.add_(3 * torch.randn_like(weight))
        u = torch.randn(2, layer.step.term.parts[0].diffusivity.conv.in_channels, *(7, 8, 5)[:dims]).double()
        after = layer(u)
        assert keeps_the_range(u, after) and not torch.allclose(u, after, atol=0.1)
        assert layer.step.guaranteed_limit == steps / 4
    with pytest.raises(PDEConvError, match="steps of at least 4"):
        small("global_diffusion_classifier", steps=3)


@torch.no_grad()
@every_dims
def test_heat_keeps_range_and_mean_at_any_resolution(dims):
    """Whatever the weights; each sample has a diffusivity of its own."""
    model = outgrown("heat_classifier", dims=dims)
    conductions = [part for part in model.modules() if isinstance(part, HeatConduction)]
    assert len(conductions) == 3
    for part in conductions:
        for size in ((1, 1, 1), (5, 6, 2), (16, 9, 5)):
            x = torch.randn(2, part.mix.in_channels, *size[:dims]).double()
            after = part.heat(x)
            assert keeps_the_range(x, after)
            assert torch.allclose(after.flatten(2).mean(2), x.flatten(2).mean(2))
        assert not torch.allclose(after, x, atol=0.1)
        diffusivity = part.heat.step.term.diffusivity(x, part.heat.step.term.grid)
        assert diffusivity.shape == (2, part.mix.in_channels, *(1,) * dims) and diffusivity.amax() <= 8.0
        assert not torch.allclose(diffusivity[0], diffusivity[1])


@torch.no_grad()
@every_dims
def test_attention_is_a_convex_combination(dims):
    model = outgrown("attention_classifier", dims=dims)
    blocks = [block for block in model.modules() if isinstance(block, Evolve)]
    for block in blocks:
        attend = block.step.parts[0]
        assert attend.guaranteed_limit == 1.0 and attend.keeps == {"range"}
        u = torch.randn(2, attend.term.weight.shape[1], *(7, 5, 3)[:dims]).double()
        after = attend(u, torch.tensor(1.0).double())
        assert keeps_the_range(u, after) and not torch.allclose(u, after, atol=0.1)
    u = torch.randn(1, 8, *(6, 7, 4)[:dims]).double()
    whole, parts = (small("attention_classifier", window=window, dims=dims).eval().double() for window in (None, 2))
    assert not torch.allclose(whole(u[:, :3]), parts(u[:, :3]))


@torch.no_grad()
def test_an_equation_solved_to_a_tolerance():
    """With a tolerance as with many steps."""
    options = dict(points=1, norm_layer=group_norm)
    many = small("ode_classifier", steps=200, **options).eval().double()
    errors = []
    for tolerance in (1e-2, 1e-5):
        solved = small("ode_classifier", tolerance=tolerance, **options).eval().double()
        solved.load_state_dict(many.state_dict())
        errors.append(float((solved(images().double()) - many(images().double())).abs().max()))
    assert errors[1] < 1e-4 and errors[1] < errors[0]
    way = solved.trajectory(images().double())
    assert way.times.shape == (len(way.states), 2) and torch.allclose(way.times[-1].float(), torch.tensor(2.0))
    for bad in (dict(tolerance=1e-2), dict(tolerance=1e-2, points=1, steps=2), dict(tolerance=-1.0, points=1)):
        with pytest.raises(PDEConvError, match="tolerance"):
            small("ode_classifier", **bad)
    with pytest.raises(PDEConvError, match="points"):
        small("ode_classifier", points=4, steps=2)


def test_an_equation_that_varies_in_time():
    """Weights at each point, all of which learn; of one point it is the equation whose weights do not vary."""
    counts = [sum(w.numel() for w in small("ode_classifier", points=p).stages.parameters()) for p in (1, 2, 3)]
    assert counts[2] - counts[1] == counts[1] - counts[0] > 0
    for points, steps in ((2, 1), (3, 2), (4, 3), (4, 6)):
        model = small("ode_classifier", points=points, steps=steps)
        model(images()).square().sum().backward()
        assert all(weight.grad.any() for weight in model.parameters())
    solved = small("ode_classifier", tolerance=1e-2, points=1)
    solved(images()).square().sum().backward()
    assert all(weight.grad.any() for weight in solved.parameters())


@torch.no_grad()
def test_spike_rates():
    """Features are numbers of spikes by frames; a longer look is a finer number."""
    for frames in (1, 3, 8):
        model = small("spiking_classifier", steps=frames, norm_layer=group_norm)
        for rates in model.forward_intermediates(images(), intermediates_only=True):
            counts = rates * frames
            assert torch.allclose(counts, counts.round(), atol=1e-5) and rates.min() >= 0 and rates.max() <= 1
    spikes = []
    for neurons in (part for part in model.modules() if isinstance(part, Neurons)):
        neurons.register_forward_hook(lambda _, __, out: spikes.append(out))
    model(images())
    assert len(spikes) == 4 and all(set(s.flatten().tolist()) <= {0.0, 1.0} and s.any() for s in spikes)
    silent = small("spiking_classifier", threshold=1e3).eval()
    assert not any(rates.any() for rates in silent.forward_intermediates(images(), intermediates_only=True))


def test_last_normalises_the_rates_of_a_sample_not_its_frames():
    model, samples = small("spiking_classifier"), []
    model.last.register_forward_hook(lambda module, inputs, outputs: samples.append(len(inputs[0])))
    model(images(2))
    model.forward_intermediates(images(2))
    assert samples == [2, 2]


def test_the_surrogate_changes_gradients_alone_and_the_leak_the_spikes():
    def logits_and_slopes(**options):
        model = small("spiking_classifier", norm_layer=group_norm, **options)
        logits = model(images())
        logits.square().sum().backward()
        return logits.detach(), model.stem[0].weight.grad

    logits, slopes = logits_and_slopes()
    sharp, other_slopes = logits_and_slopes(sharpness=4.0)
    assert torch.equal(logits, sharp) and not torch.allclose(slopes, other_slopes)
    assert not torch.allclose(logits, logits_and_slopes(leak=2.0)[0])


@torch.no_grad()
def test_the_equations_are_those_of_the_docstrings():
    """Heat flows for a unit of time; a Hamiltonian's first field is driven by a kernel of its own, a wave's by v."""
    part = HeatConduction(4, 8.0, group_norm)
    x = torch.rand(2, 4, 6, 5)
    torch.testing.assert_close(part.heat(x), Exact(Diffusion(Constant(1.0)))(x, torch.tensor(1.0)))
    u = torch.rand(2, 8, 5, 6)
    for name, driven in (("hamiltonian", lambda term, v: -term.first(v)(v)), ("second_order", lambda _, v: v)):
        block = small(f"{name}_classifier").eval().stages[0][0]
        term, v = block.step.term, u[:, 4:]
        after = u[:, :4] + driven(term, v)
        torch.testing.assert_close(block(u), torch.cat((after, v + term.second(after)(after)), 1))
