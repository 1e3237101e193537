"""Specs and mapping rules in, typed Python out: the generator behind `nox -s codegen`."""
