"""Optimisation of h: least squares, inverse kinematics, and the refinement of a network's estimate."""
