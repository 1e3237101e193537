"""Cases and fixtures as data, and how an answer is judged against them."""
