"""`python -m cecochat` is `cecochat`."""

from cecochat.cli.main import main

main()
