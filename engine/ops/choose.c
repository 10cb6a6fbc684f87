/* choose.c - the tables of rules: which operands, which algorithm.
 *
 * SPDX-License-Identifier: MIT
 */
#include "ops/choose.h"

#include <string.h>

#include "base/alloc.h"
#include "base/compiler.h"
#include "kernels/kernels.h"
#include "ops/graph.h"

/* -- algorithms ------------------------------------------------------------ */

/* What a rung, or a packing, must have. */
enum needs {
    NEEDS_NOTHING,
    NEEDS_PHASES, /* the packing, and a picture twice the source             */
    NEEDS_F4,     /* Winograd's F(4x4): f32 operands                         */
    NEEDS_F2,     /* Winograd's F(2x2): bf16 operands                        */
    NEEDS_BLAS,
    NEEDS_DOTS
};

/* Of the rows that fit, the first is taken.  0: no condition.
 *
 * Phases in f32, up to 64 source pixels, unless the large picture has 16 rows
 * and columns.  Measured on avx2, 2.4 GHz Zen 3, milliseconds for one picture
 * of packed weights, large direct / large Winograd / phases:
 *    7x7   64    0.20   0.11   0.08     14x14  64    0.62   0.22   0.29
 *    4x4  256    1.09   0.90   0.71     16x16 256   14.0    4.9    6.2
 *    8x8  256    3.2    1.6    1.6      64x64 512  960    310    479
 * Weights that are made ready when used, 1280 channels, GFLOP/s of the large
 * picture's direct products, Winograd / phases: 8x8 194 / 79, 16x16 202 / 132.
 *
 * F(4x4) in f32 at all sizes from 5x5 on, however deep: with weights made ready
 * when used, 1280 -> 1280 and 2560 -> 1280 channels at 8x8 have 98 and 98
 * GFLOP/s, direct tiles 60 and 68.
 *
 * F(2x2) on bf16 operands, Zen 4, one thread, packed weights, GFLOP/s direct /
 * Winograd: 16 pictures of 28x28, 32 channels 210 / 280; 14x14, 64 channels
 * 224 / 367; 7x7, 96 channels 224 / 275; one of 4x4, 256 channels 229 / 436;
 * 8x8, 256 channels 232 / 426.  Wide layers of few pixels belong to networks
 * whose weights are made ready when used: 8x8, 1280 channels 123 / 107. */
static const struct rule {
    enum conv_way way;
    enum needs needs;
    uint32_t kernel;     /* kh and kw */
    uint32_t min_edge;   /* of the output                                    */
    uint32_t max_pixels; /* of the source                                    */
    uint32_t min_cin, min_cout, max_cout;
    uint32_t multiple; /* of which cin and cout are                          */
} rules[] = {
    /*               needs        k  edge  px  cin cout  max  x */
    {CONV_WINOGRAD, NEEDS_F4, 3, 16, 0, 16, 16, 0, 8},
    {CONV_PHASES, NEEDS_PHASES, 3, 0, 64, 0, 0, 0, 0},
    {CONV_WINOGRAD, NEEDS_F4, 3, 5, 0, 16, 16, 0, 8},
    {CONV_WINOGRAD, NEEDS_F2, 3, 16, 0, 32, 32, 0, 16},
    {CONV_WINOGRAD, NEEDS_F2, 3, 4, 0, 32, 32, 640, 16},
    {CONV_PHASES, NEEDS_PHASES, 3, 0, 0, 0, 0, 0, 0},
    {CONV_BLAS, NEEDS_BLAS, 0, 0, 0, 0, 0, 0, 0},
    {CONV_DOTS, NEEDS_DOTS, 0, 0, 0, 8, 0, GEMM_MAX_DOTS, 0},
    {CONV_TILES, NEEDS_NOTHING, 0, 0, 0, 0, 0, 0, 0},
};

static bool rung_has(const struct kernel_table *k, enum needs needs)
{
    switch (needs) {
    case NEEDS_F4:
        return k->wino.is_used && k->wino.edge == 4;
    case NEEDS_F2:
        return k->wino.is_used && k->wino.edge == 2;
    case NEEDS_BLAS:
        return k->gemm.is_blas;
    case NEEDS_DOTS:
        return k->gemm.dots && !k->gemm.is_blas;
    default:
        return true;
    }
}

/* The part of a rule that packing can see. */
static bool weights_fit(const struct rule *r, const struct kernel_table *k,
                        uint32_t cin, uint32_t cout, uint32_t kh, uint32_t kw)
{
    return rung_has(k, r->needs) &&
           (!r->kernel || (kh == r->kernel && kw == r->kernel)) &&
           cin >= r->min_cin && cout >= r->min_cout &&
           (!r->max_cout || cout <= r->max_cout) &&
           (!r->multiple ||
            (cin % r->multiple == 0 && cout % r->multiple == 0));
}

