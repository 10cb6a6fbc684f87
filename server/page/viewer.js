/* viewer.js - one job: its pictures while they come, every step afterwards.
 *
 * The events say that there is a new preview; the picture is fetched by its
 * address, the newest one that is wanted only, so that a fast job does not
 * flood a slow browser and nothing but the picture on the screen is kept.
 *
 * SPDX-License-Identifier: MIT
 */
import { $, get, getBlob, mirror, nameOf, post, remove, seconds } from "./api.js";

const PLAY_MS = 90;
const STAGES = { loading: "Loading the model", text: "Reading the text", encode: "Reading the picture",
    decode: "Turning it into pixels", png: "Writing the file" };

let job = null, source = null, tiles = [], shown = 0, timer = 0;
let isLive = true; /* following the newest step */
let ended = () => {};
const showStep = mirror($("step"), v => v + " of " + $("step").max);
mirror($("distance"), v => Math.round(100 * v) + " %");

const isOver = aJob => ["succeeded", "failed", "canceled", "expired"].includes(aJob.status);

export const current = () => job;
export const picture = () => job?.images.find(image => image.index === shown);

export function say(text, isBad = false) {
    $("caption").textContent = text;
    $("caption").classList.toggle("bad", isBad);
}

/* ---- showing pictures */

/* Shows the last address that it was given; what comes too late is dropped. */
class Screen {
    constructor(show) {
        this.show = show;
        this.wanted = this.url = null;
        this.isBusy = false;
    }

    async want(address) {
        this.wanted = address;
        if (this.isBusy) return;
        this.isBusy = true;
        while (this.wanted) {
            const asked = this.wanted;
            this.wanted = null;
            try {
                const blob = await getBlob(asked);
                if (this.isClosed) break;
                this.take(URL.createObjectURL(blob));
            } catch (error) { /* a step that is not kept any more */
                if (!this.isClosed && !isLive && !this.wanted) say(error.message, true);
            }
        }
        this.isBusy = false;
    }

    take(url) {
        const old = this.url;
        this.url = url;
        this.show(url);
        if (old) URL.revokeObjectURL(old);
    }

    close() {
        this.isClosed = true;
        this.wanted = null;
        if (this.url) URL.revokeObjectURL(this.url);
    }
}

function paint(url) {
    const image = $("picture");
    image.src = url;
    image.hidden = false;
}

/* Small pictures in whole pixels. */
$("picture").addEventListener("load", () =>
    $("picture").classList.toggle("fine", $("picture").naturalWidth < 200));

/* Steps that are not kept any more. */
$("strip").addEventListener("error", () => { $("strip").hidden = true; });

/* A picture of the job: a button with the newest step, or the result. */
function tile(index) {
    const button = document.createElement("button"), image = document.createElement("img");
    button.type = "button";
    button.append(image);
    image.alt = "";
    button.setAttribute("aria-label", "picture " + (index + 1));
    button.addEventListener("click", () => select(index));
    const made = { button, image, result: null };
    made.screen = new Screen(url => {
        if (made.result) return;
        image.src = url;
        if (isLive && index === shown) paint(url);
    });
    return made;
}

const past = new Screen(url => { if (!isLive) paint(url); });

function finish(index, image) {
    const one = tiles[index];
    one.result = image.url;
    one.screen.wanted = null;
    one.image.src = image.url;
    one.image.classList.toggle("fine", image.width < 200);
    if (isLive && index === shown) paint(image.url);
}

const preview = step =>
    job.urls.preview + "?step=" + step + "&image=" + shown + ($("view").value === "sample" ? "&view=sample" : "");

/* The step at the slider: the last of a job that succeeded is its picture. */
function showPast() {
    const step = Number($("step").value), one = tiles[shown];
    const isLast = step === Number($("step").max) && $("view").value === "estimate";
    showStep();
    isLive = isOver(job) ? isLast && one.result != null : step >= job.progress.step;
    if (isLive && one.result) paint(one.result);
    else if (isLive && one.screen.url) paint(one.screen.url);
    else past.want(preview(step));
}

