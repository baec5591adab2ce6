"""A part of a labelled set, the same for every seed of a run; and squares that are erased."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from PIL import Image

from pdeconv.errors import PDEConvError
from pdeconv.training.augmentation import erased
from pdeconv.training.data import load_data
from pdeconv.training.data_config import DataConfig
from pdeconv.training.labelled_images import chosen_places
from pdeconv.training.randomness import uniform


def places(labels: torch.Tensor, count: int | None, seed: int = 0) -> list[int]:
    config = DataConfig("digits", train_images=count, subset_seed=seed)
    return chosen_places(labels, 3, config).tolist()


def test_as_many_of_each_class_as_can_be():
    labels = torch.tensor([0] * 10 + [1] * 2 + [2] * 10)[torch.randperm(22)]
    for count, expected in ((3, [1, 1, 1]), (5, [2, 2, 1]), (6, [2, 2, 2]), (12, [5, 2, 5]), (22, [10, 2, 10])):
        chosen = places(labels, count)
        assert chosen == sorted(set(chosen)) and labels[chosen].bincount(minlength=3).tolist() == expected
    assert places(labels, None) == list(range(22))


def test_a_smaller_part_is_in_a_larger_one_and_another_seed_gives_another():
    labels = torch.randint(3, (300,))
    parts = [set(places(labels, count)) for count in (3, 10, 50, 299)]
    assert all(small < large for small, large in pairwise(parts))
    assert set(places(labels, 50, seed=1)) != parts[2]


@pytest.mark.parametrize("count", [2, 23])
def test_too_few_and_too_many_are_refused(count):
    with pytest.raises(PDEConvError, match=rf"train_images: expected 3, one of each class, to 22, .* got {count}"):
        places(torch.arange(22) % 3, count)


def test_an_epoch_of_a_part_has_its_images_and_the_test_set_is_whole():
    whole = load_data(DataConfig("digits", augment=False), "classification", 0)
    data = load_data(DataConfig("digits", augment=False, train_images=25), "classification", 7)
    assert len(data.train) == 25 and len(data.test) == len(whole.test)
    images, labels = data.train.batch(torch.arange(25), 0)
    assert sorted(labels.bincount().tolist()) == [2] * 5 + [3] * 5
    known = whole.train.batch(torch.arange(len(whole.train)), 0)[0]
    assert torch.cdist(images.flatten(1), known.flatten(1)).min(1).values.max() < 0.05
    again = load_data(DataConfig("digits", augment=False, train_images=25), "classification", 8)
    assert torch.equal(images, again.train.batch(torch.arange(25), 3)[0]), "whatever the seed of the run"


@pytest.mark.parametrize("memory", [4.0, 0.0])
def test_a_part_of_ones_own_folders(tmp_path, memory):
    for part, count in (("train", 5), ("test", 2)):
        for name in ("cats", "dogs"):
            (tmp_path / part / name).mkdir(parents=True)
            for place in range(count if name == "cats" else 2):
                pixels = np.full((6, 6, 3), 20 * place, np.uint8)
                Image.fromarray(pixels).save(tmp_path / part / name / f"{place}.png")
    settings = DataConfig("image_folder", root=str(tmp_path), image_size=4, train_images=6, memory_gib=memory)
    data = load_data(settings, "classification", 0)
    labels = data.train.batch(torch.arange(6), 0)[1]
    assert labels.bincount().tolist() == [4, 2] and len(data.test) == 4
    settings.train_images = 8
    with pytest.raises(PDEConvError, match=r"to 7, all that image_folder has"):
        _ = load_data(settings, "classification", 0).train


def test_a_square_around_a_random_pixel_is_erased_as_far_as_it_is_inside():
    images = torch.ones(2, 3, 5, 8)
    after = erased(images, torch.tensor([[0.5, 0.5], [0.0, 0.999]]), 2)
    assert (after[0, 0] == 0).nonzero().tolist() == [[1, 3], [1, 4], [2, 3], [2, 4]]
    assert (after[1, 0] == 0).nonzero().tolist() == [[0, 6], [0, 7]]
    assert torch.equal(after[:, 0], after[:, 2]) and images.min() == 1
    shares = (erased(torch.ones(4000, 1, 8, 8), uniform(0, torch.arange(4000), 2), 3) == 0).float().mean(0)[0]
    assert (shares[3:5, 3:5] - 9 / 64).abs().max() < 0.02 < shares[3, 3] - shares[0, 0]


def test_erasing_depends_on_seed_and_index_alone_and_spares_the_test_set():
    def load(**options):
        return load_data(DataConfig("digits", **options), "classification", 0)

    plain, hidden = load(), load(erase=0.5)
    indices = torch.randperm(1437)[:40]
    before, after = plain.train.batch(indices, 3)[0], hidden.train.batch(indices, 3)[0]
    gone = after == 0
    assert torch.equal(after[~gone], before[~gone]), "what is not erased is augmented as ever"
    assert gone.flatten(1).sum(1).max() <= 16 and gone.flatten(1).sum(1).min() >= 4
    assert torch.equal(after.flip(0), hidden.train.batch(indices.flip(0), 3)[0])
    assert not torch.equal(after, hidden.train.batch(indices, 4)[0])
    assert torch.equal(plain.test.batch(indices[:9] % 360, 0)[0], hidden.test.batch(indices[:9] % 360, 0)[0])
    assert (load(erase=1.0, augment=False).train.batch(indices, 3)[0] == 0).float().mean() > 0.5


@pytest.mark.parametrize("erase", [-0.1, 16.0, float("nan")])
def test_slips(erase):
    with pytest.raises(PDEConvError, match=r"data\.erase: expected a share of the side"):
        DataConfig("digits", erase=erase)
    with pytest.raises(PDEConvError, match=r"data\.train_images: expected 1 or more"):
        DataConfig("digits", train_images=0)
    for given in ({"erase": 0.2}, {"train_images": 5}):
        with pytest.raises(PDEConvError, match=f"data.{next(iter(given))} is for classification"):
            load_data(DataConfig("photographs", **given), "denoising", 0)