/* Winograd's patches, of whole tiles, reach no further than the border. */
static bool winograd_covers(const struct kernel_table *k,
                            const struct conv2d_shape *s)
{
    uint32_t e = k->wino.edge;

    return s->stride == 1 && s->pad_l + s->up_w <= (s->ow + e - 1) / e * e + 2;
}

/* A 3x3 convolution with a border of one over a picture twice the source. */
static bool phases_cover(const struct conv2d_shape *s)
{
    return s->kh == 3 && s->kw == 3 && s->stride == 1 && s->pad_t == 1 &&
           s->pad_l == 1 && s->up_h == 2 * (uint64_t)s->h &&
           s->up_w == 2 * (uint64_t)s->w && s->oh == s->up_h &&
           s->ow == s->up_w;
}

static bool shape_fits(const struct rule *r, const struct kernel_table *k,
                       const struct conv2d_shape *s, bool has_phases)
{
    if (!weights_fit(r, k, s->c0 + s->c1, s->cout, s->kh, s->kw) ||
        s->oh < r->min_edge || s->ow < r->min_edge)
        return false;
    if (r->max_pixels && (uint64_t)s->h * s->w > r->max_pixels)
        return false;
    if (r->way == CONV_PHASES)
        return has_phases && phases_cover(s);
    return r->way != CONV_WINOGRAD || winograd_covers(k, s);
}

enum conv_way choose_conv(const struct kernel_table *k,
                          const struct conv2d_shape *s, bool has_phases)
{
    const struct rule *r = rules;

    while (!shape_fits(r, k, s, has_phases)) /* the last one fits all */
        r++;
    return r->way;
}

static bool packs(const struct kernel_table *k, enum conv_way way, uint32_t cin,
                  uint32_t cout, uint32_t kh, uint32_t kw)
{
    for (size_t i = 0; i < ARRAY_LEN(rules); i++)
        if (rules[i].way == way && weights_fit(&rules[i], k, cin, cout, kh, kw))
            return true;
    return false;
}

bool choose_packs_winograd(const struct kernel_table *k, uint32_t cin,
                           uint32_t cout, uint32_t kh, uint32_t kw)
{
    return packs(k, CONV_WINOGRAD, cin, cout, kh, kw);
}

bool choose_packs_dots(const struct kernel_table *k, uint32_t cin,
                       uint32_t cout)
{
    return packs(k, CONV_DOTS, cin, cout, 0, 0);
}

/* -- algorithms of adjoints ------------------------------------------------ */

/* The first row that fits is taken.  0: no condition.
 *
 * Winograd's sums for the weights are written and transformed back once for
 * all pictures, which few tiles do not repay.  Measured on Zen 3, one thread,
 * 256 channels: 4 tiles 9.4 ms, direct 1.3 ms; 128 channels: 16 tiles as fast
 * as direct; 96 channels: 64 tiles 1.9 times as fast.
 *
 * A spread dy is mostly zeros, so phases do 1 / stride^2 of the products; only
 * dot products, which few outputs get, cannot be cut into them. */
static const struct adjoint_rule {
    bool is_of_weights;
    enum adjoint_way way;
    uint32_t min_stride, min_tiles, max_cout;
} adjoint_rules[] = {
    /*      way             stride tiles cout */
    {false, ADJOINT_WINOGRAD, 0, 0, 0}, {false, ADJOINT_PHASES, 2, 0, 0},
    {false, ADJOINT_DIRECT, 0, 0, 0},   {true, ADJOINT_WINOGRAD, 0, 24, 0},
    {true, ADJOINT_PAIRS, 0, 0, 0},     {true, ADJOINT_SWAPPED, 0, 0, 4},
    {true, ADJOINT_DIRECT, 0, 0, 0},
};

/* Products in bf16 make Winograd's adjoint for the weights pay at every size
 * and number of channels that the kernels take: the direct one is f32. */
static bool weights_adjoint_is_winograd(const struct kernel_table *k,
                                        const struct conv2d_shape *s)
{
    if (!rung_has(k, NEEDS_F2))
        return k->wino.grad && choose_conv(k, s, false) == CONV_WINOGRAD;
    return s->kh == 3 && s->kw == 3 && s->c0 % 16 == 0 && s->cout % 16 == 0 &&
           s->up_h == s->h && s->up_w == s->w && winograd_covers(k, s);
}

