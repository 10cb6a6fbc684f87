/* graph.h - a network as an unfused typed graph: what is computed, not how.
 *
 * Blocks (nn/) append operations; the graph is in execution order.  It is
 * lowered twice: for inference (ops/lower.h: fuse, pack, plan) and for
 * training (train/: forward, adjoints).  Unfused on the scalar rung it is the
 * oracle for every fusion.
 *
 * Values are f32 NHWC activations with a shape; parameters are named tensors
 * in the shape that files hold.  A graph holds no parameter data: a binding
 * from param_id to memory is given to a lowering.
 *
 * The first error (no memory, shapes that do not fit) is kept and told by
 * graph_status(), so that blocks need no checks between.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPS_GRAPH_H
#define OPS_GRAPH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "ops/op.h"

struct graph;
typedef uint32_t value_id;
typedef uint32_t param_id;

#define GRAPH_NO_VALUE UINT32_MAX
#define GRAPH_NO_PARAM UINT32_MAX

struct shape {
    uint32_t n, h, w, c;
};

enum op_kind {
    OP_INPUT = 0,
    OP_CONV2D,     /* in: x; params: weight, bias                        */
    OP_LINEAR,     /* the same over the last axis                        */
    OP_GROUP_NORM, /* in: x; params: gamma, beta                         */
    OP_ACT,
    OP_ADD,         /* in: x, y of one shape                              */
    OP_ADD_VEC,     /* in: x, v [n][1][1][c]                              */
    OP_SCALE_SHIFT, /* in: x, e [n][1][1][2c]                             */
    OP_AFFINE,      /* a * x + b, scalars                                 */
    OP_CONCAT,      /* in: x, y along channels                            */
    OP_UPSAMPLE,    /* nearest to the output shape                        */
    OP_AVG_POOL2,
    OP_FIR,
    OP_ATTENTION,     /* in: q, k, v tokens; out tokens                     */
    OP_RESHAPE,       /* same floats, other h, w (tokens <-> image)         */
    OP_TIME_EMBED,    /* in: t [n][1][1][1]                                 */
    OP_FOURIER_EMBED, /* in: sigma; params: freq                            */
    OP_LOOKUP,        /* in: id [n][h][w][1]; params: table                 */
    OP_DIV_VEC,       /* in: x, v [n][1][1][1]: x / v                       */
    OP_LAYER_NORM,    /* in: x; params: gamma, beta or none                 */
    OP_GLU,           /* in: x [..][2c]: its first half times act(second)   */
    OP_SLICE,         /* some channels of x                                 */
    OP_MUL_VEC,       /* in: x, v [n][1][1][c]                              */
    OP_ADD_ROWS,      /* in: x, r [1][h][w][c], added to each picture       */
    OP_GRID_EMBED,    /* [1][h][w][c], of places alone                      */
    OP_UNPATCH,       /* [n][h][w][p p c] to [n][p h][p w][c]               */
    OP_NEAREST,       /* each pixel the nearest row of params: table        */
    OP_COUNT
};

struct op_attrs {
    uint32_t kh, kw, stride, pad_t, pad_l; /* CONV2D                         */
    uint32_t groups;                       /* GROUP_NORM                     */
    float eps;                             /* GROUP_NORM, LAYER_NORM         */
    enum act act;                          /* ACT, GLU                       */
    float a, b;                            /* AFFINE; GRID_EMBED: extent a   */
    uint32_t up, down, n_taps;             /* FIR, as ops/resample.h;
                                              UNPATCH: edge up               */
    uint32_t first;                        /* SLICE                          */
    int32_t pad0, pad1;                    /* FIR                            */
    float taps[8];                         /* FIR                            */
    uint32_t heads;                        /* ATTENTION                      */
    float scale;                           /* ATTENTION                      */
    bool is_causal;                        /* ATTENTION                      */
    bool is_cos_first, is_log;             /* TIME_EMBED, FOURIER_EMBED      */
    float freq_shift, time_scale, max_period; /* TIME_EMBED                  */
};

struct graph_op {
    enum op_kind kind;
    value_id in[3]; /* GRAPH_NO_VALUE beyond n_in                          */
    uint32_t n_in;
    param_id param[2]; /* GRAPH_NO_PARAM if absent                           */
    value_id out;
    struct op_attrs attrs;
};

struct graph_value {
    struct shape shape;
    uint32_t op;      /* index of the producing operation                    */
    uint32_t n_uses;  /* operations that read it, outputs included           */
    const char *name; /* of inputs and outputs, else NULL                    */
};

/* What a parameter is: decides how training draws its first value. */
enum param_role {
    PARAM_CONV_WEIGHT,   /* [cout][cin][kh][kw]                              */
    PARAM_LINEAR_WEIGHT, /* [cout][cin]                                      */
    PARAM_BIAS,          /* [cout]; fan_in of its layer in fan_in            */
    PARAM_NORM_WEIGHT,
    PARAM_NORM_BIAS,
    PARAM_TABLE,  /* [rows][c] */
    PARAM_FOURIER /* [m], not trained */
};

struct graph_param {
    const char *name; /* as in the files: "conv_in.weight"                   */
    enum param_role role;
    uint32_t rank;
    uint32_t dims[4];
    uint32_t fan_in;
    size_t n; /* elements */
};

