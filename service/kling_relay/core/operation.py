"""What can be ordered, and the doors (paths) that orders come in by and are asked about at."""

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


class Door(StrEnum):
    """The path under `/v1/` (Kling's {act1}/{act2}) that an order comes in by."""

    GENERATIONS = "images/generations"
    TEXT2VIDEO = "videos/text2video"
    IMAGE2VIDEO = "videos/image2video"


def door_of(kind: Kind) -> Door:
    """Return the door that orders of `kind` come in by."""
    match kind:
        case Kind.TEXT2IMAGE | Kind.IMAGE2IMAGE:
            return Door.GENERATIONS
        case Kind.TEXT2VIDEO:
            return Door.TEXT2VIDEO
        case Kind.IMAGE2VIDEO:
            return Door.IMAGE2VIDEO
    assert_never(kind)


def kind_of(door: Door, has_image: bool) -> Kind:
    """Return what an order at `door` asks for; an image makes a picture order image2image."""
    match door:
        case Door.GENERATIONS:
            return Kind.IMAGE2IMAGE if has_image else Kind.TEXT2IMAGE
        case Door.TEXT2VIDEO:
            return Kind.TEXT2VIDEO
        case Door.IMAGE2VIDEO:
            return Kind.IMAGE2VIDEO
    assert_never(door)
