"""The errors that a user can mend."""


class DeepDreamError(Exception):
    """A mistake in what was asked for, said in one line: what was expected, what came, what to do.

    The command prints the message without a traceback; library users catch this one class.
    """


class SettingsError(DeepDreamError, ValueError):
    """A setting has a value outside of what it may have."""


class ImageError(DeepDreamError, ValueError):
    """An image, mask or flow has the wrong shape, type or content."""


class WeightsError(DeepDreamError):
    """Weights are missing, incomplete or not what they should be."""


class VideoError(DeepDreamError):
    """A clip or image file cannot be read or written."""


class OutOfMemoryError(DeepDreamError, MemoryError):
    """There is too little memory, even for the smallest pieces."""
