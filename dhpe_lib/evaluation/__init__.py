"""Compare estimates with the ground truth: errors, PCK, AUC, protocols A to C, mask scores (Fig. 5, Table 2)."""
