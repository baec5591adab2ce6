"""Filtering an image of 100 megapixels tile by tile: peak memory, speed, and whether it is the whole image's result.

Perona and Malik's diffusion of a synthetic gray image. The peak is of the process's resident memory, beyond what it
held before with the input and the place for the result.

python benchmarks/large_image.py [--size 10000] [--tile 1024] [--steps 10]
"""

import argparse
import platform
import resource
import time

import torch
from torch import Tensor

from pdeconv import Diffusion, Euler, Evolve, Fixed, PeronaMalik, evolve_in_tiles


def synthetic_image(size: int) -> Tensor:
    """Waves of a slowly changing length, and noise, in [0, 1]; row by row, so that it takes no memory but its own."""
    image = torch.empty(1, 1, size, size)
    x = torch.linspace(0, 1, size)
    for row, y in zip(image[0, 0], x, strict=True):
        torch.sin(40 * (x - y) * (x + y) * (1 + x), out=row)
        row.mul_(0.4).add_(0.1 * torch.rand(size)).add_(0.45)
    return image


def resident_peak() -> int:
    """The most memory that this process held, in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if platform.system() == "Darwin" else peak * 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=10000, help="cells along each of two axes")
    parser.add_argument("--tile", type=int, default=1024, help="cells of a tile along each axis, without its halo")
    parser.add_argument("--steps", type=int, default=10, help="time steps")
    options = parser.parse_args()
    torch.manual_seed(0)
    evolve = Evolve(Euler(Diffusion(PeronaMalik(1))), 0.2 * options.steps, Fixed(options.steps))
    u = synthetic_image(options.size)
    out = torch.zeros_like(u).fill_(-1.0)  # in memory, not only promised
    before = resident_peak()
    start = time.perf_counter()
    evolve_in_tiles(evolve, u, options.tile, out)
    took = time.perf_counter() - start
    extra = resident_peak() - before
    megapixels = options.size**2 / 1e6
    print(f"{evolve.step.name}, {evolve.steps} steps, {options.size} × {options.size} float32, tiles of {options.tile}")
    print(f"{platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}")
    print(f"input and result  {2 * u.numel() * 4 / 2**20:8.0f} MiB")
    print(f"peak beyond them  {extra / 2**20:8.0f} MiB")
    print(f"time              {took:8.1f} s, {megapixels / took:.1f} megapixels/s")

    # Around a corner where four tiles meet; what lies farther from the crop's edges than the steps reach must be equal.
    halo = evolve.steps * int(evolve.step.radius)
    low = max(0, min(options.tile, options.size // 2) - 400)
    window = slice(low, low + 800)
    with torch.no_grad():
        whole = evolve(u[..., window, window])
    inner = slice(halo, -halo)
    equal = torch.equal(whole[..., inner, inner], out[..., window, window][..., inner, inner])
    print(f"bit-equal to the image that is not cut, on {whole.shape[-1] - 2 * halo}²: {equal}")


if __name__ == "__main__":
    main()
