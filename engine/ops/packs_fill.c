/* packs_fill.c - what packs hold: packed side by side on a pool, or an image
 * from a file; and a look at weights that stay where they are.
 *
 * SPDX-License-Identifier: MIT
 */
#include <stdatomic.h>
#include <string.h>

#include "base/alloc.h"
#include "base/pool.h"
#include "ops/conv2d_phases.h"
#include "ops/linear_int8.h"
#include "ops/packs_parts.h"
#include "ops/weight_rows.h"
#include "ops/winograd.h"

/* From here on a pool is worth starting. */
#define POOL_MIN_BYTES ((size_t)4 << 20)

/* Bytes of a file that are left in memory while packs are made of others. */
#define FORGET_BYTES ((size_t)128 << 20)

/* -- pointers ---------------------------------------------------------- */

static void point_at_base(struct op_pack *pack, const struct op_pack *base)
{
    pack->form = base->form;
    pack->panels = base->panels;
    pack->phases = base->phases;
    pack->has_phases = base->has_phases;
    pack->rows = base->rows;
    pack->bias = base->bias;
}

static void point_at_weights(struct packs *packs, const struct graph *g,
                             size_t i)
{
    struct op_pack *pack = &packs->ops[i];

    if (pack->form == PACK_EVERY) {
        pack->panels = packs->image + pack->panels_at;
        if (pack->phases_at != PACK_NOWHERE)
            pack->phases = packs->image + pack->phases_at;
        return;
    }
    if (pack->form == PACK_IN_PLACE || packs_has_other_ways(packs, g, i))
        pack->rows = &packs->rows[i];
    if (pack->form != PACK_IN_PLACE)
        packs_point_form(pack, &packs->rows[i], packs->image + pack->panels_at);
}

/* Pointers into the image that is there now. */
static void point(struct packs *packs, const struct graph *g)
{
    for (size_t i = 0; i < packs->n_ops; i++) {
        const struct graph_op *op = graph_op_at(g, i);
        struct op_pack *pack = &packs->ops[i];

        if (!packs_is_leader(packs, g, i))
            continue;
        if (pack->is_borrowed) {
            point_at_base(pack, &packs->base->ops[i]);
            continue;
        }
        point_at_weights(packs, g, i);
        if (pack->bias_at != PACK_NOWHERE)
            pack->bias = (const float *)(packs->image + pack->bias_at);
        else if (op->param[1] != GRAPH_NO_PARAM)
            pack->bias = packs->params[op->param[1]];
    }
}

/* -- packing ----------------------------------------------------------- */

/* Stack the biases of all that follow leader i. */
static void stack_biases(const struct packs *packs, const struct graph *g,
                         size_t i, float *bias)
{
    for (size_t j = i; j < packs->n_ops; j++) {
        const struct graph_op *op = graph_op_at(g, j);
        uint32_t n;

        if (!packs_is_led(packs, g, j, i))
            continue;
        n = packs_columns(g, op);
        if (op->param[1] != GRAPH_NO_PARAM)
            memcpy(bias, packs->params[op->param[1]], n * sizeof *bias);
        bias += n;
    }
}

/* And their rows. */
static enum unstir_status stack_rows(const struct packs *packs,
                                     const struct graph *g, size_t i,
                                     float *rows)
{
    for (size_t j = i; j < packs->n_ops; j++) {
        const struct graph_op *op = graph_op_at(g, j);
        const struct graph_param *w;
        const float *values;
        float *own;

        if (!packs_is_led(packs, g, j, i))
            continue;
        w = graph_param_at(g, op->param[0]);
        TRY(packs_values(packs, op->param[0], &values, &own));
        memcpy(rows, values, w->n * sizeof *rows);
        alloc_free(own);
        rows += w->n;
    }
    return UNSTIR_OK;
}

/* The weights of leader i, stacked if it is joined: *own is alloc_free()d. */
static enum unstir_status gather(const struct packs *packs,
                                 const struct graph *g, size_t i,
                                 const struct conv2d_pack_job *j,
                                 const float **w, float **own)
{
    enum unstir_status status;
    void *room;

    if (packs->ops[i].n_joined == 1)
        return packs_values(packs, graph_op_at(g, i)->param[0], w, own);
    *own = NULL;
    TRY(alloc_zero(&room, (size_t)j->cout * j->cin, sizeof(float), NULL));
    status = stack_rows(packs, g, i, room);
    *w = *own = room;
    return status;
}

