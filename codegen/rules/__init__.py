"""The rule language: its definition, its model, and the reader of mapping files."""
