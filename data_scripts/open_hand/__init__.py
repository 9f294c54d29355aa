"""The steps of `build_open_hand.py`, one module each, in the order in which they run."""
