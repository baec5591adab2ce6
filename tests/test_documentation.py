"""The pages of the documentation: the API page lists every public name once, and each page is found from the first."""

import re
from collections import Counter
from pathlib import Path

import pdeconv
import pdeconv.analysis
import pdeconv.viz

DOCS = Path(__file__).parents[1] / "docs"


def test_the_api_page_lists_every_public_name_once():
    listed = Counter[str]()
    for module, names in re.findall(r"currentmodule:: (\S+)\n.*?:nosignatures:\n\n(.*?)```", API, re.DOTALL):
        listed.update(f"{module}.{name}" for name in names.split())
    public = {f"pdeconv.{name}" for name in pdeconv.__all__} - {"pdeconv.Report"}
    public |= {f"pdeconv.viz.{name}" for name in pdeconv.viz.__all__}
    public |= {f"pdeconv.analysis.{name}" for name in set(pdeconv.analysis.__all__) - {"report", "FUNCTIONALS"}}
    assert set(listed) == public and max(listed.values()) == 1


API = (DOCS / "api.md").read_text()
