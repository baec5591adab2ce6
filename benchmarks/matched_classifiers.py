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
import statistics
from dataclasses import dataclass, field
from pathlib import Path

from training_runs import last_test, multiply_adds, train, training_seconds

from pdeconv import create_model

CONFIG = "configs/classify/cifar10.yaml"


@dataclass(frozen=True)
class Contender:
    """A model with options, as ``train.py`` takes them."""

    title: str
    model: str
    options: dict[str, object] = field(default_factory=dict)

    @property
    def folder(self) -> str:
        return self.title.replace(" ", "_").replace(",", "")


CONTENDERS = {
    "families": (
        Contender("adr_residual_classifier", "adr_residual_classifier"),
        Contender("plain, three stages", "resnet_classifier", {"widths": [12, 26, 70], "depths": [1, 1, 2]}),
        Contender("plain, four stages", "resnet_classifier", {"widths": [20, 28, 46, 88], "depths": [1, 1, 1, 1]}),
    ),
    "depth": (
        Contender("ODE block, 4 Euler steps", "resnet_classifier", {"depths": [2, 2, 2], "steps": 4}),
        Contender("the same block, once", "resnet_classifier", {"depths": [2, 2, 2]}),
        Contender("4 plain blocks", "resnet_classifier", {"depths": [5, 5, 5]}),
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
    parser.add_argument("--train-images", type=int, help="of a smoke test; by default all")
    given = parser.parse_args()
    for comparison in [given.only] if given.only else CONTENDERS:
        print(f"\n{comparison}: {given.epochs} epochs, {given.seeds} seeds; top-1 in %, mean (least to most)")
        for contender in CONTENDERS[comparison]:
            folders = [Path(given.runs) / f"{contender.folder}_{seed}" for seed in range(given.seeds)]
            for seed, folder in enumerate(folders):
                keys = {"model.name": contender.model, "data.root": given.root, "epochs": given.epochs, "seed": seed}
                keys["precision"] = given.precision
                keys |= {f"model.{option}": value for option, value in contender.options.items()}
                if given.train_images is not None:
                    keys["data.train_images"] = given.train_images
                train(folder, CONFIG, keys)
            print(row(contender, folders), flush=True)


def row(contender: Contender, folders: list[Path]) -> str:
    """Accuracy, size, cost and time of one contender."""
    model = create_model(contender.model, **contender.options)
    parameters = sum(weight.numel() for weight in model.parameters())
    millions = multiply_adds(model, (3, 32, 32)) / 1e6
    found = [last_test(folder)["top1"] for folder in folders]
    minutes = statistics.mean(training_seconds(folder) for folder in folders) / 60
    return (
        f"{contender.title:26} {parameters:8,} parameters  {millions:6.2f} M multiply-adds  "
        f"{statistics.mean(found):.2f} ({min(found):.2f} to {max(found):.2f})  {minutes:.1f} min"
    )


if __name__ == "__main__":
    main()
