"""A PDE network and a plain ResNet on few labelled images of CIFAR-10: equal recipe, several seeds.

python benchmarks/small_data.py --root FOLDER_OF_CIFAR-10 --runs FOLDER [--images 500 1000 4000] [--steps 4000]

Each is trained on as many images of each class, the same for all models and seeds, by the recipe of ``--config`` with
as many optimizer steps whatever the number of images, and tested on all 10,000 test images after its last epoch. The
default models have as many parameters and multiply-adds, to 1 %: see benchmarks/matched_classifiers.py. Another is
written as ``name:key=value:key=value``, with options as train.py takes them.

Runs are kept in ``--runs``, as MODEL_IMAGES_SEED: an interrupted benchmark goes on where it stopped, and
benchmarks/robustness.py reads them. A smoke test: ``--images 100 --steps 4 --seeds 1``.
"""

import argparse
import re
import statistics
from pathlib import Path

from training_runs import last_test, train

MODELS = ["adr_residual_classifier", "resnet_classifier:widths=[12,26,70]:depths=[1,1,2]"]


def keys_of(model: str) -> dict[str, object]:
    """The keys of train.py for ``name:key=value:key=value``."""
    name, *options = model.split(":")
    if not all("=" in option for option in options):
        raise SystemExit(f"small_data.py: expected name:key=value:key=value, got {model!r}")
    given = dict(option.split("=", 1) for option in options)
    return {"model.name": name} | {f"model.{key}": value for key, value in given.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", required=True, help="folder that holds cifar-10-batches-py")
    parser.add_argument("--runs", required=True, help="folder of the runs")
    parser.add_argument("--config", default="configs/classify/cifar10.yaml", help="the recipe")
    parser.add_argument("--models", nargs="+", default=MODELS)
    parser.add_argument("--images", type=int, nargs="+", default=[500, 1000, 4000], help="labelled images")
    parser.add_argument("--steps", type=int, default=4000, help="optimizer steps, at least; whole epochs are taken")
    parser.add_argument("--batch_size", type=int, default=100)
    parser.add_argument("--erase", type=float, default=0.0, help="cutout, as data.erase")
    parser.add_argument("--precision", default="no", help="as of train.py")
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    found: dict[tuple[str, int], list[float]] = {}
    for images in options.images:
        epochs = -(-options.steps // max(1, images // options.batch_size))
        for model in options.models:
            for seed in range(options.seeds):
                keys = keys_of(model) | {"data.root": options.root, "data.train_images": images, "seed": seed}
                keys |= {"epochs": epochs, "evaluate_every": epochs, "batch_size": options.batch_size}
                keys |= {"data.erase": options.erase, "precision": options.precision}
                title = re.sub(r"[^\w=]+", "_", model).strip("_")
                folder = Path(options.runs) / f"{title}_{images}_{seed}"
                train(folder, options.config, keys)
                found.setdefault((model, images), []).append(last_test(folder)["top1"])
                print(f"{folder.name}: {found[model, images][-1]:.2f} %", flush=True)
    print(f"\nAccuracy on 10,000 test images, %; {options.seeds} seeds: mean ± standard deviation\n")
    print("| model | " + " | ".join(f"{images:,} images" for images in options.images) + " |")
    print("|---|" + "---|" * len(options.images))
    for model in options.models:
        cells = [found[model, images] for images in options.images]
        texts = [f"{statistics.mean(v):.2f} ± {statistics.stdev(v) if len(v) > 1 else 0:.2f}" for v in cells]
        print(f"| {model} | " + " | ".join(texts) + " |")


if __name__ == "__main__":
    main()
