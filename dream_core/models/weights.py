"""Weight files of any network: find, download, read and load them."""

from __future__ import annotations

import hashlib
import logging
import os
import sys
import uuid
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path, PurePosixPath
from typing import BinaryIO, TypeAlias, TypeVar
from urllib.request import Request, urlopen

import safetensors.torch
import torch
from torch import Tensor, nn
from torchvision.models import WeightsEnum

from ..checks import kind_of
from ..errors import Notice, SettingsError, WeightsError

State: TypeAlias = dict[str, Tensor]
Progress: TypeAlias = Callable[[int, int], None]
"""Called with the number of bytes done and the total (0 if the server does not say)."""
Name = TypeVar("Name", bound=str)

CHUNK = 1 << 20
TIMEOUT = 30.0
MISMATCHES_SHOWN = 3


@dataclass(frozen=True)
class WeightSource:
    """File name of a network's weights, and where they come from.

    Args:
        filename: name of the file to search for and to save. The same name with the suffix .safetensors is
            accepted too, and so is the network's own name, as "vgg16.pth".
        url: address of the download, or None if there is none.
        digest: "sha256:" and the first digits of the file's SHA-256, or "git:" and its git blob id, which is
            a SHA-1 of the file's size and content. None leaves a download unchecked.
        mebibytes: size of the file to three decimals, or None if unknown.
        package: the package on the Python package index that has the file in its folder `models`, or None. Nothing
            is downloaded then.
    """

    filename: str
    url: str | None = None
    digest: str | None = None
    mebibytes: float | None = None
    package: str | None = None

    @property
    def installed(self) -> Path | None:
        """Path of the file in the installed package; None if it is not installed or there is none."""
        if self.package is None:
            return None
        spec = find_spec(self.package.replace("-", "_"))
        folders = spec.submodule_search_locations if spec else None
        paths = (Path(folder, "models", self.filename) for folder in folders or ())
        return next((path for path in paths if path.is_file()), None)


def torchvision_source(weights: WeightsEnum) -> WeightSource:
    """Source of torchvision's weights, whose file names end with the first digits of their SHA-256."""
    path = PurePosixPath(weights.url)
    digest = path.stem.rpartition("-")[2]
    return WeightSource(path.name, weights.url, f"sha256:{digest}", weights.meta["_file_size"])


def cache_dir() -> Path:
    """Folder for downloads: torch's own, so that weights are shared with torchvision."""
    return Path(torch.hub.get_dir()) / "checkpoints"


def search_folders(folders: Sequence[Path] = ()) -> list[Path]:
    """Folders to search for weights, in order: the given ones, $DEEPDREAM_MODELS, the download folder.

    Raises:
        SettingsError: a given folder does not exist.
    """
    for folder in folders:
        if kind_of(folder) != "folder":
            problem = "may not be opened" if _is_barred(folder) else "does not exist"
            raise SettingsError(f"the model folder {folder} {problem}; correct `model_dirs`")
    from_environment = os.environ.get("DEEPDREAM_MODELS", "").split(os.pathsep)
    return [*map(Path, folders), *(Path(folder) for folder in from_environment if folder), cache_dir()]


def locate(
    source: WeightSource,
    *,
    name: str,
    file: Path | None = None,
    folders: Sequence[Path] = (),
    download_dir: Path | None = None,
    progress: Progress | None = None,
) -> Path:
    """Return the given weight file, or find one in the model folders, or download it.

    Args:
        source: the file's name and download.
        name: the network's name; a file of that name is accepted too.
        file: path of the weights; nothing else is searched.
        folders: searched first; see `search_folders`.
        download_dir: folder for a download; by default `cache_dir()`.
        progress: called after each piece of a download.

    Raises:
        SettingsError: a given folder does not exist.
        WeightsError: the given file does not exist, or nothing was found and the download failed.
    """
    if file is not None:
        return _existing(Path(file), source)
    found = find(source, name=name, folders=folders)
    if found is not None:
        return found
    target = (download_dir or cache_dir()) / source.filename
    try:
        return download(source, target, progress=progress)
    except WeightsError as error:
        looked = ", ".join(map(str, search_folders(folders)))
        raise WeightsError(
            f"{source.filename} (or {name}.safetensors) was not found in {looked}; {error}"
        ) from error


def find(source: WeightSource, *, name: str, folders: Sequence[Path] = ()) -> Path | None:
    """Find a weight file in the model folders or in a package; None if there is none.

    Args:
        source: the file's name.
        name: the network's name; a file of that name is accepted too.
        folders: searched first; see `search_folders`.

    Raises:
        SettingsError: a given folder does not exist.
    """
    stem = Path(source.filename).stem
    accepted = source.filename, f"{stem}.safetensors", f"{name}.safetensors", f"{name}.pth"
    paths = (folder / filename for folder in search_folders(folders) for filename in accepted)
    return next((path for path in paths if kind_of(path) == "file"), source.installed)


