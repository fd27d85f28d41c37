"""Starts a server on a model, speaks HTTP with it, and receives what it sends."""
