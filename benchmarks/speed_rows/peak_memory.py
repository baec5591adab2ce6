"""Peak memory of forward and backward on the CPU.

Every allocation and release of the CPU allocator between the start of forward and the end of backward is recorded by
``torch.profiler``; their running sum at its highest is the peak.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # the profiler is talkative

from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile


def peak_bytes(module: nn.Module, u: Tensor) -> int:
    """The most bytes that forward and backward of ``module`` hold at a time, beyond those held before."""
    u = u.detach().requires_grad_()
    peak = peak_bytes_of(lambda: module(u).square().mean().backward())
    module.zero_grad(set_to_none=True)
    return peak


def peak_bytes_of(run: Callable[[], object]) -> int:
    """The most bytes that ``run`` holds at a time, beyond those held before."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as recorded:
        run()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trace.json"
        recorded.export_chrome_trace(str(path))
        events = [event for event in json.loads(path.read_text())["traceEvents"] if event.get("name") == "[memory]"]
    total = peak = 0
    for event in sorted(events, key=lambda event: event["ts"]):
        total += event["args"]["Bytes"]
        peak = max(peak, total)
    return peak
