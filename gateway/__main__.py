"""`python -m gateway` is the `olgate` command."""

from .cli.main import main

if __name__ == "__main__":
    main()