static enum unstir_status pack_phases(const struct packs *packs, size_t i,
                                      const struct conv2d_pack_job *j,
                                      unsigned char *to)
{
    void *room;

    TRY(alloc_zero(&room, (size_t)j->cout * j->cin, 4 * sizeof(float), NULL));
    conv2d_phases_pack(packs_table_of(packs, i), to, j->w, j->cin, j->cout,
                       room);
    alloc_free(room);
    return UNSTIR_OK;
}

/* Packings of leader i to an image of which `base` is the part from its start
 * on. */
static enum unstir_status pack_leader(const struct packs *packs,
                                      const struct graph *g, size_t i,
                                      unsigned char *base)
{
    const struct kernel_table *k = packs_table_of(packs, i);
    const struct op_pack *pack = &packs->ops[i];
    struct conv2d_pack_job j = packs_job(packs, g, i);
    size_t start = packs_start(pack);
    enum unstir_status status;
    float *own;

    if (pack->bias_at != PACK_NOWHERE)
        stack_biases(packs, g, i, (float *)(base + (pack->bias_at - start)));
    if (pack->form == PACK_IN_PLACE)
        return UNSTIR_OK;
    if (pack->form != PACK_EVERY)
        return packs_pack_form(packs, i, base + (pack->panels_at - start));
    status = gather(packs, g, i, &j, &j.w, &own);
    if (status == UNSTIR_OK) {
        unsigned char *panels = base + (pack->panels_at - start);

        if (pack->operands == OPERANDS_INT8)
            linear_int8_pack(k, panels, j.w, j.cin, j.cout);
        else
            conv2d_pack(k, panels, j.w, j.cin, j.cout, j.kh, j.kw);
        if (pack->phases_at != PACK_NOWHERE)
            status =
                pack_phases(packs, i, &j, base + (pack->phases_at - start));
    }
    alloc_free(own);
    return status;
}

/* Whether Winograd's way, on operands of bf16, is refused to rows that some
 * size sends it; packed filters tell it themselves. */
static enum unstir_status try_rows(const struct packs *packs,
                                   const struct graph *g, size_t i)
{
    const struct kernel_table *k = packs_table_of(packs, i);
    struct conv2d_pack_job j = packs_job(packs, g, i);
    bool is_accurate = true;

    if (packs->ops[i].form == PACK_EVERY || packs->ops[i].form == PACK_FILTERS)
        return UNSTIR_OK;
    if (k->gemm.is_bf16 && choose_packs_winograd(k, j.cin, j.cout, j.kh, j.kw))
        TRY(winograd_rows_are_accurate(&is_accurate, k, &packs->rows[i]));
    packs->rows[i].is_demoted = !is_accurate;
    return UNSTIR_OK;
}

struct filling {
    const struct packs *packs;
    const struct graph *g;
    unsigned char *image;
    atomic_int status; /* of any piece that failed; relaxed: pool_run orders */
    atomic_size_t n_read; /* bytes since pages were forgotten; relaxed: only
                             how much memory is in use depends on it         */
};

/* What was read of leader i has become panels, and its pages can go. */
static void forget(struct filling *f, size_t i)
{
    const struct packs *packs = f->packs;
    size_t n;

    if (!packs->source.forget || packs->ops[i].form == PACK_EVERY ||
        packs->ops[i].form == PACK_IN_PLACE)
        return;
    n = weight_rows_bytes(&packs->rows[i]);
    if (atomic_fetch_add_explicit(&f->n_read, n, memory_order_relaxed) + n <
        FORGET_BYTES)
        return;
    atomic_store_explicit(&f->n_read, 0, memory_order_relaxed);
    packs->source.forget(packs->source.arg);
}

static void fill_leader(void *arg, size_t i, unsigned worker)
{
    struct filling *f = arg;
    enum unstir_status status;
    size_t start;

    (void)worker;
    if (!packs_is_leader(f->packs, f->g, i) || f->packs->ops[i].is_borrowed)
        return;
    start = packs_start(&f->packs->ops[i]);
    status = f->image && start != PACK_NOWHERE
                 ? pack_leader(f->packs, f->g, i, f->image + start)
                 : UNSTIR_OK;
    if (status == UNSTIR_OK)
        status = try_rows(f->packs, f->g, i);
    forget(f, i);
    if (status != UNSTIR_OK)
        atomic_store_explicit(&f->status, (int)status, memory_order_relaxed);
}

