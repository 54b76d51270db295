"""Memory that is let go goes back to the system soon: a daemon must not keep what its largest mails once took."""

import ctypes
import gc

LARGE_BYTES = 4 * 1024 * 1024
"""Blocks from this size on are pages of their own, and go back at once. By itself glibc raises the threshold to the
largest block that was ever freed, up to 32 MB, and then mails of less than that stay in the heap of each thread that
had one: measured, mails of 20 MB took 650 MB in place of 310, and 510 MB stayed. Nor may it be much less: a mail of
1 MB has a dozen blocks of its size, and new pages for each of them took a quarter of its processor time.
"""
KEPT_BYTES = 16 * 1024 * 1024
"""What a heap may keep at its end, for the next such mail."""
ARENAS = 2
"""Heaps for smaller blocks. Python runs one thread at a time, so more of them only keep more."""

# From glibc's malloc.h.
_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
_M_ARENA_MAX = -8


def keep_small() -> None:
    """Ask the C library for this. Call it before there are threads; a library that knows none of it is left alone."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, LARGE_BYTES)
        mallopt(_M_TRIM_THRESHOLD, KEPT_BYTES)
        mallopt(_M_ARENA_MAX, ARENAS)


def begin_small() -> None:
    """Give back what only the start needed, and look no more at what it made: that stays until the end. Call it when
    everything is there.
    """
    gc.collect()
    gc.freeze()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
