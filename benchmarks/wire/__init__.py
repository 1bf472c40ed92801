"""What State costs on the wire, beside what a user would pick instead: one process per cell, ratios within one run."""
