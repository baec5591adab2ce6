"""Denoising an image in one call: any array or tensor in, the same kind out."""

from __future__ import annotations

import inspect
import itertools
import math
from collections.abc import Callable, Collection
from functools import cache, partial
from typing import TYPE_CHECKING, TypeVar

import torch
from torch import Tensor, nn

from pdeconv.errors import PDEConvError, checked_count, checked_number, checked_type
from pdeconv.evaluating import evaluating
from pdeconv.models import create_model
from pdeconv.models.denoiser import LOWEST_LEVEL, Denoiser, cosine_basis
from pdeconv.noise_level import estimate_noise_level
from pdeconv.precision import without_autocast
from pdeconv.tiles import apply_in_tiles

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

Image = TypeVar("Image", "NDArray", Tensor)
PRETRAINED = "multiscale_denoiser_large"  # a gray model: colour comes apart into three gray images
TILE = 1024
HALOS = 4  # a tile is at least so many halos long, else most of the work would be done in halos
CELLS = 1 << 20  # of small images, as many at once
SYMMETRIES = 8  # of a square
FAR_FROM_ONE = 8.0  # floating-point images with larger values are hardly on the scale of [0, 1]
FAR_BELOW_ONE = 0.1  # nor, where the noise is below the least level too, those with smaller ones


def denoise(
    image: Image,
    sigma: ArrayLike | Tensor | None = None,
    *,
    channel_axis: int | None = None,
    data_range: float | None = None,
    model: nn.Module | None = None,
    tile: int | None = None,
    self_ensemble: bool = False,
) -> Image:
    """Remove additive Gaussian noise from an image, or from a stack of images.

    The last two axes, channels aside, are those of an image; all others count images, each treated by itself. Images
    larger than a tile are done tile by tile, with the same result.

    Floating-point numbers are on the scale of [0, 1], black to white, and may leave it a little; ``data_range`` gives
    another. It computes in float32 (float64 with a model of that type), but for the model, which computes in its own.

    Args:
        image: NumPy array or tensor, of floating-point numbers or integers: gray (…, H, W), or in colour with
            ``channel_axis``. A stack of no images comes back as such.
        sigma: Standard deviation of the noise, in the units of the image's values (25 for a strongly noisy image of
            bytes): a number; or one for each image, of the shape of the leading axes; or a map (…, H, W) of how it
            varies, broadcast over the leading axes. Left out, it is estimated for each image, for which a GPU is waited
            for. The least σ is 0.5/255 of ``data_range``, half a step of a byte, for the pretrained model and all of
            :class:`pdeconv.models.denoiser.Denoiser`: at σ = 0 they still smooth a little.
        channel_axis: The axis of the colours, 1 (gray) or 3 (RGB) long: −1 for (H, W, 3), −3 for (B, 3, H, W). None
            for gray images, whose every axis before the last two counts images.
        data_range: The value that means white, 0 being black; by default 1 for floating-point images, and the largest
            value of an integer type. Give 4095 for 12 bits held in uint16.
        model: Your own denoiser, ``model(noisy, sigma=sigma)`` with noisy (B, C, H, W) on the scale of [0, 1] and
            sigma (B,) or (B, 1, H, W), or ``model(noisy)``; it may take the image's ``mean`` (B, C, 1, 1) too. It is
            used in evaluation mode, on its device. One of ``model.in_channels`` = 1 takes a colour image as three gray
            ones, luma and two differences of colours: orthonormal axes, along which the noise is the same. It is
            applied in tiles if it says how far it reaches: ``model.radius`` in pixels, and the period of its coarse
            grids as ``model.multiple``. It may be compiled, or in ``nn.DataParallel``. By default the pretrained model,
            on the device of a tensor; for a NumPy array on a GPU that CUDA finds, else on the CPU.
        tile: Pixels along the sides of a tile, without its halo. Smaller ones need less memory.
        self_ensemble: Give the mean of what the model makes of the image's eight turns and flips, each undone: a little
            better, at eight times the time. What a turned image becomes is then the same, turned.

    Returns:
        The denoised image, of the same shape, type and library as ``image``, on its device. Integers are rounded and
        clipped to the range of their type, floating-point values are not clipped.

    Raises:
        PDEConvError: If the image holds NaN or ∞, has no axes for an image, or 2 or more than 3 channels; if its axes
            or values suggest colours without ``channel_axis``, or a range without ``data_range``; if ``sigma``,
            ``model`` or ``tile`` does not fit.

    References:
        R. Timofte, R. Rothe, L. Van Gool. Seven ways to improve example-based single image super resolution. CVPR 2016
        (the self-ensemble).

    Example:
        >>> import numpy as np
        >>> model = create_model("reaction_diffusion_denoiser", in_channels=1)
        >>> noisy = np.clip(np.random.default_rng(0).normal(128, 25, (64, 64)), 0, 255).astype(np.uint8)
        >>> clean = denoise(noisy, model=model)
        >>> clean.dtype, bool(clean.std() < noisy.std() / 4)
        (dtype('uint8'), True)
    """
    from pdeconv.image_array import read_image

    image = image.detach() if isinstance(image, Tensor) else image
    if _is_empty_stack(image, channel_axis):
        return image.clone() if isinstance(image, Tensor) else image.copy()
    read = read_image("denoise", image, channel_axis, dims=2, most_dims=2)
    lead = _leading_axes(image, channel_axis)
    levels = None if sigma is None else _noise_levels(sigma, lead, read.state.shape[2:])
    data_range = _checked_range(read.state, read.peak, data_range, levels, image.dtype)
    channels = read.state.shape[1]
    if channels not in (1, 3):
        raise PDEConvError(
            f"denoise needs 1 or 3 channels along channel_axis={channel_axis}, but got {channels}; take an opacity "
            "apart first, and denoise other bands as gray images."
        )
    if model is None:
        cuda = not isinstance(image, Tensor) and torch.cuda.is_available()
        model = pretrained_denoiser(torch.device("cuda") if cuda else read.state.device)
    scale = read.peak / data_range
    levels = None if levels is None else levels / data_range
    return read.restore(_denoise_state(read.state * scale, levels, model, tile, self_ensemble) / scale, own_type=True)


