"""Arms behind one small interface (`backend.py`): a trajectory topic, libfranka through franky, and a fake. Plain Python, no ROS.

The ROS side, which opens the backend that a parameter names and publishes what the arm measures, is
``ros_nodes/arm_backends.py``.
"""
