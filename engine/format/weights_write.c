/* weights_write.c - tensors of any number and size into a safetensors file.
 *
 * SPDX-License-Identifier: MIT
 */
#include "format/weights_write.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/mapfile.h"
#include "base/size.h"
#include "format/json.h"

#define PIECE_ELEMENTS 32768u /* whole blocks of every type               */

struct placed {
    const struct tensor_view *view;
    enum dtype dtype;
    size_t n_bytes;
};

struct writing {
    struct placed *tensors;
    size_t n;
    char *header;
    float *floats; /* of a piece                                            */
    unsigned char *bytes;
};

static bool is_float(enum dtype t)
{
    return t <= DTYPE_F8_E5M2 || t >= DTYPE_FIRST_BLOCK;
}

/* The format has no quantised types; half precision keeps what they say. */
static enum dtype stored_as(enum dtype t, const enum dtype *told)
{
    if (told && is_float(t))
        return *told;
    return t >= DTYPE_FIRST_BLOCK ? DTYPE_F16 : t;
}

/* Widest types first, so that every tensor is aligned to its own size. */
static int compare(const void *a, const void *b)
{
    const struct placed *x = a, *y = b;
    size_t p = dtype_size(x->dtype), q = dtype_size(y->dtype);

    return p != q ? (p > q ? -1 : 1) : strcmp(x->view->name, y->view->name);
}

static void put_entry(struct json_writer *w, const struct placed *p,
                      size_t offset)
{
    json_open_object(w, p->view->name);
    json_put_string(w, "dtype", dtype_name(p->dtype));
    json_open_array(w, "shape");
    for (uint32_t i = 0; i < p->view->rank; i++)
        json_put_int(w, NULL, (int64_t)p->view->dims[i]);
    json_close(w);
    json_open_array(w, "data_offsets");
    json_put_int(w, NULL, (int64_t)offset);
    json_put_int(w, NULL, (int64_t)(offset + p->n_bytes));
    json_close(w);
    json_close(w);
}

static enum unstir_status make_header(struct writing *x,
                                      const struct safetensors_meta *meta,
                                      size_t n_meta, struct unstir_error *err)
{
    struct json_writer *w;
    size_t offset = 0;

    TRY(json_writer_new(&w, err));
    json_open_object(w, NULL);
    json_open_object(w, "__metadata__");
    for (size_t i = 0; i < n_meta; i++)
        json_put_string(w, meta[i].key, meta[i].value);
    json_close(w);
    for (size_t i = 0; i < x->n; i++) {
        put_entry(w, &x->tensors[i], offset);
        offset += x->tensors[i].n_bytes;
    }
    json_close(w);
    return json_finish(&x->header, w, false, err);
}

static enum unstir_status put_header(const struct writing *x,
                                     struct mapfile_sink *sink,
                                     struct unstir_error *err)
{
    static const char blanks[8] = "        ";
    size_t n_text = strlen(x->header), n = size_align(n_text, 8);
    unsigned char length[8];

    for (int i = 0; i < 8; i++)
        length[i] = (unsigned char)((uint64_t)n >> 8 * i);
    TRY(mapfile_put(sink, length, sizeof length, err));
    TRY(mapfile_put(sink, x->header, n_text, err));
    return mapfile_put(sink, blanks, n - n_text, err);
}

static enum unstir_status put_tensor(const struct writing *x,
                                     const struct placed *p,
                                     struct mapfile_sink *sink,
                                     struct unstir_error *err)
{
    const struct tensor_view *v = p->view;
    const unsigned char *from = v->data;

    if (p->dtype == v->dtype)
        return mapfile_put(sink, from, p->n_bytes, err);
    for (size_t i = 0; i < v->n; i += PIECE_ELEMENTS) {
        size_t n = v->n - i < PIECE_ELEMENTS ? v->n - i : PIECE_ELEMENTS;

        dtype_load(x->floats, from + dtype_bytes(v->dtype, i), v->dtype, n);
        dtype_store(x->bytes, p->dtype, x->floats, n);
        TRY(mapfile_put(sink, x->bytes, n * dtype_size(p->dtype), err));
    }
    return UNSTIR_OK;
}

static enum unstir_status put_all(void *arg, struct mapfile_sink *sink,
                                  struct unstir_error *err)
{
    const struct writing *x = arg;

    TRY(put_header(x, sink, err));
    for (size_t i = 0; i < x->n; i++)
        TRY(put_tensor(x, &x->tensors[i], sink, err));
    return UNSTIR_OK;
}

static enum unstir_status prepare(struct writing *x, const struct weights *w,
                                  const enum dtype *dtype,
                                  struct unstir_error *err)
{
    void *memory;

    TRY(alloc_zero(&memory, weights_len(w), sizeof *x->tensors, err));
    x->tensors = memory;
    for (; x->n < weights_len(w); x->n++) {
        const struct tensor_view *v = weights_at(w, x->n);
        struct placed *p = &x->tensors[x->n];

        p->view = v;
        p->dtype = stored_as(v->dtype, dtype);
        if (!size_mul(v->n, dtype_size(p->dtype), &p->n_bytes))
            return error_set(err, UNSTIR_ERR_LIMIT,
                             "tensor %.200s does not fit memory", v->name);
    }
    if (x->n > 1)
        qsort(x->tensors, x->n, sizeof *x->tensors, compare);
    TRY(alloc_zero(&memory, PIECE_ELEMENTS, sizeof(float), err));
    x->floats = memory;
    TRY(alloc_zero(&memory, PIECE_ELEMENTS, sizeof(double), err));
    x->bytes = memory;
    return UNSTIR_OK;
}

enum unstir_status weights_write(const char *path, const struct weights *w,
                                 const enum dtype *dtype,
                                 const struct safetensors_meta *meta,
                                 size_t n_meta, struct unstir_error *err)
{
    struct writing x = {.n = 0};
    enum unstir_status status = prepare(&x, w, dtype, err);

    if (status == UNSTIR_OK)
        status = make_header(&x, meta, n_meta, err);
    if (status == UNSTIR_OK)
        status = mapfile_write_by(path, put_all, &x, err);
    alloc_free(x.tensors);
    alloc_free(x.header);
    alloc_free(x.floats);
    alloc_free(x.bytes);
    return status;
}
