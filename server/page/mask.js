/* mask.js - painting what shall change over a picture.
 *
 * Strokes are kept as numbers and drawn anew after an undo.  The canvas holds
 * paint where the mask is white; png() makes white on black of it.
 *
 * By keyboard: arrows move the brush (with shift, by one pixel), space sets it
 * down or lifts it.
 *
 * SPDX-License-Identifier: MIT
 */
const MAX_EDGE = 1024; /* of the mask; the server fits it to the picture */
const MAX_STROKES = 2000;

export class Mask {
    constructor(canvas, ring, changed) {
        this.canvas = canvas;
        this.ring = ring;
        this.changed = changed;
        this.context = canvas.getContext("2d");
        this.strokes = [];
        this.size = 0.14; /* of the shorter edge */
        this.isErasing = false;
        this.isDown = false;
        this.at = { x: 0, y: 0 };
        canvas.addEventListener("pointerdown", event => this.press(event));
        canvas.addEventListener("pointermove", event => this.drag(event));
        for (const name of ["pointerup", "pointercancel"])
            canvas.addEventListener(name, () => this.lift());
        canvas.addEventListener("pointerleave", () => { if (!this.isDown) this.ring.hidden = true; });
        canvas.addEventListener("keydown", event => this.key(event));
        canvas.addEventListener("focus", () => this.showRing());
        canvas.addEventListener("blur", () => { this.lift(); this.ring.hidden = true; });
    }

    /* For a picture of this size. */
    open(width, height) {
        const scale = Math.min(1, MAX_EDGE / Math.max(width, height));
        this.canvas.width = Math.max(1, Math.round(width * scale));
        this.canvas.height = Math.max(1, Math.round(height * scale));
        this.at = { x: this.canvas.width / 2, y: this.canvas.height / 2 };
        this.strokes = [];
        this.draw();
    }

    get isEmpty() {
        const { width, height } = this.canvas;
        const pixels = this.context.getImageData(0, 0, width, height).data;
        for (let i = 3; i < pixels.length; i += 4)
            if (pixels[i] >= 128) return false;
        return true;
    }

    get diameter() {
        return Math.max(1, this.size * Math.min(this.canvas.width, this.canvas.height));
    }

    /* ---- pointer and keys */

    place(event) {
        const box = this.canvas.getBoundingClientRect();
        return {
            x: (event.clientX - box.left) / box.width * this.canvas.width,
            y: (event.clientY - box.top) / box.height * this.canvas.height
        };
    }

    press(event) {
        if (event.button !== 0) return;
        this.canvas.setPointerCapture(event.pointerId);
        this.at = this.place(event);
        this.begin();
    }

    drag(event) {
        const events = event.getCoalescedEvents?.() ?? [];
        for (const each of events.length ? events : [event]) this.moveTo(this.place(each));
    }

    key(event) {
        const by = event.shiftKey ? 1 : Math.max(1, this.diameter / 4);
        const ways = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
        const way = ways[event.key];
        if (way) {
            const clip = (v, most) => Math.min(most, Math.max(0, v));
            this.moveTo({
                x: clip(this.at.x + by * way[0], this.canvas.width),
                y: clip(this.at.y + by * way[1], this.canvas.height)
            });
        } else if (event.key === " ") {
            if (this.isDown) this.lift();
            else this.begin();
        } else {
            return;
        }
        event.preventDefault();
    }

    begin() {
        if (this.strokes.length >= MAX_STROKES) return;
        this.isDown = true;
        this.add({ size: this.diameter, isErasing: this.isErasing, points: [this.at] });
        this.showRing();
    }

    moveTo(place) {
        this.at = place;
        if (this.isDown) {
            const stroke = this.strokes.at(-1);
            stroke.points.push(place);
            this.line({ ...stroke, points: stroke.points.slice(-2) });
        }
        this.showRing();
    }

    lift() {
        if (!this.isDown) return;
        this.isDown = false;
        this.showRing();
        this.changed();
    }

    showRing() {
        const { width, height } = this.canvas;
        this.ring.hidden = false;
        this.ring.classList.toggle("down", this.isDown);
        this.ring.style.left = 100 * this.at.x / width + "%";
        this.ring.style.top = 100 * this.at.y / height + "%";
        this.ring.style.width = 100 * this.diameter / width + "%";
        this.ring.style.height = 100 * this.diameter / height + "%";
    }

    /* ---- strokes */

    add(stroke) {
        this.strokes.push(stroke);
        this.line(stroke);
    }

    undo() {
        this.strokes.pop();
        this.draw();
    }

    clear() {
        this.strokes = [];
        this.draw();
    }

    invert() {
        this.add({ isInversion: true });
        this.changed();
    }

    draw() {
        this.context.clearRect(0, 0, this.canvas.width, this.canvas.height);
        this.strokes.forEach(stroke => this.line(stroke));
        this.changed();
    }

    line(stroke) {
        const c = this.context;
        const colour = getComputedStyle(this.canvas).getPropertyValue("--paint") || "red";
        c.fillStyle = c.strokeStyle = colour;
        c.globalCompositeOperation = stroke.isInversion ? "source-out"
            : stroke.isErasing ? "destination-out" : "source-over";
        if (stroke.isInversion) {
            c.fillRect(0, 0, this.canvas.width, this.canvas.height);
        } else {
            c.lineWidth = stroke.size;
            c.lineCap = c.lineJoin = "round";
            c.beginPath();
            c.moveTo(stroke.points[0].x, stroke.points[0].y);
            stroke.points.forEach(p => c.lineTo(p.x, p.y));
            c.stroke();
        }
        c.globalCompositeOperation = "source-over";
    }

    /* White where it is painted, black elsewhere, as a data: URL. */
    png() {
        const sheet = document.createElement("canvas");
        const { width, height } = this.canvas;
        sheet.width = width;
        sheet.height = height;
        const c = sheet.getContext("2d");
        c.drawImage(this.canvas, 0, 0);
        const image = c.getImageData(0, 0, width, height);
        for (let i = 0; i < image.data.length; i += 4) {
            image.data.fill(image.data[i + 3] >= 128 ? 255 : 0, i, i + 3);
            image.data[i + 3] = 255;
        }
        c.putImageData(image, 0, 0);
        return sheet.toDataURL("image/png");
    }
}
