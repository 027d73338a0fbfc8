import hashlib
import logging
import os
import re
import threading
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from dream_core.errors import Notice, SettingsError, WeightsError
from dream_core.models import weights
from dream_core.models.weights import (
    WeightSource,
    advice_for,
    cache_dir,
    download,
    file_digest,
    load_strictly,
    locate,
    quiet_hub,
    read_state_dict,
    resolve_auto,
    search_folders,
)

CONTENT = bytes(range(256)) * 12000  # about 3 MB: several chunks
SHA256 = hashlib.sha256(CONTENT).hexdigest()
GIT = hashlib.sha1(b"blob %d\0" % len(CONTENT) + CONTENT).hexdigest()


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.path == "/missing.pth":
            self.send_error(404)
            return
        self.send_response(200)
        if self.path != "/unsized.pth":
            self.send_header("Content-Length", str(len(CONTENT)))
        self.end_headers()
        self.wfile.write(CONTENT[:-5] if self.path == "/truncated.pth" else CONTENT)

    def log_message(self, *args: object) -> None:
        pass


class Server(ThreadingHTTPServer):
    def handle_error(self, *args: object) -> None:
        """Say nothing of clients that hang up, as some of these tests do."""


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with Server(("127.0.0.1", 0), Handler) as httpd:
        thread = threading.Thread(target=httpd.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{httpd.server_port}"
        httpd.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("DEEPDREAM_MODELS", raising=False)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    return tmp_path / "hub" / "checkpoints"


def source(server: str, name: str = "net.pth", **kwargs) -> WeightSource:
    return WeightSource("net.pth", f"{server}/{name}", **kwargs)


@pytest.mark.parametrize("digest", [f"sha256:{SHA256[:8]}", f"git:{GIT}", None])
@pytest.mark.parametrize("name", ["net.pth", "unsized.pth"])
def test_a_download_lands_whole_and_reports_progress(
    server: str, tmp_path: Path, digest: str | None, name: str
) -> None:
    reports: list[tuple[int, int]] = []
    target = tmp_path / "new" / "net.pth"
    size = len(CONTENT) / 2**20
    path = download(
        source(server, name, digest=digest, mebibytes=round(size, 3)),
        target,
        progress=lambda *report: reports.append(report),
    )
    assert path == target
    assert path.read_bytes() == CONTENT
    assert reports[-1] == (len(CONTENT), 0 if name == "unsized.pth" else len(CONTENT))
    assert [done for done, _ in reports] == sorted({done for done, _ in reports})
    assert list(target.parent.iterdir()) == [target]


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("net.pth", {"digest": "sha256:00000000"}, f"expected a file of sha256 00000000, got {SHA256[:8]}"),
        ("net.pth", {"digest": "git:" + "0" * 40}, f"expected a file of git 0+, got {GIT}"),
        ("net.pth", {"mebibytes": 5.0}, r"expected 5.0 MiB, got 2.930 MiB"),
        ("unsized.pth", {"mebibytes": 5.0}, r"expected 5.0 MiB, got 2.930 MiB"),
        ("truncated.pth", {}, f"expected {len(CONTENT)} bytes, got {len(CONTENT) - 5}"),
        ("missing.pth", {}, "404"),
    ],
)
def test_a_wrong_download_replaces_nothing(
    server: str, tmp_path: Path, name: str, options: dict, message: str
) -> None:
    target = tmp_path / "net.pth"
    target.write_bytes(b"what was there")
    with pytest.raises(WeightsError, match=message) as caught:
        download(source(server, name, **options), target)
    assert f"{server}/{name}" in str(caught.value)
    assert "`model_file`" in str(caught.value)
    assert target.read_bytes() == b"what was there"
    assert list(tmp_path.iterdir()) == [target]


