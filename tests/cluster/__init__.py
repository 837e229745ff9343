"""What breaks between machines: the guests of `make cluster-up`, judged by the oracle."""
