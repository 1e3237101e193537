"""Everything that must survive a restart, behind one interface."""
