/* start.js - the picture to begin with: chosen, dropped, pasted or one that was
 * made here; how far to leave it, and which part of it to repaint.
 *
 * A file goes as it is.  What the server would refuse is told here, before
 * anything is sent.
 *
 * SPDX-License-Identifier: MIT
 */
import { $, bytes, mirror } from "./api.js";
import { Mask } from "./mask.js";

const TYPES = ["image/png", "image/jpeg", "image/webp"];
/* Left in a body for all but the picture: prompts, a mask. */
const BODY_REST = 1 << 20;
const OWN_STRENGTH = 0.8, OWN_STRENGTH_OF_PART = 1; /* as the server has it */

let limits = { upload_bytes: 0, picture_edge: 0 };
let model = null;
let chosen = null; /* {name, data: text for the server, file: is it one, width, height} */
let isStrengthOwn = true;
let changed = () => {};
const mask = new Mask($("mask"), $("brush"), () => fieldsChanged());
const showStrength = mirror($("strength"), v => Math.round(100 * v) + " %");

const fileBytes = () => Math.floor((limits.upload_bytes - BODY_REST) / 4) * 3;

function complain(text) {
    $("start-problem").hidden = !text;
    $("start-problem").textContent = text;
}

function fieldsChanged() {
    const hasPart = isPart();
    $("brushes").hidden = $("mask").hidden = !hasPart;
    if (!hasPart) $("brush").hidden = true;
    if (isStrengthOwn) $("strength").value = hasPart ? OWN_STRENGTH_OF_PART : OWN_STRENGTH;
    showStrength();
    $("mask-undo").disabled = $("mask-clear").disabled = mask.strokes.length === 0;
    if (hasPart) complain("");
}

const isPart = () => Boolean(chosen && model?.takes_mask && $("part").checked);

/* ---- choosing */

function loaded(source) {
    return new Promise((resolve, reject) => {
        const image = new Image();
        image.onload = () => resolve(image);
        image.onerror = () => reject(new Error("cannot be read as a picture"));
        image.src = source;
    });
}

function readText(file) {
    return new Promise((resolve, reject) => {
        const reader = new FileReader();
        reader.onload = () => resolve(reader.result);
        reader.onerror = () => reject(new Error("cannot be read"));
        reader.readAsDataURL(file);
    });
}

async function check(file) {
    if (!TYPES.includes(file.type))
        throw new Error("is " + (file.type || "of an unknown type") + "; PNG, JPEG and WebP are taken");
    if (file.size > fileBytes())
        throw new Error("has " + bytes(file.size) + "; at most " + bytes(fileBytes()) + " are taken");
    const data = await readText(file);
    const image = await loaded(data);
    const edge = limits.picture_edge;
    if (Math.max(image.naturalWidth, image.naturalHeight) > edge)
        throw new Error("has " + image.naturalWidth + " x " + image.naturalHeight +
            " pixels; at most " + edge + " x " + edge + " are taken");
    return { data, image };
}

async function choose(file) {
    if (!file || !model?.takes_picture) return;
    try {
        const { data, image } = await check(file);
        show({ name: file.name, data, isFile: true, size: file.size }, image);
    } catch (error) {
        complain(file.name + " " + error.message + ".");
        $("file").value = "";
    }
}

/* A picture that was made here, by its address. */
export async function begin(url, name) {
    const image = await loaded(url);
    show({ name, data: url, isFile: false }, image);
    $("start").scrollIntoView({ block: "nearest" });
    $("strength").focus();
}

function show(what, image) {
    chosen = { ...what, width: image.naturalWidth, height: image.naturalHeight };
    complain("");
    $("start-picture").src = image.src;
    $("start-picture").alt = "the picture to begin with: " + what.name;
    $("start-picture").width = chosen.width;
    $("start-picture").height = chosen.height;
    for (const element of [$("start-picture"), $("mask")])
        element.classList.toggle("fine", chosen.width < 200);
    $("start-name").textContent = what.name + ", " + chosen.width + " x " + chosen.height +
        (what.size ? ", " + bytes(what.size) : "");
    $("chosen").hidden = false;
    $("drop").hidden = true;
    mask.open(chosen.width, chosen.height);
    changed();
}

function drop() {
    chosen = null;
    $("file").value = "";
    $("start-picture").removeAttribute("src");
    $("chosen").hidden = true;
    $("drop").hidden = false;
    complain("");
    fieldsChanged();
    changed();
}

/* ---- what the form wants to know */

/* The model says what it takes. */
export function offer(aModel, theLimits) {
    model = aModel;
    limits = theLimits;
    $("start").hidden = !model.takes_picture;
    $("start-title").textContent = model.edits_pictures ? "The picture to edit"
        : model.needs_mask ? "The picture to repaint" : "Begin with a picture";
    $("file-help").textContent = "PNG, JPEG or WebP, up to " + bytes(fileBytes()) + " and " +
        limits.picture_edge + " pixels an edge.";
    $("part-choice").hidden = !model.takes_mask || model.needs_mask;
    $("part").checked = model.needs_mask || ($("part").checked && model.takes_mask);
    fieldsChanged();
}

export const current = () => chosen;

/* Its fields of the request; throws what is missing. */
export function read(body) {
    if (!model.takes_picture) return;
    if (!chosen) {
        if (model.edits_pictures || model.needs_mask)
            throw new Error("This model needs a picture: choose one.");
        return;
    }
    body.init_image = chosen.data;
    if (!model.edits_pictures) body.strength = Number($("strength").value);
    if (!isPart()) return;
    if (mask.isEmpty)
        throw new Error("Nothing is painted yet: paint over what shall change, or begin with the whole picture.");
    body.mask = mask.png();
}

/* For curl: the file whose bytes stand in the body. */
export const file = () => chosen?.isFile ? { name: chosen.name, data: chosen.data } : null;

export function listen(onChange) {
    changed = onChange;
    const zone = $("start");
    $("file").addEventListener("change", () => choose($("file").files[0]));
    $("start-remove").addEventListener("click", () => { drop(); $("file").focus(); });
    $("part").addEventListener("change", fieldsChanged);
    $("strength").addEventListener("input", () => { isStrengthOwn = false; changed(); });
    $("mask-erase").addEventListener("click", () => {
        mask.isErasing = !mask.isErasing;
        $("mask-erase").setAttribute("aria-pressed", mask.isErasing);
    });
    $("mask-undo").addEventListener("click", () => mask.undo());
    $("mask-invert").addEventListener("click", () => mask.invert());
    $("mask-clear").addEventListener("click", () => mask.clear());
    mirror($("brush-size"), v => v + " %");
    $("brush-size").addEventListener("input", () => { mask.size = $("brush-size").value / 100; });
    mask.size = $("brush-size").value / 100;
    document.addEventListener("paste", event => {
        const pasted = [...(event.clipboardData?.files ?? [])].find(f => TYPES.includes(f.type));
        if (!pasted) return;
        event.preventDefault();
        choose(pasted);
    });
    /* A file that misses the field must not replace the page. */
    for (const name of ["dragover", "drop"])
        document.addEventListener(name, event => {
            if (![...(event.dataTransfer?.types ?? [])].includes("Files")) return;
            event.preventDefault();
            const isIn = zone.contains(event.target);
            event.dataTransfer.dropEffect = isIn ? "copy" : "none";
            $("drop").classList.toggle("over", isIn && name === "dragover");
            if (isIn && name === "drop") choose(event.dataTransfer.files[0]);
        });
    zone.addEventListener("dragleave", () => $("drop").classList.remove("over"));
}
