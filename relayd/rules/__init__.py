"""What relayd decides and why. Pure: everything that a rule needs is an argument."""
