"""Laws of all classifiers' features, in the manner of timm: any size, honest about themselves, and any head on them."""

import pytest
import torch
from classifiers import CLASSIFIERS, images, small

from pdeconv import PDEConvError

SIZES = ((1, 1), (1, 7), (33, 20))
every = pytest.mark.parametrize("name", CLASSIFIERS)


@every
@torch.no_grad()
def test_images_of_any_size_and_features_as_they_are_told(name):
    model = small(name).eval()
    info = model.feature_info
    assert info.channels() == list(CLASSIFIERS[name]["widths"]) and info.module_name() == ["stages.0", "stages.1"]
    assert info.channels()[-1] == model.num_features
    for size in SIZES:
        logits = model(images(size=size))
        assert logits.shape == (2, 10) and logits.isfinite().all()
        for features, row in zip(model.forward_intermediates(images(size=size))[1], info, strict=True):
            assert features.shape == (2, row["num_chs"], *(-(-n // row["reduction"]) for n in size))
    assert model.get_submodule(info.module_name()[0]) is model.stages[0]


@every
@torch.no_grad()
def test_intermediate_features(name):
    model, image = small(name).eval(), images()
    final, maps = model.forward_intermediates(image)
    assert torch.equal(final, model.forward_features(image)) and len(maps) == 2
    assert torch.equal(model.forward_head(final), model(image))
    assert torch.equal(model.forward_head(final, pre_logits=True), final.mean((2, 3)))
    assert torch.equal(model.forward_intermediates(image, norm=True)[1][-1], final)
    for indices, chosen in (((0,), [0]), ((-1, 0), [1, 0]), ([1], [1]), (1, [1]), (2, [0, 1]), ((-2,), [0])):
        found = model.forward_intermediates(image, indices, intermediates_only=True)
        early = model.forward_intermediates(image, indices, stop_early=True, intermediates_only=True)
        assert all(torch.equal(a, maps[i]) and torch.equal(b, a) for a, b, i in zip(found, early, chosen, strict=True))
    for bad in (3, 0, (2,), (-3,), "last", (0.5,), True, ()):
        with pytest.raises(PDEConvError, match="has 2 stages"):
            model.forward_intermediates(image, bad)
    with pytest.raises(PDEConvError, match="NCHW"):
        model.forward_intermediates(image, output_fmt="NHWC")
    with pytest.raises(PDEConvError, match="intermediates_only"):
        model.forward_intermediates(image, stop_early=True)


@every
@torch.no_grad()
def test_the_last_normalisation_sees_a_batch_once(name):
    model = small(name).train()
    norms = [part for part in model.last.modules() if isinstance(part, torch.nn.BatchNorm2d)]
    for count, options in enumerate(({}, {"norm": True}, {"norm": True, "intermediates_only": True}), start=1):
        model.forward_intermediates(images(), **options)
        assert all(norm.num_batches_tracked == count for norm in norms)


@every
@torch.no_grad()
def test_features_only(name):
    model, image = small(name).eval(), images()
    maps = small(name, features_only=True, out_indices=(1, 0)).eval()
    expected = model.forward_intermediates(image, (1, 0), norm=True, intermediates_only=True)
    found = maps(image)
    assert isinstance(found, list) and all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))
    assert maps.feature_info.channels() == [features.shape[1] for features in found]
    assert not any("head" in key for key in maps.state_dict())
    assert len(small(name, features_only=True)(image)) == 2
    with pytest.raises(PDEConvError, match="features_only=True"):
        small(name, out_indices=(0,))


@every
def test_no_more_than_the_features_need(name):
    maps, image = small(name, features_only=True, out_indices=(0,)), images()
    with torch.no_grad():
        expected = small(name).forward_intermediates(image, (0,), intermediates_only=True)
        found = small(name, features_only=True, out_indices=(-2,))(image)
    assert torch.equal(found[0], expected[0]) and maps.feature_info.channels() == [maps.model.num_features]
    (maps(image)[0] * torch.rand_like(found[0])).sum().backward()
    assert all(weight.grad is not None for weight in maps.parameters())
    whole = small(name)
    assert whole.prune_intermediate_layers(1, prune_head=False) == [1] and whole.num_classes == 10
    with torch.no_grad():
        assert torch.equal(whole.eval()(image), small(name).eval()(image))
        assert whole.prune_intermediate_layers((0,), prune_head=False) == [0]
        assert whole(image).shape == (2, 10) and len(whole.forward_intermediates(image)[1]) == 1
        assert whole.prune_intermediate_layers(prune_norm=True) == [0] and whole.num_classes == 0
        assert torch.equal(whole.forward_features(image), whole.forward_intermediates(image)[1][0])


@every
@torch.no_grad()
def test_another_head(name):
    model, image = small(name, num_classes=7).eval(), images()
    assert model(image).shape == (2, 7) and model.get_classifier() is model.head
    model.reset_classifier(3)
    assert model(image).shape == (2, 3) and model.num_classes == 3 and model.head.weight.requires_grad
    model.reset_classifier(0)
    assert torch.equal(model(image), model.forward_features(image).mean((2, 3)))
    model = small(name).double()
    model.reset_classifier(4)
    assert model.eval()(image.double()).dtype == torch.float64
    for bad in (-1, 2.0, "ten", True):
        with pytest.raises(PDEConvError, match="num_classes"):
            model.reset_classifier(bad)
