"""browser.py - drives a headless Chromium by its DevTools pipe.

No package is needed: messages are JSON with a zero byte between them, on the
file descriptors 3 and 4 of the browser.

    with Browser(program) as page:
        page.open("http://127.0.0.1:8080/")
        page.wait("document.title != ''")
        page.click("#make")

Everything that a page may do wrong by itself (exceptions, errors on its
console, answers that a policy forbids) is collected in `faults`.

SPDX-License-Identifier: MIT
"""
import base64
import json
import os
import shutil
import subprocess
import tempfile
import time

KEYS = {"Tab": 9, "Enter": 13, " ": 32, "ArrowLeft": 37, "ArrowUp": 38,
        "ArrowRight": 39, "ArrowDown": 40}


def find():
    """Path of a Chromium, or None."""
    names = [os.environ.get("CHROMIUM", ""), "chromium", "chromium-browser",
             "google-chrome", "google-chrome-stable"]
    return next(filter(None, map(shutil.which, filter(None, names))), None)


class Browser:
    def __init__(self, program, width=1280, height=900, timeout_s=60):
        self.timeout_s = timeout_s
        self.folder = tempfile.mkdtemp()
        self.faults, self.requests = [], []
        self.number, self.session, self.rest = 0, None, b""
        self.start(program, width, height)

    def start(self, program, width, height):
        from_us, self.to_browser = os.pipe()
        self.from_browser, to_us = os.pipe()

        def connect():
            ends = os.dup(from_us), os.dup(to_us)
            os.dup2(os.dup(ends[0]), 3)
            os.dup2(os.dup(ends[1]), 4)

        self.process = subprocess.Popen(
            [program, "--headless=new", "--no-sandbox", "--disable-gpu",
             "--disable-dev-shm-usage", "--no-first-run", "--hide-scrollbars",
             "--force-color-profile=srgb", "--disable-background-networking",
             "--remote-debugging-pipe", f"--user-data-dir={self.folder}",
             f"--window-size={width},{height}"],
            preexec_fn=connect, close_fds=False, start_new_session=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL)
        os.close(from_us)
        os.close(to_us)
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.ask("Target.attachToTarget", targetId=target,
                                flatten=True)["sessionId"]
        for domain in ["Page", "Runtime", "Log", "Network", "DOM"]:
            self.ask(domain + ".enable")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        os.close(self.to_browser)
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        os.close(self.from_browser)
        shutil.rmtree(self.folder, ignore_errors=True)

    # -- messages

    def read(self):
        """The next message of the browser."""
        while b"\0" not in self.rest:
            some = os.read(self.from_browser, 1 << 20)
            if not some:
                raise RuntimeError("the browser has ended")
            self.rest += some
        text, self.rest = self.rest.split(b"\0", 1)
        return json.loads(text)

    def ask(self, method, **params):
        self.number += 1
        message = {"id": self.number, "method": method, "params": params}
        if self.session:
            message["sessionId"] = self.session
        data = json.dumps(message).encode() + b"\0"
        while data:
            data = data[os.write(self.to_browser, data):]
        while True:
            answer = self.read()
            if answer.get("id") == self.number:
                break
            self.note(answer.get("method"), answer.get("params", {}))
        if "error" in answer:
            raise RuntimeError(f"{method}: {answer['error']['message']}")
        return answer["result"]

    def note(self, method, params):
        if method == "Runtime.exceptionThrown":
            details = params["exceptionDetails"]
            self.faults.append(details.get("exception", {})
                               .get("description", details["text"]))
        elif method == "Runtime.consoleAPICalled" and \
                params["type"] in ("error", "warning", "assert"):
            self.faults.append(str(params["args"]))
        elif method == "Log.entryAdded" and \
                params["entry"]["level"] == "error":
            entry = params["entry"]
            self.faults.append(f"{entry['text']} {entry.get('url', '')}")
        elif method == "Network.requestWillBeSent":
            self.requests.append(params["request"])

    # -- the page

    def open(self, address):
        self.ask("Page.navigate", url=address)

    def do(self, script):
        """Value of an expression, promises awaited."""
        answer = self.ask("Runtime.evaluate", expression=script,
                          awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in answer:
            raise RuntimeError(f"{script}: {answer['exceptionDetails']}")
        return answer["result"].get("value")

    def wait(self, condition):
        """Until it is true; asked again by the browser's own clock."""
        end = time.monotonic() + self.timeout_s
        while time.monotonic() < end:
            try:
                if self.do(f"new Promise(done => {{ const look = n => ({condition})"
                           " ? done(true) : n ? setTimeout(look, 20, n - 1)"
                           " : done(false); look(50); })"):
                    return
            except RuntimeError as error:  # the page was left meanwhile
                last = error
        raise RuntimeError(f"waited {self.timeout_s} s in vain for "
                           f"{condition}{locals().get('last', '')}")

    def place(self, selector):
        """Middle of an element, scrolled into view."""
        box = self.do(
            "(e => { e.scrollIntoView({block: 'center'}); const b ="
            " e.getBoundingClientRect(); return [b.x, b.y, b.width, b.height];"
            f" }})(document.querySelector({json.dumps(selector)}))")
        return box

    def mouse(self, kind, x, y, buttons=0):
        self.ask("Input.dispatchMouseEvent", type="mouse" + kind, x=x, y=y,
                 button="left" if kind != "Moved" else "none",
                 buttons=buttons, clickCount=0 if kind == "Moved" else 1)

    def click(self, selector):
        x, y, w, h = self.place(selector)
        self.stroke([(x + w / 2, y + h / 2)])

    def stroke(self, points):
        """Press at the first point, move along, let go."""
        self.mouse("Moved", *points[0])
        self.mouse("Pressed", *points[0], buttons=1)
        for point in points[1:]:
            self.mouse("Moved", *point, buttons=1)
        self.mouse("Released", *points[-1])

    def key(self, key, shift=False):
        text = {"Enter": "\r", " ": " "}.get(key, "")
        for kind in ["keyDown", "keyUp"]:
            self.ask("Input.dispatchKeyEvent", type=kind, key=key,
                     code=key if key != " " else "Space",
                     windowsVirtualKeyCode=KEYS[key], modifiers=8 * shift,
                     text=text if kind == "keyDown" else "")

    def type(self, text):
        self.ask("Input.insertText", text=text)

    def choose_file(self, selector, path):
        root = self.ask("DOM.getDocument")["root"]["nodeId"]
        node = self.ask("DOM.querySelector", nodeId=root, selector=selector)
        self.ask("DOM.setFileInputFiles", nodeId=node["nodeId"],
                 files=[os.path.abspath(path)])

    def look(self, path, width=None, height=None, dark=False, scale=1,
             whole=True):
        """A screenshot."""
        self.ask("Emulation.setEmulatedMedia", features=[
            {"name": "prefers-color-scheme",
             "value": "dark" if dark else "light"}])
        if width:
            self.ask("Emulation.setDeviceMetricsOverride", width=width,
                     height=height, deviceScaleFactor=scale,
                     mobile=width < 600)
        picture = self.ask("Page.captureScreenshot", format="png",
                           captureBeyondViewport=whole)["data"]
        with open(path, "wb") as file:
            file.write(base64.b64decode(picture))
