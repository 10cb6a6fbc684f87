/* plot.c - the loss curve and chains of points and bits as pictures, without a
 * plotting library.
 *
 * Steps run to the right on a straight scale, the loss upward on a
 * logarithmic one: thin the rows of the history, thick their running mean.
 * Numbers on the axes are drawn with a 3x5 dot font.
 *
 * A chain is two rows of panels, forward and back, noise growing to the right.
 * Points darken where they lie on each other; bits are ink where they are 1.
 *
 * SPDX-License-Identifier: MIT
 */
#include "train/trainer.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"

#define PLOT_W 720
#define PLOT_H 400
#define LEFT   64
#define RIGHT  16
#define TOP    16
#define BOTTOM 36
#define DOT    2 /* pixels a font dot */

struct canvas {
    int w, h;
    uint8_t *rgb;
};

struct axes {
    double last_step, log_low, log_high;
};

static void dot(struct canvas *c, int x, int y, uint32_t rgb)
{
    if (x < 0 || y < 0 || x >= c->w || y >= c->h)
        return;
    uint8_t *p = c->rgb + ((size_t)y * (size_t)c->w + (size_t)x) * 3;
    p[0] = (uint8_t)(rgb >> 16);
    p[1] = (uint8_t)(rgb >> 8);
    p[2] = (uint8_t)rgb;
}

static void box(struct canvas *c, int x, int y, int w, int h, uint32_t rgb)
{
    for (int j = 0; j < h; j++)
        for (int i = 0; i < w; i++)
            dot(c, x + i, y + j, rgb);
}

static void line(struct canvas *c, double x0, double y0, double x1, double y1,
                 int thick, uint32_t rgb)
{
    double dx = x1 - x0, dy = y1 - y0;
    int n = (int)ceil(fmax(fabs(dx), fabs(dy))) + 1;
    for (int i = 0; i <= n; i++)
        box(c, (int)lround(x0 + dx * i / n), (int)lround(y0 + dy * i / n),
            thick, thick, rgb);
}

static enum unstir_status canvas_open(struct canvas *c, int w, int h,
                                      struct unstir_error *err)
{
    size_t n = (size_t)w * (size_t)h * 3;
    *c = (struct canvas){.w = w, .h = h};
    TRY(alloc_zero(&c->rgb, n, 1, err));
    memset(c->rgb, 0xff, n);
    return UNSTIR_OK;
}

static void canvas_give(struct canvas *c, struct unstir_image *out)
{
    *out = (struct unstir_image){(uint32_t)c->w, (uint32_t)c->h, 3, c->rgb};
}

/* -- numbers ------------------------------------------------------------- */

/* Rows of three dots, top row in the highest bits. */
static uint16_t glyph(char ch)
{
    static const uint16_t digits[10] = {075557, 026227, 071747, 071717, 055711,
                                        074717, 074757, 071111, 075757, 075717};
    static const struct {
        char letter;
        uint16_t dots;
    } letters[] = {{'A', 025755}, {'B', 065656}, {'C', 034443}, {'D', 065556},
                   {'E', 074647}, {'F', 074644}, {'K', 055655}, {'O', 025552},
                   {'R', 065655}, {'T', 072222}, {'W', 055575}, {'=', 007070}};
    for (size_t i = 0; i < ARRAY_LEN(letters); i++)
        if (letters[i].letter == ch)
            return letters[i].dots;
    switch (ch) {
    case '.':
        return 000002;
    case 'k':
        return 045655;
    case 'M':
        return 057755;
    case '-':
        return 000700;
    default:
        return ch >= '0' && ch <= '9' ? digits[ch - '0'] : 0;
    }
}

static void text(struct canvas *c, int x, int y, const char *s)
{
    for (; *s; s++, x += 4 * DOT) {
        uint16_t g = glyph(*s);
        for (int bit = 0; bit < 15; bit++)
            if (g >> (14 - bit) & 1)
                box(c, x + bit % 3 * DOT, y + bit / 3 * DOT, DOT, DOT,
                    0x404040);
    }
}

static int text_width(const char *s)
{
    return (int)strlen(s) * 4 * DOT;
}