/* Pack all leaders to an image (NULL: it is there), look at the others. */
static enum unstir_status fill_leaders(const struct packs *packs,
                                       const struct graph *g,
                                       unsigned char *image,
                                       struct unstir_error *err)
{
    struct filling f = {.packs = packs, .g = g, .image = image};
    struct pool *pool = NULL;

    if (packs->bytes >= POOL_MIN_BYTES || packs->keeping != KEEP_PACKED)
        TRY(pool_new(&pool, 0, 0, err));
    pool_run(pool, packs->n_ops, fill_leader, &f);
    pool_free(pool);
    if (f.status == UNSTIR_OK)
        return UNSTIR_OK;
    return error_set(err, (enum unstir_status)f.status,
                     "no memory to pack the weights");
}

static void ready(struct packs *packs, const struct graph *g)
{
    point(packs, g);
    packs_drop_packed(packs, g);
    packs->source = (struct packs_params){.values = NULL};
}

enum unstir_status packs_fill(struct packs *packs, const struct graph *g,
                              struct unstir_error *err)
{
    TRY(alloc_pages(&packs->own, packs->bytes, err));
    packs->image = packs->own;
    TRY(fill_leaders(packs, g, packs->own, err));
    ready(packs, g);
    return UNSTIR_OK;
}

/* -- an image from a file ---------------------------------------------- */

/* The leader of fewest bytes among those that are (or are not) 3x3. */
static size_t smallest_leader(const struct packs *packs, const struct graph *g,
                              bool is_3x3)
{
    size_t found = SIZE_MAX, least = SIZE_MAX;

    for (size_t i = 0; i < packs->n_ops; i++) {
        if (!packs_is_leader(packs, g, i) ||
            packs->ops[i].panels_at == PACK_NOWHERE ||
            is_3x3 != (packs_job(packs, g, i).kh == 3) ||
            packs_image_bytes(packs, i) >= least)
            continue;
        least = packs_image_bytes(packs, i);
        found = i;
    }
    return found;
}

/* Pack one leader and compare. */
static enum unstir_status check_sample(const struct packs *packs,
                                       const struct graph *g, size_t i,
                                       const unsigned char *image,
                                       struct unstir_error *err)
{
    enum unstir_status status;
    void *own;
    size_t n;

    if (i == SIZE_MAX)
        return UNSTIR_OK;
    n = packs_image_bytes(packs, i);
    TRY(alloc_aligned(&own, n, 1, err));
    status = pack_leader(packs, g, i, own);
    if (status != UNSTIR_OK)
        (void)error_set(err, status, "no memory to pack a sample");
    if (status == UNSTIR_OK &&
        memcmp(own, image + packs_start(&packs->ops[i]), n) != 0)
        status = error_set(err, UNSTIR_ERR_FORMAT,
                           "packed weights differ from what is packed now");
    alloc_free(own);
    return status;
}

enum unstir_status packs_compare(const struct packs *packs,
                                 const struct graph *g,
                                 const struct mapfile *map, size_t offset,
                                 struct unstir_error *err)
{
    const unsigned char *image = map->bytes + offset;

    if (map->n_bytes < offset || map->n_bytes - offset != packs->bytes)
        return error_set(err, UNSTIR_ERR_FORMAT,
                         "packed weights of %zu bytes; %zu are needed",
                         map->n_bytes - offset, packs->bytes);
    TRY(check_sample(packs, g, smallest_leader(packs, g, true), image, err));
    return check_sample(packs, g, smallest_leader(packs, g, false), image, err);
}

enum unstir_status packs_adopt(struct packs *packs, const struct graph *g,
                               struct mapfile *map, size_t offset,
                               struct unstir_error *err)
{
    TRY(packs_compare(packs, g, map, offset, err));
    if (packs->keeping != KEEP_PACKED)
        TRY(fill_leaders(packs, g, NULL, err));
    packs->image = map->bytes + offset;
    packs->map = *map;
    *map = (struct mapfile){0};
    ready(packs, g);
    return UNSTIR_OK;
}
