"""The paper's ablations (Figs. 5d to 5f)."""
