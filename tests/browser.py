"""A headless Chromium, driven over the WebDriver protocol by its own driver: no package is needed."""

import base64
import json
import shutil
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import machine

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=1500,1000",
)
MISSING = None if CHROMIUM and DRIVER else "no chromium with chromedriver on this machine (Debian: chromium-driver)"


class Browser:
    """One window; `run` executes JavaScript, whose `arguments` and `return` are JSON."""

    def __init__(self, address: str, profile: str):
        self.address = address
        options = {"binary": CHROMIUM, "args": [*FLAGS, f"--user-data-dir={profile}"]}
        network = {"goog:loggingPrefs": {"browser": "ALL"}, "goog:chromeOptions": options}
        self.session = self._ask("POST", "/session", {"capabilities": {"alwaysMatch": network}})["sessionId"]

    def _ask(self, method: str, path: str, content: dict | None = None):
        data = None if content is None else json.dumps(content).encode()
        request = urllib.request.Request(self.address + path, data, {"Content-Type": "application/json"}, method=method)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return json.load(answer)["value"]
        except urllib.error.HTTPError as error:
            raise AssertionError(json.load(error)["value"]["message"]) from None

    def post(self, path: str, **content):
        return self._ask("POST", f"/session/{self.session}{path}", content)

    def open(self, address: str) -> None:
        self.post("/url", url=address)

    def run(self, script: str, *arguments):
        return self.post("/execute/sync", script=script, args=list(arguments))

    def click(self, text: str) -> None:
        """Click the first visible element that says just this, as a person would; it may take a moment to appear."""
        script = """
            const said = [...document.querySelectorAll("a, button, li, td, th, span, div")].filter(
                one => one.textContent.trim() === arguments[0] && one.offsetParent !== null);
            if (said.length) said.at(-1).click();
            return said.length;"""
        self.wait(lambda: self.run(script, text), f"something that says {text!r}")

    def icons(self, name: str) -> int:
        """How many buttons show an icon."""
        return self.run("return document.querySelectorAll(`a[iconname=${arguments[0]}]`).length", name)

    def press(self, name: str, number: int) -> None:
        """Click one of the buttons that show an icon."""
        self.run("document.querySelectorAll(`a[iconname=${arguments[0]}]`)[arguments[1]].click()", name, number)

    def text(self) -> str:
        return self.run("return document.body.innerText")

    def shown(self) -> str | None:
        """IMG or IFRAME: what the main pane of an engine's report shows, once it is loaded."""
        return self.run("""
            const one = [...document.querySelectorAll("img, iframe")].find(one => one.offsetWidth > 300);
            return one && (one.tagName === "IFRAME" || one.complete) ? one.tagName : null;""")

    def wait(self, ready, what: str):
        for _ in range(100):
            found = ready()
            if found:
                return found
            time.sleep(0.1)
        raise AssertionError(f"{what} did not appear")

    def screenshot(self, file: Path) -> None:
        file.write_bytes(base64.b64decode(self._ask("GET", f"/session/{self.session}/screenshot")))

    def errors(self) -> list[str]:
        """What the page's own console has complained of."""
        return [entry["message"] for entry in self.post("/se/log", type="browser") if entry["level"] == "SEVERE"]


@contextmanager
def browser() -> Iterator[Browser]:
    if MISSING:
        machine.lacks(MISSING)
    with (
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile,
        subprocess.Popen([DRIVER, "--port=0"], stdout=subprocess.PIPE, text=True) as process,
    ):
        try:
            line = next(line for line in process.stdout if "started successfully on port" in line)
            window = Browser(f"http://127.0.0.1:{line.split()[-1].rstrip('.')}", profile)
            try:
                yield window
            finally:
                window._ask("DELETE", f"/session/{window.session}")
        finally:
            process.terminate()