def test_an_interrupted_download_leaves_nothing(server: str, tmp_path: Path) -> None:
    def interrupt(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        download(source(server), tmp_path / "net.pth", progress=interrupt)
    assert not list(tmp_path.iterdir())


def test_offline_says_what_was_sought_where_and_what_to_do(tmp_path: Path, cache: Path) -> None:
    # Port 9 (discard) refuses: nobody listens there.
    (tmp_path / "models").mkdir()
    offline = WeightSource("net.pth", "http://127.0.0.1:9/net.pth")
    with pytest.raises(WeightsError) as caught:
        locate(offline, name="net", folders=[tmp_path / "models"])
    message = str(caught.value)
    assert message.startswith(
        f"net.pth (or net.safetensors) was not found in {tmp_path / 'models'}, {cache}; downloading "
    )
    assert "http://127.0.0.1:9/net.pth failed (" in message
    assert message.endswith(
        "get the file by hand and name it (`model_file`, or `flow_file` for optical flow)"
    )


def test_without_a_url_it_says_so() -> None:
    with pytest.raises(
        WeightsError,
        match=r"net.pth \(or net.safetensors\) was not found in .*; no download is known for it: get the",
    ):
        locate(WeightSource("net.pth"), name="net")


def test_a_malformed_url_is_no_traceback(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"downloading nowhere failed \(unknown url type: 'nowhere'\)"):
        download(WeightSource("net.pth", "nowhere"), tmp_path / "net.pth")


def test_git_digest_is_gits(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"hello\n")
    assert file_digest(path, "git") == "ce013625030ba8dba906f756967f9e9ca394464a"  # git hash-object
    with pytest.raises(ValueError, match=r"^expected a digest of kind sha256 or git, got 'md5'$"):
        file_digest(path, "md5")


def test_the_given_file_is_taken_before_all(tmp_path: Path) -> None:
    given, folder = tmp_path / "other.pth", tmp_path / "models"
    folder.mkdir()
    for path in (given, folder / "net.pth"):
        path.touch()
    assert locate(WeightSource("net.pth"), name="plain", file=given, folders=[folder]) == given


def test_a_given_file_that_is_not_there(tmp_path: Path) -> None:
    message = r"the weight file .*gone.pth does not exist; the original is at http://host/net.pth"
    with pytest.raises(WeightsError, match=message):
        locate(WeightSource("net.pth", "http://host/net.pth"), name="net", file=tmp_path / "gone.pth")


def test_a_given_file_that_cannot_be_looked_at_is_not_said_to_be_missing(tmp_path: Path) -> None:
    loop = tmp_path / "loop.pth"
    loop.symlink_to(loop)
    for file, reason in ((loop, "symbolic links"), (tmp_path / "a\0b.pth", "null"), (tmp_path, "directory")):
        with pytest.raises(WeightsError, match=rf"cannot be read \(.*{reason}.*\): check its name"):
            locate(WeightSource("net.pth"), name="net", file=file)


def test_folders_are_searched_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cache: Path, server: str
) -> None:
    monkeypatch.setenv("DEEPDREAM_MODELS", f"{tmp_path / 'b'}{os.pathsep}{tmp_path / 'c'}")
    (tmp_path / "a").mkdir()
    folders = search_folders([tmp_path / "a"])
    assert folders == [tmp_path / "a", tmp_path / "b", tmp_path / "c", cache]
    assert folders[-1] == cache_dir()
    # Last to first: each new file is found before the ones there already.
    assert locate(source(server), name="plain", folders=[tmp_path / "a"]) == cache / "net.pth"
    for folder in reversed(folders[:-1]):
        for name in ("plain.pth", "plain.safetensors", "net.safetensors", "net.pth"):
            folder.mkdir(parents=True, exist_ok=True)
            (folder / name).touch()
            assert locate(WeightSource("net.pth"), name="plain", folders=[tmp_path / "a"]) == folder / name


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package `some-net` that can be imported; returns its weights."""
    weights = tmp_path / "site" / "some_net" / "models" / "net-1.pth"
    weights.parent.mkdir(parents=True)
    (weights.parents[1] / "__init__.py").touch()
    weights.touch()
    monkeypatch.syspath_prepend(tmp_path / "site")
    return weights


def test_weights_of_a_package_are_found_after_the_folders(tmp_path: Path, package: Path, cache: Path) -> None:
    source = WeightSource("net-1.pth", package="some-net")
    assert source.installed == package
    assert locate(source, name="net") == package
    (tmp_path / "net.safetensors").touch()
    assert locate(source, name="net", folders=[tmp_path]) == tmp_path / "net.safetensors"
    given = tmp_path / "given.pth"
    given.touch()
    assert locate(source, name="net", file=given) == given


@pytest.mark.usefixtures("package")
def test_a_package_without_the_file_does_not_count() -> None:
    assert WeightSource("net-2.pth", package="some-net").installed is None
    assert WeightSource("net-2.pth").installed is None


@pytest.mark.parametrize(
    ("python", "pip", "command"),
    [
        ("/usr/bin/python3", True, "/usr/bin/python3 -m pip install some-net"),
        ("/a b/python", True, '"/a b/python" -m pip install some-net'),
        ("/v/bin/python", False, "uv pip install --python /v/bin/python some-net"),
    ],
)
def test_a_missing_package_is_named_with_the_command_that_installs_it(
    cache: Path, monkeypatch: pytest.MonkeyPatch, python: str, pip: bool, command: str
) -> None:
    monkeypatch.setattr("sys.executable", python)
    monkeypatch.setattr(weights, "find_spec", lambda name: object() if pip and name == "pip" else None)
    message = f"net-1.pth (or net.safetensors) was not found in {cache}; install it: {command}"
    with pytest.raises(WeightsError, match=f"^{re.escape(message)}$"):
        locate(WeightSource("net-1.pth", package="some-net"), name="net")


def resolve(folder: Path, *, file: Path | None = None) -> str:
    return resolve_auto(
        "large",
        "small",
        source=WeightSource("large-1.pth"),
        file=file,
        folders=[folder],
        notice="using small",
    )


def test_auto_is_the_preferred_network_if_its_weights_are_found(tmp_path: Path) -> None:
    assert resolve(tmp_path, file=tmp_path / "mine.pth") == "large"
    (tmp_path / "large-1.pth").touch()
    assert resolve(tmp_path) == "large"


def test_auto_is_else_the_fallback_and_says_so(tmp_path: Path) -> None:
    with pytest.warns(Notice, match="^using small$"):
        assert resolve(tmp_path) == "small"


def test_a_model_folder_that_is_not_there(tmp_path: Path) -> None:
    message = r"^the model folder .*gone does not exist; correct `model_dirs`$"
    with pytest.raises(SettingsError, match=message):
        locate(WeightSource("net.pth"), name="net", folders=[tmp_path, tmp_path / "gone"])


@pytest.fixture
def state() -> dict[str, torch.Tensor]:
    return {"weight": torch.rand(2, 3), "bias": torch.rand(2)}


@pytest.mark.parametrize("form", ["safetensors", "zip", "legacy", "checkpoint", "parallel"])
def test_state_dicts_of_every_form(tmp_path: Path, state: dict[str, torch.Tensor], form: str) -> None:
    path = tmp_path / ("net.safetensors" if form == "safetensors" else "net.pth")
    if form == "safetensors":
        save_file(state, path)
    elif form == "checkpoint":
        torch.save({"epoch": 3, "state_dict": state}, path)
    elif form == "parallel":
        torch.save({f"module.{name}": tensor for name, tensor in state.items()}, path)
    else:
        torch.save(state, path, _use_new_zipfile_serialization=form == "zip")
    loaded = read_state_dict(path)
    assert list(loaded) in (["weight", "bias"], ["bias", "weight"])
    torch.testing.assert_close(loaded, state)


def truncated(path: Path, state: dict[str, torch.Tensor], *, legacy: bool = False) -> None:
    torch.save(state, path, _use_new_zipfile_serialization=not legacy)
    path.write_bytes(path.read_bytes()[:-40])


@pytest.mark.parametrize(
    ("name", "write", "message"),
    [
        ("a.pth", lambda p, s: p.write_text("\n<!DOCTYPE html><p>Sign in"), "it is a web page"),
        ("a.safetensors", lambda p, s: p.write_text("<!DOCTYPE html><p>Sign in"), "it is a web page"),
        ("a.pth", lambda p, s: p.write_text("version https://git-lfs.github.com/spec/v1"), "Git LFS pointer"),
        ("a.pth", lambda p, s: torch.save(nn.Linear(3, 2), p), "pickled objects, which could run code"),
        ("a.pth", truncated, "damaged, incomplete or not a weight file"),
        ("a.pth", lambda p, s: truncated(p, s, legacy=True), "damaged, incomplete or not a weight file"),
        ("a.pth", lambda p, s: p.touch(), "damaged, incomplete or not a weight file"),
        ("a.safetensors", lambda p, s: p.write_bytes(b"\x08"), "damaged, incomplete or not a weight file"),
        ("a.pth", lambda p, s: None, "No such file"),
    ],
)
def test_unreadable_files_are_named_and_diagnosed(tmp_path: Path, state, name, write, message) -> None:
    write(tmp_path / name, state)
    with pytest.raises(WeightsError, match=message) as caught:
        read_state_dict(tmp_path / name)
    assert str(caught.value).startswith(f"cannot read weights from {tmp_path / name}: ")


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        ({"epoch": 3, "model": [1, 2]}, "a dictionary of 'epoch', 'model'"),
        ({}, "a dictionary of nothing"),
        (torch.rand(2), "Tensor"),
    ],
)
def test_other_contents_are_named(tmp_path: Path, content: object, kind: str) -> None:
    torch.save(content, tmp_path / "net.pth")
    message = rf"expected a state dict \(names and tensors\) in .*net.pth, got {kind}$"
    with pytest.raises(WeightsError, match=message):
        read_state_dict(tmp_path / "net.pth")


def test_loading_sets_every_weight(state: dict[str, torch.Tensor]) -> None:
    module = nn.Linear(3, 2)
    load_strictly(module, state, path=Path("net.pth"))
    torch.testing.assert_close(dict(module.state_dict()), state)


def test_old_files_may_lack_batchnorms_counter() -> None:
    module = nn.BatchNorm2d(4)
    old = {n: torch.rand_like(t) for n, t in module.state_dict().items() if n != "num_batches_tracked"}
    load_strictly(module, old, path=Path("net.pth"))
    torch.testing.assert_close(module.running_var, old["running_var"])


def test_the_first_differences_are_named_and_nothing_is_loaded() -> None:
    module = nn.Linear(3, 2)
    before = module.weight.clone()
    wrong = {"weight": torch.rand(2, 4), "a": torch.rand(1), "b": torch.rand(1)}
    with pytest.raises(WeightsError) as caught:
        load_strictly(module, wrong, path=Path("net.pth"))
    assert str(caught.value) == (
        "net.pth does not fit Linear: bias is missing; expected weight (2, 3), got (2, 4); "
        "a is unknown; and 1 more"
    )
    torch.testing.assert_close(module.weight, before)


@pytest.mark.parametrize("url", ["http://host/net.pth", None])
def test_every_wrong_file_ends_with_the_advice(tmp_path: Path, url: str | None) -> None:
    advice = advice_for(WeightSource("net.pth", url), option="model", name="vgg16")
    where = ": the right file is at http://host/net.pth" if url else ""
    assert advice == (
        f"it was read as the weights of `model` vgg16{where}; if it is another network's, change `model`"
    )
    path = tmp_path / "net.pth"
    for content in (b"<html>", None):
        path.write_bytes(content) if content else torch.save([1], path)
        with pytest.raises(WeightsError) as caught:
            read_state_dict(path, advice=advice)
        assert str(caught.value).endswith(f"; {advice}")
    with pytest.raises(WeightsError) as caught:
        load_strictly(nn.Linear(3, 2), {}, path=path, advice=advice)
    assert str(caught.value).endswith(f"bias is missing; {advice}")


def test_the_hub_is_quiet_while_it_tries() -> None:
    tries = logging.getLogger("huggingface_hub.utils._http")
    before = tries.isEnabledFor(logging.WARNING)
    with suppress(OSError), quiet_hub():
        assert not tries.isEnabledFor(logging.WARNING)
        assert tries.isEnabledFor(logging.ERROR)
        raise OSError("offline")
    assert tries.isEnabledFor(logging.WARNING) == before