def resolve_auto(
    preferred: Name,
    fallback: Name,
    *,
    source: WeightSource,
    file: Path | None,
    folders: Sequence[Path],
    notice: str,
) -> Name:
    """Return the preferred network if its weights are found, else the fallback, with a `Notice`.

    Args:
        preferred, fallback: names of networks.
        source: the preferred network's weights.
        file: weights that the user named; they count as the preferred network's.
        folders: searched first; see `search_folders`.
        notice: what to tell the user where the fallback is taken.

    Raises:
        SettingsError: a given folder does not exist.
    """
    if file or find(source, name=preferred, folders=folders):
        return preferred
    warnings.warn(notice, Notice, stacklevel=3)
    return fallback


def _is_barred(path: Path) -> bool:
    try:
        path.stat()
    except PermissionError:
        return True
    except (OSError, ValueError):
        return False
    return False


def _existing(file: Path, source: WeightSource) -> Path:
    try:
        file.open("rb").close()
    except FileNotFoundError as error:
        where = f"; the original is at {source.url}" if source.url else ""
        raise WeightsError(f"the weight file {file} does not exist{where}") from error
    except (OSError, ValueError) as error:  # a zero byte in the name is a ValueError
        reason = getattr(error, "strerror", error)
        raise WeightsError(
            f"the weight file {str(file)!r} cannot be read ({reason}): check its name and its permissions"
        ) from error
    return file


