"""The networks: what a crop says about the hand."""
