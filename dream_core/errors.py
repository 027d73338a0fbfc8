"""Errors that a user can correct, and what else is to be told."""


class DeepDreamError(Exception):
    """Base class of the errors that a user can correct.

    The message is one line: what was expected, what was found, what to do. The command prints it without a
    traceback.
    """


class SettingsError(DeepDreamError, ValueError):
    """A setting has a value that is not allowed."""


class ImageError(DeepDreamError, ValueError):
    """An image, mask or flow has the wrong shape, type or content."""


class WeightsError(DeepDreamError):
    """Weights are missing, incomplete or wrong."""


class VideoError(DeepDreamError):
    """A clip or image file cannot be read or written."""


class DamagedError(VideoError):
    """The state of unfinished work is damaged: it can only begin anew."""


class OutOfMemoryError(DeepDreamError, MemoryError):
    """There is too little memory, even for the smallest tiles or a single pair of frames."""


class Notice(UserWarning):
    """Something worth knowing that is no fault, such as a choice that was made."""
