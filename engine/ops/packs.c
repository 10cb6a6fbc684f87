/* packs.c - how a network's weights meet a rung: made, measured, read.
 *
 * All that is packed makes one image: first every piece gets its place
 * (packs_place.c), then the pieces are packed side by side on a pool, or the
 * whole image is adopted from a file (packs_fill.c).
 *
 * SPDX-License-Identifier: MIT
 */
#include "ops/packs_parts.h"

#include "base/alloc.h"
#include "ops/weight_rows.h"

/* -- making ------------------------------------------------------------ */

/* Whether a product has a touched parameter. */
static bool is_op_touched(const struct graph_op *op, const bool *touched)
{
    return touched[op->param[0]] ||
           (op->param[1] != GRAPH_NO_PARAM && touched[op->param[1]]);
}

/* touched_ops[op]: it has, or one that it is joined with. */
static void touch_ops(bool *touched_ops, const struct packs *packs,
                      const struct graph *g, const bool *touched)
{
    for (size_t i = 0; i < packs->n_ops; i++) {
        const struct graph_op *op = graph_op_at(g, i);

        if (graph_is_product(op) && is_op_touched(op, touched))
            touched_ops[packs->ops[i].leader] = true;
    }
}

static enum unstir_status borrow(struct packs *packs, const struct graph *g,
                                 const bool *touched, struct unstir_error *err)
{
    bool *touched_ops;

    TRY(alloc_zero(&touched_ops, packs->n_ops, sizeof *touched_ops, err));
    touch_ops(touched_ops, packs, g, touched);
    for (size_t i = 0; i < packs->n_ops; i++)
        packs->ops[i].is_borrowed = !touched_ops[packs->ops[i].leader];
    alloc_free(touched_ops);
    return UNSTIR_OK;
}

void packs_derive_wants(bool *wanted, const struct packs *base,
                        const struct graph *g, const bool *touched)
{
    for (size_t p = 0; p < base->n_params; p++)
        wanted[p] = touched[p];
    for (size_t i = 0; i < base->n_ops; i++) {
        const struct graph_op *op = graph_op_at(g, i);
        size_t leader = base->ops[i].leader;

        if (!graph_is_product(op) || !is_op_touched(op, touched))
            continue;
        for (size_t j = leader; j < base->n_ops; j++) {
            const struct graph_op *other = graph_op_at(g, j);

            if (!graph_is_product(other) || base->ops[j].leader != leader)
                continue;
            wanted[other->param[0]] |= base->ops[leader].form != PACK_IN_PLACE;
            if (other->param[1] != GRAPH_NO_PARAM)
                wanted[other->param[1]] = true;
        }
    }
}

struct origin {
    const struct packs *base; /* NULL: none                                  */
    const bool *touched;
    bool has_params;
};

static enum unstir_status new_empty(struct packs **out, const struct graph *g,
                                    const struct kernel_table *table,
                                    enum lower_mode mode,
                                    const struct packs_params *params,
                                    struct origin origin,
                                    struct unstir_error *err)
{
    struct packs *packs;
    enum unstir_status status;

    *out = NULL;
    TRY(alloc_zero(&packs, 1, sizeof *packs, err));
    packs->table = table;
    packs->mode = mode;
    packs->n_ops = graph_n_ops(g);
    packs->n_params = graph_n_params(g);
    status = alloc_zero(&packs->ops, packs->n_ops, sizeof *packs->ops, err);
    if (status != UNSTIR_OK)
        goto out;
    status =
        alloc_zero(&packs->params, packs->n_params, sizeof *packs->params, err);
    if (status != UNSTIR_OK)
        goto out;
    for (size_t i = 0; i < packs->n_params; i++)
        packs->params[i] = params->values[i];
    packs->source = *params;
    packs_join(packs, g);
    packs->base = origin.base;
    if (origin.base)
        status = borrow(packs, g, origin.touched, err);
    if (status == UNSTIR_OK)
        status = packs_choose(packs, g, origin.has_params, err);
    if (status == UNSTIR_OK)
        status = packs_place(packs, g, err);
    if (status != UNSTIR_OK)
        goto out;
    *out = packs;
    packs = NULL;
out:
    packs_free(packs);
    return status;
}

