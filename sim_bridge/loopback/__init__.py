"""A robot that speaks libfranka's protocol on this machine's loopback: ``franka-sim`` with our FR3 model."""
