"""MuJoCo in place of robot and cameras, the tasks, and the commands that need a world."""
