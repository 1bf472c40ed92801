"""The comparison with what a user would pick instead: one process per cell, ratios within one run."""
