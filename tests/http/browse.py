"""browse.py - what a person does with the web page; run by t_c_browser.sh.

    python3 tests/http/browse.py URL FOLDER

Prints "ok name" or "not ok name" a check.  Every request that the page sends is
compared with the interface as the server describes it.

SPDX-License-Identifier: MIT
"""
import hashlib
import json
import pathlib
import random
import struct
import subprocess
import sys
import urllib.request
import zlib

sys.path.insert(0, "tests/support")
import browser  # noqa: E402

OVER = "!document.querySelector('#finished').hidden"
RUNS = "!document.querySelector('#running').hidden"
FAILED = []


def check(name, got, wanted):
    print(("ok " if got == wanted else "not ok ") + name, flush=True)
    if got != wanted:
        FAILED.append(name)
        print(f"    wanted: {wanted}\n    got:    {got}")


def png(width, height, pixels):
    """A grey PNG of these bytes."""
    def chunk(kind, data):
        body = kind + data
        return struct.pack(">I", len(data)) + body + \
            struct.pack(">I", zlib.crc32(body))
    rows = b"".join(b"\0" + pixels[y * width:(y + 1) * width]
                    for y in range(height))
    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + \
        chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def faults_of(value, schema, at):
    """Where a value breaks a schema: types, names, choices, ranges."""
    kinds = {bool: "boolean", int: "integer", float: "number", str: "string",
             list: "array", dict: "object", type(None): "null"}
    kind = kinds[type(value)]
    types = schema.get("type", kind)
    types = [types] if isinstance(types, str) else types
    if kind not in types and not (kind == "integer" and "number" in types):
        return [f"{at} is {kind}"]
    faults = []
    if "enum" in schema and value not in schema["enum"]:
        faults.append(f"{at} is {value}")
    if kind in ("integer", "number") and not (
            schema.get("minimum", value) <= value <=
            schema.get("maximum", value)):
        faults.append(f"{at} is {value}")
    if kind == "object":
        for name, member in value.items():
            if name in schema.get("properties", {}):
                faults += faults_of(member, schema["properties"][name],
                                    f"{at}/{name}")
            else:
                faults.append(f"{at}/{name} is no field")
    for item in value if kind == "array" else []:
        objects = [s for s in schema["items"]["anyOf"]
                   if s["type"] == kinds[type(item)]]
        faults += faults_of(item, objects[0], at + "/-")
    return faults


class Visit:
    """A browser at the page, and the interface beside it."""

    def __init__(self, page, url, folder):
        self.page, self.url, self.folder = page, url, folder
        self.api = self.get("/openapi.json")

    def get(self, path):
        with urllib.request.urlopen(self.url + path) as answer:
            return json.load(answer)

    def text(self, selector):
        return self.page.do(f"document.querySelector('{selector}').textContent")

    def set(self, selector, value):
        self.page.do(f"(e => {{ e.value = {json.dumps(value)};"
                     "for (const n of ['input', 'change'])"
                     "e.dispatchEvent(new Event(n, {bubbles: true})); })"
                     f"(document.querySelector('{selector}:enabled'))")

    def shown(self, *selectors):
        return [self.page.do(f"(e => Boolean(e && e.offsetParent))"
                             f"(document.querySelector('{s}'))")
                for s in selectors]

    def bodies(self):
        """Requests for pictures, as they were sent."""
        return [r["postData"] for r in self.page.requests
                if r["method"] == "POST" and r["url"].endswith("/v1/jobs")]

    def job(self):
        return self.get("/v1/jobs/" + self.page.do("location.hash.slice(1)"))

    def make(self, until=OVER):
        """Press the button; the job that came of it."""
        before = self.page.do("location.hash")
        self.page.click("#make")
        self.page.wait(f"location.hash != '{before}' && {until}")
        return self.job()

    def refused(self):
        """Press the button; what the page says."""
        self.page.click("#make")
        self.page.wait("!document.querySelector('#problem').hidden")
        return self.text("#problem")


def first_picture(v):
    v.page.open(v.url + "/")
    v.page.wait("document.querySelector('#finished') && " + OVER)
    check("a first picture by itself", v.job()["status"], "succeeded")
    check("classes, no texts", v.shown(
        "select[name=class]", "[name=prompt]", "[name=negative_prompt]",
        "#loras", "[name=image_guidance_scale]"), [True] + 4 * [False])
    v.page.do("document.querySelector('#make').focus()")
    before = v.page.do("location.hash")
    v.page.key("Enter")
    v.page.wait(f"location.hash != '{before}' && {OVER}")
    check("another one by keyboard", v.job()["status"], "succeeded")


