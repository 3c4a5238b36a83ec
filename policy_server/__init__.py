"""A policy's whole life: data windows, training, export, and the runtime beside the robot. No ROS, no MuJoCo."""
