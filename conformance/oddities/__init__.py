"""
Odd answers of LM Studio: each field absent, null, of every other type, doubled or cut.

`mutate` makes them, `calls` says which answers there are and what must survive, and `check` asks a
gateway. `nox -s oddities` tries all of them; the tests try a part.
"""
