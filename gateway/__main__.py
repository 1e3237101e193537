"""`python -m gateway` is the `olgate` command."""

from gateway.cli import main

if __name__ == "__main__":
    main()
