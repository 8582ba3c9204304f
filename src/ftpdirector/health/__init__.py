"""Looks at real servers, and what they mean over time."""
