"""Whether a port is free, in use, or would be shared: our processes share theirs silently (SO_REUSEPORT)."""

import socket


def is_free(host: str, port: int) -> bool:
    """Return whether nothing listens on the port."""
    return _can_bind(host, port, shared=False)


def would_be_shared(host: str, port: int) -> bool:
    """Return whether another process of ours listens on the port. It would get some of the requests."""
    return not is_free(host, port) and _can_bind(host, port, shared=True)


def _can_bind(host: str, port: int, *, shared: bool) -> bool:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        try:
            trial.bind((host, port))
        except OSError:
            return False
    return True
