"""
What is counted: names, sentences, labels and buckets, and no counts.

A counter's entry is what `Tally` takes, and a histogram's is what `Spread` takes. Names are without
`_total`; buckets are in seconds.
"""

from __future__ import annotations

from typing import Final, NamedTuple


class Counts(NamedTuple):
    """A counter."""

    name: str
    text: str
    labels: tuple[str, ...]


class Times(NamedTuple):
    """A histogram of seconds; `bounds` are the upper ends of its buckets, in ascending order."""

    name: str
    text: str
    labels: tuple[str, ...]
    bounds: tuple[float, ...]


SERVED: Final = ("model", "host", "key")
"""The labels that say by what a request was served, and for whom."""

_TOTALS_S = (0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)
_TOKENS_S = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 1, 2.5)
_READY_S = (0.001, 0.01, 0.1, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)
_WAITS_S = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)
_LASTS_S = (0.1, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800)

REQUESTS: Final = Counts(
    "olgate_requests",
    "Requests that have ended; status 0 means no answer.",
    ("route", "method", "status"),
)
DURATIONS: Final = Times(
    "olgate_request_duration_seconds",
    "Time from a request's head to the end of its answer, whatever the answer was.",
    ("route", *SERVED),
    _TOTALS_S,
)
TOKENS: Final = Counts(
    "olgate_tokens",
    "Tokens of prompts (in) and answers (out).",
    ("route", "direction", *SERVED),
)
ESTIMATED: Final = Counts(
    "olgate_estimated_counts",
    "Token counts that LM Studio left out and the gateway estimated.",
    ("direction",),
)
FIRST_FRAMES: Final = Times(
    "olgate_time_to_first_frame_seconds",
    "Time from a request's head to the first bytes of its streamed answer.",
    ("route",),
    _WAITS_S,
)
FIRST_TOKENS: Final = Times(
    "olgate_time_to_first_token_seconds",
    "Time from a request's head to LM Studio's first event of its answer.",
    ("model", "host"),
    _WAITS_S,
)
PER_TOKEN: Final = Times(
    "olgate_time_per_output_token_seconds",
    "Time for each token of an answer after its first one.",
    ("model", "host"),
    _TOKENS_S,
)
STREAMS: Final = Times(
    "olgate_stream_duration_seconds",
    "Time from a request's head to the end of its streamed answer.",
    ("route",),
    _LASTS_S,
)
QUEUED: Final = Times(
    "olgate_queue_time_seconds",
    "Time that a request waited for its turn, for requests that waited.",
    ("host", "key"),
    _WAITS_S,
)
READY: Final = Times(
    "olgate_model_ready_seconds",
    "Time until a request's model was ready, its load included.",
    ("model", "host"),
    _READY_S,
)
LOADS: Final = Counts(
    "olgate_loads",
    "Loads that the gateway requested from LM Studio and that have ended.",
    ("outcome", "host"),
)
LOAD_TIMES: Final = Times(
    "olgate_load_duration_seconds",
    "Time that a load took in LM Studio.",
    ("outcome", "host"),
    _WAITS_S,
)
RETRIES: Final = Counts("olgate_retries", "Calls that were repeated.", ("route",))
FAULTS: Final = Counts(
    "olgate_faults",
    "Requests that failed: a fault upstream, `stated` for an error that LM Studio sent, "
    "`shutdown` for the gateway's end, `internal` for an error of the gateway.",
    ("fault",),
)
UNKNOWN_KEYS: Final = Counts(
    "olgate_unknown_upstream_keys",
    "JSON keys in sampled answers of LM Studio that its description does not have.",
    ("type", "key"),
)
ODD_VALUES: Final = Counts(
    "olgate_odd_upstream_values",
    "Values in LM Studio's answers that could not be read and were left out.",
    ("type", "key"),
)
LOST_LINES: Final = Counts(
    "olgate_lost_log_lines",
    "Log lines that were lost since nobody read standard error.",
    (),
)
