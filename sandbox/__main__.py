"""`python -m sandbox`: Azure on this machine. See `python -m sandbox --help`."""

import sys

from sandbox.cli.commands import main

if __name__ == "__main__":
    sys.exit(main())
