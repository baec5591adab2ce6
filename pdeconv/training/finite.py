"""Noticing a loss or weights that are not finite without waiting for the device, and saying where it came from."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from pdeconv.errors import PDEConvError
from pdeconv.training.checkpoint import step_folder, steps_present
from pdeconv.training.durable import sync_file
from pdeconv.training.sampling import Batches
from pdeconv.training.sharpness import draw_sharpness

if TYPE_CHECKING:
    from accelerate import Accelerator

    from pdeconv.training.config import TrainConfig
    from pdeconv.training.data import Source
    from pdeconv.training.plan import Plan
    from pdeconv.training.tasks import Task


class NonFiniteError(PDEConvError):
    """The loss, the weights or the outputs became infinite or not a number."""

    exit_status = 1


class FiniteGuard:
    """Watches the loss on the device. From the first one that is not finite the optimiser leaves the weights alone.

    So nothing is read back in the training loop. At the next look (``log_every`` steps, and before each checkpoint) the
    weights are still those that the bad batch met, and the batch can be made again, as it is a function of its step.
    The fused optimisers skip a step when their ``found_inf`` is 1, the tensor that gradient scaling uses; with fp16 the
    scaler owns it, and skips by itself.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, device: torch.device) -> None:
        self._weights = [weight for group in optimizer.param_groups for weight in group["params"]]
        self._broken = torch.zeros((), device=device)
        self._sound = torch.zeros((), device=device)
        if all(group.get("fused") for group in optimizer.param_groups):
            optimizer.found_inf = self._broken  # type: ignore[attr-defined]

    @torch.no_grad()
    def watch(self, loss: Tensor, gradient_norm: Tensor | None) -> None:
        """Take in the loss of a step (and the norm of its gradient), between its backward pass and its update."""
        for value in (loss, gradient_norm):
            if value is not None:
                self._broken.copy_(torch.maximum(self._broken, (~torch.isfinite(value.detach())).float()))
        self._sound += 1 - self._broken

    def look(self, accelerator: Accelerator, signal: int) -> Look:
        """Wait for the device, and tell all processes what happened on each since the last look."""
        spoilt = torch.stack([~torch.isfinite(local_part(weight)).all() for weight in self._weights]).any()
        own = torch.stack((self._broken, self._sound, spoilt.float(), torch.full_like(self._sound, float(signal))))
        self._sound.zero_()
        rows = [tuple(row) for row in accelerator.gather(own[None]).tolist()]  # type: ignore[union-attr]
        broken = [(int(sound), process) for process, (bad, sound, *_) in enumerate(rows) if bad]
        return Look(
            signal=int(max(row[3] for row in rows)),
            broken=min(broken) if broken else None,
            spoilt=any(row[2] for row in rows),
        )


@dataclass(frozen=True)
class Look:
    """What a look found: the signal that some process got, or 0; and where the loss was not finite.

    ``broken`` is (good steps since the look before, process), of the process on which it broke first, or None.
    ``spoilt`` is whether some weight is not finite, as an update from a finite loss can leave it.
    """

    signal: int
    broken: tuple[int, int] | None
    spoilt: bool


def local_part(weight: Tensor) -> Tensor:
    """The values of a weight that this process holds: all but for FSDP's shards."""
    weight = weight.detach()
    return weight.to_local() if isinstance(weight, DTensor) else weight


def first_non_finite(model: nn.Module, compute_loss: Callable[[], Tensor]) -> str:
    """Run ``compute_loss()`` and its gradient once more, and name the first layer of ``model`` that goes wrong."""
    found: list[str] = []
    handles = []
    for name, module in model.named_modules():

        def look(module, inputs, output, name=name):
            if not found and not _finite(output):
                cause = "its input was finite"
                if not all(map(_finite, module.parameters(recurse=False))):
                    cause = "its own weights are not finite"
                elif not _finite(inputs):
                    cause = "its input was not finite already"
                found.append(f"the output of {name or 'the model'} ({type(module).__name__}) is not finite; {cause}")

        handles.append(module.register_forward_hook(look))
    try:
        model.zero_grad(set_to_none=True)
        with torch.compiler.set_stance("force_eager"):
            loss = compute_loss()
            if not found and torch.isfinite(loss):
                loss.backward()
    finally:
        for handle in handles:
            handle.remove()
    if found:
        return found[0]
    for name, parameter in model.named_parameters():
        if parameter.grad is not None and not _finite(parameter.grad):
            return f"every layer's output is finite, the gradient of {name} is not"
    return "every layer's output is finite, so it is the loss itself, or random numbers inside the model"


