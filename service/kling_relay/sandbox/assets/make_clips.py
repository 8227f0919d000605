"""Makes the clips beside this file: `python -m kling_relay.sandbox.assets.make_clips`. Only this needs ffmpeg."""

import subprocess
import tempfile
from pathlib import Path

from kling_relay.sandbox.images import draw

_HERE = Path(__file__).parent
_FRAMES_PER_SECOND = 12
_WIDTHS = {"16x9": 480, "9x16": 270, "1x1": 320}


def make(ratio: str, seconds: int, width: int) -> None:
    """Write one clip: H.264 in yuv420p, its index at the front so that browsers play it while it loads."""
    with tempfile.TemporaryDirectory() as folder:
        frames = seconds * _FRAMES_PER_SECOND + 1
        for frame in range(frames):
            picture = draw("clip", ratio, "", frame / frames * seconds / 10)
            picture.save(Path(folder) / f"{frame:03}.png")
        scale = f"scale={width}:-2:flags=lanczos"
        codec_options = [
            "-c:v",
            "libx264",
            "-preset",
            "veryslow",
            "-crf",
            "33",
            "-pix_fmt",
            "yuv420p",
            "-movflags",
            "+faststart",
        ]
        source = ["-framerate", str(_FRAMES_PER_SECOND), "-i", f"{folder}/%03d.png", "-vf", scale]
        target = str(_HERE / f"{ratio}-{seconds}.mp4")
        subprocess.run(["ffmpeg", "-v", "error", "-y", *source, *codec_options, target], check=True)  # noqa: S603, S607 - fixed arguments, run by hand


if __name__ == "__main__":
    for shape, width in _WIDTHS.items():
        for length in (5, 10):
            make(shape, length, width)
