"""The record, the metrics and the log of requests."""
