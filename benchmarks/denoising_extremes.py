"""The shipped denoisers where they were not trained: no noise, too much noise, any size.

python benchmarks/denoising_extremes.py --test FOLDER [--largest 4000 3000]

For each: PSNR of the output at σ = 0 against the clean input, and at σ = 65 and 75 (training ended at 55) beside that
of the noisy input, with σ given and estimated, in means over the pictures; and sizes from 1 x 1 on, each finite, of the
same shape, and, where the sides are multiples of the coarsest grid's cells, in the energy ball of its input.
"""

import argparse
import statistics
import time
from pathlib import Path

import numpy as np
import torch

from pdeconv import create_model, denoise, list_pretrained
from pdeconv.training.image_files import list_images, read_image
from pdeconv.training.image_quality import quality
from pdeconv.training.noise import EIGHT_BIT, noisy_test_image

SIZES = ((1, 1), (1, 2), (2, 1), (3, 5), (1, 300), (7, 7), (8, 8), (17, 31), (256, 255))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--test", required=True, help="folder of gray test pictures")
    parser.add_argument(
        "--largest", type=int, nargs=2, default=(4000, 3000), help="width and height of a large picture"
    )
    options = parser.parse_args()
    clean = [read_image(path, "gray")[None] for path in list_images(Path(options.test))]
    for name in [name for name, channels in list_pretrained() if channels == 1]:
        model = create_model(name, pretrained=True).eval()
        for sigma in (0, 65, 75):
            scores = []
            for index, image in enumerate(clean):
                noisy = noisy_test_image(image, sigma, index)
                with torch.no_grad():
                    found = [model(noisy, sigma / EIGHT_BIT), model(noisy), noisy]
                scores.append([float(quality(one, image)[0]) for one in found])
            given, estimated, before = (statistics.mean(column) for column in zip(*scores, strict=True))
            least = min(score[0] for score in scores)
            print(f"{name}, σ = {sigma}: {given:.2f} dB, at least {least:.2f}; σ estimated {estimated:.2f}, ", end="")
            print(f"noisy {before:.2f}")
        for size in (*SIZES, tuple(reversed(options.largest))):
            noisy = np.random.default_rng(0).normal(0.5, 0.1, size).astype(np.float32)
            start = time.perf_counter()
            found = denoise(noisy, 0.1, model=model)
            assert found.shape == size and np.isfinite(found).all(), f"{name} fails at {size}"
            if all(side % model.multiple == 0 for side in size):
                mean = noisy.mean(dtype=np.float64)
                assert np.linalg.norm(found - mean) <= np.linalg.norm(noisy - mean), f"{name} leaves the ball at {size}"
            print(f"{name}, {size[0]} x {size[1]}: std {noisy.std():.4f} to {found.std():.4f}, ", end="")
            print(f"{time.perf_counter() - start:.2f} s")


if __name__ == "__main__":
    main()
