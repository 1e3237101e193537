"""
`python -m codegen.upstream_diff FILE [--api NAME]`: what a vendor's new document would change.

Nothing is written; a person reads the differences and edits the spec. docs/upstream-diff.md says
what is compared, and how.
"""
