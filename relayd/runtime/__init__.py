"""Threads, time and signals: the engine that takes messages, keeps their leases and settles them."""
