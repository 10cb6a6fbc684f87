/* packs_place.c - on which operands a network's products work, and where their
 * weights lie: in the image, for every way or for one, or as they are stored.
 *
 * Of a big network no weight is packed for every way that can be made ready when
 * it is used; what the rule of ops/choose.h says is packed for the usual size,
 * or nothing.  Only how many bytes packing would take decides.  Of joined layers
 * their rows are the pieces of one weight.
 *
 * SPDX-License-Identifier: MIT
 */
#include "ops/packs_parts.h"

#include "base/alloc.h"
#include "base/size.h"
#include "ops/conv2d_phases.h"
#include "ops/linear_int8.h"
#include "ops/weight_rows.h"

/* What stands in `params`, or is loaded now: *own is alloc_free()d. */
enum unstir_status packs_values(const struct packs *packs, param_id p,
                                const float **values, float **own)
{
    *own = NULL;
    *values = packs->params[p];
    return *values ? UNSTIR_OK
                   : packs->source.load(packs->source.arg, p, values, own);
}

/* -- operands ---------------------------------------------------------- */

static bool has_border(const struct graph *g, const struct graph_op *op)
{
    struct shape x = graph_shape(g, op->in[0]), y = graph_shape(g, op->out);

    return op->kind == OP_CONV2D && (x.h != y.h || x.w != y.w);
}

/* Whether a weight passes the gate of 8-bit numbers. */
static enum unstir_status try_weight(bool *is_accurate,
                                     const struct packs *packs,
                                     const struct graph *g, param_id p)
{
    const struct graph_param *param = graph_param_at(g, p);
    const float *w;
    float *own;

    TRY(packs_values(packs, p, &w, &own));
    *is_accurate = linear_int8_is_accurate(w, param->dims[1], param->dims[0]);
    alloc_free(own);
    return UNSTIR_OK;
}

/* All weights that follow leader i must. */
static enum unstir_status try_weights(bool *is_accurate,
                                      const struct packs *packs,
                                      const struct graph *g, size_t i)
{
    *is_accurate = true;
    for (size_t j = i; j < packs->n_ops && *is_accurate; j++)
        if (packs_is_led(packs, g, j, i))
            TRY(try_weight(is_accurate, packs, g, graph_op_at(g, j)->param[0]));
    return UNSTIR_OK;
}

static enum unstir_status choose_leader(struct packs *packs,
                                        const struct graph *g, size_t i,
                                        enum product_role role, bool has_params)
{
    const struct graph_op *op = graph_op_at(g, i);
    struct op_pack *pack = &packs->ops[i];
    struct conv2d_pack_job j = packs_job(packs, g, i);
    struct choose_product p = {.role = role,
                               .cin = j.cin,
                               .cout = j.cout,
                               .kh = j.kh,
                               .kw = j.kw,
                               .stride =
                                   op->kind == OP_CONV2D ? op->attrs.stride : 1,
                               .has_border = has_border(g, op)};
    bool is_accurate = true;

    if (pack->is_borrowed) {
        pack->operands = packs->base->ops[i].operands;
        return UNSTIR_OK;
    }
    pack->operands = choose_operands(packs->table, &p);
    if (pack->operands != OPERANDS_INT8 || !has_params)
        return UNSTIR_OK;
    TRY(try_weights(&is_accurate, packs, g, i));
    if (!is_accurate)
        pack->operands = OPERANDS_RUNG;
    return UNSTIR_OK;
}

/* Joined layers read one value; by the leader goes what all of them get. */
enum unstir_status packs_choose(struct packs *packs, const struct graph *g,
                                bool has_params, struct unstir_error *err)
{
    enum unstir_status status;
    enum product_role *roles;

    kernels_use_exact_operands(&packs->exact, packs->table);
    TRY(alloc_zero(&roles, packs->n_ops, sizeof *roles, err));
    status = choose_roles(roles, g, err);
    for (size_t i = 0; status == UNSTIR_OK && i < packs->n_ops; i++) {
        size_t leader = packs->ops[i].leader;

        if (packs_is_leader(packs, g, i))
            status = choose_leader(packs, g, i, roles[i], has_params);
        else
            packs->ops[i].operands = packs->ops[leader].operands;
    }
    alloc_free(roles);
    return status;
}

/* -- places ------------------------------------------------------------ */

