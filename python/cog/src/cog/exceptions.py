"""Exceptions that models may want to catch."""


class CancelationException(BaseException):
    """Raised in a synchronous model when its prediction is canceled. Clean up, then re-raise it."""
