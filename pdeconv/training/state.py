"""From the living objects of a run to a checkpoint and back, in the same form whether compiled, DDP or FSDP."""

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
from pdeconv.training.optimization import WeightAverage

WHOLE = StateDictOptions(full_state_dict=True, cpu_offload=True)
GIVEN_WHOLE = StateDictOptions(full_state_dict=True)


@dataclass
class Position:
    """How far a run is: optimizer steps taken, the loss summed and the seconds spent in this epoch, the best so far."""

    loss_sum: Tensor
    step: int = 0
    seconds: float = 0.0
    best: float | None = None
    best_step: int | None = None


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
            "best": position.best,
            "best_step": position.best_step,
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
            best=training["best"],
            best_step=training["best_step"],
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