static void format_count(char out[32], double v)
{
    if (v >= 1e6)
        snprintf(out, 32, "%.3gM", v / 1e6);
    else if (v >= 1e4)
        snprintf(out, 32, "%.3gk", v / 1e3);
    else
        snprintf(out, 32, "%.0f", v);
}

/* -- axes ---------------------------------------------------------------- */

static double x_of(const struct axes *a, double step)
{
    return LEFT + step / a->last_step * (PLOT_W - LEFT - RIGHT);
}

static double y_of(const struct axes *a, double loss)
{
    double f = (log10(loss) - a->log_low) / (a->log_high - a->log_low);
    f = f < 0 ? 0 : f > 1 ? 1 : f;
    return PLOT_H - BOTTOM - f * (PLOT_H - TOP - BOTTOM);
}

static struct axes find_axes(const struct history *h)
{
    double low = INFINITY, high = 0;
    for (size_t i = 0; i < h->n; i++) {
        if (!(h->rows[i].loss > 0))
            continue;
        low = fmin(low, h->rows[i].loss);
        high = fmax(high, h->rows[i].loss);
    }
    if (!(low < high)) {
        low = low < INFINITY ? low / 2 : 0.1;
        high = low * 4;
    }
    return (struct axes){h->n ? h->rows[h->n - 1].step : 1, log10(low) - 0.02,
                         log10(high) + 0.02};
}

static void draw_axes(struct canvas *c, const struct axes *a)
{
    static const double ticks[] = {1, 2, 3, 5, 7};
    char label[32];
    for (int decade = -6; decade <= 6; decade++)
        for (size_t i = 0; i < ARRAY_LEN(ticks); i++) {
            double v = ticks[i] * pow(10, decade);
            if (log10(v) < a->log_low || log10(v) > a->log_high)
                continue;
            int y = (int)lround(y_of(a, v));
            box(c, LEFT, y, PLOT_W - LEFT - RIGHT, 1, 0xe0e0e0);
            snprintf(label, sizeof label, "%.3g", v);
            text(c, LEFT - 6 - text_width(label), y - 5, label);
        }
    for (int i = 0; i <= 4; i++) {
        double step = a->last_step * i / 4;
        int x = (int)lround(x_of(a, step));
        box(c, x, TOP, 1, PLOT_H - TOP - BOTTOM, 0xe0e0e0);
        format_count(label, step);
        int at = x - text_width(label) / 2;
        int most = PLOT_W - 4 - text_width(label);
        text(c, at < most ? at : most, PLOT_H - BOTTOM + 10, label);
    }
}

static void draw_curve(struct canvas *c, const struct axes *a,
                       const struct history *h, double keep, int thick,
                       uint32_t rgb)
{
    double mean = 0, weight = 0, px = 0, py = 0;
    for (size_t i = 0; i < h->n; i++) {
        if (!(h->rows[i].loss > 0))
            continue;
        mean = keep * mean + (1 - keep) * h->rows[i].loss;
        weight = keep * weight + (1 - keep);
        double x = x_of(a, h->rows[i].step), y = y_of(a, mean / weight);
        if (i > 0)
            line(c, px, py, x, y, thick, rgb);
        px = x;
        py = y;
    }
}

enum unstir_status plot_history(struct unstir_image *out,
                                const struct history *h,
                                struct unstir_error *err)
{
    struct canvas c;
    TRY(canvas_open(&c, PLOT_W, PLOT_H, err));
    struct axes a = find_axes(h);
    draw_axes(&c, &a);
    draw_curve(&c, &a, h, 0, 1, 0xb8c8e8);
    draw_curve(&c, &a, h, 0.98, 2, 0x1f4e9e);
    canvas_give(&c, out);
    return UNSTIR_OK;
}

/* -- chains --------------------------------------------------------------- */

#define PANEL      188 /* pixels                                              */
#define PANEL_GAP  10
#define PANEL_TOP  26 /* of a row: its captions                               */
#define PANEL_SPAN 1.6f /* points are shown within; noise is of unit size     */
#define PANEL_RIM  0xd8d8d8

static uint8_t mixed(uint8_t under, uint32_t over)
{
    return (uint8_t)((2 * under + 3 * over) / 5);
}

