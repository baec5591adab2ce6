"""PDE networks against plain ResNets of as many parameters and multiply-adds: same recipe, same epochs, several seeds.

python benchmarks/matched_classifiers.py --root FOLDER_OF_CIFAR-10 --runs FOLDER [--epochs 15] [--seeds 3]

Two comparisons, each by the recipe of configs/classify/cifar10.yaml with another number of epochs:

families  ``adr_residual_classifier`` with its default options, against ``resnet_classifier`` in two shapes whose
          parameters and multiply-adds are those of it to 1 %;
depth     the honest control for continuous depth: one ODE block a stage, solved in several steps with shared weights,
          against the same block taken once (as many parameters, fewer multiply-adds), and against as many plain blocks
          as there are evaluations of f (as many multiply-adds, more parameters).

Figures are the accuracy after the last epoch, mean and range over the seeds. Runs are kept in ``--runs``: a benchmark
that was interrupted goes on where it stopped.
"""

import argparse
from pathlib import Path

from contenders import Contender, trained

CONFIG = "configs/classify/cifar10.yaml"


def plain(title: str, **options: object) -> Contender:
    """``resnet_classifier`` with options."""
    keys = {"model.name": "resnet_classifier"} | {f"model.{option}": value for option, value in options.items()}
    return Contender(title, CONFIG, keys)


NARROW = [8, 16, 32]  # what time does to a block shows in a small network too

CONTENDERS = {
    "families": (
        Contender("adr_residual_classifier", CONFIG),
        plain("plain, three stages", widths=[12, 26, 70], depths=[1, 1, 2]),
        plain("plain, four stages", widths=[20, 28, 46, 88], depths=[1, 1, 1, 1]),
    ),
    "depth": (
        plain("ODE block, 4 Euler steps", widths=NARROW, depths=[1, 2, 2], steps=4),
        plain("the same block, once", widths=NARROW, depths=[1, 2, 2]),
        plain("4 plain blocks", widths=NARROW, depths=[4, 5, 5]),
    ),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", required=True, help="folder that holds cifar-10-batches-py")
    parser.add_argument("--runs", required=True, help="folder of the runs")
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--precision", default="no", help="as of train.py")
    parser.add_argument("--only", choices=list(CONTENDERS), help="one comparison alone")
    parser.add_argument("--jobs", type=int, default=1, help="runs at once; their times are then worth less")
    parser.add_argument("--train-images", type=int, help="of a smoke test; by default all")
    given = parser.parse_args()
    if given.jobs < 1:
        parser.error(f"--jobs: expected 1 or more, got {given.jobs}")
    for comparison in [given.only] if given.only else CONTENDERS:
        print(f"\n{comparison}: {given.epochs} epochs, {given.seeds} seeds; top-1 in %, mean (least to most)")
        keys = {"data.root": given.root, "epochs": given.epochs, "precision": given.precision}
        if given.train_images is not None:
            keys["data.train_images"] = given.train_images
        contenders = CONTENDERS[comparison]
        runs = trained(contenders, Path(given.runs), given.seeds, keys, given.jobs)
        for contender in contenders:
            print(contender.row(runs[contender.title], (3, 32, 32)), flush=True)


if __name__ == "__main__":
    main()
