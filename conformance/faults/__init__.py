"""The matrix of upstream faults: what each must become for a client."""