static enum unstir_status place(struct packs *packs, size_t *at, size_t bytes,
                                struct unstir_error *err)
{
    *at = packs->bytes;
    if (!size_add(packs->bytes, size_align(bytes, 64), &packs->bytes))
        return error_set(err, UNSTIR_ERR_LIMIT, "the weights are too large");
    return UNSTIR_OK;
}

static size_t product_bytes(const struct packs *packs, size_t i,
                            const struct conv2d_pack_job *j)
{
    const struct kernel_table *k = packs_table_of(packs, i);

    return packs->ops[i].operands == OPERANDS_INT8
               ? linear_int8_packed_bytes(k, j->cin, j->cout)
               : conv2d_packed_bytes(k, j->cin, j->cout, j->kh, j->kw);
}

/* All ways of a product. */
static enum unstir_status place_every(struct packs *packs, size_t i,
                                      const struct conv2d_pack_job *j,
                                      struct unstir_error *err)
{
    struct op_pack *pack = &packs->ops[i];

    TRY(place(packs, &pack->panels_at, product_bytes(packs, i, j), err));
    return pack->has_phases
               ? place(packs, &pack->phases_at,
                       conv2d_phases_packed_bytes(packs_table_of(packs, i),
                                                  j->cin, j->cout),
                       err)
               : UNSTIR_OK;
}

static enum unstir_status place_all(struct packs *packs, const struct graph *g,
                                    struct unstir_error *err)
{
    packs->bytes = 0;
    for (size_t i = 0; i < packs->n_ops; i++) {
        struct op_pack *pack = &packs->ops[i];
        struct conv2d_pack_job j;

        pack->panels_at = pack->phases_at = pack->bias_at = PACK_NOWHERE;
        if (!packs_is_leader(packs, g, i) || pack->is_borrowed)
            continue;
        j = packs_job(packs, g, i);
        pack->has_phases = packs_is_upsampled(packs, g, i);
        if (pack->n_joined > 1)
            TRY(place(packs, &pack->bias_at, pack->width * sizeof(float), err));
        if (pack->form == PACK_EVERY)
            TRY(place_every(packs, i, &j, err));
        else if (pack->form != PACK_IN_PLACE)
            TRY(place(packs, &pack->panels_at, packs_form_bytes(packs, g, i),
                      err));
    }
    return UNSTIR_OK;
}

size_t packs_start(const struct op_pack *pack)
{
    return pack->bias_at != PACK_NOWHERE ? pack->bias_at : pack->panels_at;
}

size_t packs_image_bytes(const struct packs *packs, size_t i)
{
    size_t start = packs_start(&packs->ops[i]);

    if (start == PACK_NOWHERE)
        return 0;
    for (size_t k = i + 1; k < packs->n_ops; k++)
        if (packs_start(&packs->ops[k]) != PACK_NOWHERE)
            return packs_start(&packs->ops[k]) - start;
    return packs->bytes - start;
}

/* -- in place ---------------------------------------------------------- */

static bool is_stored_well(const struct packs *packs, const struct graph *g,
                           size_t op, const struct packs_stored *stored)
{
    const struct packs_stored *w = &stored[graph_op_at(g, op)->param[0]];
    struct conv2d_pack_job j = packs_job(packs, g, op);

    return w->data && weight_rows_fit(w->type, j.cin, j.kh * j.kw);
}

/* Whether leader i can read its weights where they are. */
static bool can_stay(const struct packs *packs, const struct graph *g, size_t i,
                     const struct packs_stored *stored)
{
    const struct op_pack *pack = &packs->ops[i];
    struct conv2d_pack_job j = packs_job(packs, g, i);

    if (pack->operands == OPERANDS_INT8 ||
        !conv2d_reads_rows(packs_table_of(packs, i), j.cin, j.cout))
        return false;
    for (size_t k = i; k < packs->n_ops; k++)
        if (packs_is_led(packs, g, k, i) &&
            !is_stored_well(packs, g, k, stored))
            return false;
    return true;
}

/* The pieces of leader i from `piece` on; what they leave free. */
static struct weight_piece *add_pieces(struct packs *packs,
                                       const struct graph *g, size_t i,
                                       const struct packs_stored *stored,
                                       struct weight_piece *piece)
{
    struct weight_rows *rows = &packs->rows[i];
    struct conv2d_pack_job j = packs_job(packs, g, i);
    bool is_usual = packs->ops[i].form == PACK_IN_PLACE;
    bool is_kept = is_usual || packs_has_other_ways(packs, g, i);

