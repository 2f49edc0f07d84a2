"""Drives a headless Chromium over its debugging pipe: opens pages, presses keys, reads the page, takes screenshots."""

import base64
import contextlib
import json
import os
import select
import shutil
import subprocess
import sys
import time

import pytest

FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync", "--disable-dev-shm-usage", "--disable-quic"),
    *("--disable-extensions", "--mute-audio", "--window-size=1280,800", "--remote-debugging-pipe"),
)


LAUNCH = """
import fcntl, os, sys
high = [fcntl.fcntl(int(end), fcntl.F_DUPFD, 50) for end in sys.argv[1:3]]
for end, wanted in zip(high, (3, 4)):
    os.dup2(end, wanted)
os.execvp(sys.argv[3], sys.argv[3:])
"""


class Tab:
    """One tab."""

    def __init__(self, browser, target, session):
        self.browser, self.target, self.session = browser, target, session

    def call(self, method, **params):
        return self.browser.call(method, session=self.session, **params)

    def run(self, code):
        """The value of an expression in the page; a promise is waited for."""
        found = self.call("Runtime.evaluate", expression=code, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def wait(self, code, seconds=20):
        """Wait until an expression is true; returns its value."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            found = self.run(code)
            if found:
                return found
            time.sleep(0.01)
        raise AssertionError(f"{code} stays false; the page says: {self.run('document.body.innerText')}")

    def open(self, url):
        self.call("Page.navigate", url=url)
        self.wait("document.readyState === 'complete'")

    def key(self, key, *, ctrl=False, text=None):
        """Press and release a key."""
        modifiers = 2 if ctrl else 0
        typed = text if text is not None else key if len(key) == 1 else ""
        names = {"Enter": 13, "Escape": 27, "ArrowLeft": 37, "ArrowRight": 39}
        code = names.get(key, ord(key[0].upper()))
        shared = {"key": key, "modifiers": modifiers, "windowsVirtualKeyCode": code}
        self.call("Input.dispatchKeyEvent", type="keyDown", text="" if ctrl else typed, **shared)
        self.call("Input.dispatchKeyEvent", type="keyUp", **shared)

    def paste(self, text):
        """Put a text where the cursor is, as a paste does."""
        self.call("Input.insertText", text=text)

    def resize(self, width, height):
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )

    def screenshot(self, path):
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"]))

    def close(self):
        self.browser.call("Target.closeTarget", targetId=self.target)


class Browser:
    """A Chromium that runs until `close`."""

    def __init__(self, program, profile):
        to_browser, self._write = os.pipe()
        self._read, from_browser = os.pipe()
        command = [program, *FLAGS, f"--user-data-dir={profile}", "about:blank"]
        # Chromium reads from descriptor 3 and writes to 4; not every shell can hand on descriptors above 9.
        ends = [str(to_browser), str(from_browser)]
        self._process = subprocess.Popen(
            [sys.executable, "-S", "-E", "-c", LAUNCH, *ends, *command],
            pass_fds=(to_browser, from_browser),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(to_browser)
        os.close(from_browser)
        self._number, self._buffer = 0, b""
        self.requested, self.problems = [], []

    def call(self, method, *, session=None, **params):
        self._number += 1
        number = self._number
        message = {"id": number, "method": method, "params": params}
        if session:
            message["sessionId"] = session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == number:
                assert "error" not in answer, answer
                return answer["result"]
            self._note(answer)

    def _next(self, seconds=60):
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._read], [], [], seconds)
            assert ready, "the browser does not answer"
            block = os.read(self._read, 1 << 20)
            assert block, "the browser is gone"
            self._buffer += block
        line, _, self._buffer = self._buffer.partition(b"\0")
        return json.loads(line)

    def _note(self, event):
        if event.get("method") == "Network.requestWillBeSent":
            self.requested.append(event["params"]["request"]["url"])
        if event.get("method") in (
            "Runtime.exceptionThrown",
            "Log.entryAdded",
            "Page.javascriptDialogOpening",
        ):
            self.problems.append(event["params"])

    def tab(self, url):
        """A new tab with a page open."""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        tab = Tab(self, target, session)
        for domain in ("Page", "Runtime", "Network", "Log"):
            tab.call(f"{domain}.enable")
        tab.open(url)
        return tab

    def close(self):
        with contextlib.suppress(Exception):
            self.call("Browser.close")
        os.close(self._write)
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        os.close(self._read)


def start(profile):
    """A browser, or a skipped test where there is none."""
    program = os.environ.get("CHROMIUM") or next(
        filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None
    )
    if program is None:
        pytest.skip("there is no Chromium here; CHROMIUM names its program")
    return Browser(program, profile)
