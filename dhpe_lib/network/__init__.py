"""The trained parts: F and f_J2D (Eqs. 2 and 3), f_J3D and f_Ref (Eqs. 4 to 6), f_DHPE (Eq. 1)."""
