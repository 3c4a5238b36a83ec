"""Cameras without ROS: sources of frames, and the thread that reads one and reconnects."""
