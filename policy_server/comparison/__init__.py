"""Optimizers side by side on the project's policies: same data, steps and seeds; ``python -m policy_server.compare_optimizers``."""
