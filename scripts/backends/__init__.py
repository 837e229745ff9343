"""Installs, starts and stops Kafka, Cassandra, PostgreSQL, Redis, Consul and what watches them.

Runs before there is any environment: the standard library alone, Python 3.11.
`python3 -m scripts.backends --help` tells the commands.
"""
