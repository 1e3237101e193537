"""The tables of the settings file, a module for each subject; `schema` joins them."""
