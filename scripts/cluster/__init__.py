"""The test cluster of several machines: what `Vagrantfile` runs in its guests."""