    *rows = (struct weight_rows){.pieces = piece,
                                 .cin = j.cin,
                                 .cout = j.cout,
                                 .kh = j.kh,
                                 .kw = j.kw,
                                 .phase = WEIGHT_WHOLE};
    for (size_t k = i; k < packs->n_ops; k++) {
        const struct graph_op *op = graph_op_at(g, k);
        const struct packs_stored *w;

        if (!packs_is_led(packs, g, k, i))
            continue;
        w = &stored[op->param[0]];
        if (is_kept)
            packs->stored[op->param[0]] = (struct kept){*w, is_usual};
        *piece++ =
            (struct weight_piece){w->data, w->type, packs_columns(g, op)};
        rows->n_pieces++;
    }
    return piece;
}

/* The form of leader i in a network whose weights are not packed for all. */
static enum pack_form form_of(const struct packs *packs, const struct graph *g,
                              size_t i)
{
    const struct packs_params *from = &packs->source;

    if (!can_stay(packs, g, i, from->stored))
        return PACK_EVERY;
    return packs->keeping == KEEP_USUAL
               ? packs_usual_form(packs, from->usual, i)
               : PACK_IN_PLACE;
}

/* Rows of what is not packed for all, and its forms. */
static enum unstir_status keep_rows(struct packs *packs, const struct graph *g,
                                    struct unstir_error *err)
{
    const struct packs_stored *stored = packs->source.stored;
    struct weight_piece *piece;

    TRY(alloc_zero(&packs->rows, packs->n_ops, sizeof *packs->rows, err));
    TRY(alloc_zero(&piece, packs->n_ops, sizeof *packs->pieces, err));
    packs->pieces = piece;
    TRY(alloc_zero(&packs->stored, packs->n_params, sizeof *packs->stored,
                   err));
    for (size_t i = 0; i < packs->n_ops; i++) {
        struct op_pack *pack = &packs->ops[i];

        if (!packs_is_leader(packs, g, i) || pack->is_borrowed)
            continue;
        pack->form = form_of(packs, g, i);
        if (pack->form != PACK_EVERY)
            piece = add_pieces(packs, g, i, stored, piece);
    }
    return UNSTIR_OK;
}

/* Numbers in the weights of all products. */
static uint64_t n_weights(const struct packs *packs, const struct graph *g)
{
    uint64_t n = 0;

    for (size_t i = 0; i < packs->n_ops; i++) {
        const struct graph_op *op = graph_op_at(g, i);

        if (graph_is_product(op))
            n += graph_param_at(g, op->param[0])->n;
    }
    return n;
}

/* Of what the rule of sizes says. */
static enum choose_keeping by_size(const struct packs *packs,
                                   const struct graph *g, bool is_frugal)
{
    enum choose_keeping k = choose_keeping(packs->table, n_weights(packs, g));

    return k == KEEP_USUAL && (is_frugal || !packs->source.usual)
               ? KEEP_IN_PLACE
               : k;
}

/* What differs from a base keeps its weights as that does, but for all sizes
 * where it is packed. */
static enum choose_keeping keeping_of(const struct packs *packs,
                                      const struct graph *g)
{
    if (!packs->source.stored)
        return KEEP_PACKED;
    if (packs->base)
        return packs->base->keeping == KEEP_IN_PLACE ? KEEP_IN_PLACE
                                                     : KEEP_PACKED;
    switch (packs->source.keeping) {
    case PACKS_PACKED:
        return KEEP_PACKED;
    case PACKS_USUAL:
        return KEEP_USUAL;
    case PACKS_IN_PLACE:
        return KEEP_IN_PLACE;
    default:
        return by_size(packs, g, packs->source.keeping == PACKS_FRUGAL);
    }
}

enum unstir_status packs_place(struct packs *packs, const struct graph *g,
                               struct unstir_error *err)
{
    packs->keeping = keeping_of(packs, g);
    if (packs->keeping != KEEP_PACKED)
        TRY(keep_rows(packs, g, err));
    return place_all(packs, g, err);
}

void packs_drop_packed(struct packs *packs, const struct graph *g)
{
    for (size_t i = 0; i < packs->n_ops; i++) {
        const struct graph_op *op = graph_op_at(g, i);
        bool is_joined = packs->ops[packs->ops[i].leader].n_joined > 1;

        if (!graph_is_product(op))
            continue;
        packs->params[op->param[0]] = NULL;
        if (is_joined && op->param[1] != GRAPH_NO_PARAM)
            packs->params[op->param[1]] = NULL;
    }
}
