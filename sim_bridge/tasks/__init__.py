"""Tasks with scripted experts, graded by memory and by local stability."""
