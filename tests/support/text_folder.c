/* text_folder.c - a golden of tests/data/text_pipelines as a model on disk.
 *
 * SPDX-License-Identifier: MIT
 */
#include "text_folder.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "base/rng.h"
#include "format/json.h"
#include "format/safetensors_write.h"
#include "format/weights_build.h"
#include "golden.h"
#include "json_file.h"
#include "model/model.h"
#include "model/network.h"
#include "must.h"
#include "ops/graph.h"
#include "scratch.h"

/* Tensors that are put together in memory. */
struct made {
    struct weights *all;
    float *blocks[1000];
    size_t n;
};

static float *add(struct made *m, const char *name, uint32_t rank,
                  const uint64_t *dims)
{
    struct tensor_view v = {.name = "", .dtype = DTYPE_F32, .rank = rank};
    struct unstir_error err;

    v.n = 1;
    for (uint32_t i = 0; i < rank; i++)
        v.n *= (size_t)(v.dims[i] = dims[i]);
    v.n_bytes = v.n * sizeof(float);
    assert_true(m->n < sizeof m->blocks / sizeof *m->blocks);
    v.data = m->blocks[m->n++] = malloc(v.n_bytes);
    assert_non_null(v.data);
    must(weights_add(m->all, &v, &err), &err);
    must(weights_rename(m->all, weights_len(m->all) - 1, name, &err), &err);
    return m->blocks[m->n - 1];
}

static void begin(struct made *m)
{
    struct unstir_error err;

    m->n = 0;
    must(weights_new(&m->all, &err), &err);
}

static void seal(struct made *m)
{
    struct unstir_error err;

    must(weights_seal(m->all, &err), &err);
}

static void write_file(struct made *m, const char *path)
{
    struct unstir_error err;

    must(safetensors_write_weights(path, m->all, NULL, NULL, 0, NULL, &err),
         &err);
    weights_close(m->all);
    for (size_t i = 0; i < m->n; i++)
        free(m->blocks[i]);
}

/* -- networks -------------------------------------------------------------- */

static void add_network(struct made *m, const struct json *config,
                        const char *part, uint64_t seed)
{
    struct model_size size = {1, 16, 16, 77};
    float *params[1000];
    struct unstir_error err;
    struct graph *g;

    must(network_graph_of(&g, config, part, &size, &err), &err);
    for (size_t i = 0; i < graph_n_params(g); i++) {
        const struct graph_param *p = graph_param_at(g, (param_id)i);
        uint64_t dims[8];

        for (uint32_t k = 0; k < p->rank; k++)
            dims[k] = p->dims[k];
        params[i] = add(m, p->name, p->rank, dims);
    }
    must(network_draw(g, seed, params, &err), &err);
    graph_free(g);
}

/* -- text encoders ---------------------------------------------------------- */

static void add_matrix(struct made *m, const char *name, uint64_t rows,
                       uint64_t columns)
{
    uint64_t dims[] = {rows, columns};

    (void)add(m, name, 2, dims);
}

static void add_layer(struct made *m, const char *name, uint64_t out,
                      uint64_t in)
{
    char text[160];

    snprintf(text, sizeof text, "%s.weight", name);
    if (in)
        add_matrix(m, text, out, in);
    else
        (void)add(m, text, 1, &out);
    snprintf(text, sizeof text, "%s.bias", name);
    (void)add(m, text, 1, &out);
}

static int64_t number(const struct json *config, const char *key)
{
    return json_int(json_get(config, key));
}

static void add_encoder(struct made *m, const struct json *config)
{
    static const char *const products[] = {"q_proj", "k_proj", "v_proj",
                                           "out_proj"};
    uint64_t c = (uint64_t)number(config, "hidden_size");
    uint64_t hidden = (uint64_t)number(config, "intermediate_size");
    int64_t projection = number(config, "projection_dim");
    char name[128];

    add_matrix(m, "text_model.embeddings.token_embedding.weight",
               (uint64_t)number(config, "vocab_size"), c);
    add_matrix(m, "text_model.embeddings.position_embedding.weight", 77, c);
    for (int i = 0; i < (int)number(config, "num_hidden_layers"); i++) {
        for (size_t k = 0; k < 4; k++) {
            snprintf(name, sizeof name,
                     "text_model.encoder.layers.%d.self_attn.%s", i,
                     products[k]);
            add_layer(m, name, c, c);
        }
        for (int k = 1; k <= 2; k++) {
            snprintf(name, sizeof name,
                     "text_model.encoder.layers.%d.layer_norm%d", i, k);
            add_layer(m, name, c, 0);
            snprintf(name, sizeof name, "text_model.encoder.layers.%d.mlp.fc%d",
                     i, k);
            add_layer(m, name, k == 1 ? hidden : c, k == 1 ? c : hidden);
        }
    }
    add_layer(m, "text_model.final_layer_norm", c, 0);
    if (projection)
        add_matrix(m, "text_projection.weight", (uint64_t)projection, c);
}

static bool ends_with(const char *text, const char *end)
{
    size_t n = strlen(text), m = strlen(end);

    return n >= m && strcmp(text + n - m, end) == 0;
}

