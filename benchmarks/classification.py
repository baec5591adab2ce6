"""Size, cost and accuracy of the classifiers: the table of docs/classification.md.

python benchmarks/classification.py --root FOLDER_OF_CIFAR-10 [--run NAME=runs/NAME ...]

All registered classifiers with their default options, for 10 classes of colour images of 32 x 32: parameters, and
multiply-adds of convolutions and matrix products for one more image. The accuracy on CIFAR-10's 10,000 test images is
that of the weights that come with pdeconv, and of the runs named; no other.
"""

import argparse
from pathlib import Path

from robustness import accuracy, test_images
from torch import Tensor
from training_runs import multiply_adds

from pdeconv import create_model, list_models, list_pretrained
from pdeconv.classify_files import trained_classifier
from pdeconv.classifying import ImageClassifier, pretrained_classifier


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", required=True, help="folder that holds cifar-10-batches-py")
    parser.add_argument("--run", nargs="*", default=[], metavar="NAME=FOLDER", help="runs or checkpoints")
    given = parser.parse_args()
    images, labels, _ = test_images(given.root)
    print("| classifier | parameters | M multiply-adds | CIFAR-10, % |")
    print("|:--|--:|--:|--:|")
    known = {name: pretrained_classifier(name) for name in list_models("*classifier") if (name, 3) in list_pretrained()}
    runs = {name: trained_classifier(Path(folder)) for name, _, folder in (text.partition("=") for text in given.run)}
    for name in list_models("*classifier"):
        print(row(name, known.get(name), images, labels), flush=True)
    for name, classifier in runs.items():
        print(row(name, classifier, images, labels), flush=True)


def row(name: str, classifier: ImageClassifier | None, images: Tensor, labels: Tensor) -> str:
    """A line of the table."""
    network = create_model(name) if classifier is None else classifier.network
    parameters = sum(weight.numel() for weight in network.parameters())
    cost = multiply_adds(network, (3, 32, 32)) / 1e6
    found = "" if classifier is None else f"{accuracy(classifier, images, labels):.2f}"
    return f"| `{name}` | {parameters:,} | {cost:.1f} | {found} |"


if __name__ == "__main__":
    main()
