"""Radar nowcasts from 5 to 60 minutes ahead: a trained forecaster, persistence, and a classical optical-flow nowcast.

python benchmarks/radar.py --root FOLDER_OF_COMPOSITES --run FOLDER [--seeds 3] [--picture FILE]

The forecaster is trained by configs/forecast/radar.yaml, with reaction and without, on the first 60 % of the sequence;
the test is what follows.
The classical nowcast is that of pysteps: dense Lucas–Kanade optical flow of the same frames, and semi-Lagrangian
extrapolation of the last one (pip install pysteps opencv-python-headless). Where it carries in what lies beyond the
edge, the last frame stays. For each lead time the mean absolute error in dBZ over the cells with data, of which less
than 0 counts as 0, and the critical success index of at least 0.1, 0.5 and 1 mm/h, by Z = 223 R^1.53. A number in a
file is 2 (dBZ + 32).
"""

import argparse
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from training_runs import last_network, train

from pdeconv.training.config import parse_config
from pdeconv.training.data import load_data

CONFIG = "configs/forecast/radar.yaml"
RATES = (0.1, 0.5, 1.0)  # mm/h
FORECASTERS: dict[str, dict[str, object]] = {
    "learned advection": {"model.reaction": "false"},
    "and reaction": {"model.reaction": "true"},
}
MINUTES, SHOWN = 5, (1, 3, 6, 9, 12)

Nowcast = Callable[[Tensor, int], Tensor]  # (T, H, W) in dBZ, NaN where there is no data -> (horizon, H, W)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", required=True, help="folder of the composites")
    parser.add_argument("--run", required=True, help="folder of the runs")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, help="in place of those of the configuration")
    parser.add_argument("--picture", help="file of a picture of all nowcasts")
    given = parser.parse_args()
    if given.picture and not Path(given.picture).parent.is_dir():
        parser.error(f"--picture: there is no folder {Path(given.picture).parent}")
    keys: dict[str, object] = {"data.root": given.root}
    if given.epochs is not None:
        keys["epochs"] = given.epochs
    nowcasts: dict[str, list[Nowcast]] = {"persistence": [persistence], "optical flow (pysteps)": [optical_flow]}
    config = parse_config(["--config", CONFIG, "--data.root", given.root, "--run", given.run])
    for title, options in FORECASTERS.items():
        nowcasts[title] = []
        for seed in range(given.seeds):
            folder = Path(given.run) / f"{title.replace(' ', '_')}_{seed}"
            train(folder, CONFIG, keys | options | {"seed": seed})
            nowcasts[title].append(network_nowcast(last_network(folder)))
    test = load_data(config.data, "forecast", 0).test
    windows = [test.batch(torch.tensor([index]), 0) for index in range(len(test))]
    print(f"{len(windows)} starts, {windows[0][0].shape[-2]} x {windows[0][0].shape[-1]} cells")
    scores = {name: [scored(nowcast, windows) for nowcast in found] for name, found in nowcasts.items()}
    for number, title in enumerate(("MAE in dBZ", *(f"CSI of {rate:g} mm/h" for rate in RATES))):
        print(f"\n{title:34}" + "".join(f"{MINUTES * lead:>14} min" for lead in SHOWN))
        for name, found in scores.items():
            print(
                f"{name:34}" + "".join(f"{spread([score[number][lead - 1] for score in found]):>18}" for lead in SHOWN)
            )
    if given.picture:
        draw(given.picture, windows[len(windows) // 2], {name: found[0] for name, found in nowcasts.items()})


def spread(values: list[float]) -> str:
    """The mean, and how far the seeds are from it at most."""
    mean = sum(values) / len(values)
    return f"{mean:.3f}" + (f" ± {max(abs(value - mean) for value in values):.3f}" if len(values) > 1 else "")


def reflectivity(value: Tensor) -> Tensor:
    """dBZ of a pixel's value in [0, 1]."""
    return 255 * value / 2 - 32


def scored(nowcast: Nowcast, windows: list[tuple[Tensor, Tensor]]) -> list[list[float]]:
    """MAE, and CSI of each rain rate, by lead time, over all starts together."""
    errors, counts, hits, events = [], [], [], []
    for inputs, targets in windows:
        truth, said = reflectivity(targets[0, :, 0]), nowcast(reflectivity(inputs[0, :, 0]), targets.shape[1])
        known = truth.isfinite()
        errors.append(torch.where(known, said.clamp(min=0) - truth.clamp(min=0), 0.0).abs().sum((1, 2)))
        counts.append(known.sum((1, 2)))
        levels = [10 * math.log10(223 * rate**1.53) for rate in RATES]
        there = torch.stack([(truth >= level) & known for level in levels])
        told = torch.stack([(said >= level) & known for level in levels])
        hits.append((there & told).sum((2, 3)))
        events.append((there | told).sum((2, 3)))
    csi = torch.stack(hits).sum(0) / torch.stack(events).sum(0)
    return [(torch.stack(errors).sum(0) / torch.stack(counts).sum(0)).tolist(), *csi.tolist()]


def persistence(frames: Tensor, horizon: int) -> Tensor:
    return frames[-1].nan_to_num(-32.0).expand(horizon, -1, -1)


def optical_flow(frames: Tensor, horizon: int) -> Tensor:
    try:
        from pysteps import motion, nowcasts
    except ImportError as error:
        raise SystemExit("this benchmark needs pysteps: pip install pysteps opencv-python-headless") from error
    dry = frames.nan_to_num(-32.0)
    flow = motion.get_method("LK")(dry.numpy(), verbose=False)
    carried = torch.from_numpy(np.asarray(nowcasts.get_method("extrapolation")(dry[-1].numpy(), flow, horizon)))
    return torch.where(carried.isfinite(), carried.float(), dry[-1])


def network_nowcast(network: torch.nn.Module) -> Nowcast:
    @torch.no_grad()
    def nowcast(frames: Tensor, horizon: int) -> Tensor:
        values = ((frames + 32) * 2 / 255).nan_to_num(0.0)
        return reflectivity(network(values[None, :, None], horizon)[0, :, 0].clamp(0, 1))

    return nowcast


def draw(file: str, window: tuple[Tensor, Tensor], nowcasts: dict[str, Nowcast]) -> None:
    """The busiest part of the truth beside each nowcast, at some lead times."""
    from matplotlib.figure import Figure

    from pdeconv.viz.comparison import busiest_square

    inputs, targets = window
    leads = (1, 6, 12)
    rows = {"radar": reflectivity(targets[0, :, 0])}
    rows |= {name: nowcast(reflectivity(inputs[0, :, 0]), targets.shape[1]) for name, nowcast in nowcasts.items()}
    top, left, side = busiest_square(targets[0, leads[1] - 1].nan_to_num(0.0), 160)
    figure = Figure(figsize=(2.4 * len(rows), 2.6 * len(leads)), layout="constrained")
    for row, lead in zip(figure.subplots(len(leads), len(rows)), leads, strict=True):
        for axes, (name, frames) in zip(row, rows.items(), strict=True):
            shown = torch.where(targets[0, lead - 1, 0].isfinite(), frames[lead - 1], math.nan)
            axes.imshow(shown[top : top + side, left : left + side], vmin=0, vmax=35, cmap="viridis")
            axes.set_title(f"{name}, +{MINUTES * lead} min", fontsize=9)
            axes.set_axis_off()
    figure.savefig(file, dpi=100)


if __name__ == "__main__":
    main()
