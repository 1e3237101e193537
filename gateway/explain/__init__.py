"""What would become of a request, rule by rule, without sending it."""
