"""`python -m sandbox`: Azure on this machine. See `python -m sandbox --help`."""

import sys

if __name__ == "__main__":
    try:
        from sandbox.cli.commands import main

        sys.exit(main())
    except KeyboardInterrupt:  # while it was still being imported
        print("\nInterrupted.", file=sys.stderr)
        sys.exit(130)
