"""Finding equations in data: which terms, and with which coefficients."""

from pdeconv.identification.candidates import Candidate, candidates_for
from pdeconv.identification.equation import FoundEquation
from pdeconv.identification.fit import Fit, fit_snapshots
from pdeconv.identification.identify import Identified, identify

__all__ = ["Candidate", "Fit", "FoundEquation", "Identified", "candidates_for", "fit_snapshots", "identify"]
