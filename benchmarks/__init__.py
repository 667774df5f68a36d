"""Timing of training steps against other frameworks; results are data with their command."""
