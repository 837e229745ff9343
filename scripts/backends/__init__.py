"""Kafka, Cassandra, Redis, Consul and Jaeger on this machine: brought here, started, stopped.

Runs before there is any environment: the standard library alone, Python 3.11.
`python3 -m scripts.backends --help` tells the commands.
"""
