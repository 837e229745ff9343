import sys

from scripts.backends.cli import main

sys.exit(main())
