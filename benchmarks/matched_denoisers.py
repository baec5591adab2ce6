"""The small multiscale denoiser against a DnCNN of as many parameters: same recipe, same wall time, several seeds.

python benchmarks/matched_denoisers.py --train FOLDER --test FOLDER [--minutes 4] [--seeds 3]

Both are told the noise level (DnCNN as a second channel, as in FFDNet), and are trained on the same random patches with
noise of σ in [0, 55] by the same loss, optimiser, schedule and running average, in bf16, channels last. The schedule
runs by the clock, so both end it: by the time of the processor, which on one thread of an idle machine is the time on
the wall, and is fair on a busy one; start-up is not counted. ``--lr`` sets learning rates to try for DnCNN, each with
every seed; the multiscale denoiser has that of its configuration.

References:
    K. Zhang et al. Beyond a Gaussian denoiser: residual learning of deep CNN for image denoising. IEEE TIP 26(7), 2017.
    K. Zhang, W. Zuo, L. Zhang. FFDNet: toward a fast and flexible solution for CNN-based denoising. IEEE TIP 27(9),
    2018.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from pdeconv import create_model
from pdeconv.training.config import OptimizerConfig
from pdeconv.training.denoising import Denoising
from pdeconv.training.image_files import list_images, read_image
from pdeconv.training.image_quality import quality
from pdeconv.training.noise import EIGHT_BIT, noisy_test_image
from pdeconv.training.optimization import WeightAverage, build_optimizer, learning_rate
from pdeconv.training.photographs import Patches

SIGMAS = (15, 25, 50)
BATCH, SIDE, TICKS = 16, 64, 100_000


class DnCNN(nn.Module):
    """f − R(f, σ): ``layers`` convolutions, batch normalisation and ReLU between them."""

    def __init__(self, channels: int = 16, layers: int = 10) -> None:
        super().__init__()
        inner = [
            module
            for _ in range(layers - 2)
            for module in (nn.Conv2d(channels, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels), nn.ReLU())
        ]
        self.residual = nn.Sequential(
            nn.Conv2d(2, channels, 3, padding=1), nn.ReLU(), *inner, nn.Conv2d(channels, 1, 3, padding=1)
        )

    def forward(self, noisy: Tensor, sigma: float | Tensor) -> Tensor:
        level = sigma.reshape(-1, 1, 1, 1) if isinstance(sigma, Tensor) else noisy.new_full((), sigma)
        told = torch.cat((noisy, level.expand_as(noisy)), 1).contiguous(memory_format=torch.channels_last)
        return noisy - self.residual(told).to(noisy.dtype)


def trained(build: Callable[[], nn.Module], patches: Patches, minutes: float, lr: float, seed: int) -> nn.Module:
    """A network after so many minutes; the schedule goes by the clock."""
    torch.manual_seed(seed)
    network = build().to(memory_format=torch.channels_last)  # pyright: ignore
    config = OptimizerConfig(name="adamw", lr=lr, schedule="cosine", warmup=0.01, clip_norm=1.0)
    optimizer, task = build_optimizer(network, config), Denoising((0.0, 55.0), SIGMAS, criterion="psnr")
    average = WeightAverage(network, 0.999)
    generator = torch.Generator().manual_seed(seed)
    steps, start = 0, 0.0
    while True:
        if steps == 3:  # the first steps set up the libraries
            start = time.process_time()
        share = (time.process_time() - start) / (60 * minutes) if start else 0.0
        if share >= 1:
            break
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(config, int(share * TICKS), TICKS)
        indices = torch.randint(1 << 30, (BATCH,), generator=generator)
        clean, _ = patches.batch(indices, seed)
        with torch.autocast("cpu", torch.bfloat16):
            loss = task.loss(network, clean, clean, seed=seed + 1000 * steps)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        steps += 1
        average.update(steps)
    print(f"  {steps} steps", end="", flush=True)
    network.eval()
    with average.applied():
        weights = {key: value.clone() for key, value in network.state_dict().items()}
    network.load_state_dict(weights)
    return network


def tested(network: nn.Module, clean: list[Tensor]) -> list[float]:
    """The mean PSNR at each noise level."""
    with torch.no_grad():
        return [
            statistics.mean(
                float(quality(network(noisy_test_image(image, sigma, place), sigma / EIGHT_BIT), image)[0])
                for place, image in enumerate(clean)
            )
            for sigma in SIGMAS
        ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--train", required=True, help="folder of training pictures")
    parser.add_argument("--test", required=True, help="folder of test pictures")
    parser.add_argument("--minutes", type=float, default=4.0, help="of training, for each network and seed")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--lr", type=float, nargs="+", default=[1e-3, 3e-3], help="learning rates to try for DnCNN")
    options = parser.parse_args()
    torch.set_num_threads(1)
    images = [read_image(path, "gray") for path in list_images(Path(options.train))]
    patches = Patches.of(images, SIDE, 1 << 30, augment=True)
    test = [read_image(path, "gray")[None] for path in list_images(Path(options.test))]
    contenders: dict[str, tuple[Callable[[], nn.Module], float]] = {
        "multiscale_denoiser_small": (lambda: create_model("multiscale_denoiser_small"), 6e-3)
    }
    contenders |= {f"DnCNN, lr {lr:g}": (DnCNN, lr) for lr in options.lr}
    results: dict[str, list[list[float]]] = {name: [] for name in contenders}
    for seed in range(options.seeds):
        for name, (build, lr) in contenders.items():
            print(f"{name}, seed {seed}:", end="", flush=True)
            network = trained(build, patches, options.minutes, lr, seed)
            results[name].append(tested(network, test))
            print("  PSNR " + ", ".join(f"{value:.2f}" for value in results[name][-1]), flush=True)
    print(f"\n{options.minutes:g} minutes on one thread, {options.seeds} seeds: mean (least to most)")
    for name, (build, _) in contenders.items():
        count = sum(weight.numel() for weight in build().parameters())
        columns = zip(*results[name], strict=True)
        cells = [f"{statistics.mean(column):.2f} ({min(column):.2f} to {max(column):.2f})" for column in columns]
        print(
            f"{name}, {count:,} parameters: " + "; ".join(f"σ = {s}: {c}" for s, c in zip(SIGMAS, cells, strict=True))
        )


if __name__ == "__main__":
    main()
