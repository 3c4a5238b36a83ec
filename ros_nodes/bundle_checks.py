"""What the graph's topics can give a policy, checked before anything runs."""

from policy_server.runtime.bundle import Bundle
from policy_server.runtime.errors import BundleError


def check_topics_carry(bundle: Bundle) -> None:
    """Raises BundleError when the policy reads features: only a simulated task in the same process states those."""
    if bundle.spec.features:
        raise BundleError(
            f"bundle '{bundle.path}' reads features, which no topic carries: evaluate it in one process with "
            f"python -m sim_bridge.evaluate --bundle {bundle.path} --task {bundle.spec.task}"
        )