function select(index) {
    shown = index;
    tiles.forEach((one, i) => one.button.setAttribute("aria-pressed", i === index));
    if (isOver(job)) describe();
    if (job.progress) showPast();
}

/* ---- words */

function wordsOf(progress) {
    const many = progress.images > 1 ? "Picture " + (progress.image + 1) + " of " + progress.images + ", step " : "Step ";
    const where = progress.stage === "denoise" || !STAGES[progress.stage]
        ? many + progress.step + " of " + progress.steps : STAGES[progress.stage];
    return where + (progress.eta_s > 0.5 ? ", " + seconds(progress.eta_s) + " left" : "");
}

function title(text) {
    document.title = text ? text + " · unstir" : "unstir";
}

function heading() {
    const image = picture(), r = job.request;
    const seed = image?.seed ?? r.seed;
    const varied = r.variation_strength
        ? ", " + Math.round(100 * r.variation_strength) + " % towards " + (image?.variation_seed ?? r.variation_seed) : "";
    $("title").textContent = nameOf(r);
    $("seed").textContent = "seed " + seed + varied;
    $("picture").alt = nameOf(r) + (isOver(job) ? "" : ", as the network sees it now");
}

/* What became of it. */
function describe() {
    const image = picture();
    heading();
    if (job.status === "succeeded") {
        const steps = job.progress.step < job.progress.steps
            ? "stopped after " + job.progress.step + " of " + job.progress.steps : job.progress.steps;
        say(job.model.id + ", " + steps + " steps in " + seconds(job.metrics.denoise_ms / 1e3) +
            (image ? ", " + image.width + " x " + image.height : "") + ".");
    } else if (job.status === "failed") {
        say(job.error ? job.error.message : "It failed.", true);
    } else {
        say(job.status === "canceled" ? "Canceled after " + job.progress.step + " of " + job.progress.steps + " steps."
            : "It is not kept any more.");
    }
    $("begin").hidden = $("download").hidden = !image;
    if (!image) return;
    const suffix = image.content_type.split("/")[1].replace("jpeg", "jpg");
    $("download").href = image.url;
    $("download").download = (nameOf(job.request).slice(0, 60).replace(/[^\p{L}\p{N}]+/gu, "-") || "picture") +
        "-" + image.seed + (job.request.n > 1 ? "-" + (image.index + 1) : "") + "." + suffix;
    $("strip").src = job.urls.timeline + "?max=12&image=" + shown;
    $("strip").alt = "the steps side by side, from noise to the picture";
    $("strip").hidden = job.request.preview.keep === false;
}

/* ---- a job's life */

function showState() {
    const over = isOver(job), hadFocus = $("running").contains(document.activeElement);
    $("running").hidden = over;
    if (over && hadFocus) $("viewer").focus({ preventScroll: true });
    $("finish").disabled = $("cancel").disabled = job.status === "canceling";
    $("finished").hidden = !over;
    $("variations").hidden = job.status !== "succeeded" || job.request.strength != null;
    $("steps").hidden = over ? job.preview == null : false;
    $("play").hidden = !over;
    /* Quiet for screen readers while it runs: the bar tells the steps. */
    $("caption").setAttribute("aria-live", over ? "polite" : "off");
}

function over(done) {
    job = done;
    stopWatching();
    $("bar").value = job.status === "succeeded" ? 1 : job.progress.value;
    $("step").max = Math.max(1, job.progress.step);
    for (const image of job.images) finish(image.index, image);
    if (isLive) $("step").value = job.progress.step;
    showStep();
    showState();
    describe();
    if (!job.images.length && job.preview) showPast();
    title(nameOf(job.request));
    ended(job);
}

function onPreview(data) {
    const one = tiles[data.image];
    if (!one || one.result) return;
    one.screen.want(data.url + ($("view").value === "sample" ? "&view=sample" : ""));
    one.image.classList.toggle("fine", data.width < 200);
    if (data.image === shown && isLive) {
        $("step").value = data.step;
        showStep();
    }
}

function onProgress(progress) {
    Object.assign(job.progress, progress);
    job.status = "running";
    $("bar").value = progress.value;
    say(wordsOf(progress));
    title(Math.floor(100 * progress.value) + " % " + nameOf(job.request));
}

