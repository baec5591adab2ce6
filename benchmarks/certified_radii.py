"""Certified ℓ2 radii of a nonexpansive network on Fashion-MNIST, and an attack that must not beat them.

python benchmarks/certified_radii.py --root FOLDER_OF_Fashion-MNIST [--steps 2000] [--images 1000] [--ceiling 1]

``parabolic_classifier`` without normalisation, whose evolutions part no two states, trained by AdamW,
batches of 128, one cycle. Stem and transitions have Lipschitz constants of at most ``--ceiling`` each; with 0 they are
left free. Pixels are in [0, 1], not normalised, so radii are in units of pixels. The attack is
projected gradient descent of 50 steps from 2 random starts, at the certified radius of each image, and at multiples,
where it is to succeed sooner or later: else it would say nothing.
"""

import argparse
import time

import torch
from torch import nn

from pdeconv import create_model, limit_lipschitz
from pdeconv.analysis import attack_within, certified_radii
from pdeconv.analysis.certificate import features_bound
from pdeconv.training.data import load_data
from pdeconv.training.data_config import DataConfig
from pdeconv.training.labelled_images import LabelledImages


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", required=True, help="folder that holds FashionMNIST/raw")
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--images", type=int, default=1000, help="test images")
    parser.add_argument("--ceiling", type=float, default=0.0, help="of stem and transitions; 0: none")
    parser.add_argument("--temperature", type=float, default=1.0, help="logits are divided by it in the loss")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    data = load_data(DataConfig("fashion_mnist", root=given.root), "classification", given.seed)
    assert isinstance(data.train, LabelledImages) and isinstance(data.test, LabelledImages)
    images, labels = data.train.pixels.float() / 255, data.train.labels
    torch.manual_seed(given.seed)
    net = create_model("parabolic_classifier", in_channels=1, widths=(16, 32, 64), norm_layer=nn.Identity)
    if given.ceiling > 0:
        for part in (net.stem, *(stage[0] for stage in list(net.stages)[1:])):
            limit_lipschitz(part, given.ceiling)
    optimizer = torch.optim.AdamW(net.parameters(), lr=4e-3, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, total_steps=given.steps)
    start = time.perf_counter()
    for _ in range(given.steps):
        chosen = torch.randint(0, len(images), (128,))
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(images[chosen]) / given.temperature, labels[chosen]).backward()
        optimizer.step()
        schedule.step()
    print(f"trained in {time.perf_counter() - start:.0f} s, {sum(w.numel() for w in net.parameters()):,} parameters")
    net.eval()
    tested, named = data.test.pixels[: given.images].float() / 255, data.test.labels[: given.images]
    found = certified_radii(net, tested)
    right = found.labels == named
    print(f"Lipschitz bound of the features {features_bound(net):.3g}")
    print(f"accuracy on {len(tested):,} test images {100 * right.float().mean():.1f} %")
    quartiles = torch.quantile(found.radii, torch.tensor([0.25, 0.5, 0.75])).tolist()
    print("certified radii, quartiles: " + ", ".join(f"{value:.4f}" for value in quartiles))
    for radius in (0.05, 0.1, 0.25, 0.5):
        share = (right & (found.radii >= radius)).float().mean()
        print(f"certified accuracy at ‖δ‖ ≤ {radius}: {100 * share:.1f} %")
    for factor in (1, 2, 4, 8, 16, 32):
        broken = sum(
            int(attack_within(net, x, y, factor * r, steps=50, restarts=2).sum())
            for x, y, r in zip(tested.split(250), found.labels.split(250), found.radii.split(250), strict=True)
        )
        print(
            f"attack at {factor} × the certified radius: {broken} of {len(tested):,} images change their class",
            flush=True,
        )


if __name__ == "__main__":
    main()
