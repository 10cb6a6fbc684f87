/* curl.js - a request as a command for a shell.
 *
 * The body is the one that was sent, to the byte.  A picture that is too long
 * for a command line is read from its file, which the shell encodes in place.
 *
 * SPDX-License-Identifier: MIT
 */

/* Linux takes 128 KiB an argument. */
const MAX_ARGUMENT = 100000;

const quoted = text => "'" + text.replaceAll("'", "'\\''") + "'";

function target(body, origin) {
    const request = JSON.parse(body);
    if ((request.n || 1) > 1)
        return "-H 'Accept: application/json' " + quoted(origin + "/generate?image=url");
    const format = request.output?.format || "png";
    return "-o picture." + (format === "jpeg" ? "jpg" : format) + " " + quoted(origin + "/generate");
}

/* file: {name, data} of the picture to begin with, or null. */
export function command(body, file, origin) {
    const head = "curl -H 'Content-Type: application/json' ";
    const tail = target(body, origin);
    if (body.length <= MAX_ARGUMENT || !file)
        return head + "-d " + quoted(body) + " " + tail;
    const data = file.data.slice(file.data.indexOf(",") + 1);
    const at = body.indexOf(data);
    return "{ printf %s " + quoted(body.slice(0, at)) + "; base64 < " + quoted(file.name) +
        " | tr -d '\\n'; printf %s " + quoted(body.slice(at + data.length)) + "; } |\n" +
        head + "--data-binary @- " + tail;
}

/* For reading: long base64 shortened. */
export function shortened(text) {
    return text.replace(/[A-Za-z0-9+/=]{200,}/g, data =>
        data.slice(0, 24) + "[" + (data.length - 48) + " more]" + data.slice(-24));
}

export async function copy(text) {
    if (navigator.clipboard) return navigator.clipboard.writeText(text);
    /* Without TLS beyond localhost browsers have the old way alone. */
    const field = document.createElement("textarea");
    field.value = text;
    document.body.append(field);
    field.select();
    const isDone = document.execCommand("copy");
    field.remove();
    if (!isDone) throw new Error("the browser does not let this page copy");
}
