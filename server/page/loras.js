/* loras.js - which LoRAs, and how much of each.
 *
 * Names and words come from files: text, never markup.
 *
 * SPDX-License-Identifier: MIT
 */
import { $, get } from "./api.js";

const OWN_SCALE = 0.8;
let files = [];

const rows = () => [...$("loras").querySelectorAll(".lora:not([hidden])")];
const box = row => row.querySelector("[type=checkbox]");
const scale = row => row.querySelector("[type=number]");

function element(name, properties, ...children) {
    const made = Object.assign(document.createElement(name), properties);
    made.append(...children);
    return made;
}

function rowOf(lora) {
    const amount = element("input", { type: "number", step: 0.05, value: OWN_SCALE, disabled: true });
    const check = element("input", { type: "checkbox" });
    const row = element("div", { className: "lora" },
        element("label", { className: "check" }, check, element("span", { textContent: lora.name })), amount);
    amount.setAttribute("aria-label", "scale of " + lora.name);
    amount.required = true;
    check.addEventListener("change", () => { amount.disabled = !check.checked; });
    if (lora.triggers.length)
        row.append(element("p", { className: "hint", textContent: "trained with: " + lora.triggers.slice(0, 8).join(", ") }));
    row.dataset.name = lora.name;
    row.dataset.family = lora.family ?? "";
    return row;
}

export async function open() {
    files = (await get("/v1/loras")).data.filter(lora => lora.status === "ready");
    $("loras").append(...files.map(rowOf));
}

/* LoRAs are made for networks that read a text. */
export function offer(model, limits) {
    $("loras").hidden = !model.takes_text || files.length === 0;
    $("loras").disabled = $("loras").hidden;
    for (const row of $("loras").querySelectorAll(".lora")) {
        scale(row).min = -limits.lora_scale;
        scale(row).max = limits.lora_scale;
    }
}

export function read() {
    if ($("loras").hidden) return [];
    return rows().filter(row => box(row).checked)
        .map(row => ({ name: row.dataset.name, scale: Number(scale(row).value) }));
}

export function fill(list) {
    for (const row of rows()) {
        const used = list.find(lora => lora.name === row.dataset.name);
        box(row).checked = Boolean(used);
        scale(row).disabled = !used;
        scale(row).value = used ? used.scale : OWN_SCALE;
    }
}
