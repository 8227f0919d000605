"""What can be ordered, and the paths under which orders are placed and tasks are read."""

from enum import StrEnum
from typing import assert_never


class Kind(StrEnum):
    """The four kinds of order."""

    TEXT2IMAGE = "text2image"
    IMAGE2IMAGE = "image2image"
    TEXT2VIDEO = "text2video"
    IMAGE2VIDEO = "image2video"

    @property
    def makes_images(self) -> bool:
        return self in _IMAGES


_IMAGES = frozenset({Kind.TEXT2IMAGE, Kind.IMAGE2IMAGE})


class Operation(StrEnum):
    """The path of an order under `/v1/` (Kling's {act1}/{act2})."""

    GENERATIONS = "images/generations"
    TEXT2VIDEO = "videos/text2video"
    IMAGE2VIDEO = "videos/image2video"


def operation_of(kind: Kind) -> Operation:
    """Return the operation that orders of `kind` use."""
    match kind:
        case Kind.TEXT2IMAGE | Kind.IMAGE2IMAGE:
            return Operation.GENERATIONS
        case Kind.TEXT2VIDEO:
            return Operation.TEXT2VIDEO
        case Kind.IMAGE2VIDEO:
            return Operation.IMAGE2VIDEO
    assert_never(kind)


def kind_of(operation: Operation, has_image: bool) -> Kind:
    """Return the kind of an order at `operation`. An image order that contains an image is image2image."""
    match operation:
        case Operation.GENERATIONS:
            return Kind.IMAGE2IMAGE if has_image else Kind.TEXT2IMAGE
        case Operation.TEXT2VIDEO:
            return Kind.TEXT2VIDEO
        case Operation.IMAGE2VIDEO:
            return Kind.IMAGE2VIDEO
    assert_never(operation)
