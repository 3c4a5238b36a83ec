"""Thin ROS 2 lifecycle nodes: camera → history → inference → arm. Each converts messages and makes one call into plain Python."""