static float drawn_value(const struct tensor_view *v, float x)
{
    if (ends_with(v->name, ".bias"))
        return 0.1F * x;
    if (v->rank == 1)
        return 1 + 0.1F * x;
    if (ends_with(v->name, "embedding.weight"))
        return x;
    return x / sqrtf((float)v->dims[1]);
}

/* In the order of the names. */
static void draw(struct made *m, uint64_t seed)
{
    struct rng rng;

    rng_seed(&rng, seed);
    for (size_t i = 0; i < weights_len(m->all); i++) {
        const struct tensor_view *v = weights_at(m->all, i);
        float *x = (float *)v->data;

        rng_normal_f32(&rng, x, v->n);
        for (size_t k = 0; k < v->n; k++)
            x[k] = drawn_value(v, x[k]);
    }
}

/* -- the folder ------------------------------------------------------------- */

static void write_config(const char *path, const char *folder, const char *name,
                         const char *text)
{
    char inner[SCRATCH_PATH];

    scratch_mkdir(path, folder);
    scratch_path(inner, path, folder);
    scratch_write(inner, name, text, strlen(text));
}

static void copy_file(const char *path, const char *folder, const char *name,
                      const char *from)
{
    char source[128], target[SCRATCH_PATH];
    unsigned char bytes[65536];
    size_t n;
    FILE *f;

    snprintf(source, sizeof source, "tests/data/text_pipelines/%s/%s", from,
             name);
    f = fopen(source, "rb");
    if (!f)
        return; /* the other kind of tokenizer */
    n = fread(bytes, 1, sizeof bytes, f);
    fclose(f);
    scratch_path(target, path, folder);
    scratch_write(target, name, bytes, n);
}

static void write_tokenizer(const char *path, const char *folder,
                            const char *from)
{
    static const char *const files[] = {
        "vocab.json", "merges.txt", "tokenizer.json", "tokenizer_config.json"};

    scratch_mkdir(path, folder);
    for (size_t i = 0; i < 4; i++)
        copy_file(path, folder, files[i], from);
}

static void write_text(const char *path, const char *text, const char *encoder,
                       const char *tokenizer, bool is_second_kind,
                       uint64_t seed)
{
    char file[SCRATCH_PATH], folder[SCRATCH_PATH];
    struct json *config;
    struct made m;

    if (!text)
        return;
    write_config(path, encoder, "config.json", text);
    write_tokenizer(path, tokenizer,
                    is_second_kind ? "tokenizer_2" : "tokenizer");
    config = json_text(text);
    begin(&m);
    add_encoder(&m, config);
    seal(&m);
    draw(&m, seed);
    scratch_path(folder, path, encoder);
    scratch_path(file, folder, "model.safetensors");
    write_file(&m, file);
    json_free(config);
}

static void write_network(const char *path, const char *text, const char *name,
                          bool is_pair, uint64_t seed)
{
    char file[SCRATCH_PATH], folder[SCRATCH_PATH];
    struct json *config = json_text(text);
    struct made m;

    write_config(path, name, "config.json", text);
    begin(&m);
    add_network(&m, config, is_pair ? "decode" : NULL, seed);
    if (is_pair)
        add_network(&m, config, "encode", seed);
    seal(&m);
    scratch_path(folder, path, name);
    scratch_path(file, folder, "diffusion_pytorch_model.safetensors");
    write_file(&m, file);
    json_free(config);
}

struct text_folder text_folder_of(const struct weights *golden)
{
    return (struct text_folder){
        .index = weights_metadata(golden, "index"),
        .scheduler = weights_metadata(golden, "scheduler"),
        .unet = weights_metadata(golden, "unet"),
        .vae = weights_metadata(golden, "vae"),
        .text_encoder = weights_metadata(golden, "text_encoder"),
        .text_encoder_2 = weights_metadata(golden, "text_encoder_2"),
        .tokenizer_config = weights_metadata(golden, "tokenizer_config"),
        .seed = strtoull(weights_metadata(golden, "seed"), NULL, 10),
    };
}

void text_folder_write(const char *path, const struct text_folder *f)
{
    /* OpenCLIP's encoders pad otherwise, as their tokenizer says. */
    bool is_open_clip = f->text_encoder && strstr(f->text_encoder, "\"gelu\"");
    char tokenizer[SCRATCH_PATH];

    scratch_write(path, "model_index.json", f->index, strlen(f->index));
    write_config(path, "scheduler", "scheduler_config.json", f->scheduler);
    write_network(path, f->unet, "unet", false, f->seed);
    write_network(path, f->vae, "vae", true, f->seed);
    write_text(path, f->text_encoder, "text_encoder", "tokenizer", is_open_clip,
               f->seed);
    if (f->tokenizer_config) {
        scratch_path(tokenizer, path, "tokenizer");
        scratch_write(tokenizer, "tokenizer_config.json", f->tokenizer_config,
                      strlen(f->tokenizer_config));
    }
    write_text(path, f->text_encoder_2, "text_encoder_2", "tokenizer_2", true,
               f->seed);
}
