"""Metrics over answers, and the report that a person reads."""
