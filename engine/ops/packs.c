/* packs.c - how a network's weights meet a rung: joined, chosen, placed.
 *
 * Linear layers that read one value are joined: their rows are stacked and
 * packed as one weight, so that one product serves all of them and the value
 * is read once.  Which layers join depends on the graph alone, not on sizes.
 *
 * A big network's weights are not packed where a product can read them as they
 * are stored; only how many bytes packing would take decides.  Of joined layers
 * their rows are the pieces of one weight.
 *
 * All that is packed makes one image: first every piece gets its place, then
 * the pieces are packed side by side on a pool, or the whole image is adopted
 * from a file.
 *
 * SPDX-License-Identifier: MIT
 */
#include "ops/packs_parts.h"

#include "base/alloc.h"
#include "base/size.h"
#include "ops/conv2d_phases.h"
#include "ops/linear_int8.h"
#include "ops/weight_rows.h"
#include "ops/winograd.h"

static bool is_product(enum op_kind kind)
{
    return kind == OP_CONV2D || kind == OP_LINEAR;
}

/* -- joining ----------------------------------------------------------- */

static size_t find_leader(const struct graph *g, size_t i)
{
    const struct graph_op *op = graph_op_at(g, i);

    for (size_t j = 0; j < i; j++) {
        const struct graph_op *other = graph_op_at(g, j);

        if (other->kind == OP_LINEAR && other->in[0] == op->in[0])
            return j;
    }
    return i;
}

uint32_t packs_columns(const struct graph *g, const struct graph_op *op)
{
    return graph_param_at(g, op->param[0])->dims[0];
}

static void join(struct packs *packs, const struct graph *g)
{
    for (size_t i = 0; i < packs->n_ops; i++) {
        const struct graph_op *op = graph_op_at(g, i);
        struct op_pack *pack = &packs->ops[i], *leader;

        pack->leader = i;
        if (!is_product(op->kind))
            continue;
        if (packs->mode == LOWER_FUSED && op->kind == OP_LINEAR)
            pack->leader = find_leader(g, i);
        leader = &packs->ops[pack->leader];
        pack->column = leader->width;
        leader->width += packs_columns(g, op);
        leader->n_joined++;
    }
}

/* The product of leader i as a convolution. */
struct conv2d_pack_job packs_job(const struct packs *packs,
                                 const struct graph *g, size_t i)
{
    const struct graph_op *op = graph_op_at(g, i);
    const struct graph_param *w = graph_param_at(g, op->param[0]);
    bool is_joined = packs->ops[i].n_joined > 1;

    return (struct conv2d_pack_job){
        .cin = w->dims[1],
        .cout = is_joined ? packs->ops[i].width : w->dims[0],
        .kh = w->rank == 4 ? w->dims[2] : 1,
        .kw = w->rank == 4 ? w->dims[3] : 1,
    };
}

bool packs_is_leader(const struct packs *packs, const struct graph *g, size_t i)
{
    return is_product(graph_op_at(g, i)->kind) && packs->ops[i].leader == i;
}

bool packs_is_led(const struct packs *packs, const struct graph *g, size_t op,
                  size_t i)
{
    return is_product(graph_op_at(g, op)->kind) && packs->ops[op].leader == i;
}

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

const struct kernel_table *packs_table_of(const struct packs *packs, size_t op)
{
    return packs->ops[op].operands == OPERANDS_EXACT ? &packs->exact
                                                     : packs->table;
}

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

/* Joined layers read one value; by the leader goes what all of them get.
 * Without parameters the gates count as passed. */
static enum unstir_status choose_all(struct packs *packs, const struct graph *g,
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

/* A 3x3 convolution that alone reads an upsampling: lowering can fuse them.
 * Whether the sizes are right only shapes can say. */
static bool is_upsampled(const struct packs *packs, const struct graph *g,
                         size_t i)
{
    const struct graph_op *op = graph_op_at(g, i);
    const struct graph_value *x = graph_value_at(g, op->in[0]);

    return packs->mode == LOWER_FUSED &&
           packs->ops[i].operands == OPERANDS_RUNG && op->kind == OP_CONV2D &&
           op->attrs.kh == 3 && op->attrs.kw == 3 && op->attrs.stride == 1 &&
           x->n_uses == 1 && graph_op_at(g, x->op)->kind == OP_UPSAMPLE;
}

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
        pack->has_phases = is_upsampled(packs, g, i);
        if (pack->n_joined > 1)
            TRY(place(packs, &pack->bias_at, pack->width * sizeof(float), err));
        if (pack->is_in_place)
            continue;
        TRY(place(packs, &pack->panels_at, product_bytes(packs, i, &j), err));
        if (pack->has_phases)
            TRY(place(packs, &pack->phases_at,
                      conv2d_phases_packed_bytes(packs_table_of(packs, i),
                                                 j.cin, j.cout),
                      err));
    }
    return UNSTIR_OK;
}

/* Where the packings of a leader begin; PACK_NOWHERE: it has none. */
size_t packs_start(const struct op_pack *pack)
{
    return pack->bias_at != PACK_NOWHERE ? pack->bias_at : pack->panels_at;
}

