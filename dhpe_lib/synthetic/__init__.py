"""The engine of rendered hands, and the open benchmarks ORH, ORH-S and ORH-O."""
