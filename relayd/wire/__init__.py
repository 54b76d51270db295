"""Other people's JSON into our nouns. For any bytes at all: a result or a PermanentError."""