@cache
def pretrained_denoiser(device: torch.device) -> nn.Module:
    """The denoiser that :func:`denoise` uses, loaded once."""
    return create_model(PRETRAINED, pretrained=True).to(device).eval()


def tile_size(model: nn.Module) -> int | None:
    """Pixels of a side of a tile for ``model``; None for one that can be applied to a whole image only."""
    radius = _radius(model)
    return None if radius is None else max(TILE, HALOS * radius)


def takes_level(model: nn.Module) -> bool:
    """Whether a denoiser is told the level of the noise, or made for one."""
    return "sigma" in _arguments(model)


def _denoise_state(
    noisy: Tensor, sigma: Tensor | None, model: nn.Module, tile: int | None, self_ensemble: bool
) -> Tensor:
    """(B, C, H, W) on the scale of [0, 1], ``sigma`` (B,) or (B, 1, H, W), denoised.

    In float32, or float64 if the weights are: half precision would round an image to steps as coarse as those of bytes.
    """
    checked_type("denoise", model, nn.Module, "give one that maps (B, C, H, W) to (B, C, H, W)")
    takes_sigma = takes_level(model)
    if sigma is not None and not takes_sigma:
        raise PDEConvError(
            f"denoise got a sigma, but {type(model).__name__} is made for one level: its forward takes no sigma; "
            "leave it out."
        )
    channels = getattr(_unwrapped(model), "in_channels", noisy.shape[1])
    if channels not in (1, noisy.shape[1]):
        raise PDEConvError(
            f"denoise needs a model for images of {noisy.shape[1]} channels, but {type(model).__name__} has "
            f"in_channels={channels}."
        )
    tile = _checked_tile(model, tile, noisy.shape[2:])
    weights = [weight for weight in itertools.chain(model.parameters(), model.buffers()) if weight.is_floating_point()]
    noisy = noisy.to(torch.promote_types(weights[0].dtype, torch.float32) if weights else torch.float32)
    at_once = max(1, CELLS // math.prod(noisy.shape[2:]))
    out = torch.empty_like(noisy)
    with torch.no_grad(), evaluating(model):
        for first in range(0, len(noisy), at_once):
            part = noisy[first : first + at_once]
            level = None if sigma is None else sigma[first : first + at_once]
            if takes_sigma and level is None:
                level = estimate_noise_level(part)
            axes = None
            if channels < part.shape[1]:
                axes = cosine_basis(part.shape[1]).to(part)
                level = None if level is None else level.repeat_interleave(part.shape[1], 0)
                part = _rotated(axes, part).flatten(0, 1).unsqueeze(1)
            like = weights[0] if weights else part
            function = partial(_in_tiles, model, tile=tile, like=like)
            denoised = _mean_of_symmetries(function, part, level) if self_ensemble else function(part, level)
            denoised = denoised.reshape(-1, *noisy.shape[1:])
            if axes is not None:
                denoised = _rotated(axes.mT, denoised)
            out[first : first + at_once] = denoised
    return out


def _rotated(axes: Tensor, image: Tensor) -> Tensor:
    with without_autocast(image):
        return torch.einsum("oc,bchw->bohw", axes, image)


def _mean_of_symmetries(
    function: Callable[[Tensor, Tensor | None], Tensor], noisy: Tensor, sigma: Tensor | None
) -> Tensor:
    """The mean of what ``function`` makes of the eight turns and flips of an image, each undone."""
    total = torch.zeros_like(noisy)
    for turns, flipped in itertools.product(range(4), ([], [3])):
        level = sigma  # a map is turned too
        if sigma is not None and sigma.dim() == 4:
            level = sigma.rot90(turns, (2, 3)).flip(flipped)
        total += function(noisy.rot90(turns, (2, 3)).flip(flipped), level).flip(flipped).rot90(-turns, (2, 3))
    return total / SYMMETRIES


def _in_tiles(model: nn.Module, noisy: Tensor, sigma: Tensor | None, tile: int, like: Tensor) -> Tensor:
    """``noisy`` denoised on the device of ``like``, in its type where the model does not see to that itself."""
    channels, given, bare = noisy.shape[1], noisy.dtype, _unwrapped(model)
    taken = given if isinstance(bare, Denoiser) else like.dtype
    mean = noisy.mean((2, 3), keepdim=True) if "mean" in _arguments(model) else None  # of the image, not of a tile

    def function(part: Tensor) -> Tensor:
        part = part.to(taken)
        options = {} if mean is None else {"mean": mean.to(part)}
        if sigma is not None:
            options["sigma"] = part[:, channels:] if sigma.dim() == 4 else sigma.to(part)
        return model(part[:, :channels], **options).to(given)

    if sigma is not None and sigma.dim() == 4:  # a map is cut into the same tiles
        noisy = torch.cat((noisy, sigma.to(noisy)), dim=1)
    halo, multiple = _radius(model) or 0, getattr(bare, "multiple", 1)
    denoised = apply_in_tiles(function, noisy, tile, halo, multiple, device=like.device)
    if denoised.shape[1] != channels:
        raise PDEConvError(
            f"denoise needs a model that gives as many channels as it takes, but {type(model).__name__} made "
            f"{denoised.shape[1]} of {channels}."
        )
    return denoised


def _unwrapped(model: nn.Module) -> nn.Module:
    """The model that was compiled, or spread over devices: what it says of itself its wrapper may not."""
    while True:
        if isinstance(model, nn.DataParallel | nn.parallel.DistributedDataParallel):
            model = model.module
        elif isinstance(compiled := getattr(model, "_orig_mod", None), nn.Module):
            model = compiled
        else:
            return model


def _arguments(model: nn.Module) -> Collection[str]:
    return inspect.signature(_unwrapped(model).forward).parameters


def _radius(model: nn.Module) -> int | None:
    """How far a pixel influences others; None where the model does not say, or anywhere."""
    radius = getattr(_unwrapped(model), "radius", math.inf)
    return math.ceil(checked_number("denoise", "model.radius", radius, zero_too=True)) if radius != math.inf else None


def _checked_tile(model: nn.Module, tile: int | None, size: torch.Size) -> int:
    if tile is not None and checked_count("denoise", "tile", tile) < max(size) and _radius(model) is None:
        raise PDEConvError(
            f"denoise got tile={tile}, but {type(model).__name__} does not declare how far it reaches; set its radius, "
            "in pixels, or leave tile out."
        )
    return tile or tile_size(model) or max(size)


def _is_empty_stack(image: object, channel_axis: int | None) -> bool:
    """Whether there are no images; one without pixels is another matter."""
    shape = list(getattr(image, "shape", ()))
    if channel_axis is not None:
        if not isinstance(channel_axis, int) or not -len(shape) <= channel_axis < len(shape):
            return False  # which the reader of images explains
        shape.append(shape.pop(channel_axis))
    axes = 2 if channel_axis is None else 3
    return 0 in shape[:-axes] and 0 not in shape[-axes:]


def _leading_axes(image: NDArray | Tensor, channel_axis: int | None) -> tuple[int, ...]:
    """The axes that count images. Raises ``PDEConvError`` where they look like colours."""
    shape = list(image.shape)
    if channel_axis is not None:
        del shape[channel_axis]
        return tuple(shape[:-2])
    last = len(shape) > 2 and shape[-1] in (3, 4) and min(shape[-3:-1]) > 4
    third = len(shape) > 2 and shape[-3] == 3 and isinstance(image, Tensor)
    if last or third:
        axis = -1 if last else -3
        raise PDEConvError(
            f"denoise got shape {tuple(shape)} without channel_axis: is axis {axis} that of the colours? Then give "
            f"channel_axis={axis}; for {'narrow' if last else 'three'} gray images, give image[..., None] and "
            "channel_axis=-1."
        )
    return tuple(shape[:-2])


def _checked_range(state: Tensor, peak: int, data_range: float | None, sigma: Tensor | None, dtype: object) -> float:
    """The value that means white. Raises ``PDEConvError`` where floating-point values suggest another than 1."""
    if data_range is not None:
        return checked_number("denoise", "data_range", data_range)
    largest = float(state.abs().max()) if peak == 1 else 1.0
    faint = sigma is not None and bool(((sigma > 0) & (sigma < LOWEST_LEVEL)).all()) and largest < FAR_BELOW_ONE
    if largest > FAR_FROM_ONE or faint or 0 < largest < LOWEST_LEVEL:
        raise PDEConvError(
            f"denoise takes floating-point images on the scale of [0, 1] unless data_range says otherwise, but got "
            f"{dtype} with values {'at most' if largest < 1 else 'as large as'} {largest:g}; give data_range, the "
            "value that means white."
        )
    return float(peak)


def _noise_levels(sigma: ArrayLike | Tensor, lead: tuple[int, ...], size: torch.Size) -> Tensor:
    """``sigma`` as (B,), or as a map (B, 1, H, W)."""
    import numpy as np

    try:
        levels = sigma.detach() if isinstance(sigma, Tensor) else torch.from_numpy(np.array(sigma, np.float64))
        levels = levels.to(torch.float32 if levels.device.type == "mps" else torch.float64)
    except (TypeError, ValueError, RuntimeError) as error:
        raise PDEConvError(f"denoise needs numbers for sigma, but got {sigma!r}.") from error
    if not bool((levels.isfinite() & (levels >= 0)).all()):
        raise PDEConvError(f"denoise needs a non-negative, finite sigma, but got {sigma!r}.")
    if levels.dim() == 0 or levels.shape == lead:
        return levels.expand(lead).reshape(-1)
    if levels.shape[-2:] == size and len(levels.shape) <= len(lead) + 2:
        shape = (1,) * (len(lead) + 2 - levels.dim()) + tuple(levels.shape)
        if all(have in (1, need) for have, need in zip(shape, lead, strict=False)):
            return levels.expand(*lead, *size).reshape(-1, 1, *size)
    raise PDEConvError(
        f"denoise needs one sigma, or one for each image {lead}, or a map {(*lead, *size)}, but got an array of shape "
        f"{tuple(levels.shape)}."
    )