def download(source: WeightSource, target: Path, *, progress: Progress | None = None) -> Path:
    """Download to `target`, which is created or replaced only after size and digest are verified.

    Raises:
        WeightsError: the source is a package or has no URL, the download failed, or size or digest are wrong.
    """
    by_hand = "get the file by hand and name it (`model_file`, or `flow_file` for optical flow)"
    if source.package is not None:
        raise WeightsError(f"install it: {install_command(source.package)}")
    if source.url is None:
        raise WeightsError(f"no download is known for it: {by_hand}")
    # In the target's folder, because a rename is atomic only within one file system.
    partial = target.with_name(f".{target.name}.{uuid.uuid4().hex[:8]}.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("xb") as sink:
            _fetch(source, sink, progress)
        _verify(partial, source)
        partial.replace(target)
    except (OSError, ValueError) as error:  # urllib's errors are OSErrors; a malformed URL is a ValueError
        raise WeightsError(f"downloading {source.url} failed ({error}): {by_hand}") from error
    except WeightsError as error:
        raise WeightsError(f"downloading {source.url} failed ({error}): try again, or {by_hand}") from error
    finally:
        partial.unlink(missing_ok=True)
    return target


@contextmanager
def quiet_hub() -> Iterator[None]:
    """Silence what the Hugging Face hub says of every try of a download; the error at the end tells it all."""
    logger = logging.getLogger("huggingface_hub")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def install_command(package: str) -> str:
    """Write the command that installs a package for the Python that runs."""
    python = f'"{sys.executable}"' if " " in sys.executable else sys.executable
    # Environments made by uv have no pip.
    pip = f"{python} -m pip install" if find_spec("pip") else f"uv pip install --python {python}"
    return f"{pip} {package}"


def _fetch(source: WeightSource, sink: BinaryIO, progress: Progress | None) -> None:
    request = Request(source.url or "", headers={"User-Agent": "deepdream-video"})
    with urlopen(request, timeout=TIMEOUT) as response:
        total = int(response.headers.get("Content-Length") or 0)
        if total:
            _check_size(total, source)
        done = 0
        while chunk := response.read(CHUNK):
            sink.write(chunk)
            done += len(chunk)
            if progress:
                progress(done, total)
    if total and done != total:
        raise WeightsError(f"expected {total} bytes, got {done}")


def _check_size(size: int, source: WeightSource) -> None:
    expected = source.mebibytes
    if expected is not None and abs(size / 2**20 - expected) > 0.01:
        raise WeightsError(f"expected {expected} MiB, got {size / 2**20:.3f} MiB")


def _verify(path: Path, source: WeightSource) -> None:
    _check_size(path.stat().st_size, source)
    if source.digest is None:
        return
    kind, _, expected = source.digest.partition(":")
    actual = file_digest(path, kind)
    if not actual.startswith(expected):
        raise WeightsError(f"expected a file of {kind} {expected}, got {actual[: max(len(expected), 8)]}")


def file_digest(path: Path, kind: str) -> str:
    """Hexadecimal digest of a file: kind "sha256", or "git" for its git blob id.

    Raises:
        ValueError: another kind.
    """
    if kind == "sha256":
        digest = hashlib.sha256()
    elif kind == "git":
        digest = hashlib.sha1(f"blob {path.stat().st_size}\0".encode(), usedforsecurity=False)
    else:
        raise ValueError(f"expected a digest of kind sha256 or git, got {kind!r}")
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def advice_for(source: WeightSource, *, option: str, name: str) -> str:
    """Advice about a file that belongs to another network or is incomplete.

    Args:
        source: the right file.
        option: the setting that chose the network, such as "model".
        name: the network's name.
    """
    where = f": the right file is at {source.url}" if source.url else ""
    return f"it was read as the weights of `{option}` {name}{where}; if it is another network's, change `{option}`"


def read_state_dict(path: Path, *, advice: str = "") -> State:
    """Read a state dict onto the CPU, from .safetensors or from a file of `torch.save`.

    The state dict may be the entry "state_dict" of a checkpoint; the prefix "module." of `nn.DataParallel` is
    removed. Pickled code is never run.

    Args:
        path: the file.
        advice: appended to the error message; see `advice_for`.

    Raises:
        WeightsError: the file cannot be read, or does not hold a state dict.
    """
    try:
        if path.suffix == ".safetensors":
            return _without_data_parallel(safetensors.torch.load_file(path))
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    # For a damaged file the readers raise almost anything, such as struct, zip, pickle and index errors.
    except Exception as error:
        problem = _diagnosis(path, error)
        raise WeightsError(_advised(f"cannot read weights from {path}: {problem}", advice)) from error
    if isinstance(loaded, Mapping) and isinstance(loaded.get("state_dict"), Mapping):
        loaded = loaded["state_dict"]
    if not (isinstance(loaded, Mapping) and loaded and all(isinstance(v, Tensor) for v in loaded.values())):
        problem = f"expected a state dict (names and tensors) in {path}, got {_kind(loaded)}"
        raise WeightsError(_advised(problem, advice))
    return _without_data_parallel(dict(loaded))


def _advised(problem: str, advice: str) -> str:
    return f"{problem}; {advice}" if advice else problem


def _diagnosis(path: Path, error: Exception) -> str:
    if isinstance(error, OSError):
        return str(error)
    with path.open("rb") as file:
        start = file.read(256).lstrip()
    if start.startswith(b"<"):
        return "it is a web page; download the file itself"
    if start.startswith(b"version https://git-lfs"):
        return "it is a Git LFS pointer; download the file itself"
    if "GLOBAL" in str(error) or "Unsupported class" in str(error):
        return "it holds pickled objects, which could run code; save the network's state_dict() instead"
    return f"it is damaged, incomplete or not a weight file ({type(error).__name__}); download it again"


def _kind(loaded: object) -> str:
    if isinstance(loaded, Mapping):
        return f"a dictionary of {', '.join(map(repr, list(loaded)[:MISMATCHES_SHOWN])) or 'nothing'}"
    return type(loaded).__name__


def _without_data_parallel(state: State) -> State:
    if all(name.startswith("module.") for name in state):
        return {name.removeprefix("module."): tensor for name, tensor in state.items()}
    return state


def load_strictly(module: nn.Module, state: Mapping[str, Tensor], *, path: Path, advice: str = "") -> None:
    """Load a state dict into a module that has exactly its names and shapes.

    Args:
        module: the module to load into.
        state: names and tensors.
        path: the file that the state came from, for the error message.
        advice: appended to the error message; see `advice_for`.

    Raises:
        WeightsError: names or shapes differ; the message names the file and the first differences.
    """
    expected = module.state_dict()
    # Old files lack BatchNorm's counters, which only training needs.
    missing = [n for n in expected if n not in state and not n.endswith("num_batches_tracked")]
    differences = [f"{name} is missing" for name in missing]
    differences += [
        f"expected {name} {tuple(expected[name].shape)}, got {tuple(tensor.shape)}"
        for name, tensor in state.items()
        if name in expected and tensor.shape != expected[name].shape
    ]
    differences += [f"{name} is unknown" for name in state if name not in expected]
    if differences:
        shown = "; ".join(differences[:MISMATCHES_SHOWN])
        more = len(differences) - MISMATCHES_SHOWN
        rest = f"; and {more} more" if more > 0 else ""
        problem = f"{path} does not fit {type(module).__name__}: {shown}{rest}"
        raise WeightsError(_advised(problem, advice))
    module.load_state_dict(dict(state), strict=False)
