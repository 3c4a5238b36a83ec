"""Data windows, trainer and checkpoints."""
