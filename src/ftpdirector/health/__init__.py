"""Probes of real servers, and what they mean over time."""
