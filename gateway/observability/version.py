"""
The version of olgate, as it was installed.
"""

from importlib.metadata import PackageNotFoundError, version


def find_version() -> str | None:
    """Return the version of the installed package, None in a checkout that is not installed."""
    try:
        return version("olgate")
    except PackageNotFoundError:
        return None
