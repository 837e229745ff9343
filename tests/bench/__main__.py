"""`python -m tests.bench`."""

from tests.bench.bench import main
from tests.support import guard

guard.begin()
main()
