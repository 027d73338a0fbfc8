"""The command `deepdream-video compare`: clips together in one video."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from ..checks import validate
from ..errors import SettingsError
from ..measure.compare import Comparison, compared, require_comparable
from ..settings import InputSettings, OutputSettings
from ..video import Clip, open_clip, open_output
from ..video.containers import require_apart
from .console import EXPECTED, Teller, exit_code
from .exit_codes import DONE
from .options import CompareCommand


def main(command: CompareCommand) -> int:
    """Run the command and show its progress. Returns the exit code."""
    teller = Teller(quiet=command.file.quiet)
    try:
        with teller.bar():
            compare_files(command, teller)
    except EXPECTED as error:
        return exit_code(
            error, teller, out_of_memory="compare smaller clips by --size 512", stopped="nothing was compared"
        )
    return DONE


def compare_files(command: CompareCommand, teller: Teller) -> None:
    """Write the comparison of files.

    Raises:
        DeepDreamError: a file cannot be read or written, the clips do not fit each other, or a setting is wrong.
    """
    validate(command)
    *paths, target = command.files or (Path(),)
    if not 2 <= len(paths) <= 4:
        raise SettingsError(
            f"expected two to four clips and then the file to write, got {len(command.files)} names: put them "
            "before options that take lists"
        )
    for path in paths:
        require_apart(target, path)
    wanted = command.file
    with ExitStack() as files:

        def opened(path: Path, size: int) -> Clip:
            reading = InputSettings(size=size, start=wanted.start, frames=wanted.frames, fps=wanted.fps)
            return files.enter_context(open_clip(path, settings=reading))

        first = opened(paths[0], wanted.size)
        others = [opened(path, max(first.size)) for path in paths[1:]]
        names = _names(paths)
        clips = dict(zip(names, (first, *others), strict=True))
        require_comparable(clips)
        comparison = Comparison(names, first.size, command.compare)
        output = open_output(
            target,
            size=comparison.size,
            fps=first.fps,
            time_base=first.time_base,
            top_fps=first.top_fps,
            frame_count=first.frame_count,
            sound=first.sound if wanted.sound else None,
            settings=OutputSettings(quality=wanted.quality, overwrite=wanted.overwrite, sound=wanted.sound),
        )
        teller.begin(first.frame_count, "comparing")
        with output:
            for frame, picture in compared(clips, comparison, size=first.size):
                output.write(picture, time=frame.time, duration=frame.duration)
                teller.frame_done(frame.index)
        teller.say(f"{output.path}: {output.written} frames of {len(paths)} clips")


def _names(paths: Sequence[Path]) -> list[str]:
    """Return the names of files without suffixes or, where these do not differ, with all that tells them apart."""
    for names in (
        [path.stem for path in paths],
        [path.name for path in paths],
        [f"{path.resolve().parent.name}/{path.name}" for path in paths],
    ):
        if len(set(names)) == len(names):
            return names
    return [f"{index + 1} {path.name}" for index, path in enumerate(paths)]
