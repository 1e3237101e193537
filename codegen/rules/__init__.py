"""The rule language: its constructs, its schema and tables, and the reader of mapping files."""
