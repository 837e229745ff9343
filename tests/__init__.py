"""The tests, and what all of them begin with."""

import os
import sys

# Where this is set, as in many containers, every process that a test starts would compile all that
# it imports, which takes it a second and 15 MB.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False
