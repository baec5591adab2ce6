"""The same names of weights and optimiser states, however the model is wrapped; what goes in comes out."""

import copy
import multiprocessing
import os
import socket
from pathlib import Path
from typing import Literal

import pytest
import torch
from accelerate import Accelerator
from torch import nn
from toy_run import ToyNet

from pdeconv.training.checkpoint import digest, read_checkpoint, write_checkpoint
from pdeconv.training.config import OptimizerConfig, parse_config
from pdeconv.training.optimization import WeightAverage, build_optimizer
from pdeconv.training.state import Position, TrainingState, model_weights


def trained(wrap, name: Literal["sgd", "adamw"] = "adamw"):
    """A toy after two steps, its running average with it."""
    torch.manual_seed(0)
    model = wrap(ToyNet(plain=True))
    optimizer = build_optimizer(model, OptimizerConfig(name=name, weight_decay=0.1))
    average = WeightAverage(model, 0.5)
    for step in range(2):
        model(torch.ones(2, 1, 5, 5)).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()
        average.update(step)
    return TrainingState(model, optimizer, average, Accelerator(cpu=True))


def names(state):
    content = state.capture(Position(torch.zeros(())), {})
    optimizer = content.training["optimizer"]
    groups = [group["params"] for group in optimizer["param_groups"]]
    return set(content.model), set(content.ema), set(optimizer["state"]), groups


@pytest.fixture
def eager_backend():
    """torch.compile without the compiler: it wraps the module all the same."""
    yield lambda module: torch.compile(module, backend="eager")
    torch.compiler.reset()


@pytest.mark.parametrize("name", ["adamw", "sgd"])
def test_compiled_has_the_names_of_plain(name, eager_backend):
    plain, wrapped = trained(lambda module: module, name), trained(eager_backend, name)
    assert names(plain) == names(wrapped)
    assert names(plain)[0] == set(ToyNet(plain=True).state_dict())


@pytest.mark.parametrize("name", ["adamw", "sgd"])
def test_what_is_written_is_what_is_restored(name, tmp_path):
    state = trained(lambda module: module, name)
    position = Position(torch.tensor(1.5), step=7, seconds=2.5)
    torch.manual_seed(11)
    content = state.capture(position, {"config": {"seed": 3, "sigma": [5.0, 50.0]}})
    following = torch.rand(3)
    assert content is not None
    read = read_checkpoint(write_checkpoint(tmp_path, content))
    other = trained(lambda module: module, name)
    for parameter in other.model.parameters():
        nn.init.ones_(parameter)
    again = other.restore(read)
    assert (again.step, again.seconds) == (7, 2.5) and again.loss_sum == 1.5
    assert torch.equal(torch.rand(3), following)
    repeated = other.capture(again, {"config": {"seed": 3, "sigma": [5.0, 50.0]}})
    assert repeated is not None and repeated.ema is not None and content.ema is not None
    for first, second in ((content.model, repeated.model), (content.ema, repeated.ema)):
        assert all(torch.equal(first[key], second[key]) for key in first)
    assert digest(content.training["optimizer"]) == digest(repeated.training["optimizer"])  # tuples come back as lists
    assert any(not torch.equal(content.model[key], content.ema[key]) for key in content.ema)


def test_a_position_looks_back_at_what_was_measured():
    """Three steps an epoch, every second evaluated: what counts is what the step and the checkpoints vouch for."""
    arguments = ["--task", "denoising", "--model.name", "m", "--data.name", "photographs", "--run", "r"]
    config = parse_config([*arguments, "--evaluate_every", "2", "--epochs", "5"])
    lines = [{"kind": "train", "epoch": epoch, "step": 3 * epoch} for epoch in range(1, 5)]
    lines += [
        {"kind": "test", "epoch": 2, "step": 6, "psnr": 30.0},
        {"kind": "test", "epoch": 4, "step": 12, "psnr": 31.0},
    ]
    expected = {0: (0, None), 3: (1, None), 5: (1, None), 6: (2, 6), 8: (2, 6), 12: (4, 12)}
    for step, (epochs, best) in expected.items():
        position = Position(torch.tensor(1.5), step, 2.5)
        kept = position.look_back(lines, [6, 9, 12], "psnr", config, per_epoch=3)
        assert (position.epochs, position.best_step) == (epochs, best), step
        assert {line["epoch"] for line in kept} == set(range(1, epochs + 1))
        assert position.loss_sum == (0.0 if step == 3 * epochs else 1.5)
    unmeasured = Position(torch.tensor(1.5), 12, 2.5)
    unmeasured.look_back(lines[:-1], [6, 9, 12], "psnr", config, per_epoch=3)
    assert (unmeasured.epochs, unmeasured.best_step, float(unmeasured.loss_sum)) == (3, 6, 1.5)
    pruned = Position(torch.tensor(0.0), 12, 0.0)
    pruned.look_back(lines, [9, 12], "psnr", config, per_epoch=3)
    assert pruned.best_step == 12 and pruned.is_best(32.0) and not pruned.is_best(float("nan"))


def test_the_average_is_swapped_in_and_out_again():
    state = trained(lambda module: module)
    before = copy.deepcopy(model_weights(state.model))
    assert state.average is not None
    with state.average.applied():
        inside = model_weights(state.model)
    after = model_weights(state.model)
    assert all(torch.equal(before[key], after[key]) for key in before)
    assert any(not torch.equal(before[key], inside[key]) for key in before)


def _in_process(rank: int, port: int, sharded: bool, folder: str) -> None:
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2", "MASTER_ADDR": "localhost"}
    os.environ |= {"MASTER_PORT": str(port), "OMP_NUM_THREADS": "1"}
    torch.set_num_threads(1)
    accelerator = Accelerator(cpu=True)

    def wrap(module):
        if not sharded:
            return nn.parallel.DistributedDataParallel(module)
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.fsdp import fully_shard

        return fully_shard(module, mesh=init_device_mesh("cpu", (2,)))

    state = trained(wrap)
    content = state.capture(Position(torch.zeros(()), step=2), {})
    assert (content is None) == (rank > 0)
    if content is not None:
        write_checkpoint(Path(folder), content)
    accelerator.wait_for_everyone()
    read = read_checkpoint(Path(folder) / "step_00000002")
    with torch.no_grad():
        for parameter in state.model.parameters():
            parameter.zero_()
    state.restore(read)
    again = state.capture(Position(torch.zeros(()), step=3), {})
    if again is not None:
        write_checkpoint(Path(folder), again)
    accelerator.end_training()


@pytest.mark.parametrize("sharded", [False, True], ids=["ddp", "fsdp"])
def test_distributed_has_the_names_and_values_of_plain(sharded, tmp_path):
    plain = trained(lambda module: module).capture(Position(torch.zeros(()), step=2), {})
    assert plain is not None and plain.ema is not None
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    context = multiprocessing.get_context("forkserver")
    processes = [context.Process(target=_in_process, args=(rank, port, sharded, str(tmp_path))) for rank in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 0]
    for step in (2, 3):
        other = read_checkpoint(tmp_path / f"step_{step:08d}")
        assert other.ema is not None
        for one, two in ((plain.model, other.model), (plain.ema, other.ema)):
            assert one.keys() == two.keys()
            for key in one:
                torch.testing.assert_close(one[key], two[key])
        one, two = plain.training["optimizer"], other.training["optimizer"]
        assert one["state"].keys() == two["state"].keys()
        assert [group["params"] for group in one["param_groups"]] == [group["params"] for group in two["param_groups"]]