/* What an algorithm itself asks of a rung and a shape. */
static bool adjoint_covers(const struct adjoint_rule *r,
                           const struct kernel_table *k,
                           const struct conv2d_shape *s)
{
    switch (r->way) {
    case ADJOINT_WINOGRAD:
        return r->is_of_weights ? weights_adjoint_is_winograd(k, s)
                                : choose_conv(k, s, false) == CONV_WINOGRAD;
    case ADJOINT_PHASES: /* the stride leaves no phase without pixels */
        return s->oh >= s->stride && s->ow >= s->stride &&
               !choose_packs_dots(k, s->c0, s->cout);
    case ADJOINT_PAIRS: /* whole vectors of channels on either side */
        return rung_has(k, NEEDS_F2) && k->wino.gemm_pairs && k->gemm.panel &&
               s->c0 % 16 == 0 && s->cout % 16 == 0;
    case ADJOINT_SWAPPED: /* rows of j fill the columns of an outer product */
        return !k->gemm.is_blas && s->kw * s->c0 % k->gemm.outer_nr == 0;
    case ADJOINT_DIRECT:
        break;
    }
    return true;
}

static enum adjoint_way choose_adjoint(const struct kernel_table *k,
                                       const struct conv2d_shape *s,
                                       bool is_of_weights)
{
    size_t tiles = (size_t)((s->oh + 3) / 4) * ((s->ow + 3) / 4) * s->n;
    const struct adjoint_rule *r = adjoint_rules;

    while (r->is_of_weights != is_of_weights || s->stride < r->min_stride ||
           tiles < r->min_tiles || (r->max_cout && s->cout > r->max_cout) ||
           !adjoint_covers(r, k, s))
        r++; /* the last one of either kind fits all */
    return r->way;
}

enum adjoint_way choose_input_adjoint(const struct kernel_table *k,
                                      const struct conv2d_shape *t)
{
    return choose_adjoint(k, t, false);
}

enum adjoint_way choose_weights_adjoint(const struct kernel_table *k,
                                        const struct conv2d_shape *s)
{
    return choose_adjoint(k, s, true);
}

/* -- names ----------------------------------------------------------------- */

const char *choose_name(const struct kernel_table *k, enum conv_way way)
{
    switch (way) {
    case CONV_TILES:
        return "tiles";
    case CONV_DOTS:
        return "dots";
    case CONV_BLAS:
        return "blas";
    case CONV_WINOGRAD:
        return k->wino.edge == 2 ? "winograd f2" : "winograd f4";
    case CONV_PHASES:
        return "phases";
    case CONV_INT8:
        return "int8";
    }
    return "";
}

const char *choose_operand_name(const struct kernel_table *k, enum conv_way way)
{
    if (way == CONV_INT8)
        return "int8";
    if (!k->gemm.is_bf16)
        return "f32";
    return k->gemm.operand == DTYPE_BF16 ? "bf16" : "bf16 in f32";
}

/* -- operands -------------------------------------------------------------- */

/* Under operands of bf16 three kinds of small products keep f32, so that their
 * inputs are not rounded to 8 bits:
 *   - the first and the last one, if they have few channels: they see the noisy
 *     picture itself and make its noise, a thousandth of the work;
 *   - those of the timestep alone, of small networks: an error there is the
 *     same in all pixels of all blocks, and they have one row;
 *   - products over single pixels of few channels: the ways past a residual
 *     block, whose input is the sum of many blocks and not normalised.
 * Of the fashion model, DDIM of 50 steps, seeds 0 to 49, 109, 112, the worst
 * (seed 31, an unstable path) and the mean in dB: the first kind alone 38.3, 63.3; with
 * the timestep's 44.2, 63.5; with all three 57.0, 65.4, by 3 % of the time.
 * All 1x1 of 96 channels as well: 51.2, 65.4.  Larger networks keep the
 * timestep's layers in bf16: at one row, reading weights is all the work, and
 * those of DDPM CIFAR-10 (512 channels) would be 10 MB instead of 5. */
#define EXACT_MAX_CHANNELS      64U
#define EXACT_MAX_STEP_CHANNELS 128U

/* Networks of fewer weights are packed for all sizes.  F(4x4) keeps 36 floats
 * for each 9 of a kernel beside the direct panels: Stable Diffusion 1.5 in f16
 * has 1.7 GB of weights, 3.4 GB of panels and 10 GB of transformed ones, which
 * are read once for the few tiles that the deep layers have.  Of small pictures
 * packed weights are worth their memory: DDPM CIFAR-10 (35.7 million) takes
 * 97 ms of one core with them, 126 ms without (avx2, f32).  The decoder of
 * Stable Diffusion (49.5 million), its text encoder and the larger networks
 * that are known work on more rows of pixels or tokens.
 *
 * Packed operands of 16 bits take no more than a file does, and F(2x2) keeps 16
 * of them for each 9 of a kernel, if one size alone is packed for: 2.5 GB of
 * Stable Diffusion 1.5, of which an evaluation at 512 pixels then takes 1.77 s
 * in the place of 2.1 to 2.2 s (avx512bf16, two cores of Zen 4). */