def several(v):
    v.set("[name=n]", "3")
    job = v.make()
    check("three pictures", len(job["images"]), 3)
    v.page.click("#tiles button:nth-child(3)")
    check("the third one's seed", v.text("#seed"),
          f"seed {job['images'][2]['seed']}")
    check("its download", v.page.do(
        "new URL(document.querySelector('#download').href).pathname"),
        job["images"][2]["url"])
    v.page.do("document.querySelector('#step').focus()")
    v.page.key("ArrowLeft")
    v.page.wait("document.querySelector('#picture').src.startsWith('blob:')")
    steps = job["progress"]["steps"]
    check("a step before by keyboard", v.page.do(
        "document.querySelector('#step').getAttribute('aria-valuetext')"),
        f"{steps - 1} of {steps}")
    v.page.click("#vary")
    v.page.wait(f"!location.hash.endsWith('{job['id']}') && {OVER}")
    near = v.job()["request"]
    check("another like the third", [near["seed"], near["variation_strength"]],
          [job["images"][2]["seed"], 0.2])
    v.set("[name=n]", "1")


def stopping(v):
    v.set("[name=steps]", "1000")
    v.set("[name=width]", "64")
    v.set("[name=height]", "64")
    for button, wanted in [("#cancel", "canceled"), ("#finish", "succeeded")]:
        v.make(RUNS + " && Number(document.querySelector('#step').value) > 2")
        v.page.click(button)
        v.page.wait(OVER)
        job = v.job()
        check(button[1:] + " a job", job["status"], wanted)
        check("its last step", v.page.do(
            "document.querySelector('#step').getAttribute('aria-valuetext')"),
            "{0} of {0}".format(job["progress"]["step"]))
        if wanted == "canceled":
            v.page.ask("Page.reload")
            v.page.wait("document.querySelector('#finished') && " + OVER +
                        " && document.querySelector('#picture').src"
                        ".startsWith('blob:')")
            check("and its settings after a reload", v.page.do(
                "[...document.querySelectorAll('[name=steps], [name=width]')]"
                ".map(e => e.value).join()"), "1000,64")
    check("and the page says so", "stopped after" in v.text("#caption"), True)
    v.page.click("#forget")
    v.page.wait("document.querySelector('#caption').textContent == "
                "'Forgotten.'")
    check("forget it", v.page.do("location.hash"), "")
    for name in ["width", "height"]:
        v.set(f"[name={name}]", "")


def refusals(v):
    v.page.do("document.querySelector('[name=steps]').max = ''")
    v.set("[name=steps]", "5000")
    v.set("[name=sampler]", "ddim_inverse")
    text = v.refused()
    check("all faults at once", ["5000" in text, "init_image" in text],
          [True, True])
    check("its field has the focus", v.page.do(
        "[document.activeElement.name, document.activeElement.ariaInvalid]"),
        ["steps", "true"])
    v.set("[name=sampler]", "")
    v.set("[name=steps]", "6")
    check("only that was wrong", [fault for fault in v.page.faults
                                  if "422" not in fault], [])
    v.page.faults.clear()


def choose(v, name, data):
    path = v.folder / name
    path.write_bytes(data)
    v.page.choose_file("#file", str(path))


def pictures(v):
    sent = len(v.bodies())
    choose(v, "no.gif", b"GIF89a")
    v.page.wait("!document.querySelector('#start-problem').hidden")
    check("a GIF is told", "image/gif" in v.text("#start-problem"), True)
    choose(v, "wide.png", png(5000, 1, bytes(5000)))
    v.page.wait("document.querySelector('#start-problem').textContent"
                ".includes('5000 x 1')")
    check("so is a large one", v.shown("#chosen"), [False])
    grey = random.Random(1).randbytes(300 * 300)
    choose(v, "it's noise.png", png(300, 300, grey))
    v.page.wait("!document.querySelector('#chosen').hidden")
    v.page.click("#part")
    check("nothing painted", "painted" in v.refused(), True)
    x, y, w, h = v.page.place("#mask")
    v.page.stroke([(x + w * .3, y + h * .3), (x + w * .7, y + h * .3)])
    v.page.do("document.querySelector('#mask').focus()")
    v.page.key(" ")
    for _ in range(10):
        v.page.key("ArrowDown")
    v.page.key(" ")
    check("nothing was sent meanwhile", len(v.bodies()), sent)
    job = v.make()
    check("repainted", [job["status"], job["request"]["strength"]],
          ["succeeded", 1])
    body = json.loads(v.bodies()[-1])
    check("places of the mask: stroke, keys, neither", v.page.do(
        "new Promise(done => { const i = new Image(); i.onload = () => {"
        "const c = document.createElement('canvas'); c.width = c.height = 300;"
        "const d = c.getContext('2d'); d.drawImage(i, 0, 0);"
        "done([[150, 90], [210, 170], [30, 250]].map(p =>"
        "d.getImageData(...p, 1, 1).data[0])); };"
        f"i.src = {json.dumps(body['mask'])}; }})"), [255, 255, 0])


def terminal(v):
    """The command, run by a shell, makes the same picture."""
    for what in ["with a file", "without"]:
        job = v.job() if what == "with a file" else v.make()
        command = v.page.do(
            "(async () => { let text; navigator.clipboard.writeText = "
            "async t => { text = t; };"
            "document.querySelector('#copy').click();"
            "await new Promise(done => setTimeout(done)); return text; })()")
        subprocess.run(["sh", "-c", command], cwd=v.folder, check=True,
                       stderr=subprocess.DEVNULL)
        data = (v.folder / "picture.png").read_bytes()
        check("as curl, " + what, hashlib.sha256(data).hexdigest(),
              job["images"][0]["sha256"])
        if what == "with a file":
            check("which is read by its name", "it'\\''s noise.png" in command,
                  True)
            v.page.click("#start-remove")


