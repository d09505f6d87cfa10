"""A simple but robust task queue on Redis."""

__version__ = '1.0.0'
