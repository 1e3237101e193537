"""
The models and their names: LM Studio's list, aliases, derived models, downloads, uploads.
"""
