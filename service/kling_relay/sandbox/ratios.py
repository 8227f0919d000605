"""The aspect ratios of results. Apart from what draws them, which takes 4 MB of memory."""

SIZES = {
    "16x9": (960, 540),
    "9x16": (540, 960),
    "1x1": (720, 720),
    "4x3": (800, 600),
    "3x4": (600, 800),
    "3x2": (840, 560),
    "2x3": (560, 840),
    "21x9": (1050, 450),
}
"""Pixels of each aspect ratio."""
