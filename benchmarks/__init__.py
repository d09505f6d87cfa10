"""Compares the workers and producers of this package with those of others, on a Redis of its own: `make bench`."""
