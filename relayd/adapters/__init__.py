"""The outside world, one file per foreign thing. Each translates its library's errors once, at its edge."""
