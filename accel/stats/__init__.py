"""What is counted and logged. A leaf: imports nothing of accel."""
