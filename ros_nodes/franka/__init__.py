"""What stands between a policy and a Franka arm: limits, guard, drivers. Plain Python, no ROS."""
