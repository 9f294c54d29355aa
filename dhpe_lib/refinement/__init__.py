"""Minimise an energy over h: test-time refinement (Eq. 13), and the fit of a hand without a network."""

from dhpe_lib.common.lazy import lazy_exports

__all__, __getattr__, __dir__ = lazy_exports(
    __name__,
    {
        "energy": ["EQ_13", "EnergyWeights", "Observations", "energy_terms", "hand_prior"],
        "descent": ["descend"],
        "test_time": ["REFINEMENTS", "RefineOptions", "refine"],
        "fitting": ["FitOptions", "fit_hands"],
        "inverse_kinematics": ["fit_to_joints_3d", "fit_to_landmarks"],
    },
)
