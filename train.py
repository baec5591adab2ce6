"""Train a PDE network: ``python train.py --config configs/NAME.yaml [--KEY VALUE ...]``; ``--help`` lists the keys.

Several processes: ``torchrun --nproc_per_node 2 -- train.py …`` (DDP; the ``--`` tells torchrun's options from these),
or ``accelerate launch … train.py …`` (DDP, FSDP).
Everything lands in the folder ``run``; a run that was killed continues with ``--resume auto``.
"""

import os
import sys
import time
from contextlib import nullcontext
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs, DistributedType

from pdeconv.allocator import keep_freed_memory
from pdeconv.training.checkpoint import (
    point_best,
    prune_checkpoints,
    steps_present,
    tidy_checkpoints,
    write_checkpoint,
)
from pdeconv.training.command_line import run_program
from pdeconv.training.config import TrainConfig, parse_config
from pdeconv.training.data import load_data
from pdeconv.training.evaluation import evaluate
from pdeconv.training.fingerprint import fingerprint
from pdeconv.training.finish import finish_run
from pdeconv.training.finite import FiniteGuard, report_non_finite, require_result
from pdeconv.training.interrupt import InterruptError, noted_interrupts
from pdeconv.training.levels import Levels
from pdeconv.training.memory_layout import with_layout
from pdeconv.training.metrics_log import MetricsLog, read_metrics
from pdeconv.training.network import begin_with, build_network
from pdeconv.training.norm_statistics import NormStatistics
from pdeconv.training.optimization import WeightAverage, build_optimizer
from pdeconv.training.plan import forget, plan_of
from pdeconv.training.progress import Display
from pdeconv.training.run_folder import (
    as_plain,
    find_start,
    is_branch,
    prepare_folder,
    require_same_data,
    require_unfinished,
)
from pdeconv.training.sampling import Batches
from pdeconv.training.sharpness import SharpnessProbe
from pdeconv.training.state import Position, TrainingState
from pdeconv.training.synchronised_norms import synchronise_norms
from pdeconv.training.tasks import create_task