#define LARGE_WEIGHTS 40000000U

enum choose_keeping choose_keeping(const struct kernel_table *k,
                                   uint64_t n_weights)
{
    if (n_weights < LARGE_WEIGHTS)
        return KEEP_PACKED;
    return k->gemm.operand == DTYPE_BF16 ? KEEP_USUAL : KEEP_IN_PLACE;
}

/* A product over single pixels or tokens that is worth its quantisation. */
#define INT8_MIN_CHANNELS 32U

static bool is_exact(const struct choose_product *p)
{
    bool is_narrow =
        p->cin <= EXACT_MAX_CHANNELS || p->cout <= EXACT_MAX_CHANNELS;

    switch (p->role) {
    case PRODUCT_EDGE:
        return is_narrow;
    case PRODUCT_STEP:
        return p->cin <= EXACT_MAX_STEP_CHANNELS;
    case PRODUCT_BODY:
        return is_narrow && p->kh == 1 && p->kw == 1;
    }
    return false;
}

static bool is_int8(const struct choose_product *p)
{
    return p->role == PRODUCT_BODY && p->kh == 1 && p->kw == 1 &&
           p->stride == 1 && !p->has_border && p->cin >= INT8_MIN_CHANNELS &&
           p->cout >= INT8_MIN_CHANNELS && p->cin <= INT8_MAX_K;
}

enum choose_operands choose_operands(const struct kernel_table *k,
                                     const struct choose_product *p)
{
    if (k->i8.is_used && is_int8(p))
        return OPERANDS_INT8;
    if (k->gemm.is_bf16 && is_exact(p))
        return OPERANDS_EXACT;
    return OPERANDS_RUNG;
}

/* -- roles ----------------------------------------------------------------- */

/* Inputs that are the same for all pixels of a picture. */
static const char *const step_inputs[] = {"timestep", "label", "text_embeds",
                                          "time_ids", "timestep_cond"};

static bool is_step_input(const struct graph *g, value_id v)
{
    for (size_t i = 0; i < ARRAY_LEN(step_inputs); i++)
        if (strcmp(graph_value_at(g, v)->name, step_inputs[i]) == 0)
            return true;
    return false;
}

/* What lies on the ways to and from a value. */
struct ways {
    bool is_of_step, is_product_before, is_product_behind;
};

static void look_back(struct ways *ways, const struct graph *g)
{
    for (size_t i = 0; i < graph_n_ops(g); i++) {
        const struct graph_op *op = graph_op_at(g, i);
        struct ways *out = &ways[op->out];

        out->is_of_step =
            op->kind == OP_INPUT ? is_step_input(g, op->out) : op->n_in > 0;
        out->is_product_before = graph_is_product(op);
        for (uint32_t j = 0; j < op->n_in; j++) {
            out->is_of_step &= ways[op->in[j]].is_of_step;
            out->is_product_before |= ways[op->in[j]].is_product_before;
        }
    }
}

static void look_ahead(struct ways *ways, const struct graph *g)
{
    for (size_t i = graph_n_ops(g); i-- > 0;) {
        const struct graph_op *op = graph_op_at(g, i);
        bool is_behind =
            graph_is_product(op) || ways[op->out].is_product_behind;

        for (uint32_t j = 0; j < op->n_in; j++)
            ways[op->in[j]].is_product_behind |= is_behind;
    }
}

enum unstir_status choose_roles(enum product_role *roles, const struct graph *g,
                                struct unstir_error *err)
{
    struct ways *ways;

    TRY(alloc_zero(&ways, graph_n_values(g), sizeof *ways, err));
    look_back(ways, g);
    look_ahead(ways, g);
    for (size_t i = 0; i < graph_n_ops(g); i++) {
        const struct graph_op *op = graph_op_at(g, i);
        bool is_first = op->n_in > 0 && !ways[op->in[0]].is_product_before;
        bool is_last = !ways[op->out].is_product_behind;

        roles[i] = ways[op->out].is_of_step ? PRODUCT_STEP
                   : is_first || is_last    ? PRODUCT_EDGE
                                            : PRODUCT_BODY;
    }
    alloc_free(ways);
    return UNSTIR_OK;
}
