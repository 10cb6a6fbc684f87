/* recent.js - the jobs that the server remembers, newest first.
 *
 * Each is a link to this page with the job behind the #, so that reloading,
 * going back and sharing the address work as they do everywhere.
 *
 * SPDX-License-Identifier: MIT
 */
import { $, get, nameOf } from "./api.js";

const SHOWN = 16;
const EVERY_MS = 2000; /* while one of them is at work */

const STATES = { queued: "waits", running: "at work", canceling: "stopping", succeeded: "",
    failed: "failed", canceled: "canceled", expired: "gone" };
const AT_WORK = ["queued", "running", "canceling"];

let timer = 0, known = new Map();

function thumb(job) {
    const box = document.createElement("span"), url = job.images[0]?.url ?? job.preview?.url;
    box.className = "thumb";
    box.style.display = "block";
    if (url) {
        const image = document.createElement("img");
        image.alt = "";
        image.loading = "lazy";
        image.src = url;
        image.addEventListener("error", () => image.remove());
        image.classList.toggle("fine", job.request.width < 120);
        box.append(image);
    }
    return box;
}

function item(job, current) {
    const row = document.createElement("li"), link = document.createElement("a");
    const what = document.createElement("span"), state = document.createElement("span");
    link.href = "#" + job.id;
    if (job.id === current) link.setAttribute("aria-current", "true");
    what.className = "what";
    what.textContent = nameOf(job.request) + (job.request.n > 1 ? " x " + job.request.n : "");
    link.title = nameOf(job.request);
    state.className = "state" + (job.status === "failed" ? " bad" : "");
    state.textContent = STATES[job.status];
    link.append(thumb(job), what, state);
    row.append(link);
    return row;
}

/* A row is made anew only when its job has changed: focus stays. */
function draw(jobs, current) {
    const next = new Map();
    for (const job of jobs) {
        const old = known.get(job.id);
        const row = old && old.version === job.version ? old.row : item(job, current);
        const link = row.firstChild;
        if (job.id === current) link.setAttribute("aria-current", "true");
        else link.removeAttribute("aria-current");
        if (old && old.row !== row && old.row.contains(document.activeElement)) setTimeout(() => link.focus());
        next.set(job.id, { row, version: job.version });
    }
    known = next;
    $("jobs").replaceChildren(...[...next.values()].map(one => one.row));
    $("recent").hidden = jobs.length === 0;
}

/* `current`: id of the one that is shown. */
export async function refresh(current) {
    clearTimeout(timer);
    let jobs;
    try {
        jobs = (await get("/v1/jobs?limit=" + SHOWN)).data;
    } catch {
        return []; /* the viewer says what is wrong */
    }
    draw(jobs, current());
    if (jobs.some(job => AT_WORK.includes(job.status)))
        timer = setTimeout(() => { if (!document.hidden) refresh(current); }, EVERY_MS);
    return jobs;
}
