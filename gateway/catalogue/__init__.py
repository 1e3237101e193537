"""
Which models there are, under which names: LM Studio's list, aliases, derived models, downloads.
"""
