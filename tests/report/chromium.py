"""A browser without a window, driven through its debugging pipe: enough to open a page and use it."""

import base64
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

PROGRAM = shutil.which("chromium") or shutil.which("google-chrome")
SECONDS = 120


class Page:
    """A page that is open. complaints: errors of scripts, console and policy. requests: what was loaded."""

    def __init__(self, to: int, back: int) -> None:
        self._to, self._back, self._last = to, back, 0
        self._rest, self._session = b"", None
        self.complaints: list[str] = []
        self.requests: list[str] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Ask the browser for something and wait for its answer."""
        self._last += 1
        message = {"id": self._last, "method": method, "params": parameters}
        if self._session is not None:
            message["sessionId"] = self._session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        while (answer := self._receive()).get("id") != self._last:
            self._note(answer)
        assert "error" not in answer, answer["error"]
        return answer["result"]

    def open(self, path: Path, width: int = 1280, height: int = 900, *, dark: bool = False) -> None:
        """Show a file in a window of this size, and wait until its scripts have run."""
        scheme = "dark" if dark else "light"
        media = [{"name": "prefers-color-scheme", "value": scheme}]
        self.call("Emulation.setEmulatedMedia", features=media)
        self.resize(width, height)
        self.call("Page.navigate", url=path.resolve().as_uri())
        self.do("new Promise(r => document.readyState === 'complete' ? r() : addEventListener('load', r))")

    def resize(self, width: int, height: int) -> None:
        """A window of this size, as of a phone where it is narrow."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self.call("Emulation.setDeviceMetricsOverride", **size)

    def do(self, script: str) -> Any:
        """The value of an expression in the page, waited for where it is a promise."""
        found = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def picture(self, path: Path) -> Path:
        """The whole page as PNG."""
        data = self.call("Page.captureScreenshot", captureBeyondViewport=True)["data"]
        path.write_bytes(base64.b64decode(data))
        return path

    def printed(self, path: Path) -> Path:
        """The page as PDF."""
        path.write_bytes(base64.b64decode(self.call("Page.printToPDF")["data"]))
        return path

    def _receive(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            part = os.read(self._back, 1 << 20)
            assert part, "the browser has gone"
            self._rest += part
        message, _, self._rest = self._rest.partition(b"\0")
        return json.loads(message)

    def _note(self, event: dict[str, Any]) -> None:
        about = event.get("params", {})
        if event.get("method") == "Runtime.exceptionThrown":
            self.complaints.append(json.dumps(about["exceptionDetails"]))
        elif event.get("method") == "Runtime.consoleAPICalled" and about["type"] in ("error", "warning"):
            self.complaints.append(json.dumps(about["args"]))
        elif event.get("method") == "Log.entryAdded" and about["entry"]["level"] in ("error", "warning"):
            self.complaints.append(about["entry"]["text"])
        elif event.get("method") == "Network.requestWillBeSent":
            self.requests.append(about["request"]["url"])


@contextmanager
def browser(profile: Path) -> Iterator[Page]:
    """An empty page of a browser that keeps its files in the folder `profile`."""
    assert PROGRAM is not None
    (theirs, to), (back, from_them) = os.pipe(), os.pipe()
    options = "--headless --no-sandbox --disable-gpu --hide-scrollbars --remote-debugging-pipe"
    pipes = f"3<&{theirs} 4>&{from_them}"
    command = f"exec timeout {SECONDS} {PROGRAM} {options} --user-data-dir={profile} {pipes}"
    with subprocess.Popen(
        ["bash", "-c", command],
        pass_fds=(theirs, from_them),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as running:
        os.close(theirs)
        os.close(from_them)
        try:
            yield Page(to, back)
        finally:
            os.close(to)
            os.close(back)
            running.terminate()