def train(config: TrainConfig) -> int:
    """Run a configuration, from its start or from a checkpoint, to its end; returns the exit status."""
    # ---- Where the run starts. Nothing is written before everything has been checked.
    checkpoint, warnings = find_start(config)
    if config.deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True, warn_only=True)
    accelerator = start_accelerator(config)
    if config.keep_freed_memory and accelerator.device.type == "cpu":
        keep_freed_memory()
    device, main = accelerator.device, accelerator.is_main_process
    process, processes = accelerator.process_index, accelerator.num_processes

    # ---- Data and batches. The seed and the step decide what a batch holds, whoever computes which part of it.
    with accelerator.local_main_process_first():  # so that only one process downloads
        data = load_data(config.data, config.task, config.seed)
        samples = fingerprint(data)
    warnings += require_same_data(samples, checkpoint, config)
    batches = Batches(len(data.train), config.batch_size, config.seed, process, processes)
    total = batches.per_epoch * config.epochs
    require_unfinished(config, checkpoint, total)

    # ---- The network, the task, and what moves the weights.
    torch.manual_seed(config.seed)
    network = build_network(config.model, data.channels, data.classes).to(device)
    plan, levels = plan_of(network, config.optimizer, total), Levels(config, network, batches.per_epoch)
    task = create_task(config, data)
    config, notes = with_layout(config, network, task, data.train, batches, accelerator)
    if checkpoint is None and config.begin_with is not None:
        notes.append(begin_with(network, config.begin_with, data.channels))
    if config.channels_last:
        network = network.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    network = synchronise_norms(network) if processes > 1 and device.type == "cuda" else network
    if config.compile:
        network.compile()  # in place, so the weights keep their names
    model, optimizer = accelerator.prepare(network, build_optimizer(network, config.optimizer))
    if accelerator.distributed_type == DistributedType.FSDP:
        network = model  # its shards meet only in the wrapper
    average = WeightAverage(model, config.ema) if config.ema is not None else None
    averaged = average.applied if average is not None else nullcontext
    statistics = NormStatistics(task, network, data.train, batches, accelerator, config.batch_size)
    probe = SharpnessProbe(config, task, network, accelerator)
    guard = FiniteGuard(optimizer.optimizer, device)
    if config.levels.share:
        forget(optimizer.optimizer)  # so that weights without a gradient on a coarse level have a state too
    torch.manual_seed(config.seed + process)  # dropout and the like differ between processes

    # ---- The run folder, and what the checkpoint holds.
    state = TrainingState(model, optimizer.optimizer, average, accelerator)
    position = Position(torch.zeros((), device=device)) if checkpoint is None else state.restore(checkpoint)
    folder, checkpoints = Path(config.run), Path(config.run) / "checkpoints"
    branches, past = is_branch(config, checkpoint), read_metrics(folder / "metrics.jsonl")
    past = position.look_back(past, steps_present(checkpoints), task.headline, config, batches.per_epoch)
    accelerator.wait_for_everyone()  # all have looked into the folder before one writes
    log = None
    if main:
        prepare_folder(config)
        tidy_checkpoints(checkpoints, position.step, position.best_step)
        log = MetricsLog(folder, past, config.tensorboard)

    def save() -> None:
        about = {"config": as_plain(config), "channels": data.channels, "classes": data.classes, "data": samples}
        content = state.capture(position, about)
        if content is not None:
            write_checkpoint(checkpoints, content)  # and read back, before older ones go
            prune_checkpoints(checkpoints, position.best_step)

    if branches:
        save()  # what the first evaluation, or a loss that is not finite, goes back to

    display = Display(total, position.step, visible=main)
    display.say(
        *(f"warning: {warning}" for warning in warnings),
        f"{config.model.name}, {sum(weight.numel() for weight in network.parameters()):,} parameters",
        f"{config.data.name}, {len(data.train)} samples an epoch, {len(data.test)} test samples",
        f"{config.epochs} epochs of {batches.per_epoch} steps on {processes} x {device.type}, into {folder}",
        *notes,
        *([] if checkpoint is None else [f"resumed at step {position.step} of {total}"]),
    )

    # ---- The loop. The device is waited for only every log_every steps, and before evaluating and saving.
    with noted_interrupts() as interrupt:
        looked, stopped_by, clip = position.step, 0, config.optimizer.clip_norm
        for epoch in range(position.epochs, config.epochs):
            with averaged():
                levels.enter(epoch, position.step, statistics)
            model.train()
            tick, shown = time.perf_counter(), {"epoch": f"{epoch + 1}/{config.epochs}"} | levels.shown(epoch)
            train_set = levels.sized(data.train)
            for inputs, targets in train_set.iterate(batches.epoch(epoch, position.step - epoch * batches.per_epoch)):
                phase, rate = plan.at(position.step), plan.rate(position.step)
                plan.begin(position.step, optimizer.optimizer)
                for group in optimizer.param_groups:
                    group["lr"] = rate
                inputs, targets = inputs.to(device, non_blocking=True), targets.to(device, non_blocking=True)
                if config.channels_last:
                    inputs = inputs.contiguous(memory_format=torch.channels_last)
                seed = batches.loss_seed(position.step)
                loss = task.loss(phase.part_of(model), inputs, targets, seed=seed, first=batches.first)
                accelerator.backward(loss)
                norm = None if clip is None else accelerator.clip_grad_norm_(model.parameters(), clip)
                guard.watch(loss, norm if config.precision != "fp16" else None)  # fp16's scaled gradients may overflow
                optimizer.step()
                optimizer.zero_grad()
                position.step += 1
                position.loss_sum += loss.detach()
                if average is not None:
                    average.update(position.step)

                batch = position.step - epoch * batches.per_epoch
                ends = batch == batches.per_epoch
                due = config.checkpoint_every is not None and position.step % config.checkpoint_every == 0
                asked = interrupt.signal if processes == 1 else 0  # several processes agree at the next look
                if not (ends or due or asked or position.step % config.log_every == 0):
                    continue
                seen = guard.look(accelerator, interrupt.signal)
                if seen.broken is not None or seen.spoilt:
                    display.close()
                    report_non_finite(
                        seen, looked, position.step, task, model, train_set, batches, plan, config, accelerator
                    )
                looked, stopped_by = position.step, seen.signal
                now = time.perf_counter()
                position.seconds, tick = position.seconds + now - tick, now
                speed = batch * config.batch_size / position.seconds
                mean = position.loss_sum.item() / batch
                shown |= {"loss": f"{mean:.4f}", "lr": f"{rate:.1e}", "images/s": f"{speed:.0f}"}
                shown |= {"stage": str(phase.stages or "all")} if config.optimizer.greedy else {}
                if position.best is not None:
                    shown |= {f"best {task.headline}": f"{position.best:.4g}"}
                display.update(position.step, shown)
                if ends or due or stopped_by:
                    save()
                    tick = time.perf_counter()
                if ends or stopped_by:
                    break
            if stopped_by:
                break

            # ---- The end of an epoch, which is saved already: an evaluation, and its lines in metrics.jsonl.
            mean = accelerator.gather(position.loss_sum[None] / batches.per_epoch).mean().item()  # pyright: ignore
            lines = {"train": {"loss": mean, "lr": plan.rate(position.step - 1)}}
            speed = batches.per_epoch * config.batch_size / position.seconds
            lines["train"] |= {"images_per_s": speed, "seconds": position.seconds} | levels.mark(epoch)
            lines |= probe.measured(epoch, train_set, plan.rate(position.step - 1))
            if config.evaluates(epoch):
                try:
                    at_once = interrupt.acting_at_once() if processes == 1 else nullcontext()
                    with at_once, averaged():
                        _, tested = evaluate(task, network, levels.sized(data.test), accelerator, config.batch_size)
                        lines |= levels.refine(epoch + 1, position.step, tested, statistics, data.test)
                except InterruptError:
                    stopped_by = interrupt.signal
                    break
                require_result(tested, task.headline, position.step, config)
                lines["test"] = tested | levels.mark(epoch)
                shown |= {name: f"{value:.4g}" for name, value in tested.items()} | levels.refined(lines, task.headline)
            if log is not None:
                log.append(position.step, epoch + 1, lines)
            if "test" in lines and not levels.mark(epoch) and position.is_best(lines["test"][task.headline]) and main:
                point_best(checkpoints, position.step)
                prune_checkpoints(checkpoints, position.step)
            position.start_epoch(epoch + 1)
            display.update(position.step, shown, end_of_epoch=True)
    display.close()

    if stopped_by:
        again = f"python train.py --config {folder / 'config.yaml'} --resume auto"
        display.say(f"stopped by signal {stopped_by} and saved at step {position.step} of {total}; continue: {again}")
        accelerator.end_training()
        return 128 + stopped_by
    accelerator.wait_for_everyone()  # the last checkpoint is there
    finish_run(config, accelerator, data, task, model, network, position, display)
    accelerator.wait_for_everyone()  # the first process has drawn its pictures: all leave together
    accelerator.end_training()
    return 0


def start_accelerator(config: TrainConfig) -> Accelerator:
    """The device, the precision and the processes; several processes without a GPU run on the CPU over gloo."""
    found = torch.accelerator.current_accelerator(check_available=True)
    cpu = "LOCAL_RANK" in os.environ and (found is None or found.type == "mps")  # accelerate needs to be told
    some = bool(config.optimizer.greedy or config.levels.share)  # of the weights may have no gradient
    parallel = DistributedDataParallelKwargs(find_unused_parameters=some)
    return Accelerator(mixed_precision=config.precision, cpu=cpu, kwargs_handlers=[parallel])


def main(argv: list[str]) -> int:
    """Train as the command line says."""
    return train(parse_config(argv))


if __name__ == "__main__":
    run_program("train.py", lambda: main(sys.argv[1:]))
