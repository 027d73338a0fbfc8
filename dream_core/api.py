"""Main functions: dream a video or an image, with every option as a flat keyword."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

from torch import Tensor

from .checks import validate
from .device import backends
from .dreaming.dream import DreamCallback
from .errors import SettingsError, VideoError
from .image import require_image
from .models.weights import Progress
from .pipeline import dream_clip, load_dreamer, load_image_dreamer, open_keep_folder, open_output_like
from .settings import DreamSettings, InputSettings, OutputSettings, PipelineSettings
from .temporal.dreamer import DreamedFrame
from .video import Frame, open_clip
from .video.images import load_image


def dream_video(
    source: str | Path,
    target: str | Path,
    *,
    on_frame: Callable[[Frame, DreamedFrame], None] | None = None,
    on_step: DreamCallback | None = None,
    on_download: Progress | None = None,
    **options: Any,
) -> Path:
    """Dream a video into a file. The sound is kept.

        dream_video("in.mp4", "out.mp4", octave_steps=4, size=512)

    Args:
        source: video, GIF, image or folder of images.
        target: video, GIF, image or folder of images; a name without a suffix is a folder.
        on_frame: called after each frame is written.
        on_step: called after each gradient step.
        on_download: called while weights are downloaded, with the number of bytes done and in all.
        options: any fields of the classes in `dream_core.settings`, such as `octave_steps` or `model`; the
            others have the command's defaults.

    Returns:
        The path of the dreamed file.

    Raises:
        SettingsError: an option is unknown or out of range.
        VideoError: the source cannot be read, or the target cannot be written.
        WeightsError: weights are missing or wrong.
    """
    pipeline, reading, writing = fill_settings(options, PipelineSettings, InputSettings, OutputSettings)
    if Path(source).resolve() == Path(target).resolve():
        raise VideoError(
            f"expected a target other than the source, got {target} for both; choose another name"
        )
    with backends(pipeline.device), open_clip(Path(source), settings=reading) as clip:
        dreamer = load_dreamer(pipeline, progress=on_download)
        with open_output_like(clip, Path(target), settings=writing) as output:
            keep = open_keep_folder(writing)
            dream_clip(clip, dreamer, output, keep=keep, on_frame=on_frame, on_step=on_step)
    return output.path


def dream_image(
    image: Tensor | str | Path,
    *,
    on_step: DreamCallback | None = None,
    on_download: Progress | None = None,
    **options: Any,
) -> Tensor:
    """Dream on one image.

        dream_image("photo.jpg", model="bvlc_googlenet", layers="inception_4c_output")

    Args:
        image: (3,H,W) or (1,3,H,W) RGB in 0..1, or an image file.
        on_step, on_download, options: see `dream_video`; without the options of reading and writing. The options of
            motion have no effect.

    Returns:
        The dream, float32 RGB in 0..1 on the CPU, in the shape of the tensor; (3,H,W) for a file.

    Raises:
        ImageError: the tensor has the wrong shape, type or content.
        SettingsError, VideoError, WeightsError: see `dream_video`.
    """
    (pipeline,) = fill_settings(options, PipelineSettings)
    tensor = image if isinstance(image, Tensor) else load_image(Path(image))
    batch = tensor if tensor.ndim == 4 else tensor[None]
    require_image(batch, batch=1, values=True)
    with backends(pipeline.device):
        dreamer = load_image_dreamer(pipeline, progress=on_download)
        dreamed = dreamer(batch, on_step=on_step).cpu()
    return dreamed.reshape(tensor.shape)


class Dreamer:
    """Dreams a clip frame by frame; the networks are loaded once.

        dreamer = Dreamer(octave_steps=4)
        dreams = [dreamer.step(frame) for frame in frames]

    Args:
        on_download, options: see `dream_video`; without the options of reading and writing.

    Raises:
        SettingsError, WeightsError: see `dream_video`.
    """

    def __init__(self, *, on_download: Progress | None = None, **options: Any) -> None:
        (pipeline,) = fill_settings(options, PipelineSettings)
        self._device = pipeline.device
        with backends(self._device):
            self._temporal = load_dreamer(pipeline, progress=on_download)

    @property
    def settings(self) -> DreamSettings:
        """The settings of a first frame."""
        return self._temporal.settings

    def step(self, frame: Tensor, *, on_step: DreamCallback | None = None) -> Tensor:
        """Dream the next frame of a clip, continuing the dream of the one before.

        Args:
            frame: (3,H,W) or (1,3,H,W) RGB in 0..1, of the same size as the one before.
            on_step: called after each gradient step.

        Returns:
            The dream, float32 RGB in 0..1 on the CPU, in the shape of the frame.

        Raises:
            ImageError: the frame has the wrong shape, dtype or values; the state is unchanged.
        """
        batch = frame if frame.ndim == 4 else frame[None]
        require_image(batch, name="frame", batch=1, values=True)
        with backends(self._device):
            return self._temporal.step(batch, on_step=on_step).dream.cpu().reshape(frame.shape)

    def reset(self) -> None:
        """Forget all frames, to start another clip."""
        self._temporal.reset()


def fill_settings(options: Mapping[str, Any], *classes: type[Any]) -> list[Any]:
    """Make settings, with the settings nested in them, from flat options.

    Args:
        options: values by field name. Paths may be strings, and a tuple of one value may be the value itself.
        classes: classes of settings, such as `PipelineSettings`.

    Returns:
        An instance of each class; fields that no option names keep their defaults.

    Raises:
        SettingsError: an option is not a field of any class, is out of range, or does not fit another.
    """
    known = {name for cls in classes for name in _field_names(cls)}
    for name in options:
        if name not in known:
            close = get_close_matches(name, known, n=1)
            hint = f"did you mean `{close[0]}`?" if close else "dream_core.settings lists the options"
            raise SettingsError(f"expected options of dream_core, got `{name}`; {hint}")
    filled = [_fill(cls, options) for cls in classes]
    for settings in filled:
        validate(settings)
    return filled


def _field_names(cls: type[Any]) -> Iterator[str]:
    for name, kind in get_type_hints(cls).items():
        if is_dataclass(kind):
            yield from _field_names(kind)  # type: ignore[arg-type]
        else:
            yield name


def _fill(cls: type[Any], options: Mapping[str, Any]) -> Any:
    kinds = get_type_hints(cls)
    values: dict[str, Any] = {}
    for field in fields(cls):
        kind = kinds[field.name]
        if is_dataclass(kind):
            values[field.name] = _fill(kind, options)  # type: ignore[arg-type]
        elif field.name in options:
            values[field.name] = _convert(options[field.name], kind)
    return cls(**values)


def _convert(value: Any, kind: Any) -> Any:
    """Convert strings to paths and lists to tuples where the field has that type."""
    wanted = next((one for one in (kind, *get_args(kind)) if get_origin(one) is tuple), None)
    if wanted is not None and value is not None:
        entries = value if isinstance(value, (list, tuple)) else [value]
        return tuple(_convert(entry, get_args(wanted)[0]) for entry in entries)
    if isinstance(value, str) and (kind is Path or Path in get_args(kind)):
        return Path(value)
    return value