def coming_back(v):
    old = v.page.do("location.hash")
    asked = v.text("#curl")
    v.page.ask("Page.reload")
    v.page.wait("document.querySelector('#finished') && " + OVER)
    check("a reload keeps the job and its command",
          [v.page.do("location.hash"), v.text("#curl")], [old, asked])
    v.make()
    v.page.do("history.back()")
    v.page.wait(f"location.hash == '{old}' && {OVER} && document.querySelector"
                f"('#jobs [aria-current=true]')?.hash == '{old}'")
    check("so does Back", v.text("#curl"), asked)


def vanishing(v):
    """The stream breaks and the job is not there any more, as after a new start
    of the server."""
    v.page.do("window.kept = EventSource; window.EventSource = class {"
              " static CLOSED = 2; readyState = 2; addEventListener() {}"
              " close() {} constructor() { window.broken = this; } }; 0")
    job = v.make(RUNS)
    urllib.request.urlopen(urllib.request.Request(
        v.url + job["urls"]["self"], method="DELETE")).close()
    v.page.do("document.querySelector('#cancel').focus(); broken.onerror(); 0")
    v.page.wait(OVER)
    check("a job that has gone", v.text("#caption"),
          "It is not kept any more.")
    check("nothing to stop or to fetch, its settings to use", v.shown(
        "#running", "#download", "#steps", "#again"),
        [False, False, False, True])
    check("the focus is not lost", v.page.do("document.activeElement.id"),
          "viewer")
    v.page.click("#forget")
    v.page.wait("document.querySelector('#caption').textContent == "
                "'Forgotten.'")
    v.page.do("window.EventSource = kept; 0")
    check("only the job was missing", [fault for fault in v.page.faults
                                       if "404" not in fault and
                                       "410" not in fault], [])
    v.page.faults.clear()


def other_models(v):
    v.set("[name=model]", "tiny-text")
    check("texts, no classes", v.shown(
        "[name=prompt]", "[name=negative_prompt]", "#loras",
        "select[name=class]"), [True, True, True, False])
    v.page.click("[name=prompt]")
    prompt = "a cat <img src=x onerror=alert(1)>"
    v.page.type(prompt)
    job = v.make()
    check("a text is a text", [job["request"]["prompt"], v.text("#title")],
          2 * [prompt])
    v.page.click("#begin")
    v.page.wait("!document.querySelector('#chosen').hidden")
    job = v.make()
    check("begin with it", json.loads(v.bodies()[-1])["init_image"].split("/")
          [:3], ["", "v1", "artifacts"])
    v.page.click(".lora input")
    v.make()
    check("LoRAs are sent", json.loads(v.bodies()[-1])["loras"],
          [{"name": "style", "scale": 0.8}])
    v.page.click(".lora input")
    v.set("[name=model]", "tiny-edit")
    v.page.click("#start-remove")
    check("a picture is needed", "needs a picture" in v.refused(), True)
    choose(v, "small.png", png(32, 16, bytes(512)))
    v.page.wait("!document.querySelector('#chosen').hidden")
    check("no part, no strength, but guidance", v.shown(
        "#part", "#strength", "[name=image_guidance_scale]"),
        [False, False, True])
    check("edited", v.make()["status"], "succeeded")


def looks(v):
    v.page.do("document.querySelector('#more').open = true")
    nodes = v.page.ask("Accessibility.getFullAXTree")["nodes"]
    roles = ["button", "textbox", "combobox", "spinbutton", "slider",
             "checkbox", "link", "image", "progressbar", "region"]
    nameless = [n["role"]["value"] for n in nodes if not n["ignored"] and
                n["role"]["value"] in roles and
                not n.get("name", {}).get("value")]
    check("everything has a name", nameless, [])
    v.page.ask("Emulation.setDeviceMetricsOverride", width=320, height=640,
               deviceScaleFactor=1, mobile=False)
    check("nothing is wider than a phone", v.page.do(
        "document.documentElement.scrollWidth <= innerWidth"), True)


def main():
    url, folder = sys.argv[1], pathlib.Path(sys.argv[2])
    with browser.Browser(browser.find()) as page:
        visit = Visit(page, url, folder)
        for part in [first_picture, several, stopping, refusals, pictures,
                     terminal, coming_back, vanishing, other_models,
                     looks]:
            part(visit)
        schema = visit.api["components"]["schemas"]["Generate"]
        bodies = [json.loads(body) for body in visit.bodies()]
        check("requests that are none", [fault for body in bodies
              for fault in faults_of(body, schema, "")],
              [])
        check("hosts that were asked", {r["url"].split("/")[2]
              for r in page.requests if "://" in r["url"]}, {url.split("/")[2]})
        check("nothing else went wrong", page.faults, [])
    sys.exit(bool(FAILED))


main()
