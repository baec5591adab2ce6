"""Puts the weights of a run of train.py into the package, for ``create_model(NAME, pretrained=True)``.

python benchmarks/ship_weights.py runs/NAME NAME [--half]

NAME is that of a registered model whose default options are those of the run. With a classifier's weights go the names
of its classes, the size of its images and their normalisation, which ``python -m pdeconv classify`` needs. The model
card, NAME.gray.md or NAME.rgb.md beside the weights, is written by hand.
"""

import argparse
from pathlib import Path

from safetensors.torch import save_file

import pdeconv.weights
from pdeconv import create_model
from pdeconv.classifying import about_classifier
from pdeconv.models.pretrained import COLORS
from pdeconv.training.checkpoint import find_checkpoint
from pdeconv.training.config import restored_config
from pdeconv.training.data import classifier_format


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", help="folder of the run, of which the best checkpoint is taken, or of a checkpoint")
    parser.add_argument("name", help="name of the model")
    parser.add_argument("--half", action="store_true", help="in float16: half the size; the network gets float32 again")
    options = parser.parse_args()
    checkpoint = find_checkpoint(Path(options.run))
    channels = checkpoint.training["channels"]
    model = create_model(options.name, in_channels=channels)
    model.load_state_dict(checkpoint.weights)  # they fit, or it says so
    path = Path(pdeconv.weights.__file__).with_name(f"{options.name}.{COLORS[channels]}.safetensors")
    weights = {key: value.contiguous() for key, value in model.state_dict().items()}
    if options.half:
        weights = {key: value.half() if value.is_floating_point() else value for key, value in weights.items()}
    about = {"model": options.name, "step": str(checkpoint.training["step"]), "run": Path(options.run).name}
    if checkpoint.training["classes"] is not None:
        form = classifier_format(restored_config(checkpoint.training["config"]).data)
        about |= about_classifier(checkpoint.training["classes"], *form)
    save_file(weights, path, metadata=about)
    print(f"{path}: {path.stat().st_size / 1024:.0f} KiB, step {about['step']}")


if __name__ == "__main__":
    main()
