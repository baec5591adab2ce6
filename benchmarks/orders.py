"""Measured orders in space and time beside the claimed ones, by the measurements of the tests, in float64.

In space: the error of the right-hand side, halving dx. In time: the error of the state, halving dt. An order is the
binary logarithm of the quotient; the range is over the boundaries, dimensions and equations measured.

python benchmarks/orders.py [--markdown docs/orders.md]
"""

import argparse
import math
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

import test_advection_order
import test_anisotropic
import test_discretisations
import test_moments
import test_semi_lagrangian
import test_spatial_order
import test_temporal_order as temporal
from catalogue import PARTITIONED
from separable import REVERSIBLE
from states import BOUNDARIES, DIMS

from pdeconv import Momentum, SemiLagrangian

COLUMNS = ("order in", "method", "measured on", "claimed", "measured")
TITLE = "Orders, claimed and measured"
PAGE = f"""\
# {TITLE}

Made by `python benchmarks/orders.py --markdown docs/orders.md`, in float64, by the functions with which tests measure.
In space: the error of the right-hand side, halving dx from 32 (1-D), 24 (2-D) and 12 (3-D) cells an axis. In time: the
error of the state, halving dt. A range is over the boundaries, dimensions and equations measured. A step has its order
for coefficients that do not depend on the state; where they do, Runge–Kutta steps alone keep it, as the last rows show.

"""
DIFFUSIONS = {"constant": "Diffusion, κ constant", "variable": "Diffusion, κ varying in space", "upwind": "Advection"}
HIGHER = {"biharmonic": "Biharmonic", "fractional": "FractionalDiffusion, s = 0.4"}
FORMS = {"advective": "Advection", "flux": "ConservativeAdvection"}


@dataclass(frozen=True)
class Row:
    """One method, the order that it states, and what was found."""

    axis: str
    method: str
    equation: str
    claimed: float | str
    measured: str

    @property
    def cells(self) -> tuple[str, ...]:
        return self.axis, self.method, self.equation, str(self.claimed), self.measured


def span(*orders: float) -> str:
    low, high = (f"{bound:.2f}" for bound in (min(orders), max(orders)))
    return low if low == high else f"{low} to {high}"


def in_space() -> Iterator[Row]:
    for kind, order in test_spatial_order.ORDERS.items():
        orders = [found for boundary in BOUNDARIES for found in test_spatial_order.measured_orders(kind, boundary)]
        method = "Upwind" if kind == "upwind" else "SecondOrder"
        yield Row("space", method, f"{DIFFUSIONS[kind]}, every boundary", order, span(*orders))
    for kind, order in test_discretisations.ORDERS.items():
        if kind == "SecondOrder":  # above
            continue
        boundaries = [boundary for name, boundary in test_discretisations.MEASURED if name == kind]
        orders = [found for boundary in boundaries for found in test_discretisations.measured_orders(kind, boundary)]
        where = "every boundary" if len(boundaries) == len(BOUNDARIES) else ", ".join(boundaries)
        equation = DIFFUSIONS["constant"] if kind not in HIGHER else "their equation"
        yield Row("space", HIGHER.get(kind, kind), f"{equation}, {where}", order, span(*orders))
    orders = [test_anisotropic.measured_order(condition) for condition in (3.0, 100.0)]
    yield Row("space", "AnisotropicDiffusion", "a tensor that turns in space, periodic", 2, span(*orders))
    for scheme, order in test_advection_order.ORDERS.items():
        for form, name in FORMS.items():
            orders = test_advection_order.measured_orders(scheme, form)
            yield Row("space", scheme, f"{name}, smooth and monotone", order, span(*orders))
    for alpha, accuracy in test_moments.KERNELS:
        orders = [test_moments.measured_order(alpha, accuracy)]
        yield Row("space", "DifferentialConvolution", f"derivative {alpha}, periodic", accuracy, span(*orders))


def without_order() -> Iterator[Row]:
    """What is exact: the error itself."""
    worst = max(test_discretisations.error(8, d, b, "Spectral") for d in DIMS for b in ("neumann", "periodic"))
    yield Row("space", "Spectral", "a wave of 8 cells, neumann, periodic", "exact", bound(worst))
    yield Row(
        "time",
        "Exact",
        "diffusion, decay, logistic, bistable: 7 steps beside 1",
        "exact",
        bound(temporal.composition_error()),
    )


def bound(error: float) -> str:
    return f"error below 1e{math.ceil(math.log10(error))}"


def in_time() -> Iterator[Row]:
    for name in temporal.SINGLE:
        steps = {term: temporal.single(name, term) for term in temporal.TERMS}
        steps = {term: step for term, step in steps.items() if step is not None}
        orders = [temporal.measured_order(step) for step in steps.values()]
        claimed = next(iter(steps.values())).order
        yield Row("time", name, ", ".join(steps), claimed, span(*orders))
    for name in PARTITIONED:
        steps = [temporal.partitioned(name, term) for term in temporal.EXPLICIT]
        orders = [temporal.measured_order_of_partitioned(step) for step in steps]
        yield Row("time", name, f"diffusion with {', '.join(temporal.EXPLICIT)}", steps[0].order, span(*orders))
    for name, build in temporal.SPLITTINGS.items():
        step = build().double()
        parts = ", ".join(part.name for part in step.parts)
        yield Row("time", name, parts, step.order, span(temporal.measured_order_of_splitting(step)))
    order = test_semi_lagrangian.measured_order()
    yield Row("time", "SemiLagrangian", "its characteristics", SemiLagrangian.order, span(order))
    for name in temporal.OF_THE_WHOLE:
        claimed, order = REVERSIBLE[name](temporal.GRID).order, temporal.measured_order_of_reversible(name)
        yield Row("time, reversible", name, "u_t = f(v), v_t = g(u)", claimed, span(order))
    yield Row(
        "time, reversible", "Momentum", "Perona–Malik", Momentum.order, span(temporal.measured_order_of_momentum())
    )
    for name in temporal.STATE_DEPENDENT:
        step = temporal.logistic_step(name)
        claimed, order = temporal.order_if_state_dependent(step), temporal.measured_order_of_reaction(step)
        yield Row("time", name, "logistic, whose coefficient depends on the state", claimed, span(order))


def markdown(rows: list[Row]) -> str:
    lines = [
        "| " + " | ".join(COLUMNS) + " |",
        "|" + "---|" * len(COLUMNS),
        *("| " + " | ".join(row.cells) + " |" for row in rows),
    ]
    return PAGE + "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--markdown", type=Path, help="write the table into this file too")
    options = parser.parse_args()
    torch.manual_seed(0)
    rows = [*in_space(), *without_order(), *in_time()]
    table = Table(*COLUMNS, title=TITLE)
    for row in rows:
        table.add_row(*row.cells)
    Console().print(table)
    if options.markdown:
        options.markdown.write_text(markdown(rows), encoding="utf-8")


if __name__ == "__main__":
    main()