/* -- in place ---------------------------------------------------------- */

static bool is_stored_well(const struct packs *packs, const struct graph *g,
                           size_t op, const struct packs_stored *stored)
{
    const struct packs_stored *w = &stored[graph_op_at(g, op)->param[0]];
    struct conv2d_pack_job j = packs_job(packs, g, op);

    return w->data && weight_rows_fit(w->type, j.cin, j.kh * j.kw);
}

/* Whether leader i reads its weights where they are, in a network whose
 * weights stay there. */
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
        packs->stored[op->param[0]] = *w;
        *piece++ =
            (struct weight_piece){w->data, w->type, packs_columns(g, op)};
        rows->n_pieces++;
    }
    return piece;
}

static enum unstir_status keep_in_place(struct packs *packs,
                                        const struct graph *g,
                                        const struct packs_stored *stored,
                                        struct unstir_error *err)
{
    struct weight_piece *piece;

    TRY(alloc_zero(&packs->rows, packs->n_ops, sizeof *packs->rows, err));
    TRY(alloc_zero(&piece, packs->n_ops, sizeof *packs->pieces, err));
    packs->pieces = piece;
    TRY(alloc_zero(&packs->stored, packs->n_params, sizeof *packs->stored,
                   err));
    packs->is_in_place = true;
    for (size_t i = 0; i < packs->n_ops; i++) {
        struct op_pack *pack = &packs->ops[i];

        if (!packs_is_leader(packs, g, i) || pack->is_borrowed)
            continue;
        pack->is_in_place = can_stay(packs, g, i, stored);
        if (pack->is_in_place)
            piece = add_pieces(packs, g, i, stored, piece);
    }
    return place_all(packs, g, err);
}

/* Numbers in the weights of all products. */
static uint64_t n_weights(const struct packs *packs, const struct graph *g)
{
    uint64_t n = 0;

    for (size_t i = 0; i < packs->n_ops; i++) {
        const struct graph_op *op = graph_op_at(g, i);

        if (is_product(op->kind))
            n += graph_param_at(g, op->param[0])->n;
    }
    return n;
}

static bool wants_in_place(const struct packs *packs, const struct graph *g,
                           const struct packs_params *params)
{
    if (!params->stored || params->keeping == PACKS_PACKED)
        return false;
    if (packs->base)
        return packs->base->is_in_place;
    return params->keeping == PACKS_IN_PLACE ||
           choose_in_place(n_weights(packs, g));
}

/* Forget what plans will not read. */
void packs_drop_packed(struct packs *packs, const struct graph *g)
{
    for (size_t i = 0; i < packs->n_ops; i++) {
        const struct graph_op *op = graph_op_at(g, i);
        bool is_joined = packs->ops[packs->ops[i].leader].n_joined > 1;

        if (!is_product(op->kind))
            continue;
        packs->params[op->param[0]] = NULL;
        if (is_joined && op->param[1] != GRAPH_NO_PARAM)
            packs->params[op->param[1]] = NULL;
    }
}

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

        if (is_product(op->kind) && is_op_touched(op, touched))
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

        if (!is_product(op->kind) || !is_op_touched(op, touched))
            continue;
        for (size_t j = leader; j < base->n_ops; j++) {
            const struct graph_op *other = graph_op_at(g, j);

            if (!is_product(other->kind) || base->ops[j].leader != leader)
                continue;
            wanted[other->param[0]] |= !base->ops[leader].is_in_place;
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
    join(packs, g);
    packs->base = origin.base;
    if (origin.base)
        status = borrow(packs, g, origin.touched, err);
    if (status == UNSTIR_OK)
        status = choose_all(packs, g, origin.has_params, err);
    if (status == UNSTIR_OK)
        status = place_all(packs, g, err);
    if (status == UNSTIR_OK && wants_in_place(packs, g, params))
        status = keep_in_place(packs, g, params->stored, err);
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
                                 const struct packs_stored *stored,
                                 struct unstir_error *err)
{
    static const float any; /* stands for every parameter                    */
    struct packs_params source = {.stored = stored};
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
    alloc_free(packs->own);
    alloc_free(packs->stored);
    alloc_free(packs->pieces);
    alloc_free(packs->rows);
    alloc_free(packs->params);
    alloc_free(packs->ops);
    alloc_free(packs);
}

/* Of the image. */
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

size_t packs_leader_bytes(const struct packs *packs, size_t i)
{
    const struct op_pack *pack = &packs->ops[i];

    return packs_image_bytes(packs, i) +
           (pack->rows ? weight_rows_bytes(pack->rows) : 0);
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
        h = mix(h, pack->is_in_place);
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
            if (!is_product(op->kind) || k > 0)
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
    return packs->params[p] != NULL || packs_stored(packs, p);
}

const struct packs_stored *packs_stored(const struct packs *packs, param_id p)
{
    return packs->stored && packs->stored[p].data ? &packs->stored[p] : NULL;
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
