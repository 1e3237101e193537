"""The programs and data that judge the gateway from outside (docs/suite.md)."""
