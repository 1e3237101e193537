"""
The gateway under the name that it has where it is installed.

The wheel calls the package `olgate`, since `gateway` is a name that is everybody's. In a checkout
the command `olgate` starts it under the same name, through this file, which is not in the wheel.
"""

from pathlib import Path

__path__ = [str(Path(__file__).parent / "gateway")]
