"""Whether a port is free, taken, or would be shared: processes of ours share theirs (SO_REUSEPORT), and silently."""

import socket


def is_free(host: str, port: int) -> bool:
    """Return whether nobody listens there."""
    return _can_bind(host, port, sharing=False)


def would_be_shared(host: str, port: int) -> bool:
    """Return whether somebody of ours listens there already, who would get some of the requests."""
    return not is_free(host, port) and _can_bind(host, port, sharing=True)


def _can_bind(host: str, port: int, *, sharing: bool) -> bool:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if sharing:
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        try:
            trial.bind((host, port))
        except OSError:
            return False
    return True
