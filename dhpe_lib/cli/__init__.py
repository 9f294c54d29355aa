"""The command `dhpe`."""