enum unstir_status packs_new_empty(struct packs **out, const struct graph *g,
                                   const struct kernel_table *table,
                                   enum lower_mode mode,
                                   const struct packs_params *params,
                                   struct unstir_error *err)
{
    return new_empty(out, g, table, mode, params,
                     (struct origin){.has_params = true}, err);
}

enum unstir_status packs_derive(struct packs **out, const struct packs *base,
                                const struct graph *g, const bool *touched,
                                const float *const *values,
                                const struct packs_stored *stored,
                                const struct kernel_table *table,
                                struct unstir_error *err)
{
    struct packs_params params = {.values = values, .stored = stored};
    struct packs *packs;
    enum unstir_status status;

    *out = NULL;
    TRY(new_empty(&packs, g, table, base->mode, &params,
                  (struct origin){base, touched, true}, err));
    status = packs_fill(packs, g, err);
    if (status != UNSTIR_OK) {
        packs_free(packs);
        return status;
    }
    *out = packs;
    return UNSTIR_OK;
}

struct measures {
    size_t bytes, peak_bytes;
};

/* Of packs and all parameters that they are made from. */
static size_t peak(const struct packs *packs, const struct graph *g,
                   const bool *counted)
{
    size_t bytes = packs->bytes;

    for (size_t i = 0; i < packs->n_params; i++)
        if (packs->params[i] && (!counted || counted[i]))
            bytes += graph_param_at(g, (param_id)i)->n * sizeof(float);
    return bytes;
}

/* What stands beside the packs is counted too, if it is `counted` (or all). */
static struct measures measured(struct packs *packs, const struct graph *g,
                                const bool *counted)
{
    size_t peak_bytes = peak(packs, g, counted);
    size_t bytes = packs->bytes;

    packs_drop_packed(packs, g);
    for (size_t i = 0; i < packs->n_params; i++) {
        const struct packs_stored *stored = packs_stored(packs, (param_id)i);
        size_t n = graph_param_at(g, (param_id)i)->n;

        if (counted && !counted[i])
            continue;
        if (packs->params[i])
            bytes += n * sizeof(float);
        else if (stored)
            bytes += dtype_bytes(stored->type, n);
    }
    return (struct measures){bytes, peak_bytes};
}

static enum unstir_status
measure_derived(struct measures *out, const struct packs *base,
                const struct graph *g, const struct packs_params *source,
                const bool *touched, struct unstir_error *err)
{
    enum unstir_status status;
    struct packs *packs;
    bool *wanted;

    TRY(alloc_zero(&wanted, base->n_params, sizeof *wanted, err));
    packs_derive_wants(wanted, base, g, touched);
    status = new_empty(&packs, g, base->table, base->mode, source,
                       (struct origin){base, touched, false}, err);
    if (status == UNSTIR_OK)
        *out = measured(packs, g, wanted);
    packs_free(packs);
    alloc_free(wanted);
    return status;
}

static enum unstir_status measure(struct measures *out, const struct graph *g,
                                  const struct kernel_table *table,
                                  enum lower_mode mode, const bool *touched,
                                  const struct packs_params *source,
                                  struct unstir_error *err)
{
    enum unstir_status status = UNSTIR_OK;
    struct packs *packs;

    TRY(new_empty(&packs, g, table, mode, source, (struct origin){.base = NULL},
                  err));
    if (touched)
        status = measure_derived(out, packs, g, source, touched, err);
    else
        *out = measured(packs, g, NULL);
    packs_free(packs);
    return status;
}

enum unstir_status packs_measure(size_t *bytes, size_t *peak_bytes,
                                 const struct graph *g,
                                 const struct kernel_table *table,
                                 enum lower_mode mode, const bool *touched,
                                 const struct packs_params *params,
                                 struct unstir_error *err)
{
    static const float any; /* stands for every parameter                    */
    struct packs_params source = {.stored = params->stored,
                                  .keeping = params->keeping,
                                  .usual = params->usual};
    enum unstir_status status;
    struct measures m = {0, 0};
    const float **values;

