"""Every registered denoiser with small options, listed once; and those that stand in for trained ones."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pdeconv.noise_level import estimate_noise_level

DENOISERS: dict[str, dict[str, object]] = {
    "adr_denoiser": dict(channels=3, steps=3),
    "energy_flow_denoiser": dict(steps=3, kernel_size=3),
    "gradient_flow_denoiser": dict(steps=3, kernel_size=3),
    "multiscale_denoiser": dict(channels=4, depth=2),
    "reaction_diffusion_denoiser": dict(steps=2, kernel_size=3),
}


class Blur(nn.Module):
    """What a denoiser has to be, and no more; ``calls`` counts its tiles.

    Moves towards the mean of 3 × 3 pixels, the more the noisier. With coarse grids it adds what the mean of
    blocks of 4 × 4 pixels says.
    """

    radius, multiple = 1, 1

    def __init__(self, in_channels: int = 1, coarse: bool = False) -> None:
        super().__init__()
        self.in_channels, self.calls = in_channels, 0
        self.weight = nn.Parameter(torch.full((in_channels, 1, 3, 3), 1 / 9))
        self.dropout = nn.Dropout(0.5)
        if coarse:
            self.radius, self.multiple = 4, 4

    def forward(self, noisy: Tensor, sigma: float | Tensor | None = None) -> Tensor:
        self.calls += 1
        sigma = estimate_noise_level(noisy) if sigma is None else torch.as_tensor(sigma)
        amount = (4 * sigma.to(noisy)).clamp(max=1)
        amount = amount.view(-1, 1, 1, 1) if amount.dim() < 2 else amount
        mean = F.conv2d(F.pad(noisy, (1, 1, 1, 1), mode="replicate"), self.weight, groups=self.in_channels)
        if self.multiple > 1:
            beyond = [-cells % self.multiple for cells in noisy.shape[2:]]
            blocks = F.pad(noisy, (0, beyond[1], 0, beyond[0]), mode="replicate")
            blocks = F.interpolate(F.avg_pool2d(blocks, self.multiple), scale_factor=self.multiple)
            mean = (mean + blocks[..., : noisy.shape[2], : noisy.shape[3]]) / 2
        return noisy + amount * self.dropout(mean - noisy)
