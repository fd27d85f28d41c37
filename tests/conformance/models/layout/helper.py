"""In the root of the project; the model is below."""


def shout(text: str) -> str:
    return text.upper()
