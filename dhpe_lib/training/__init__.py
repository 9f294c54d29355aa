"""Joint training (Eq. 7) and self-augmentation (Sec. 3.5)."""