/* A dot of ink through which the paper shows. */
static void ink(struct canvas *c, int x, int y, uint32_t rgb)
{
    for (int j = 0; j < 2; j++)
        for (int i = 0; i < 2; i++) {
            const uint8_t *p =
                c->rgb + ((size_t)(y + j) * (size_t)c->w + (size_t)(x + i)) * 3;
            dot(c, x + i, y + j,
                (uint32_t)mixed(p[0], rgb >> 16) << 16 |
                    (uint32_t)mixed(p[1], rgb >> 8 & 0xff) << 8 |
                    mixed(p[2], rgb & 0xff));
        }
}

static void draw_points(struct canvas *c, int x0, int y0, const float *x,
                        uint32_t n, uint32_t rgb)
{
    for (uint32_t i = 0; i < n; i++) {
        float u = (x[2 * i] / PANEL_SPAN + 1) / 2;
        float v = (1 - x[2 * i + 1] / PANEL_SPAN) / 2;
        if (u > 0 && u < 1 && v > 0 && v < 1)
            ink(c, x0 + (int)(u * (PANEL - 2)), y0 + (int)(v * (PANEL - 2)),
                rgb);
    }
}

/* Paper at -1, ink at 1. */
static uint32_t shade(float x, uint32_t rgb)
{
    float share = fminf(fmaxf((x + 1) / 2, 0), 1);
    uint32_t out = 0;
    for (int shift = 16; shift >= 0; shift -= 8) {
        float full = (float)(rgb >> shift & 0xff);
        out |= (uint32_t)(244 + (full - 244) * share) << shift;
    }
    return out;
}

static void draw_bits(struct canvas *c, int x0, int y0, const float *x,
                      uint32_t n, uint32_t m, uint32_t rgb)
{
    int cell = PANEL / (int)m, across = cell * (int)m;
    int down = PANEL / (cell < 9 ? 9 : cell);
    int height = PANEL / down;
    for (int j = 0; j < down && (uint32_t)j < n; j++)
        for (int i = 0; i < (int)m; i++)
            box(c, x0 + (PANEL - across) / 2 + i * cell, y0 + j * height + 1,
                cell - 1, height - 1,
                shade(x[(uint32_t)j * m + (uint32_t)i], rgb));
}

static void draw_panels(struct canvas *c, const struct plot_chain *chain,
                        bool is_back)
{
    uint32_t rgb = is_back ? 0xb03a2e : 0x1f4e9e;
    int y = PANEL_GAP + (is_back ? PANEL_TOP + PANEL + PANEL_GAP : 0);
    text(c, PANEL_GAP, y + 4, is_back ? "BACK" : "FORWARD");
    for (int k = 0; k < PLOT_PANELS; k++) {
        const float *x = is_back ? chain->back[k] : chain->forward[k];
        int at = PANEL_GAP + k * (PANEL + PANEL_GAP), low = y + PANEL_TOP;
        char label[24];
        snprintf(label, sizeof label, "T=%u",
                 is_back ? chain->back_step[k] : chain->forward_step[k]);
        text(c, at + PANEL - text_width(label), y + 4, label);
        if (chain->m == 2)
            draw_points(c, at, low, x, chain->n, rgb);
        else
            draw_bits(c, at, low, x, chain->n, chain->m, rgb);
        box(c, at - 1, low - 1, PANEL + 2, 1, PANEL_RIM);
        box(c, at - 1, low + PANEL, PANEL + 2, 1, PANEL_RIM);
        box(c, at - 1, low - 1, 1, PANEL + 2, PANEL_RIM);
        box(c, at + PANEL, low - 1, 1, PANEL + 2, PANEL_RIM);
    }
}

enum unstir_status plot_chain(struct unstir_image *out,
                              const struct plot_chain *chain,
                              struct unstir_error *err)
{
    struct canvas c;
    TRY(canvas_open(&c, PANEL_GAP + PLOT_PANELS * (PANEL + PANEL_GAP),
                    PANEL_GAP + 2 * (PANEL_TOP + PANEL + PANEL_GAP), err));
    draw_panels(&c, chain, false);
    draw_panels(&c, chain, true);
    canvas_give(&c, out);
    return UNSTIR_OK;
}
