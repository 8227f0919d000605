"""Operations are what can be ordered, each under a path of its own. Which there are is data: a rule book lists them.

A *kind* is the name under which tasks are listed, priced and counted. It is the operation's path, except for the
gateway's three operations, whose four kinds have short names.
"""

GENERATIONS = "images/generations"
TEXT2VIDEO = "videos/text2video"
IMAGE2VIDEO = "videos/image2video"
OPERATIONS = (GENERATIONS, TEXT2VIDEO, IMAGE2VIDEO)
"""The gateway's own operations."""

SHORT_KINDS = {
    "text2image": GENERATIONS,
    "image2image": GENERATIONS,
    "text2video": TEXT2VIDEO,
    "image2video": IMAGE2VIDEO,
}
"""The kinds with a name of their own, and their operations."""


def operation_of(kind: str) -> str:
    """Return the path of the operation that orders of `kind` use."""
    return SHORT_KINDS.get(kind, kind)


def kinds_of(operation: str) -> tuple[str, ...]:
    """Return the kinds of the orders at `operation`."""
    return tuple(kind for kind, path in SHORT_KINDS.items() if path == operation) or (operation,)


def kind_of(operation: str, *, has_image: bool) -> str:
    """Return the kind of an order at `operation`. A picture that is made from a picture is image2image."""
    if operation == GENERATIONS:
        return "image2image" if has_image else "text2image"
    (kind,) = kinds_of(operation)
    return kind


def makes_of(operation: str) -> str:
    """Return what an operation makes by the first part of its path: images, videos or audios.

    For operations that a rule book no longer lists. "videos" is the answer if in doubt.
    """
    return {"images": "images", "audio": "audios"}.get(operation.partition("/")[0], "videos")
