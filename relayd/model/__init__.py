"""Frozen nouns that every other floor shares. They do nothing but hold together what belongs together."""
