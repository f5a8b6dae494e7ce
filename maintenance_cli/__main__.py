"""`python -m maintenance_cli`: the same as `vmss-maintenance`."""

from maintenance_cli.main import main

if __name__ == "__main__":
    main()
