"""Settings for every test: few threads, a headless renderer, and hypothesis without surprises."""

import os

# Before numpy, torch and mujoco are imported: two cores are shared by the workers of pytest-xdist.
for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(variable, "1")
os.environ.setdefault("MUJOCO_GL", "egl")

from hypothesis import HealthCheck, settings  # noqa: E402  the variables come first

# The same examples in every run, and no failure because a machine is slow.
settings.register_profile("project", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("project")
