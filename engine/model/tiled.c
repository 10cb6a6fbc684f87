/* tiled.c - large pictures through an autoencoder in pieces.
 *
 * Along an axis of h places the tiles begin at evenly spread multiples of the
 * network's size_multiple.  Tile t counts at place p by
 *
 *     w(p) = ramp(p - begin) ramp(end - p)
 *
 * where a ramp leads from each edge that is not the picture's: 0 on the outer
 * 3/8 of the overlap, where the zeros that the network sees around the tile
 * reach, and 1 behind 5/8 of it.  A pixel is the mean of the tiles that cover
 * it, weighted by the product of both axes'.  The sum of the weights is the
 * product of the axes' sums.
 *
 * SPDX-License-Identifier: MIT
 */
#include "model/tiled.h"

#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "base/size.h"

/* One axis, in places of the input and, times up / down, of the output. */
struct axis {
    uint32_t len, tile, n_tiles, unit;
    double overlap; /* places of the output                                  */
    float *share; /* [out len] 1 / the sum of all tiles' weights             */
};

struct work {
    const struct network *net;
    const struct network_info *info;
    const struct network_io *io;
    struct axis y, x;
    float *in, *out; /* of a tile */
};

static uint32_t out_of(const struct work *w, uint32_t places)
{
    return places / w->info->down * w->info->up;
}

static uint32_t begin_of(const struct axis *a, uint32_t t)
{
    uint64_t free_units = (a->len - a->tile) / a->unit;

    if (a->n_tiles == 1)
        return 0;
    return (uint32_t)(free_units * t / (a->n_tiles - 1)) * a->unit;
}

/* At a distance from the edge. */
static double ramp(const struct axis *a, double distance)
{
    double v = (distance - 0.375 * a->overlap) / (0.25 * a->overlap);

    return fmin(fmax(v, 0), 1);
}

/* Weight of tile t at place p of its output. */
static double weight(const struct work *w, const struct axis *a, uint32_t t,
                     uint32_t p)
{
    uint32_t n = out_of(w, a->tile);
    double v = 1;

    if (t > 0)
        v *= ramp(a, p + 0.5);
    if (t + 1 < a->n_tiles)
        v *= ramp(a, n - p - 0.5);
    return v;
}

static enum unstir_status axis_init(struct axis *a, const struct work *w,
                                    uint32_t len, const struct tiling *tiling,
                                    struct unstir_error *err)
{
    uint32_t step = tiling->edge - tiling->overlap, n_out = out_of(w, len);
    void *p;

    *a = (struct axis){.len = len, .unit = w->info->size_multiple};
    a->tile = len < tiling->edge ? len : tiling->edge;
    a->n_tiles =
        len <= tiling->edge ? 1 : (len - tiling->overlap + step - 1) / step;
    a->overlap = fmax(1, out_of(w, tiling->overlap));
    TRY(alloc_zero(&p, n_out, sizeof *a->share, err));
    a->share = p;
    for (uint32_t t = 0; t < a->n_tiles; t++)
        for (uint32_t i = 0; i < out_of(w, a->tile); i++)
            a->share[out_of(w, begin_of(a, t)) + i] +=
                (float)weight(w, a, t, i);
    for (uint32_t i = 0; i < n_out; i++)
        a->share[i] = 1 / a->share[i];
    return UNSTIR_OK;
}

static void cut(const struct work *w, const float *picture, uint32_t y0,
                uint32_t x0)
{
    size_t c = w->info->in_channels, row = w->x.tile * c;

    for (uint32_t i = 0; i < w->y.tile; i++)
        memcpy(w->in + i * row,
               picture + ((size_t)(y0 + i) * w->x.len + x0) * c,
               row * sizeof(float));
}

