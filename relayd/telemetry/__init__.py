"""Logs, spans and metrics: their set-up, their names, and what may not stand in them."""
