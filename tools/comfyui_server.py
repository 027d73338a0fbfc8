"""Start a ComfyUI server on the CPU with this pack linked in, and talk to it as its page does."""

from __future__ import annotations

import json
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import websocket

ROOT = Path(__file__).resolve().parents[1]
PACK = "comfyui-deepdream-2"
"""Name of the pack's folder in custom_nodes, one that Python could not import."""

HOW_TO_GET_IT = (
    "needs ComfyUI: git clone https://github.com/comfyanonymous/ComfyUI ~/comfy/ComfyUI, install its "
    "requirements.txt and this pack's into ~/comfy/venv (or set COMFYUI_ROOT and COMFYUI_PYTHON)"
)
STARTS_WITHIN = 180.0
BYTECODE = ROOT / ".pytest_cache" / "bytecode"
"""What Python compiles: nothing is written into ComfyUI's own folder, and the next server starts sooner."""

SHOWN = "shown_beside_a_look"
"""Key in the options of the choice of a look: names of the widgets that stay beside one."""

PREVIEW, TEXT, PREVIEW_WITH_METADATA = 1, 3, 4

Graph: TypeAlias = Mapping[str, Mapping[str, Any]]
"""A prompt in ComfyUI's API format: node id -> {"class_type", "inputs"}."""


def find() -> tuple[Path, Path]:
    """Find ComfyUI's folder and its Python.

    Raises:
        FileNotFoundError: it is not installed; the message, one line, says how to get it.
    """
    root = Path(os.environ.get("COMFYUI_ROOT") or Path.home() / "comfy" / "ComfyUI")
    if not (root / "main.py").is_file():
        raise FileNotFoundError(HOW_TO_GET_IT)
    if python := os.environ.get("COMFYUI_PYTHON"):
        return root, Path(python)
    places = [folder / "bin" / "python" for folder in (root / ".venv", root / "venv", root.parent / "venv")]
    return root, next((place for place in places if place.exists()), Path(sys.executable))


