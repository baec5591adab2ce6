"""Law: a term's equation in writing is the one that its documentation gives; sums add them."""

import re

import pytest
from catalogue import TERMS, build

from pdeconv import Bistable, Constant, Decay, Diffusion, Friction, Logistic, Reaction, Telegraph, Wave
from pdeconv.terms.term import SumTerm


@pytest.mark.parametrize("name", TERMS)
def test_a_term_says_its_equation(name):
    term = build(name)
    owner = term.law if isinstance(term, Reaction) else term
    if isinstance(term, SumTerm) and not isinstance(term, Telegraph):
        assert term.equation == "∇·(κ(u)∇u) − v(u)·∇u + s u(1 − u²)"
    else:
        assert f"u_t = {term.equation}" in re.sub(r"\s+", " ", str(type(owner).__doc__))


@pytest.mark.parametrize("law", [Decay, Logistic, Bistable])
def test_sums_are_written_as_sums(law):
    reaction = Reaction(law(1))
    sign = "" if reaction.equation.startswith("−") else "+ "
    written = f"∇·(κ(u)∇u) {sign}{reaction.equation}".replace(" −s", " − s")
    assert (Diffusion(Constant(1.0)) + reaction).equation == written


def test_two_fields_are_added_each_by_itself():
    term = Wave(Constant(1.0)) + Reaction(Friction(Constant(1.0)))
    assert term.equation == "v, v_t = ∇·(c²∇u) − γv"
