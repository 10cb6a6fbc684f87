/* form.js - the fields of a request, as the model at hand has them.
 *
 * An input's name is the field of the request ("output.format" is the member
 * of an object).  What the model lacks is hidden and not sent; neither is an
 * empty field, for which the server has the model's own value.
 *
 * SPDX-License-Identifier: MIT
 */
import { $, seconds } from "./api.js";
import * as loras from "./loras.js";
import * as start from "./start.js";

let models = [], capabilities = null, model = null;

const field = (name, kind) =>
    $("form").querySelector(`[name="${name}"]` + (kind ? `[data-kind="${kind}"]` : ""));

/* The inputs of the request, hidden ones left out; start.js has its own. */
const inputs = () => [...$("form").querySelectorAll("[name]:enabled")]
    .filter(input => !$("chosen").contains(input) || input.name === "image_guidance_scale");

function offer(input, isOffered) {
    input.closest(".field").hidden = !isOffered;
    input.disabled = !isOffered;
}

function option(value, text) {
    const made = document.createElement("option");
    made.value = value;
    made.textContent = text;
    return made;
}

/* ---- what the model has */

function offerClasses() {
    const labels = Object.keys(model.labels);
    const hasClasses = !model.takes_text && model.classes > 0;
    const select = field("class", "label"), number = field("class", "number");
    const mayBeAny = model.null_class != null || model.classes === 1;
    select.replaceChildren(...(mayBeAny ? [option("", "anything")] : []), ...labels.map(l => option(l, l)));
    number.max = model.classes - 1;
    number.required = !mayBeAny;
    offer(select, hasClasses && labels.length > 0);
    offer(number, hasClasses && labels.length === 0);
}

function offerSizes() {
    const { min_size, max_size, size_multiple } = model.limits;
    for (const name of ["width", "height"]) {
        const input = field(name);
        input.min = Math.ceil(min_size / size_multiple) * size_multiple;
        input.max = max_size;
        input.step = size_multiple;
        input.placeholder = model.defaults[name];
        input.value = "";
        offer(input, min_size < max_size);
    }
}

function offerWays() {
    const own = model.defaults;
    const rows = (list, mine) => [option("", mine), ...list.map(row => option(row.name, row.title))];
    field("sampler").replaceChildren(...rows(capabilities.samplers, "default (" + own.sampler + ")"));
    field("schedule").replaceChildren(
        ...rows(capabilities.schedules, own.schedule ? "default (" + own.schedule + ")" : "default"));
    field("guidance_scale").placeholder = own.guidance_scale;
    field("guidance_scale").value = "";
    offer(field("guidance_scale"), model.takes_guidance);
    offer(field("image_guidance_scale"), model.edits_pictures);
    offer(field("strength"), !model.edits_pictures);
    field("clip_skip").max = model.max_clip_skip || 1;
    offer(field("clip_skip"), model.max_clip_skip > 1);
    offer(field("deep_cache"), model.takes_deep_cache);
    offer(field("preview.decoder"), model.autoencoder != null);
    field("preview.decoder").querySelector("[value=tiny]").hidden = !model.has_tiny_decoder;
    if (!model.has_tiny_decoder && field("preview.decoder").value === "tiny") field("preview.decoder").value = "";
}

export async function choose(id) {
    const isOther = model?.id !== id;
    model = models.find(m => m.id === id);
    field("model").value = id;
    if (!isOther) return;
    offerClasses();
    offer(field("prompt"), model.takes_text);
    offer(field("negative_prompt"), model.takes_negative_prompt);
    offerSizes();
    offerWays();
    field("steps").max = model.limits.max_steps;
    field("steps").value = model.defaults.steps;
    field("n").max = capabilities.limits.n;
    start.offer(model, capabilities.limits);
    loras.offer(model, capabilities.limits);
    fitPicture();
    complain();
    guess();
}

/* Sizes for the picture to begin with: its shape, the model's usual area. */
function fitPicture() {
    const picture = start.current();
    const { min_size, max_size, size_multiple } = model.limits;
    if (min_size >= max_size) return;
    if (picture) {
        const scale = Math.sqrt(model.defaults.width * model.defaults.height / (picture.width * picture.height));
        for (const name of ["width", "height"]) {
            const near = Math.round(picture[name] * scale / size_multiple) * size_multiple;
            field(name).value = Math.min(Number(field(name).max), Math.max(Number(field(name).min), near));
        }
    } else {
        field("width").value = field("height").value = "";
    }
}

/* ---- reading and filling */

function put(body, name, value) {
    const [outer, inner] = name.split(".");
    if (inner) (body[outer] ??= {})[inner] = value;
    else body[outer] = value;
}

/* Short enough to be said; as good as any. */
export const drawnSeed = () => crypto.getRandomValues(new Uint32Array(1))[0];

