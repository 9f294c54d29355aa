"""The part of chumpy that manopth needs to load a hand: arrays with the attributes ``r`` and ``dterms``.

chumpy cannot be imported on current Python and numpy. manopth only wraps the arrays of the file in chumpy arrays and
unwraps them again, so a numpy array with two more attributes is enough.
"""

import sys
from types import ModuleType

import numpy as np


class Array(np.ndarray):
    dterms = ()

    @property
    def r(self) -> np.ndarray:
        return np.asarray(self)


def modules() -> dict[str, ModuleType]:
    """Return the modules to put into ``sys.modules``; none if a working chumpy is installed."""
    try:
        import chumpy  # noqa: F401
    except Exception:  # chumpy is missing, or fails in one of many ways on current Python, numpy or scipy
        top, ch = ModuleType("chumpy"), ModuleType("chumpy.ch")
        top.array = lambda value: np.array(value, np.float64).view(Array)
        top.vstack, top.Ch, top.ch = np.vstack, object, ch
        ch.MatVecMult = lambda matrix, vector: matrix @ vector
        return {"chumpy": top, "chumpy.ch": ch}
    return {}


def install() -> None:
    """Install the modules for the rest of the process."""
    sys.modules.update(modules())
