"""What strangers wrote, made fit for a text column: PostgreSQL refuses NUL, every driver refuses lone surrogates."""


def storable(text: str) -> str:
    """The same text, with what cannot be stored written as an escape."""
    if text.isascii() and "\0" not in text:
        return text
    return text.encode("utf-8", "backslashreplace").decode("utf-8").replace("\0", "\\x00")