/* The request; its seed is drawn here, so that what was sent tells all. */
export function read() {
    const body = {};
    for (const input of inputs()) {
        const text = input.value.trim();
        if (text === "" || (input.name === "n" && text === "1")) continue;
        if (input.name === "model" && models.length === 1) continue;
        const isNumber = input.type === "number" ||
            (input.name === "seed" && Number.isSafeInteger(Number(text)));
        put(body, input.name, isNumber ? Number(text) : text);
    }
    body.seed ??= drawnSeed();
    const chosen = loras.read();
    if (chosen.length) body.loras = chosen;
    start.read(body);
    return body;
}

/* Seeds that a JSON number cannot hold stay texts, as the server writes them. */
const valueOf = (request, name) => name.split(".").reduce((at, key) => at?.[key], request);

/* A job's request back into the fields; another one is made without its seed. */
export async function fill(request, isSame) {
    if (models.some(m => m.id === request.model)) await choose(request.model);
    for (const input of inputs()) {
        if (input.name === "model") continue;
        const own = model.defaults[input.name];
        let value = input.name === "seed" && !isSame ? "" : valueOf(request, input.name);
        if (input.dataset.kind === "label") value = request.label;
        if (value == null || (value === own && input.name !== "steps")) value = "";
        input.value = value;
        if (input.tagName === "SELECT" && input.selectedIndex < 0) input.value = "";
    }
    field("n").value = request.n;
    loras.fill(request.loras ?? []);
    if (request.strength != null && start.current()) field("strength").value = request.strength;
    complain();
    guess();
}

/* ---- saying what is wrong, and how long it may take */

function inputOf(pointer) {
    const path = pointer.split("/").slice(1);
    const name = [path.slice(0, 2).join("."), path[0]].find(n => field(n));
    return inputs().find(input => input.name === name) ?? null;
}

/* A Refusal or an Error; nothing: all is right again. */
export function complain(error) {
    const box = $("problem");
    for (const input of $("form").querySelectorAll("[aria-invalid]")) {
        input.removeAttribute("aria-invalid");
        input.removeAttribute("aria-describedby");
    }
    box.hidden = !error;
    box.replaceChildren();
    if (!error) return;
    const violations = error.violations ?? [];
    if (!violations.length) box.textContent = error.message;
    violations.forEach((violation, i) => {
        const line = document.createElement("p"), input = inputOf(violation.pointer);
        line.id = "violation" + i;
        line.textContent = violation.detail + ".";
        box.append(line);
        if (!input) return;
        input.setAttribute("aria-invalid", "true");
        input.setAttribute("aria-describedby", line.id);
        const fold = input.closest("details");
        if (fold) fold.open = true;
    });
    ($("form").querySelector("[aria-invalid]") ?? box).focus();
}

/* Predicted seconds from the form alone; "" when it is soon. */
function guess() {
    const number = (name, own) => Number(field(name).value) || own;
    const { width, height, steps } = model.defaults;
    const area = number("width", width) * number("height", height) / (width * height);
    const share = start.current() && !model.edits_pictures ? Number(field("strength").value) : 1;
    const s = (model.step_ms || 0) / 1e3 * area * share * number("steps", steps) * number("n", 1);
    $("guess").textContent = s < 2 ? "" : "About " + seconds(s) + " of work.";
}

export const isQuick = () => (model.step_ms || Infinity) * model.defaults.steps < 2000 && !model.takes_text &&
    !model.needs_mask;

/* ---- beginning */

function describe(m) {
    const title = m.title && m.title !== m.id ? m.id + " (" + m.title + ")" : m.id;
    return m.status === "ready" ? title : title + ", " + m.status;
}

/* Models whose kind is not known yet cannot be chosen. */
export async function open(theModels, theCapabilities) {
    models = theModels.filter(m => m.limits);
    capabilities = theCapabilities;
    field("model").replaceChildren(...theModels.map(m => {
        const made = option(m.id, describe(m));
        made.disabled = !m.limits;
        if (m.error) made.title = m.error;
        return made;
    }));
    offer(field("model"), theModels.length > 1);
    await loras.open();
    await choose((models.find(m => m.status === "ready") ?? models[0]).id);
    if (model.labels.sneaker !== undefined) field("class", "label").value = "sneaker";
    $("make").disabled = false;
}

export function listen(submit) {
    $("form").addEventListener("submit", event => {
        event.preventDefault();
        complain();
        submit();
    });
    $("form").addEventListener("input", () => { if (model) guess(); });
    /* Enter is a new line in a text; with Ctrl or Command it makes a picture. */
    $("form").addEventListener("keydown", event => {
        if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey) || event.isComposing) return;
        event.preventDefault();
        if (!$("make").disabled) $("form").requestSubmit();
    });
    field("model").addEventListener("change", () => choose(field("model").value));
    /* What the browser finds wrong may stand in the fold. */
    $("form").addEventListener("invalid", event => {
        const fold = event.target.closest("details");
        if (fold) fold.open = true;
    }, true);
    start.listen(() => { if (model) { fitPicture(); guess(); } });
}
