"""Law: what is read as a state is restored as it was, whatever its type, its axes and its memory."""

import itertools

import numpy as np
import pytest
import torch

from pdeconv.image_array import read_image

ARRAYS = ("bool", "uint8", "int8", "uint16", ">u2", "int32", "float16", "float32", ">f4", "float64", "longdouble")
TENSORS = (torch.bool, torch.uint8, torch.int16, torch.int32, torch.bfloat16, torch.float16, torch.float64)


@pytest.mark.parametrize("dtype", ARRAYS)
def test_an_array_is_restored(dtype):
    image = (np.random.default_rng(0).random((3, 4, 5)) * 100).astype(dtype)
    for axis in (None, 0, 1, -1):
        photo = read_image("test", image, channel_axis=axis)
        assert photo.state.shape[1] == (1 if axis is None else image.shape[axis])
        same = photo.restore(photo.state, own_type=True)
        assert np.array_equal(same, image) and same.dtype == image.dtype and same.flags.c_contiguous
        floating = photo.restore(photo.state)
        assert floating.dtype == (image.dtype if image.dtype.kind == "f" else np.float64)
        assert np.allclose(floating.astype(float) * photo.peak, image.astype(float))
        assert not np.shares_memory(floating, image) and not np.shares_memory(same, image)


@pytest.mark.parametrize("dtype", TENSORS)
def test_a_tensor_is_restored(dtype):
    image = (torch.rand(3, 4, 5) * 100).to(dtype)
    photo = read_image("test", image, channel_axis=1)
    same = photo.restore(photo.state, own_type=True)
    assert torch.equal(same, image) and same.dtype == dtype and same.is_contiguous()
    assert photo.restore(photo.state).dtype == (dtype if dtype.is_floating_point else torch.float32)
    same[:] = 0
    assert image.any()


def test_axes_of_a_batch_lead():
    image = torch.rand(2, 7, 3, 4, 5)
    for axis, dims in itertools.product((0, 2, 4), (1, 2, 3)):
        photo = read_image("test", image, channel_axis=axis, dims=dims)
        assert photo.state.dim() == 2 + dims and photo.state.shape[1] == image.shape[axis]
        assert torch.equal(photo.restore(photo.state), image)


def test_integers_are_rounded_and_clipped():
    photo = read_image("test", np.array([0, 128, 255], dtype=np.uint8))
    found = photo.restore(torch.tensor([[[-0.1, 0.5009, 1.7]]], dtype=torch.float64), own_type=True)
    assert np.array_equal(found, [0, 128, 255])
    assert read_image("test", np.array([-128, -127, 127], dtype=np.int8)).state.flatten().tolist() == [-1, -1, 1]


def test_views_and_read_only_arrays_are_read():
    image = np.random.default_rng(0).random((6, 5))[::-1, ::2]
    image.flags.writeable = False
    photo = read_image("test", image)
    photo.state.add_(1)
    assert np.array_equal(photo.restore(photo.state), image + 1) and image.max() <= 1
