"""Half two of a run: stored predictions to fused estimates, metrics and comparisons; arrays only."""
