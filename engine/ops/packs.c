/* packs.c - packing a network's weights for a rung.
 *
 * Linear layers that read one value are joined: their rows are stacked and
 * packed as one weight, so that one product serves all of them and the value
 * is read once.  Which layers join depends on the graph alone, not on sizes.
 *
 * All that is packed makes one image: first every piece gets its place, then
 * the pieces are packed side by side on a pool, or the whole image is adopted
 * from a file.
 *
 * SPDX-License-Identifier: MIT
 */
#include "ops/packs.h"

#include <stdatomic.h>
#include <string.h>

#include "base/alloc.h"
#include "base/mapfile.h"
#include "base/pool.h"
#include "base/size.h"
#include "kernels/kernels.h"
#include "ops/conv2d.h"
#include "ops/conv2d_phases.h"
#include "ops/linear_int8.h"

/* From here on a pool is worth starting. */
#define POOL_MIN_BYTES ((size_t)4 << 20)

struct packs {
    const struct kernel_table *table;
    struct kernel_table exact; /* the same with f32 operands                 */
    enum lower_mode mode;
    struct op_pack *ops;
    size_t n_ops;
    const float **params; /* NULL where packing was all                      */
    struct packs_params source; /* until the image is there                  */
    size_t n_params;
    const struct packs *base; /* lends pieces of untouched products, or NULL */
    const unsigned char *image;
    size_t bytes;
    void *own;          /* the image, if it was packed here                  */
    struct mapfile map; /* else the file around it                           */
};

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

static uint32_t columns_of(const struct graph *g, const struct graph_op *op)
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
        leader->width += columns_of(g, op);
        leader->n_joined++;
    }
}