enum unstir_status graph_new(struct graph **out, struct unstir_error *err);
void graph_free(struct graph *g);
enum unstir_status graph_status(const struct graph *g,
                                struct unstir_error *err);

/* -- building ---------------------------------------------------------- */

value_id graph_input(struct graph *g, const char *name, struct shape shape);
void graph_output(struct graph *g, const char *name, value_id v);

/* v stands between the deep layers and the shallow ones: with v from an earlier
 * evaluation the shallow layers make an output alone (DeepCache,
 * arXiv:2312.00858).  One a graph. */
void graph_set_deep(struct graph *g, value_id v);

/* The parameter of that name, made at first mention (later mentions must
 * agree in shape). */
param_id graph_param(struct graph *g, const char *name, enum param_role role,
                     uint32_t fan_in, uint32_t rank, const uint32_t *dims);

/* Weight "prefix.weight" and bias "prefix.bias" (has_bias). oh, ow of a
 * convolution follow from pad_b, pad_r. */
struct conv2d_spec {
    uint32_t cout, k, stride;
    uint32_t pad_t, pad_l, pad_b, pad_r;
    bool has_bias;
};
value_id graph_conv2d(struct graph *g, const char *prefix, value_id x,
                      const struct conv2d_spec *spec);
value_id graph_linear(struct graph *g, const char *prefix, value_id x,
                      uint32_t cout, bool has_bias);
value_id graph_group_norm(struct graph *g, const char *prefix, value_id x,
                          uint32_t groups, float eps);
value_id graph_act(struct graph *g, value_id x, enum act act);
value_id graph_add(struct graph *g, value_id x, value_id y);
value_id graph_add_vec(struct graph *g, value_id x, value_id v);
value_id graph_scale_shift(struct graph *g, value_id x, value_id e);
value_id graph_affine(struct graph *g, value_id x, float a, float b);
value_id graph_concat(struct graph *g, value_id x, value_id y);
value_id graph_upsample(struct graph *g, value_id x, uint32_t oh, uint32_t ow);
value_id graph_avg_pool2(struct graph *g, value_id x);
value_id graph_fir(struct graph *g, value_id x, uint32_t up, uint32_t down,
                   const float *taps, uint32_t n_taps, int32_t pad0,
                   int32_t pad1);
value_id graph_attention(struct graph *g, value_id q, value_id k, value_id v,
                         uint32_t heads, float scale);
value_id graph_reshape(struct graph *g, value_id x, uint32_t h, uint32_t w);
value_id graph_time_embed(struct graph *g, value_id t, uint32_t dim,
                          bool is_cos_first, float freq_shift);
value_id graph_fourier_embed(struct graph *g, const char *param_name,
                             value_id sigma, uint32_t m, bool is_cos_first,
                             bool is_log);
value_id graph_lookup(struct graph *g, const char *param_name, value_id id,
                      uint32_t rows, uint32_t c);
value_id graph_div_vec(struct graph *g, value_id x, value_id v);

/* prefix NULL: no gamma and beta. */
value_id graph_layer_norm(struct graph *g, const char *prefix, value_id x,
                          float eps);
value_id graph_glu(struct graph *g, value_id x, enum act act);
value_id graph_slice(struct graph *g, value_id x, uint32_t first, uint32_t c);
value_id graph_mul_vec(struct graph *g, value_id x, value_id v);
value_id graph_add_rows(struct graph *g, value_id x, value_id r);
value_id graph_grid_embed(struct graph *g, uint32_t h, uint32_t w, uint32_t c,
                          float extent);
value_id graph_unpatch(struct graph *g, value_id x, uint32_t patch);
value_id graph_nearest(struct graph *g, const char *param_name, value_id x,
                       uint32_t rows);
/* A token attends to itself and to those before it. */
value_id graph_causal_attention(struct graph *g, value_id q, value_id k,
                                value_id v, uint32_t heads, float scale);

/* -- reading ----------------------------------------------------------- */

struct shape graph_shape(const struct graph *g, value_id v);
size_t graph_n_ops(const struct graph *g);
const struct graph_op *graph_op_at(const struct graph *g, size_t i);
/* A convolution or a linear layer: it has weights to pack. */
bool graph_is_product(const struct graph_op *op);
size_t graph_n_values(const struct graph *g);
const struct graph_value *graph_value_at(const struct graph *g, value_id v);
size_t graph_n_params(const struct graph *g);
const struct graph_param *graph_param_at(const struct graph *g, param_id p);
size_t graph_n_inputs(const struct graph *g);
value_id graph_input_at(const struct graph *g, size_t i);
size_t graph_n_outputs(const struct graph *g);
value_id graph_output_at(const struct graph *g, size_t i);
value_id graph_deep(const struct graph *g); /* or GRAPH_NO_VALUE */

/* 2 * multiply-adds of convolutions, linear layers and attention products. */
double graph_flops(const struct graph *g);

/* Of those alone that an output needs when the deep value is there. */
enum unstir_status graph_shallow_flops(double *flops, const struct graph *g,
                                       struct unstir_error *err);

#endif
