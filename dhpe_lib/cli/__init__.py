"""The command `dhpe`; `python -m dhpe_lib.cli` runs it as well."""
