/* plot.c - the loss curve and clouds of points as pictures, without a plotting
 * library.
 *
 * Steps run to the right on a straight scale, the loss upward on a
 * logarithmic one: thin the rows of the history, thick their running mean.
 * Numbers on the axes are drawn with a 3x5 dot font.
 *
 * Pictures of two pixels are points: the data's stand in grey, those that were
 * made over them.
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
    uint8_t *rgb;
};

struct axes {
    double last_step, log_low, log_high;
};

static void dot(struct canvas *c, int x, int y, uint32_t rgb)
{
    if (x < 0 || y < 0 || x >= PLOT_W || y >= PLOT_H)
        return;
    uint8_t *p = c->rgb + ((size_t)y * PLOT_W + (size_t)x) * 3;
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

/* -- numbers ------------------------------------------------------------- */

/* Rows of three dots, top row in the highest bits. */
static uint16_t glyph(char ch)
{
    static const uint16_t digits[10] = {075557, 026227, 071747, 071717, 055711,
                                        074717, 074757, 071111, 075757, 075717};
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
    TRY(alloc_zero((void **)&c.rgb, (size_t)PLOT_W * PLOT_H, 3, err));
    memset(c.rgb, 0xff, (size_t)PLOT_W * PLOT_H * 3);
    struct axes a = find_axes(h);
    draw_axes(&c, &a);
    draw_curve(&c, &a, h, 0, 1, 0xb8c8e8);
    draw_curve(&c, &a, h, 0.98, 2, 0x1f4e9e);
    *out = (struct unstir_image){PLOT_W, PLOT_H, 3, c.rgb};
    return UNSTIR_OK;
}

/* -- points -------------------------------------------------------------- */

#define CLOUD_EDGE 400

/* Point (x, y) in -1..1, bytes 0..255, on a canvas of PLOT_W. */
static void cloud_dot(struct canvas *c, const uint8_t *xy, uint32_t rgb)
{
    int x0 = (PLOT_W - CLOUD_EDGE) / 2;
    box(c, x0 + xy[0] * (CLOUD_EDGE - 4) / 255,
        (255 - xy[1]) * (CLOUD_EDGE - 4) / 255, 2, 2, rgb);
}

enum unstir_status plot_points(struct unstir_image *out,
                               const struct dataset *data,
                               const struct unstir_image *made, size_t n,
                               struct unstir_error *err)
{
    struct canvas c;
    uint32_t shown = data->n < 5000 ? data->n : 5000;
    TRY(alloc_zero((void **)&c.rgb, (size_t)PLOT_W * PLOT_H, 3, err));
    memset(c.rgb, 0xff, (size_t)PLOT_W * PLOT_H * 3);
    for (uint32_t i = 0; i < shown; i++)
        cloud_dot(&c, data->pixels + (size_t)2 * i, 0xd0d0d0);
    for (size_t i = 0; i < n; i++)
        cloud_dot(&c, made[i].pixels, 0x1f4e9e);
    *out = (struct unstir_image){PLOT_W, PLOT_H, 3, c.rgb};
    return UNSTIR_OK;
}
