"""`olgate` with two workers: what `python -m` runs where a test can give no flag."""

import sys

from gateway.cli.main import cli

if __name__ == "__main__":
    cli([*sys.argv[1:], "--workers", "2"])