function onStatus(data) {
    job.status = data.status;
    showState();
    if (data.status === "canceling") say("Stopping ...");
    else if (data.queue)
        say(data.queue.position === 1 && data.queue.ahead_s < 1 ? "Next in line; its model may still be loading."
            : "Place " + data.queue.position + " in the queue, about " + seconds(data.queue.ahead_s) + ".");
}

function watch() {
    source = new EventSource(job.urls.events);
    const on = (name, then) => source.addEventListener(name, event => then(JSON.parse(event.data)));
    on("preview", onPreview);
    on("progress", onProgress);
    on("status", onStatus);
    on("image", image => { job.images.push(image); finish(image.index, image); });
    on("done", over);
    source.onerror = () => { /* the browser tries again, or gives up */
        if (source.readyState === EventSource.CLOSED) lost();
        else say("Connecting again ...");
    };
}

/* The server has started anew, or needed the room: its request is all that is
 * left of it. */
function vanished() {
    Object.assign(job, { status: "expired", images: [], preview: null });
    showState();
    describe();
    title(nameOf(job.request));
    ended(job);
}

const isNowhere = error => error.status === 404 || error.status === 410;

/* The stream is over and cannot be had again: is the job still there? */
async function lost() {
    stopWatching();
    try {
        const now = await get(job.urls.self);
        if (isOver(now)) over(now);
        else say("The connection was lost; reload the page to go on.", true);
    } catch (error) {
        if (isNowhere(error)) vanished();
        else say(error.message, true);
    }
}

function stopWatching() {
    source?.close();
    source = null;
}

function stopPlaying() {
    clearInterval(timer);
    timer = 0;
    $("play").setAttribute("aria-pressed", "false");
    $("play").textContent = "Play";
}

function play() {
    if (timer) return stopPlaying();
    $("play").setAttribute("aria-pressed", "true");
    $("play").textContent = "Stop";
    $("step").value = 0;
    showPast();
    timer = setInterval(() => {
        if (past.isBusy) return;
        $("step").value = Number($("step").value) + 1;
        showPast();
        if ($("step").value === $("step").max) stopPlaying();
    }, PLAY_MS);
}

/* Another job, or none. */
export function show(next) {
    stopWatching();
    stopPlaying();
    tiles.forEach(one => one.screen.close());
    past.wanted = null;
    job = next;
    isLive = true;
    shown = 0;
    $("strip").hidden = true;
    $("picture").hidden = true;
    $("picture").removeAttribute("src");
    tiles = Array.from({ length: job ? job.request.n : 0 }, (_, i) => tile(i));
    $("tiles").replaceChildren(...tiles.map(one => one.button));
    $("tiles").hidden = tiles.length < 2;
    if (!job) {
        for (const id of ["steps", "running", "finished", "variations"]) $(id).hidden = true;
        $("title").textContent = $("seed").textContent = "";
        $("bar").value = 0;
        title("");
        return;
    }
    $("step").max = job.progress.steps;
    $("step").value = $("bar").value = 0;
    showStep();
    tiles[0].button.setAttribute("aria-pressed", "true");
    heading();
    showState();
    if (isOver(job)) return over(job);
    say("Asked.");
    watch();
}

async function stop(mode) {
    try {
        await post(job.urls.cancel, JSON.stringify({ mode }));
    } catch (error) {
        say(error.message, true);
    }
}

/* actions: ended(job), forgotten(job) */
export function listen(actions) {
    ended = actions.ended;
    $("finish").addEventListener("click", () => stop("finish"));
    $("cancel").addEventListener("click", () => stop("abort"));
    $("step").addEventListener("input", () => { stopPlaying(); showPast(); });
    $("view").addEventListener("change", () => { stopPlaying(); showPast(); });
    $("play").addEventListener("click", play);
    $("forget").addEventListener("click", async () => {
        const gone = job;
        try {
            await remove(gone.urls.self);
            actions.forgotten(gone);
        } catch (error) {
            if (isNowhere(error)) actions.forgotten(gone);
            else say(error.message, true);
        }
    });
}
