"""Everything at once: faults on every call, daemons killed, stopped and paused at random, and then the books."""
