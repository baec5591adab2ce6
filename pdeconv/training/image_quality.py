"""How close an estimate is to the clean image: PSNR and SSIM, one value an image."""

import torch
from torch import Tensor

ROWS = 11  # of the window
SMALLEST_SIDE = 6  # the window reaches 5 pixels beyond the edge


def peak_signal_to_noise(estimate: Tensor, clean: Tensor) -> Tensor:
    """PSNR in dB of each image, (B,); see `quality`."""
    from torchmetrics.functional.image import peak_signal_noise_ratio

    estimate = _in_range(estimate, clean)
    return peak_signal_noise_ratio(
        estimate, clean.float(), data_range=1.0, reduction="none", dim=tuple(range(1, clean.dim()))
    )


def quality(estimate: Tensor, clean: Tensor) -> tuple[Tensor, Tensor]:
    """PSNR in dB and SSIM of each image, for values of the range 1.

    The estimate is clipped to [0, 1] first, as a picture on a screen or in a file is, and as published tables do; this
    is done for every method alike. Where the clean sample reaches beyond [0, 1], as one of a test may that was scaled
    by the range of the training samples, so may the estimate. SSIM uses the usual Gaussian window of 11 × 11 pixels,
    σ = 1.5; it is not a number for an image too small for that window's reflection. Of volumes the window has three
    axes, of signals one.

    Args:
        estimate: (B, C, *S).
        clean: (B, C, *S) with values in or about [0, 1].

    Returns:
        (B,) and (B,).
    """
    from torchmetrics.functional.image import structural_similarity_index_measure

    psnr = peak_signal_to_noise(estimate, clean)
    if min(clean.shape[2:]) < SMALLEST_SIDE:
        return psnr, torch.full_like(psnr, float("nan"))
    if clean.dim() == 3:  # an image whose rows are all the signal: the window adds them up to one
        estimate, clean = (signal[:, :, None].expand(-1, -1, ROWS, -1) for signal in (estimate, clean))
    estimate = _in_range(estimate, clean)
    ssim = structural_similarity_index_measure(estimate, clean.float(), data_range=1.0, reduction="none")
    return psnr, torch.as_tensor(ssim).reshape(-1)


def _in_range(estimate: Tensor, clean: Tensor) -> Tensor:
    axes = tuple(range(1, clean.dim()))
    low, high = clean.amin(axes, keepdim=True).clamp(max=0), clean.amax(axes, keepdim=True).clamp(min=1)
    return torch.minimum(torch.maximum(estimate.float(), low.float()), high.float())
