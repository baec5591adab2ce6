"""From the living objects of a run to a checkpoint and back, in the same form whether compiled, DDP or FSDP."""

import math
from dataclasses import dataclass
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_optimizer_state_dict,
    set_model_state_dict,
    set_optimizer_state_dict,
)

from pdeconv.training.checkpoint import Checkpoint
from pdeconv.training.config import TrainConfig
from pdeconv.training.optimization import WeightAverage

WHOLE = StateDictOptions(full_state_dict=True, cpu_offload=True)
GIVEN_WHOLE = StateDictOptions(full_state_dict=True)


@dataclass
class Position:
    """How far a run is.

    Args:
        loss_sum: the losses of this epoch's steps, summed.
        step: optimizer steps taken.
        seconds: spent on this epoch's steps.
        epochs: those finished: trained, saved, and their lines in metrics.jsonl.
        best: the highest headline metric, or None.
        best_step: the step that reached it.
    """

    loss_sum: Tensor
    step: int = 0
    seconds: float = 0.0
    epochs: int = 0
    best: float | None = None
    best_step: int | None = None

    def look_back(
        self, lines: list[dict[str, Any]], saved: list[int], headline: str, config: TrainConfig, per_epoch: int
    ) -> list[dict[str, Any]]:
        """Take the finished epochs and the best one from ``metrics.jsonl``; returns the lines that hold at this step.

        An epoch whose steps are all taken, but whose lines are missing, was cut short while it was measured.

        Args:
            lines: of ``metrics.jsonl``.
            saved: steps that have a checkpoint, one of which is the best.
            headline: the metric that decides.
            config: of the run.
            per_epoch: steps in an epoch.
        """
        epochs, started = divmod(self.step, per_epoch)
        if not started and epochs:
            last = "test" if config.evaluates(epochs - 1) else "train"
            epochs -= not any(line["epoch"] == epochs and line["kind"] == last for line in lines)
        lines = [line for line in lines if line["epoch"] <= epochs]
        for line in lines:
            result = None if "level" in line else line.get(headline)  # of a coarse level: a result of another network
            if result is not None and line["step"] in saved and (self.best is None or result > self.best):
                self.best, self.best_step = result, line["step"]
        if self.step == epochs * per_epoch:
            self.start_epoch(epochs)
        self.epochs = epochs
        return lines

    def start_epoch(self, epochs: int) -> None:
        """Begin an epoch, ``epochs`` of them being finished."""
        self.epochs, self.loss_sum, self.seconds = epochs, torch.zeros_like(self.loss_sum), 0.0

    def is_best(self, result: float) -> bool:
        """Take in the headline metric of this step; whether it is the best so far."""
        if not math.isfinite(result) or (self.best is not None and result <= self.best):
            return False
        self.best, self.best_step = result, self.step
        return True


def model_weights(model: nn.Module) -> dict[str, Tensor]:
    """Every weight and buffer under its plain name, on the CPU; whole on the first process of FSDP."""
    weights = get_model_state_dict(model, options=WHOLE)
    return {name: value.detach().clone() for name, value in weights.items() if isinstance(value, Tensor)}


def load_weights(model: nn.Module, weights: dict[str, Tensor]) -> None:
    """Set every weight and buffer from its plain name; all processes give the same ``weights``."""
    set_model_state_dict(model, dict(weights), options=GIVEN_WHOLE)


@dataclass
class TrainingState:
    """What a checkpoint of a run holds, alive."""

    model: nn.Module
    optimizer: torch.optim.Optimizer
    average: WeightAverage | None
    accelerator: Accelerator

    def capture(self, position: Position, about: dict[str, Any]) -> Checkpoint | None:
        """The checkpoint of this moment, on the first process; every process takes part.

        Args:
            position: how far the run is.
            about: what else to keep: primitives, nested as one likes.
        """
        weights = model_weights(self.model)
        averaged = None
        if self.average is not None:
            with self.average.applied():
                averaged = model_weights(self.model)
        optimizer = get_optimizer_state_dict(self.model, self.optimizer, options=WHOLE)
        scaler = self.accelerator.scaler
        own = {"random": random_state(self.accelerator.device), "loss_sum": position.loss_sum.cpu()}
        processes = gather_object([own])
        training = {
            "step": position.step,
            "seconds": position.seconds,
            "optimizer": optimizer,
            "scaler": scaler.state_dict() if scaler is not None else None,
            "processes": processes,
        }
        return Checkpoint(weights, averaged, training | about) if self.accelerator.is_main_process else None

    def restore(self, checkpoint: Checkpoint) -> Position:
        """Put everything back as it was; returns how far the run is."""
        training = checkpoint.training
        set_optimizer_state_dict(self.model, self.optimizer, training["optimizer"], options=GIVEN_WHOLE)
        if self.average is not None and checkpoint.ema is not None:
            load_weights(self.model, checkpoint.ema)
            self.average.start_from_weights()
        load_weights(self.model, checkpoint.model)
        if self.accelerator.scaler is not None and training["scaler"] is not None:
            self.accelerator.scaler.load_state_dict(training["scaler"])
        processes, rank = training["processes"], self.accelerator.process_index
        if len(processes) == self.accelerator.num_processes:
            set_random_state(processes[rank]["random"], self.accelerator.device)
            loss_sum = processes[rank]["loss_sum"]
        else:  # another number of processes: the same to rounding, as far as the model draws no random numbers
            loss_sum = torch.stack([process["loss_sum"] for process in processes]).mean()
        return Position(
            loss_sum=loss_sum.to(self.accelerator.device),
            step=training["step"],
            seconds=training["seconds"],
        )


def random_state(device: torch.device) -> dict[str, Tensor]:
    """The states of torch's generators on this process."""
    states = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        states["cuda"] = torch.cuda.get_rng_state(device)
    if device.type == "mps":
        states["mps"] = torch.mps.get_rng_state()
    return states


def set_random_state(states: dict[str, Tensor], device: torch.device) -> None:
    """Undo ``random_state``; a generator that the saving machine lacked is left as it is."""
    torch.set_rng_state(states["cpu"])
    if device.type == "cuda" and "cuda" in states:
        torch.cuda.set_rng_state(states["cuda"], device)
    if device.type == "mps" and "mps" in states:
        torch.mps.set_rng_state(states["mps"])
