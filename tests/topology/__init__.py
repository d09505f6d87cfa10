"""Queues on more than one server: a Redis Cluster, a master with replicas and sentinels, TLS, users with few rights.

All servers are the tests' own, on loopback ports, and end with the tests.
"""
