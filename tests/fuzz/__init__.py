"""Throws bytes at all that reads bytes from Redis or a pipe: `make fuzz` for long, tests/test_fuzz.py for seconds.

Nothing may crash, nothing may be lost, and nothing may be unpickled that is not to be trusted: `canary` would sing.
"""
