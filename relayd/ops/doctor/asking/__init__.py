"""Asking: everything in here waits for somebody, and judges nothing."""
