"""RFC 5322: bytes in, bytes out. For any bytes at all: a result or a PermanentError, in linear time."""
