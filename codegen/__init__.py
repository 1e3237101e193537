"""The generator: reads specs and mapping rules, and writes typed Python (`nox -s codegen`)."""