/* The product of leader i as a convolution. */
static struct conv2d_pack_job job_of(const struct packs *packs,
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

static bool is_leader(const struct packs *packs, const struct graph *g,
                      size_t i)
{
    return is_product(graph_op_at(g, i)->kind) && packs->ops[i].leader == i;
}

/* What stands in `params`, or is loaded now: *own is alloc_free()d. */
static enum unstir_status values_of(const struct packs *packs, param_id p,
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

    TRY(values_of(packs, p, &w, &own));
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
        if (is_product(graph_op_at(g, j)->kind) && packs->ops[j].leader == i)
            TRY(try_weight(is_accurate, packs, g, graph_op_at(g, j)->param[0]));
    return UNSTIR_OK;
}

static enum unstir_status choose_leader(struct packs *packs,
                                        const struct graph *g, size_t i,
                                        enum product_role role, bool has_params)
{
    const struct graph_op *op = graph_op_at(g, i);
    struct op_pack *pack = &packs->ops[i];
    struct conv2d_pack_job j = job_of(packs, g, i);
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
    void *p;

    kernels_use_exact_operands(&packs->exact, packs->table);
    TRY(alloc_zero(&p, packs->n_ops, sizeof *roles, err));
    roles = p;
    status = choose_roles(roles, g, err);
    for (size_t i = 0; status == UNSTIR_OK && i < packs->n_ops; i++) {
        size_t leader = packs->ops[i].leader;

        if (is_leader(packs, g, i))
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
    for (size_t i = 0; i < packs->n_ops; i++) {
        struct op_pack *pack = &packs->ops[i];
        struct conv2d_pack_job j;

        pack->panels_at = pack->phases_at = pack->bias_at = PACK_NOWHERE;
        if (!is_leader(packs, g, i) || pack->is_borrowed)
            continue;
        j = job_of(packs, g, i);
        TRY(place(packs, &pack->panels_at, product_bytes(packs, i, &j), err));
        if (pack->n_joined > 1)
            TRY(place(packs, &pack->bias_at, pack->width * sizeof(float), err));
        if (is_upsampled(packs, g, i))
            TRY(place(packs, &pack->phases_at,
                      conv2d_phases_packed_bytes(packs_table_of(packs, i),
                                                 j.cin, j.cout),
                      err));
    }
    return UNSTIR_OK;
}

/* Pointers into the image that is there now. */
static void point(struct packs *packs, const struct graph *g)
{
    for (size_t i = 0; i < packs->n_ops; i++) {
        const struct graph_op *op = graph_op_at(g, i);
        struct op_pack *pack = &packs->ops[i];

        if (!is_leader(packs, g, i))
            continue;
        if (pack->is_borrowed) {
            pack->panels = packs->base->ops[i].panels;
            pack->phases = packs->base->ops[i].phases;
            pack->bias = packs->base->ops[i].bias;
            continue;
        }
        pack->panels = packs->image + pack->panels_at;
        if (pack->phases_at != PACK_NOWHERE)
            pack->phases = packs->image + pack->phases_at;
        if (pack->bias_at != PACK_NOWHERE)
            pack->bias = (const float *)(packs->image + pack->bias_at);
        else if (op->param[1] != GRAPH_NO_PARAM)
            pack->bias = packs->params[op->param[1]];
    }
}

/* -- packing ----------------------------------------------------------- */

/* Stack the rows and biases of all that follow leader i. */
static enum unstir_status stack(const struct packs *packs,
                                const struct graph *g, size_t i, float *rows,
                                float *bias)
{
    for (size_t j = i; j < packs->n_ops; j++) {
        const struct graph_op *op = graph_op_at(g, j);
        const struct graph_param *w;
        const float *values;
        float *own;

        if (packs->ops[j].leader != i)
            continue;
        w = graph_param_at(g, op->param[0]);
        TRY(values_of(packs, op->param[0], &values, &own));
        memcpy(rows, values, w->n * sizeof *rows);
        alloc_free(own);
        rows += w->n;
        if (op->param[1] != GRAPH_NO_PARAM)
            memcpy(bias, packs->params[op->param[1]],
                   w->dims[0] * sizeof *bias);
        bias += w->dims[0];
    }
    return UNSTIR_OK;
}

/* The weights of leader i, stacked if it is joined: *own is alloc_free()d. */
static enum unstir_status gather(const struct packs *packs,
                                 const struct graph *g, size_t i,
                                 const struct conv2d_pack_job *j,
                                 unsigned char *base, const float **w,
                                 float **own)
{
    const struct op_pack *pack = &packs->ops[i];
    enum unstir_status status;
    void *room;

    if (pack->n_joined == 1)
        return values_of(packs, graph_op_at(g, i)->param[0], w, own);
    *own = NULL;
    TRY(alloc_zero(&room, (size_t)j->cout * j->cin, sizeof(float), NULL));
    status = stack(packs, g, i, room,
                   (float *)(base + (pack->bias_at - pack->panels_at)));
    *w = *own = room;
    return status;
}

static enum unstir_status pack_phases(const struct packs *packs, size_t i,
                                      const struct conv2d_pack_job *j,
                                      unsigned char *base)
{
    const struct op_pack *pack = &packs->ops[i];
    void *room;

    if (pack->phases_at == PACK_NOWHERE)
        return UNSTIR_OK;
    TRY(alloc_zero(&room, (size_t)j->cout * j->cin, 4 * sizeof(float), NULL));
    conv2d_phases_pack(packs_table_of(packs, i),
                       base + (pack->phases_at - pack->panels_at), j->w, j->cin,
                       j->cout, room);
    alloc_free(room);
    return UNSTIR_OK;
}

/* The pieces of leader i to an image of which `base` is the part from
 * panels_at on. */
static enum unstir_status pack_leader(const struct packs *packs,
                                      const struct graph *g, size_t i,
                                      unsigned char *base)
{
    const struct kernel_table *k = packs_table_of(packs, i);
    struct conv2d_pack_job j = job_of(packs, g, i);
    enum unstir_status status;
    float *own;

    status = gather(packs, g, i, &j, base, &j.w, &own);
    if (status == UNSTIR_OK) {
        if (packs->ops[i].operands == OPERANDS_INT8)
            linear_int8_pack(k, base, j.w, j.cin, j.cout);
        else
            conv2d_pack(k, base, j.w, j.cin, j.cout, j.kh, j.kw);
        status = pack_phases(packs, i, &j, base);
    }
    alloc_free(own);
    return status;
}

struct filling {
    const struct packs *packs;
    const struct graph *g;
    unsigned char *image;
    atomic_int status; /* of any piece that failed; relaxed: pool_run orders */
};

static void fill_leader(void *arg, size_t i, unsigned worker)
{
    struct filling *f = arg;
    enum unstir_status status;

    (void)worker;
    if (!is_leader(f->packs, f->g, i) || f->packs->ops[i].is_borrowed)
        return;
    status =
        pack_leader(f->packs, f->g, i, f->image + f->packs->ops[i].panels_at);
    if (status != UNSTIR_OK)
        atomic_store_explicit(&f->status, (int)status, memory_order_relaxed);
}

/* Forget what plans will not read. */
static void drop_packed(struct packs *packs, const struct graph *g)
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

static void ready(struct packs *packs, const struct graph *g)
{
    point(packs, g);
    drop_packed(packs, g);
    packs->source = (struct packs_params){.values = NULL};
}

enum unstir_status packs_fill(struct packs *packs, const struct graph *g,
                              struct unstir_error *err)
{
    struct filling f = {.packs = packs, .g = g};
    struct pool *pool = NULL;

    TRY(alloc_aligned(&packs->own, packs->bytes, 1, err));
    packs->image = f.image = packs->own;
    if (packs->bytes >= POOL_MIN_BYTES)
        TRY(pool_new(&pool, 0, 0, err));
    pool_run(pool, packs->n_ops, fill_leader, &f);
    pool_free(pool);
    if (f.status != UNSTIR_OK)
        return error_set(err, (enum unstir_status)f.status,
                         "no memory to pack the weights");
    ready(packs, g);
    return UNSTIR_OK;
}

/* -- making ------------------------------------------------------------ */

/* touched[op]: it has a touched parameter, or one that it is joined with. */
static void touch_ops(bool *touched_ops, const struct packs *packs,
                      const struct graph *g, const bool *touched)
{
    for (size_t i = 0; i < packs->n_ops; i++) {
        const struct graph_op *op = graph_op_at(g, i);
        param_id bias = op->param[1];

        if (is_product(op->kind) && (touched[op->param[0]] ||
                                     (bias != GRAPH_NO_PARAM && touched[bias])))
            touched_ops[packs->ops[i].leader] = true;
    }
}

static enum unstir_status borrow(struct packs *packs, const struct graph *g,
                                 const bool *touched, struct unstir_error *err)
{
    bool *touched_ops;
    void *p;

    TRY(alloc_zero(&p, packs->n_ops, sizeof *touched_ops, err));
    touched_ops = p;
    touch_ops(touched_ops, packs, g, touched);
    for (size_t i = 0; i < packs->n_ops; i++)
        packs->ops[i].is_borrowed = !touched_ops[packs->ops[i].leader];
    alloc_free(p);
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

        if (!is_product(op->kind) || !(touched[op->param[0]]))
            continue;
        for (size_t j = leader; j < base->n_ops; j++) {
            const struct graph_op *other = graph_op_at(g, j);

            if (!is_product(other->kind) || base->ops[j].leader != leader)
                continue;
            wanted[other->param[0]] = true;
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
    void *p;

    *out = NULL;
    TRY(alloc_zero(&p, 1, sizeof *packs, err));
    packs = p;
    packs->table = table;
    packs->mode = mode;
    packs->n_ops = graph_n_ops(g);
    packs->n_params = graph_n_params(g);
    status = alloc_zero(&p, packs->n_ops, sizeof *packs->ops, err);
    if (status != UNSTIR_OK)
        goto out;
    packs->ops = p;
    status = alloc_zero(&p, packs->n_params, sizeof *packs->params, err);
    if (status != UNSTIR_OK)
        goto out;
    packs->params = p;
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
                                const struct kernel_table *table,
                                struct unstir_error *err)
{
    struct packs_params params = {.values = values};
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

/* What stands beside the packs is counted too, if it is `touched` (or all). */
static size_t measured(struct packs *packs, const struct graph *g,
                       const bool *touched)
{
    size_t bytes = packs->bytes;

    drop_packed(packs, g);
    for (size_t i = 0; i < packs->n_params; i++)
        if (packs->params[i] && (!touched || touched[i]))
            bytes += graph_param_at(g, (param_id)i)->n * sizeof(float);
    return bytes;
}

static enum unstir_status measure(size_t *bytes, const struct graph *g,
                                  const struct kernel_table *table,
                                  enum lower_mode mode, const bool *touched,
                                  const float **params,
                                  struct unstir_error *err)
{
    static const float any; /* stands for every parameter                    */
    struct packs_params source = {.values = params};
    struct packs *packs, *derived = NULL;
    enum unstir_status status = UNSTIR_OK;

    for (size_t i = 0; i < graph_n_params(g); i++)
        params[i] = &any;
    TRY(new_empty(&packs, g, table, mode, &source,
                  (struct origin){.base = NULL}, err));
    if (touched)
        status = new_empty(&derived, g, table, mode, &source,
                           (struct origin){packs, touched, false}, err);
    if (status == UNSTIR_OK)
        *bytes = measured(derived ? derived : packs, g, touched);
    packs_free(derived);
    packs_free(packs);
    return status;
}

enum unstir_status packs_measure(size_t *bytes, const struct graph *g,
                                 const struct kernel_table *table,
                                 enum lower_mode mode, const bool *touched,
                                 struct unstir_error *err)
{
    enum unstir_status status;
    void *params;

    *bytes = 0;
    TRY(alloc_zero(&params, graph_n_params(g), sizeof(float *), err));
    status = measure(bytes, g, table, mode, touched, params, err);
    alloc_free(params);
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
    alloc_free(packs->params);
    alloc_free(packs->ops);
    alloc_free(packs);
}

size_t packs_leader_bytes(const struct packs *packs, size_t i)
{
    for (size_t k = i + 1; k < packs->n_ops; k++)
        if (packs->ops[k].panels_at != PACK_NOWHERE)
            return packs->ops[k].panels_at - packs->ops[i].panels_at;
    return packs->bytes - packs->ops[i].panels_at;
}

/* -- an image from a file ---------------------------------------------- */

/* The leader of fewest bytes among those that are (or are not) 3x3. */
static size_t smallest_leader(const struct packs *packs, const struct graph *g,
                              bool is_3x3)
{
    size_t found = SIZE_MAX, least = SIZE_MAX;

    for (size_t i = 0; i < packs->n_ops; i++) {
        if (!is_leader(packs, g, i) ||
            is_3x3 != (job_of(packs, g, i).kh == 3) ||
            packs_leader_bytes(packs, i) >= least)
            continue;
        least = packs_leader_bytes(packs, i);
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
    n = packs_leader_bytes(packs, i);
    TRY(alloc_aligned(&own, n, 1, err));
    status = pack_leader(packs, g, i, own);
    if (status != UNSTIR_OK)
        (void)error_set(err, status, "no memory to pack a sample");
    if (status == UNSTIR_OK &&
        memcmp(own, image + packs->ops[i].panels_at, n) != 0)
        status = error_set(err, UNSTIR_ERR_FORMAT,
                           "packed weights differ from what is packed now");
    alloc_free(own);
    return status;
}

enum unstir_status packs_adopt(struct packs *packs, const struct graph *g,
                               struct mapfile *map, size_t offset,
                               struct unstir_error *err)
{
    const unsigned char *image = map->bytes + offset;

    if (map->n_bytes < offset || map->n_bytes - offset != packs->bytes)
        return error_set(err, UNSTIR_ERR_FORMAT,
                         "packed weights of %zu bytes; %zu are needed",
                         map->n_bytes - offset, packs->bytes);
    TRY(check_sample(packs, g, smallest_leader(packs, g, true), image, err));
    TRY(check_sample(packs, g, smallest_leader(packs, g, false), image, err));
    packs->image = image;
    packs->map = *map;
    *map = (struct mapfile){0};
    ready(packs, g);
    return UNSTIR_OK;
}

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
    }
    return h;
}

/* -- reading ----------------------------------------------------------- */

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
    return packs->params[p] != NULL;
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
