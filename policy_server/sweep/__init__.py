"""Many training runs under one command: which there are, run several at once, skip what is done, go on after any stop.

The scaling ladder (``policy_server.ladder``) and the comparison of optimizers (``policy_server.comparison``) are made of it.
"""
