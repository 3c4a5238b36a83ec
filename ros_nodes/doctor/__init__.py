"""Looks at the machine, the graph and the robot before the first motion, and names the mend for what does not fit.

``python -m ros_nodes.doctor``; never moves anything. One file per group of checks; each is a plain function that returns findings.
"""
