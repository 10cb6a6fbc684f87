/* api.js - asking the server, and what it says when something is wrong.
 *
 * SPDX-License-Identifier: MIT
 */

export const $ = id => document.getElementById(id);

/* A problem of the server (RFC 9457), or a network that is away. */
export class Refusal extends Error {
    constructor(message, status = 0, violations = []) {
        super(message);
        this.status = status;
        this.violations = violations; /* [{pointer, detail, nearest}] */
    }
}

function refusal(reply, problem) {
    let text = problem.detail || problem.title || "The server answered " + reply.status + ".";
    if (problem.retry_after_s) text += " Try again in " + problem.retry_after_s + " s.";
    return new Refusal(text, reply.status, problem.errors || []);
}

async function send(address, options) {
    let reply;
    try {
        reply = await fetch(address, options);
    } catch {
        throw new Refusal("The server does not answer.");
    }
    if (reply.ok) return reply;
    throw refusal(reply, await reply.json().catch(() => ({})));
}

export async function get(address) {
    return (await send(address)).json();
}

export async function getBlob(address) {
    return (await send(address)).blob();
}

export async function post(address, text) {
    return (await send(address, {
        method: "POST",
        headers: { "Content-Type": "application/json" },
        body: text
    })).json();
}

export async function remove(address) {
    await send(address, { method: "DELETE" });
}

/* 1234567 -> "1.2 MB" */
export function bytes(n) {
    if (n < 1000) return n + " bytes";
    return n < 1e6 ? Math.round(n / 1e3) + " kB" : (n / 1e6).toFixed(1) + " MB";
}

/* Seconds for people. */
export function seconds(s) {
    if (s < 10) return s.toFixed(1) + " s";
    return s < 120 ? Math.round(s) + " s" : Math.round(s / 60) + " min";
}

/* What a job makes, in a few words. */
export function nameOf(request) {
    return request.label || request.prompt ||
        (request.class != null ? "class " + request.class : "a picture");
}

/* Beside a range stands what it says. */
export function mirror(range, format = String) {
    const value = range.parentElement.querySelector(".value");
    const show = () => {
        value.textContent = format(Number(range.value));
        range.setAttribute("aria-valuetext", value.textContent);
    };
    range.addEventListener("input", show);
    show();
    return show;
}