/* Add tile (ty, tx) by its weights. */
static void paste(const struct work *w, float *picture, uint32_t ty,
                  uint32_t tx)
{
    size_t c = w->info->out_channels;
    size_t n_x = out_of(w, w->x.len);
    uint32_t th = out_of(w, w->y.tile), tw = out_of(w, w->x.tile);
    uint32_t y0 = out_of(w, begin_of(&w->y, ty));
    uint32_t x0 = out_of(w, begin_of(&w->x, tx));

    for (uint32_t i = 0; i < th; i++) {
        double wy = weight(w, &w->y, ty, i) * (double)w->y.share[y0 + i];

        for (uint32_t j = 0; j < tw; j++) {
            float f = (float)(wy * weight(w, &w->x, tx, j) *
                              (double)w->x.share[x0 + j]);
            const float *from = w->out + ((size_t)i * tw + j) * c;
            float *to = picture + ((y0 + i) * n_x + x0 + j) * c;

            for (size_t k = 0; k < c; k++)
                to[k] += f * from[k];
        }
    }
}

static enum unstir_status eval_picture(const struct work *w, struct executor *x,
                                       uint32_t picture,
                                       const struct cancel *cancel,
                                       struct unstir_error *err)
{
    size_t n_in = (size_t)w->y.len * w->x.len * w->info->in_channels;
    size_t n_out = (size_t)out_of(w, w->y.len) * out_of(w, w->x.len) *
                   w->info->out_channels;
    float *out = w->io->out + picture * n_out;
    struct network_io tile = *w->io;

    tile.n = 1;
    tile.h = w->y.tile;
    tile.w = w->x.tile;
    tile.sample = w->in;
    tile.out = w->out;
    memset(out, 0, n_out * sizeof *out);
    for (uint32_t ty = 0; ty < w->y.n_tiles; ty++)
        for (uint32_t tx = 0; tx < w->x.n_tiles; tx++) {
            cut(w, w->io->sample + picture * n_in, begin_of(&w->y, ty),
                begin_of(&w->x, tx));
            TRY(network_eval(w->net, x, &tile, cancel, err));
            paste(w, out, ty, tx);
        }
    return UNSTIR_OK;
}

static void work_fini(struct work *w)
{
    alloc_free(w->y.share);
    alloc_free(w->x.share);
    alloc_free(w->in);
    alloc_free(w->out);
}

static enum unstir_status work_init(struct work *w, const struct tiling *tiling,
                                    struct unstir_error *err)
{
    size_t n_in, n_out;
    void *p;

    TRY(axis_init(&w->y, w, w->io->h, tiling, err));
    TRY(axis_init(&w->x, w, w->io->w, tiling, err));
    n_in = (size_t)w->y.tile * w->x.tile;
    n_out = (size_t)out_of(w, w->y.tile) * out_of(w, w->x.tile);
    TRY(alloc_aligned(&p, n_in * w->info->in_channels, sizeof(float), err));
    w->in = p;
    TRY(alloc_aligned(&p, n_out * w->info->out_channels, sizeof(float), err));
    w->out = p;
    return UNSTIR_OK;
}

static enum unstir_status check(const struct network_info *info,
                                const struct network_io *io,
                                const struct tiling *tiling,
                                struct unstir_error *err)
{
    uint32_t m = info->size_multiple;

    if (info->has_timestep || info->context_width || info->has_class_input)
        return error_set(err, UNSTIR_ERR_ARG,
                         "a %s reads more than a picture and is not tiled",
                         info->family);
    if (tiling->overlap >= tiling->edge || tiling->edge % m ||
        tiling->overlap % m || io->h == 0 || io->w == 0 || io->h % m ||
        io->w % m)
        return error_set(err, UNSTIR_ERR_ARG,
                         "tiles of %u that overlap by %u on %u x %u; all must "
                         "be multiples of %u and the overlap smaller",
                         tiling->edge, tiling->overlap, io->w, io->h, m);
    return UNSTIR_OK;
}

enum unstir_status tiled_eval(const struct network *net, struct executor *x,
                              const struct network_io *io,
                              const struct tiling *tiling,
                              const struct cancel *cancel,
                              struct unstir_error *err)
{
    struct work w = {.net = net, .info = network_info(net), .io = io};
    enum unstir_status status;

    TRY(check(w.info, io, tiling, err));
    if (io->h <= tiling->edge && io->w <= tiling->edge)
        return network_eval(net, x, io, cancel, err);
    status = work_init(&w, tiling, err);
    for (uint32_t i = 0; status == UNSTIR_OK && i < io->n; i++)
        status = eval_picture(&w, x, i, cancel, err);
    work_fini(&w);
    return status;
}
