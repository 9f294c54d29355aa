"""The parametric hand in MANO's format: from h (Eq. 4) to a mesh, and from the mesh to 21 joints (f_Reg)."""