    *bytes = 0;
    if (peak_bytes)
        *peak_bytes = 0;
    TRY(alloc_zero(&values, graph_n_params(g), sizeof(float *), err));
    for (size_t i = 0; i < graph_n_params(g); i++)
        values[i] = &any;
    source.values = values;
    status = measure(&m, g, table, mode, touched, &source, err);
    alloc_free(values);
    *bytes = m.bytes;
    if (peak_bytes)
        *peak_bytes = m.peak_bytes;
    return status;
}

enum unstir_status packs_new(struct packs **out, const struct graph *g,
                             const struct kernel_table *table,
                             enum lower_mode mode,
                             const struct packs_params *params,
                             struct unstir_error *err)
{
    struct packs *packs;
    enum unstir_status status;

    *out = NULL;
    TRY(packs_new_empty(&packs, g, table, mode, params, err));
    status = packs_fill(packs, g, err);
    if (status != UNSTIR_OK)
        packs_free(packs);
    else
        *out = packs;
    return status;
}

void packs_free(struct packs *packs)
{
    if (!packs)
        return;
    mapfile_close(&packs->map);
    alloc_pages_free(packs->own, packs->bytes);
    alloc_free(packs->stored);
    alloc_free(packs->pieces);
    alloc_free(packs->rows);
    alloc_free(packs->params);
    alloc_free(packs->ops);
    alloc_free(packs);
}

size_t packs_leader_bytes(const struct packs *packs, size_t i)
{
    const struct op_pack *pack = &packs->ops[i];

    return packs_image_bytes(packs, i) +
           (pack->form == PACK_IN_PLACE ? weight_rows_bytes(pack->rows) : 0);
}

/* -- reading ----------------------------------------------------------- */

const void *packs_image(const struct packs *packs)
{
    return packs->image;
}

static uint64_t mix(uint64_t h, size_t x)
{
    h = (h ^ x) * 0x9e3779b97f4a7c15U;
    return h ^ h >> 29;
}

uint64_t packs_layout(const struct packs *packs)
{
    uint64_t h = mix(packs->n_ops, packs->bytes);

    for (size_t i = 0; i < packs->n_ops; i++) {
        const struct op_pack *pack = &packs->ops[i];

        h = mix(mix(mix(h, pack->panels_at), pack->phases_at), pack->bias_at);
        h = mix(mix(mix(h, pack->leader), pack->width), pack->operands);
        h = mix(h, pack->form);
    }
    return h;
}

bool packs_reads_once(const struct graph *g, param_id p)
{
    bool is_read = false;

    for (size_t i = 0; i < graph_n_ops(g); i++) {
        const struct graph_op *op = graph_op_at(g, i);

        for (size_t k = 0; k < ARRAY_LEN(op->param); k++) {
            if (op->param[k] != p)
                continue;
            if (!graph_is_product(op) || k > 0)
                return false;
            is_read = true;
        }
    }
    return is_read;
}

size_t packs_bytes(const struct packs *packs)
{
    return packs->bytes;
}

bool packs_needs(const struct packs *packs, param_id p)
{
    return packs->params[p] != NULL ||
           (packs->stored && packs->stored[p].stored.data);
}

const struct packs_stored *packs_stored(const struct packs *packs, param_id p)
{
    const struct kept *kept = packs->stored ? &packs->stored[p] : NULL;

    return kept && kept->stored.data && kept->is_usual ? &kept->stored : NULL;
}

bool packs_is_in_place(const struct packs *packs)
{
    return packs->keeping == KEEP_IN_PLACE;
}

const struct op_pack *packs_op(const struct packs *packs, size_t op)
{
    return &packs->ops[op];
}

const float *packs_param(const struct packs *packs, param_id p)
{
    return packs->params[p];
}

const struct kernel_table *packs_table(const struct packs *packs)
{
    return packs->table;
}

enum lower_mode packs_mode(const struct packs *packs)
{
    return packs->mode;
}

size_t packs_n_ops(const struct packs *packs)
{
    return packs->n_ops;
}
