"""Mappings of tables that are known: column to field, for `mammoscope index table`."""
