"""What an operator asks for, apart from running the daemon."""
