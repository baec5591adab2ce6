"""Images as arrays: of NumPy or PyTorch, of any type, axes in any order; as a state (B, C, *S), and back again.

A filter computes on a floating-point state with one channel axis; a user holds bytes, a NumPy array, channels last, a
stack of frames. :func:`read_image` gives the state and remembers what the image was, and :meth:`ImageArray.restore`
gives a state the form of the image.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pdeconv.errors import PDEConvError

Image = TypeVar("Image", NDArray, Tensor)


@dataclass(frozen=True)
class ImageArray(Generic[Image]):
    """A state, and the form of the image that it was read from; made by :func:`read_image`.

    Attributes:
        state: (B, C, *S), float32 or float64, on the image's device; it may share the image's memory.
        peak: What 1 in the state is in the image: 255 for bytes, 1 for bool and floating-point numbers.
    """

    state: Tensor
    peak: int
    _lead: tuple[int, ...]  # the axes before the channel axis
    _channel_axis: int | None
    _form: Callable[[Tensor, bool], Image]

    def restore(self, state: Tensor, own_type: bool = False) -> Image:
        """``state`` with the axes, library and device of the image, in memory of its own.

        Args:
            state: (B, C, *S), of the batch and the channels of :attr:`state`; the cells may be others.
            own_type: Give integers and bool as such, rounded and clipped to their range. By default they become
                floating-point numbers, in which the largest integer is 1. Other images keep their type in any case.
        """
        image = state.reshape(*self._lead, *state.shape[1:])
        channel = len(self._lead)
        image = image.squeeze(channel) if self._channel_axis is None else image.movedim(channel, self._channel_axis)
        return self._form(image, own_type)


def read_image(
    name: str, image: Image, channel_axis: int | None = None, dims: int | None = None, most_dims: int = 3
) -> ImageArray[Image]:
    """Read ``image`` as a state.

    Integers and bool become floating-point numbers as scikit-image's ``img_as_float`` makes them: the largest of the
    type is 1, and the least of a signed type −1. Floating-point images keep their values; half precision is computed
    in float32.

    Args:
        name: Who reads it, for the messages of errors.
        image: (H, W), or with more or fewer axes; of floating-point numbers, integers or bool.
        channel_axis: Which axis holds channels; None if there are none.
        dims: Number of spatial axes, the last ones beside the channel axis; those before count a batch. By default all.
        most_dims: The most spatial axes that are of use.

    Raises:
        PDEConvError: If it is no image: another type, no cells, too many axes, an axis that is not there, NaN or inf.

    Example:
        >>> photo = read_image("example", np.array([[[0, 51, 255]]], dtype=np.uint8), channel_axis=-1)
        >>> photo.state.shape, photo.peak
        (torch.Size([1, 3, 1, 1]), 255)
        >>> photo.restore(photo.state)
        array([[[0. , 0.2, 1. ]]])
        >>> photo.restore(0.9 * photo.state, own_type=True)
        array([[[  0,  46, 230]]], dtype=uint8)
    """
    if isinstance(image, Tensor):
        values, peak, form = _read_tensor(name, image)
    elif isinstance(image, np.ndarray):
        values, peak, form = _read_array(name, image)
    else:
        raise PDEConvError(
            f"{name} needs an image as a NumPy array or a tensor, but got {type(image).__name__}; give "
            "np.asarray(image)."
        )
    channel = _checked_channel_axis(name, values, channel_axis)
    values = values.unsqueeze(0) if channel is None else values.movedim(channel, 0)
    axes = values.dim() - 1
    whole = isinstance(dims, int | np.integer) and not isinstance(dims, bool)
    if dims is not None and (not whole or dims not in range(1, most_dims + 1)):
        raise PDEConvError(
            f"{name} needs dims from 1 to {most_dims}, the number of spatial axes, but got dims={dims!r}."
        )
    spatial = axes if dims is None else dims
    if not 1 <= spatial <= min(axes, most_dims):
        beside = "" if channel is None else " beside the channel axis"
        raise PDEConvError(
            f"{name} needs an image of 1 to {most_dims} spatial axes, but got shape {tuple(image.shape)}, {axes} of "
            f"them{beside}, and dims={dims}; name the axis of colours by channel_axis, and for a batch of images give "
            "dims, the number of axes of one."
        )
    if values.numel() == 0:
        raise PDEConvError(f"{name} needs an image of at least one pixel, but got shape {tuple(image.shape)}.")
    if not bool(values.isfinite().all()):
        raise PDEConvError(
            f"{name} needs finite values, but the image holds NaN or inf; replace them, for example by "
            "np.nan_to_num(image) or torch.nan_to_num(image)."
        )
    lead = tuple(values.shape[1 : 1 + axes - spatial])
    state = values.movedim(0, len(lead)).reshape(-1, values.shape[0], *values.shape[1 + axes - spatial :])
    return ImageArray(state, peak, lead, channel, cast("Callable[[Tensor, bool], Image]", form))


def _checked_channel_axis(name: str, values: Tensor, channel_axis: int | None) -> int | None:
    if channel_axis is None:
        return None
    axes = values.dim()
    if not isinstance(channel_axis, int) or isinstance(channel_axis, bool) or not -axes <= channel_axis < axes:
        raise PDEConvError(
            f"{name} got channel_axis={channel_axis!r} for an image of shape {tuple(values.shape)}; give an axis from "
            f"{-axes} to {axes - 1}, or None for an image without channels."
        )
    return channel_axis % axes


def _read_tensor(name: str, image: Tensor) -> tuple[Tensor, int, Callable[[Tensor, bool], Tensor]]:
    dtype = image.dtype
    if dtype.is_complex:
        raise PDEConvError(f"{name} needs real values, but got {dtype}; filter image.real and image.imag.")
    if dtype.is_floating_point:
        wide = image.to(torch.promote_types(dtype, torch.float32))
        return wide, 1, lambda u, own_type: _own_memory(u.to(dtype))
    peak = 1 if dtype == torch.bool else torch.iinfo(dtype).max

    def form(u: Tensor, own_type: bool) -> Tensor:
        if not own_type:
            return _own_memory(u)
        if dtype == torch.bool:
            return u >= 0.5
        return torch.from_numpy(_as_integers(u.detach().cpu().numpy(), np.dtype(str(dtype)[6:]))).to(u.device)

    return (image.to(torch.get_default_dtype()) / peak).clamp(min=-1), peak, form


def _read_array(name: str, image: NDArray) -> tuple[Tensor, int, Callable[[Tensor, bool], NDArray]]:
    dtype = image.dtype
    if dtype.kind not in "biuf":
        raise PDEConvError(
            f"{name} needs an image of floating-point numbers, integers or bool, but got {dtype}; give "
            "image.astype(float), or the real and the imaginary part."
        )
    # Contiguous, native and writable, which PyTorch asks for; float64 for integers, as scikit-image gives.
    wide = np.dtype(np.float32 if dtype.kind == "f" and dtype.itemsize <= 4 else np.float64)
    values = np.ascontiguousarray(image, dtype=wide)
    values = torch.from_numpy(values if values.flags.writeable else values.copy()).reshape(image.shape)
    if dtype.kind == "f":
        return values, 1, lambda u, own_type: _own_memory(u.detach()).cpu().numpy().astype(dtype, copy=False)
    peak = 1 if dtype.kind == "b" else int(np.iinfo(dtype).max)

    def form(u: Tensor, own_type: bool) -> NDArray:
        found = _own_memory(u.detach()).cpu().numpy()
        if not own_type:
            return found
        return found >= 0.5 if dtype.kind == "b" else _as_integers(found, dtype)

    return (values / peak).clamp(min=-1), peak, form


def _own_memory(u: Tensor) -> Tensor:
    return u.clone(memory_format=torch.contiguous_format)


def _as_integers(values: NDArray, dtype: np.dtype) -> NDArray:
    """``values``, in which the largest integer of ``dtype`` is 1, as such integers."""
    limits = np.iinfo(dtype)
    scaled = np.rint(values.astype(np.float64) * limits.max)
    clipped = np.clip(scaled, limits.min, np.nextafter(float(limits.max), 0) if limits.bits == 64 else limits.max)
    return clipped.astype(dtype)
