"""Drive ComfyUI's page in a headless Chromium through the DevTools protocol."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any

import websocket
from comfyui_server import end, fetch

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
HOW_TO_GET_IT = "needs Chromium: install your system's package chromium, or set CHROMIUM to the program"
STARTS_WITHIN = 120.0

SETTINGS = {
    "Comfy.TutorialCompleted": True,  # otherwise the template browser covers the page
    "Comfy.Minimap.Visible": False,
    "Comfy.Graph.CanvasInfo": False,
    "Comfy.NodeBadge.NodeSourceBadgeMode": "None",
}
"""Settings that the server keeps for its user; the server is our own."""

READY = """
() => window.app?.graph && window.app.canvas
    && Object.keys(window.LiteGraph?.registered_node_types ?? {}).some(name => name.startsWith("DeepDream"))
"""
LOAD = """
async graph => {
    const app = window.app;
    await app.loadGraphData(graph, true, true);
    await new Promise(done => setTimeout(done, 500));
    const nodes = app.graph.nodes;
    return {
        nodes: nodes.map(node => node.type),
        unknown: nodes.filter(node => !(node.type in LiteGraph.registered_node_types)).map(node => node.type),
        errors: nodes.filter(node => node.has_errors).map(node => `${node.type}: ${node.title}`),
        wires: app.graph.links.size,
        dialogs: [...document.querySelectorAll("[role=dialog]")].map(dialog => dialog.innerText),
    };
}
"""
FIT = """
async ([left, top, width, height]) => {
    const { canvas } = window.app, { ds } = canvas, view = canvas.canvas.getBoundingClientRect();
    canvas.min_font_size_for_lod = 0;  // draw all text, however small
    const bar = 70, head = 80;  // the page's own buttons, on the left and above
    ds.scale = Math.min((view.width - bar) / width, (view.height - head) / height);
    ds.offset[0] = (view.width + bar) / ds.scale / 2 - left - width / 2;
    ds.offset[1] = (view.height + head) / ds.scale / 2 - top - height / 2;
    canvas.deselectAll();
    canvas.setDirty(true, true);
    await new Promise(done => setTimeout(done, 1000));
}
"""


def find() -> str:
    """Find Chromium.

    Raises:
        FileNotFoundError: it is not installed; the message, one line, says how to get it.
    """
    for name in (os.environ.get("CHROMIUM"), *NAMES):
        if name and (program := shutil.which(name)):
            return program
    raise FileNotFoundError(HOW_TO_GET_IT)


class Page:
    """The page of a server: a context manager that starts and ends a Chromium of its own.

    Args:
        url: of the server, with a slash at its end. The page reaches nothing else. Its settings are changed.
        size: width and height of the window in pixels.
    """

    def __init__(self, url: str, *, size: tuple[int, int] = (1600, 900)) -> None:
        self.url = url
        self.size = size
        self.exceptions: list[str] = []
        self._number = 0

    def __enter__(self) -> Page:
        self._profile = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        command = [
            find(),
            "--headless=new",
            "--remote-debugging-port=0",
            f"--user-data-dir={self._profile.name}",
        ]
        command += [f"--window-size={self.size[0]},{self.size[1]}", "--hide-scrollbars", "--disable-gpu"]
        command += ["--no-first-run", "--disable-sync", "--disable-background-networking"]
        command += ["--disable-component-update", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"]
        if os.geteuid() == 0:
            command += ["--no-sandbox"]  # Chromium's sandbox refuses the superuser
        self._process = subprocess.Popen(
            [*command, "about:blank"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            self._socket = websocket.create_connection(
                self._address(), timeout=STARTS_WITHIN, suppress_origin=True, http_no_proxy=["127.0.0.1"]
            )
            self._set()
            for domain in ("Page", "Runtime"):
                self.send(f"{domain}.enable")
            width, height = self.size
            self.send(
                "Emulation.setDeviceMetricsOverride",
                width=width,
                height=height,
                deviceScaleFactor=1,
                mobile=False,
            )
            self.send("Page.navigate", url=self.url)
            self._wait_until_it_is_ready()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        end(self._process)
        self._profile.cleanup()

    def _address(self) -> str:
        """Address of the page's DevTools."""
        file = Path(self._profile.name) / "DevToolsActivePort"
        end = time.monotonic() + STARTS_WITHIN
        while time.monotonic() < end and self._process.poll() is None:
            if file.exists() and (lines := file.read_text("utf-8").split()):
                targets = json.loads(fetch(f"http://127.0.0.1:{lines[0]}/json/list"))
                pages = [target for target in targets if target["type"] == "page"]
                if pages:
                    return str(pages[0]["webSocketDebuggerUrl"])
            time.sleep(0.1)
        raise RuntimeError("Chromium does not open its DevTools")

    def _set(self) -> None:
        headers = {"Content-Type": "application/json"}
        fetch(urllib.request.Request(f"{self.url}settings", json.dumps(SETTINGS).encode(), headers))

    def _wait_until_it_is_ready(self) -> None:
        end = time.monotonic() + STARTS_WITHIN
        while time.monotonic() < end:
            if self.call(READY):
                return
            time.sleep(0.2)
        raise RuntimeError("ComfyUI's page does not get ready")

    def send(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Send a command of the DevTools protocol and wait for its result.

        Raises:
            RuntimeError: the command failed.
        """
        self._number += 1
        self._socket.send(json.dumps({"id": self._number, "method": method, "params": parameters}))
        while True:
            message = json.loads(self._socket.recv())
            if message.get("method") == "Runtime.exceptionThrown":
                details = message["params"]["exceptionDetails"]
                self.exceptions.append(details.get("exception", {}).get("description", details["text"]))
            if message.get("id") == self._number:
                if "error" in message:
                    raise RuntimeError(f"{method}: {message['error']['message']}")
                return dict(message["result"])

    def call(self, function: str, *arguments: Any) -> Any:
        """Call a JavaScript function in the page, asynchronous or not, and return its result.

        Raises:
            RuntimeError: the function threw.
        """
        called = f"({function})({', '.join(json.dumps(argument) for argument in arguments)})"
        # As a text: DevTools would return a value that Vue watches as empty.
        expression = f"(async () => JSON.stringify(await {called}))()"
        result = self.send("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        if details := result.get("exceptionDetails"):
            raise RuntimeError(details.get("exception", {}).get("description", details["text"]))
        text = result["result"].get("value")
        return None if text is None else json.loads(text)

    def load(self, graph: dict[str, Any]) -> dict[str, Any]:
        """Open a workflow in the page's own format.

        Returns:
            nodes, unknown, errors: types of nodes; wires: their number; dialogs: texts of the dialogs that opened.
        """
        loaded: dict[str, Any] = self.call(LOAD, graph)
        return loaded

    def prompt(self) -> dict[str, Any]:
        """Return the open workflow as the page sends it to the server."""
        sent: dict[str, Any] = self.call("async () => (await window.app.graphToPrompt()).output")
        return sent

    def screenshot(
        self, place: tuple[float, float, float, float], *, kind: str = "png", quality: int | None = None
    ) -> bytes:
        """Take an image of a part of the canvas, fitted into the window.

        Args:
            place: left, top, width and height on the canvas.
            kind: png or jpeg.
            quality: of a jpeg, 0..100.
        """
        self.call(FIT, place)
        options = {} if quality is None else {"quality": quality}
        return base64.b64decode(self.send("Page.captureScreenshot", format=kind, **options)["data"])


def bounds(graph: dict[str, Any], *, margin: float = 40) -> tuple[float, float, float, float]:
    """Return left, top, width and height of the area that a workflow's groups and nodes fill."""
    boxes = [group["bounding"] for group in graph["groups"]]
    boxes += [[*node["pos"], *node["size"]] for node in graph["nodes"]]
    left, top = (min(box[axis] for box in boxes) - margin for axis in (0, 1))
    right, bottom = (max(box[axis] + box[axis + 2] for box in boxes) + margin for axis in (0, 1))
    return left, top, right - left, bottom - top
