"""Errors of projects."""


class CogError(Exception):
    """Base of all of them."""


class ConfigDoesNotExist(CogError):
    """There is no cog.yaml."""


class PredictorNotSet(CogError):
    """cog.yaml names no model."""
