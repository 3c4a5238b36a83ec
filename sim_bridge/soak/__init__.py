"""Policy motion on the loopback robot while faults are injected: does the robot ever have to stop by itself because of us?"""
