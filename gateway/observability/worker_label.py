"""
The label that tells the metrics of several processes on one port apart.

A scrape reaches any of them. With the label each process has its own series, so no counter seems to
go back, and a sum over `worker` is the gateway's.
"""

from __future__ import annotations

import re
from typing import Final

_SAMPLE: Final = re.compile(rb"^([A-Za-z_:][A-Za-z0-9_:]*)(?:\{(.*)\})? (\S+.*)$", re.MULTILINE)


def labelled(text: bytes, worker: int) -> bytes:
    """
    Return metrics in Prometheus' text form with the number of a worker in each sample.

    >>> labelled(b'# TYPE a counter\\na_total 1.0\\nb{c="d e"} 2 17\\n', 3)
    b'# TYPE a counter\\na_total{worker="3"} 1.0\\nb{worker="3",c="d e"} 2 17\\n'
    """

    def add(sample: re.Match[bytes]) -> bytes:
        labels = b'worker="%d"' % worker
        if sample[2]:
            labels += b"," + sample[2]
        return b"%s{%s} %s" % (sample[1], labels, sample[3])

    return _SAMPLE.sub(add, text)
