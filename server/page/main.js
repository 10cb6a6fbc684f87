/* main.js - puts the page together.
 *
 * The job that is shown stands behind the # of the address.
 *
 * SPDX-License-Identifier: MIT
 */
import { $, get, nameOf, post } from "./api.js";
import * as curl from "./curl.js";
import * as form from "./form.js";
import * as recent from "./recent.js";
import * as start from "./start.js";
import * as viewer from "./viewer.js";

const LOADING_MS = 1000;
const MAX_REMEMBERED = 200000; /* characters of a command */
let asked = ""; /* the last request as a command */
const inAddress = () => location.hash.slice(1);
const isNarrow = () => matchMedia("(max-width: 50rem)").matches;

/* The address remembers it, so that it is there after a reload. */
function tell(command) {
    asked = command ?? "";
    $("asked").hidden = !asked;
    $("curl").textContent = curl.shortened(asked);
    $("copied").textContent = "";
}

async function send(request) {
    const body = JSON.stringify(request);
    $("make").disabled = $("vary").disabled = true;
    $("make").textContent = "Asking ...";
    try {
        const job = await post("/v1/jobs", body);
        tell(curl.command(body, start.file(), location.origin));
        history.pushState(asked.length < MAX_REMEMBERED ? asked : null, "", "#" + job.id);
        viewer.show(job);
        recent.refresh(inAddress);
        if (isNarrow()) $("viewer").scrollIntoView({ block: "start" });
    } catch (error) {
        form.complain(error);
    }
    $("make").textContent = "Make a picture";
    $("make").disabled = $("vary").disabled = false;
}

function make() {
    let request;
    try {
        request = form.read();
    } catch (error) {
        form.complain(error);
        return;
    }
    send(request);
}

/* The same request with a little of another noise.  A job tells its request
 * with the label of its class and nulls, which are no fields of one. */
function vary() {
    const given = Object.entries(viewer.current().request)
        .filter(([name, value]) => name !== "label" && value !== null);
    send({ ...Object.fromEntries(given), seed: viewer.picture().seed, variation_seed: form.drawnSeed(),
        variation_strength: Number($("distance").value) });
}

/* The job that the address names, now or after Back. */
async function open() {
    const id = inAddress();
    if (!id || viewer.current()?.id === id) return;
    tell(history.state);
    try {
        viewer.show(await get("/v1/jobs/" + encodeURIComponent(id)));
    } catch (error) {
        viewer.show(null);
        viewer.say(error.status === 404 || error.status === 410
            ? "That job is not kept any more." : error.message, true);
    }
    recent.refresh(inAddress);
}

function listen() {
    form.listen(make);
    viewer.listen({
        ended: () => recent.refresh(inAddress),
        forgotten: () => {
            history.replaceState(null, "", location.pathname);
            viewer.show(null);
            viewer.say("Forgotten.");
            recent.refresh(inAddress);
        }
    });
    $("vary").addEventListener("click", vary);
    $("again").addEventListener("click", () => {
        form.fill(viewer.current().request, true);
        $("form").scrollIntoView({ block: "nearest" });
        $("make").focus();
    });
    $("begin").addEventListener("click", async () => {
        const image = viewer.picture();
        try {
            await start.begin(image.url, nameOf(viewer.current().request) + ", seed " + image.seed);
        } catch (error) {
            viewer.say("The picture " + error.message + ".", true);
        }
    });
    $("copy").addEventListener("click", async () => {
        try {
            await curl.copy(asked);
            $("copied").textContent = "Copied.";
        } catch (error) {
            $("copied").textContent = "Not copied: " + error.message + ".";
        }
    });
    document.querySelector("[data-skip]").addEventListener("click", event => {
        event.preventDefault();
        $("viewer").focus();
    });
    addEventListener("hashchange", open);
    document.addEventListener("visibilitychange", () => { if (!document.hidden) recent.refresh(inAddress); });
}

/* The models, as soon as one of them is known. */
async function models() {
    for (;;) {
        const list = (await get("/v1/models")).data;
        const failed = list.find(model => model.error);
        if (list.some(model => model.limits)) return list;
        viewer.say(failed ? failed.id + ": " + failed.error : "The model is loading ...", Boolean(failed));
        await new Promise(resolve => setTimeout(resolve, LOADING_MS));
    }
}

/* A first picture, if it is quick and nobody else waits. */
async function greet(jobs) {
    viewer.say("Ready.");
    if (jobs.length || !form.isQuick()) return;
    const request = form.read(); /* before anybody changes the fields */
    if ((await get("/v1/status")).jobs.active === 0) send(request);
}

async function begin() {
    $("examples").textContent = $("examples").textContent.replaceAll("ORIGIN", location.origin);
    listen();
    try {
        const list = await models();
        await form.open(list, await get("/v1/capabilities"));
        if (inAddress()) {
            await open();
            if (viewer.current()) form.fill(viewer.current().request, false);
        } else {
            await greet(await recent.refresh(inAddress));
        }
    } catch (error) {
        viewer.say(error.message, true);
    }
}

begin();
