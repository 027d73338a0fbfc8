"""Input and output of video files, GIFs and images, as streams of images."""

from .clip import Clip, Frame, Sound
from .keep import KeepFolder
from .reader import open_clip
from .sample import SAMPLE_CLIP
from .writer import Output, open_output

__all__ = ["SAMPLE_CLIP", "Clip", "Frame", "KeepFolder", "Output", "Sound", "open_clip", "open_output"]