def report_non_finite(
    look: Look,
    looked: int,
    step: int,
    task: Task,
    model: nn.Module,
    source: Source,
    batches: Batches,
    plan: Plan,
    config: TrainConfig,
    accelerator: Accelerator,
) -> NoReturn:
    """Raise what a look found. All processes take part.

    If it was a loss, its batch is made again and saved, and the layer is found: on the process on which it was so
    first, as that is the one whose weights are still those of that step.

    Args:
        look: what was found.
        looked: optimizer steps taken at the look before.
        step: those taken now.
    """
    folder = Path(config.run)
    if look.broken is None:
        bad = [name for name, weight in model.named_parameters() if not local_part(weight).isfinite().all()]
        which = f"{bad[0]} and {len(bad) - 1} more" if len(bad) > 1 else "".join(bad) or "those of another process"
        raise NonFiniteError(f"the weights are not finite after step {step}: {which}; {_advice(folder, config)}")
    step, culprit = looked + look.broken[0], look.broken[1]
    indices, seed = batches.at_step(step)
    inputs, targets = source.batch(indices, seed)
    loss_seed = batches.loss_seed(step)

    def loss() -> Tensor:
        there = inputs.to(accelerator.device), targets.to(accelerator.device)
        return task.loss(plan.at(step).part_of(model), *there, seed=loss_seed, first=batches.first)

    model.train()
    found = first_non_finite(accelerator.unwrap_model(model), loss)
    path = folder / "nonfinite" / f"step_{step:08d}.pt"
    if accelerator.process_index == culprit:
        batch = {"inputs": inputs, "targets": targets, "indices": indices, "step": step}
        save_batch(path, batch | {"seed": batches.seed, "loss_seed": loss_seed, "first": batches.first})
    accelerator.wait_for_everyone()
    message = f"the loss of step {step} (epoch {step // batches.per_epoch + 1}) is not finite: {found}"
    if accelerator.process_index == culprit:
        raise NonFiniteError(f"{message}; the batch is in {path}; {_advice(folder, config)}")
    raise NonFiniteError(f"stopped, as process {culprit} found a loss that is not finite at step {step}")


def require_result(summary: dict[str, float], headline: str, step: int, config: TrainConfig) -> None:
    """Raise unless the metric that sums up a test is a number: weights may be finite, and yet too large to use.

    Without this a run that diverges in its last step would end as if it had gone well.
    """
    if not summary[headline] > -math.inf:
        advice = _advice(Path(config.run), config, before=step)
        raise NonFiniteError(f"the network's output is not finite on the test set after step {step}; {advice}")


def _advice(folder: Path, config: TrainConfig, before: float = math.inf) -> str:
    remedies = ["a smaller optimizer.lr"]
    if config.optimizer.clip_norm is None:
        remedies.append("optimizer.clip_norm 1.0")
    if config.precision != "no":
        remedies.append("precision no")
    saved = [step for step in steps_present(folder / "checkpoints") if step < before]
    branch = f" with --resume {step_folder(folder / 'checkpoints', saved[-1])}" if saved else ""
    try:
        seen = "".join(f"; {path} shows the sharpness beside 2/lr" for path in draw_sharpness(folder))
    except (OSError, ImportError):  # what went wrong before matters more
        seen = ""
    return f"try another --run{branch} and {' or '.join(remedies)}{seen}"


def save_batch(path: Path, batch: dict[str, Tensor | int]) -> None:
    """Keep the batch that broke a run; ``torch.load(path, weights_only=True)`` reads it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(batch, path)
    sync_file(path)


def _finite(value) -> bool:
    if isinstance(value, Tensor):
        return not (value.is_floating_point() or value.is_complex()) or bool(torch.isfinite(value).all())
    if isinstance(value, list | tuple):
        return all(map(_finite, value))
    return True
