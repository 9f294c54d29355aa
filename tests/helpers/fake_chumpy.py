"""As much of chumpy as manopth's loading of a hand needs: arrays that also answer to ``.r``.

chumpy itself no longer imports on current Python and numpy. manopth only wraps the arrays of the file in it and takes
them out again, so a numpy array with two more attributes does.
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
    """Modules to put into ``sys.modules``; none where a chumpy is installed that works."""
    try:
        import chumpy  # noqa: F401
    except Exception:  # no chumpy, or one for old versions of Python, numpy or scipy: it fails in many ways
        top, ch = ModuleType("chumpy"), ModuleType("chumpy.ch")
        top.array = lambda value: np.array(value, np.float64).view(Array)
        top.vstack, top.Ch, top.ch = np.vstack, object, ch
        ch.MatVecMult = lambda matrix, vector: matrix @ vector
        return {"chumpy": top, "chumpy.ch": ch}
    return {}


def install() -> None:
    """Put the modules in place for the rest of the process."""
    sys.modules.update(modules())
