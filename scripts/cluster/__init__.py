"""What the `Vagrantfile` of the test cluster runs in its guests."""
