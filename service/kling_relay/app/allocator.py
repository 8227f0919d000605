"""The allocator of the C library, for a process that holds large bodies for a short time. Only glibc has these."""

import ctypes

_M_MMAP_THRESHOLD, _M_ARENA_MAX = -3, -8
_THRESHOLD = 64 * 1024
_ARENAS = 2
_C = ctypes.CDLL(None)


def set_up_allocator() -> None:
    """Have the memory of large bodies returned to the system as soon as it is freed.

    By itself, glibc keeps freed blocks of up to 32 MiB for later, in an arena for each thread: after some large orders
    a process that holds nothing keeps hundreds of megabytes.
    """
    if mallopt := getattr(_C, "mallopt", None):
        mallopt(_M_MMAP_THRESHOLD, _THRESHOLD)
        mallopt(_M_ARENA_MAX, _ARENAS)


def return_free_memory() -> None:
    """Return the freed memory of small blocks to the system. Takes some milliseconds."""
    if malloc_trim := getattr(_C, "malloc_trim", None):
        malloc_trim(0)
