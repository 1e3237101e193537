"""What generated code is written against."""
