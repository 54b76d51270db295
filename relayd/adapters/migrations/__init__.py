"""Alembic's folder: how the tables of `relayd.adapters.schema` came to be, one step at a time."""
