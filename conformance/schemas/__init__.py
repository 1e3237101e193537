"""Requests drawn from the specs by schemathesis, and answers judged by them."""