def fetch(request: str | urllib.request.Request) -> bytes:
    """Send a request to a local server, past any proxy, and return the answer."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(request, timeout=60) as answer:
        content: bytes = answer.read()
    return content


def end(process: subprocess.Popen[bytes]) -> None:
    """End a program; if it does not end by itself, kill it and everything it started (it leads a session)."""
    process.terminate()
    try:
        process.wait(15)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@dataclass(frozen=True)
class Node:
    """A node of a `Draft`. As an input it stands for its first output, and node[1] for its second."""

    id: str

    def __getitem__(self, slot: int) -> list[Any]:
        return [self.id, slot]


class Draft:
    """A prompt to add nodes to."""

    def __init__(self) -> None:
        self.graph: dict[str, dict[str, Any]] = {}

    def add(self, class_type: str, **inputs: Any) -> Node:
        """Add a node. Inputs are values, nodes, or outputs of nodes."""
        node = Node(str(len(self.graph) + 1))
        linked = {name: value[0] if isinstance(value, Node) else value for name, value in inputs.items()}
        self.graph[node.id] = {"class_type": class_type, "inputs": linked}
        return node


def _fill(inputs: dict[str, Any], group: Mapping[str, Any], prefix: str = "") -> None:
    for short, (kind, *rest) in group.items():
        name, options = prefix + short, rest[0] if rest and isinstance(rest[0], dict) else {}
        if kind == "COMFY_DYNAMICCOMBO_V3":
            choice = inputs.setdefault(name, options["options"][0]["key"])
            for option in options["options"]:
                if option["key"] == choice:
                    for inner in option["inputs"].values():
                        _fill(inputs, inner, f"{name}.")
        elif (
            "default" in options and SHOWN not in options
        ):  # a prompt without a look is valid, and means custom
            inputs.setdefault(name, options["default"])


@dataclass
class Run:
    """Record of a prompt's run.

    Args:
        prompt_id: ComfyUI's id; empty if it refused the prompt.
        graph: the prompt.
        refused: ComfyUI's answer to a prompt that it did not accept.
        outputs: node id -> what the node shows, as in the history.
        error: ComfyUI's message about an error, with node_id, exception_message and exception_type.
        interrupted: True if Cancel ended it.
        cached: ids of the nodes whose outputs ComfyUI took from its cache.
        executed: ids of the nodes that ran, in order.
        progress: (node id, value, max).
        previews: (node id, encoded image).
        texts: (node id, text) that nodes sent.
        events: every message, without its images.
        seconds: from its start to its end, measured here.
    """

    prompt_id: str = ""
    graph: Graph = field(default_factory=dict)
    refused: dict[str, Any] | None = None
    outputs: dict[str, dict[str, Any]] = field(default_factory=dict)
    error: dict[str, Any] | None = None
    interrupted: bool = False
    cached: list[str] = field(default_factory=list)
    executed: list[str] = field(default_factory=list)
    progress: list[tuple[str, float, float]] = field(default_factory=list)
    previews: list[tuple[str, bytes]] = field(default_factory=list)
    texts: list[tuple[str, str]] = field(default_factory=list)
    events: list[dict[str, Any]] = field(default_factory=list)
    seconds: float = 0.0
    started: threading.Event = field(default_factory=threading.Event)
    ended: threading.Event = field(default_factory=threading.Event)
    _since: float = 0.0

    def hear(self, kind: str, data: dict[str, Any]) -> None:
        """Take a message about this prompt."""
        self.events.append({"type": kind, "data": data})
        if kind == "execution_start":
            self._since = time.perf_counter()
            self.started.set()
        elif kind == "execution_cached":
            self.cached += data["nodes"]
        elif kind == "executing" and data["node"] is not None:
            self.executed.append(data["node"])
        elif kind == "progress":
            self.progress.append((data["node"], data["value"], data["max"]))
        elif kind == "execution_error":
            self.error = data
        elif kind == "execution_interrupted":
            self.interrupted = True
        if kind in ("execution_success", "execution_error", "execution_interrupted"):
            self.seconds = time.perf_counter() - self._since
            self.ended.set()


class Server:
    """ComfyUI in a folder of its own: a context manager that starts and ends it.

    Args:
        base: a folder for models, custom nodes, inputs, outputs and everything else it writes; also its home.
        packs: more custom nodes: files or folders.
        options: more options of ComfyUI's command line.
    """

    def __init__(self, base: Path, *, packs: tuple[Path, ...] = (), options: tuple[str, ...] = ()) -> None:
        self.base = base
        self._options = options
        self.log = base / "server.log"
        self._client = uuid.uuid4().hex
        self._runs: dict[str, Run] = {}
        self._early: list[tuple[str, dict[str, Any]]] = []
        self._lock = threading.Lock()
        self._now: Run | None = None
        self._infos: dict[str, dict[str, Any]] = {}
        for name in ("models", "custom_nodes", "input", "output", "temp", "user", "home"):
            (base / name).mkdir(parents=True, exist_ok=True)
        (base / "custom_nodes" / PACK).symlink_to(ROOT)
        for pack in packs:
            (base / "custom_nodes" / pack.name).symlink_to(pack)

    def __enter__(self) -> Server:
        self._process = self._launch(["main.py"])
        try:
            self._get_ready()
        except BaseException:
            self.__exit__()
            raise
        return self

    def _launch(self, script: list[str], **pipes: Any) -> subprocess.Popen[bytes]:
        """Start ComfyUI, by a script that takes its options."""
        root, python = find()
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        command = [str(python), *script, "--cpu", "--listen", "127.0.0.1", "--port", str(self.port)]
        command += ["--base-directory", str(self.base), "--database-url", "sqlite:///:memory:"]
        command += ["--disable-auto-launch", "--disable-api-nodes", *self._options]
        kept = {
            name: value for name, value in os.environ.items() if not name.startswith(("DEEPDREAM", "PYTHON"))
        }
        nowhere = "http://127.0.0.1:9"  # so that no test can download anything
        environment = {
            **kept,
            "HOME": str(self.base / "home"),
            "MPLCONFIGDIR": str(self.base / "matplotlib"),  # where it remembers the fonts it found
            "OMP_NUM_THREADS": "2",
            "GOMP_SPINCOUNT": "20000",
            "PYTHONPYCACHEPREFIX": str(BYTECODE),
            "HTTP_PROXY": nowhere, "HTTPS_PROXY": nowhere, "http_proxy": nowhere, "https_proxy": nowhere,
        }  # fmt: skip
        with self.log.open("wb") as log:
            return subprocess.Popen(
                command,
                cwd=root,
                env=environment,
                stderr=log if pipes else subprocess.STDOUT,
                start_new_session=True,
                **(pipes or {"stdout": log}),
            )

    def _get_ready(self) -> None:
        self._wait_until_it_answers()
        self._listen()

    def __exit__(self, *_: object) -> None:
        end(self._process)

    @property
    def pid(self) -> int:
        """Id of the server's process."""
        return self._process.pid

    def _wait_until_it_answers(self) -> None:
        end = time.monotonic() + STARTS_WITHIN
        while time.monotonic() < end:
            if self._process.poll() is not None:
                break
            try:
                self.get("/system_stats")
            except (urllib.error.URLError, ConnectionError):
                time.sleep(0.2)
            else:
                return
        raise RuntimeError(f"ComfyUI does not answer:\n{self.log.read_text('utf-8', 'replace')[-4000:]}")

    # Speaking

    def get(self, path: str) -> Any:
        """Return the answer to GET."""
        return self._ask(urllib.request.Request(self._url(path)))

    def post(self, path: str, content: Any) -> Any:
        """Return the answer to POST."""
        data = json.dumps(content).encode()
        return self._ask(urllib.request.Request(self._url(path), data, {"Content-Type": "application/json"}))

    def _url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    def _ask(self, request: urllib.request.Request) -> Any:
        content = fetch(request)
        return json.loads(content) if content else None

    def filled(self, graph: Graph) -> Graph:
        """Return a prompt in which the widgets that it leaves out have their defaults, as the page sends it."""
        full = {}
        for node_id, node in graph.items():
            inputs = dict(node["inputs"])
            for group in self.info(node["class_type"])["input"].values():
                _fill(inputs, group)
            full[node_id] = {**node, "inputs": inputs}
        return full

    def info(self, class_type: str) -> dict[str, Any]:
        """Return ComfyUI's description of a node; {"input": {}} for one that it does not know."""
        if class_type not in self._infos:
            answer = self.get(f"/object_info/{urllib.parse.quote(class_type)}")
            self._infos[class_type] = answer.get(class_type, {"input": {}})
        return self._infos[class_type]

    def queue(self, graph: Graph) -> Run:
        """Send a prompt, with defaults for the widgets that it leaves out, and return at once: `wait` for it."""
        graph = self.filled(graph)
        try:
            answer = self.post("/prompt", {"prompt": graph, "client_id": self._client})
        except urllib.error.HTTPError as error:
            return Run(graph=graph, refused=json.loads(error.read()))
        run = Run(prompt_id=answer["prompt_id"], graph=graph)
        with self._lock:
            self._runs[run.prompt_id] = run
            early, self._early = self._early, []
        for kind, data in early:
            self._hear(kind, data)
        return run

    def wait(self, run: Run, *, timeout: float = 120) -> Run:
        """Wait until a prompt has ended."""
        if run.refused is not None:
            return run
        if not run.ended.wait(timeout):
            raise TimeoutError(f"the prompt has not ended after {timeout} s: {run.executed} ran")
        end = time.monotonic() + timeout
        while run.prompt_id not in (history := self.get(f"/history/{run.prompt_id}")):
            if time.monotonic() > end:
                raise TimeoutError("the prompt is missing in ComfyUI's history")
            time.sleep(0.01)
        run.outputs = history[run.prompt_id]["outputs"]
        return run

    def run(self, graph: Graph, *, timeout: float = 120) -> Run:
        """Send a prompt and wait until it has ended."""
        return self.wait(self.queue(graph), timeout=timeout)

    def interrupt(self) -> None:
        """Press Cancel."""
        self.post("/interrupt", {})

    # Hearing

    def _listen(self) -> None:
        address = f"ws://127.0.0.1:{self.port}/ws?clientId={self._client}"
        self._socket = websocket.create_connection(address, timeout=30, http_no_proxy=["127.0.0.1"])
        self._socket.send(json.dumps({"type": "feature_flags", "data": {"supports_preview_metadata": True}}))
        self._socket.recv()  # ComfyUI's status: from now on it knows this client
        self._socket.settimeout(None)
        threading.Thread(target=self._hear_all, daemon=True).start()

    def _hear_all(self) -> None:
        while True:
            try:
                message = self._socket.recv()
            except (websocket.WebSocketException, OSError):
                return
            if isinstance(message, bytes):
                self._hear_bytes(message)
            elif message:
                content = json.loads(message)
                self._hear(content["type"], content["data"])

    def _hear(self, kind: str, data: dict[str, Any]) -> None:
        if "prompt_id" not in data:
            return
        with self._lock:
            run = self._runs.get(data["prompt_id"])
            if run is None:
                self._early.append((kind, data))
                return
            self._now = run
        run.hear(kind, data)

    def _hear_bytes(self, message: bytes) -> None:
        if self._now is None:
            return
        kind, length = struct.unpack(">II", message[:8])
        head, rest = message[8 : 8 + length], message[8 + length :]
        if kind == TEXT:
            self._now.texts.append((head.decode(), rest.decode()))
        elif kind == PREVIEW_WITH_METADATA:
            self._now.previews.append((json.loads(head)["node_id"], rest))
        elif kind == PREVIEW:
            self._now.previews.append(("", message[8:]))
