"""Video files, GIFs and pictures in and out, as streams of pictures."""

from .keep import KeepFolder
from .reader import Clip, Frame, Sound, open_clip
from .writer import Output, open_output

__all__ = ["Clip", "Frame", "KeepFolder", "Output", "Sound", "open_clip", "open_output"]
