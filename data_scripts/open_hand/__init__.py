"""The steps of `build_open_hand.py`, one module for each step."""
