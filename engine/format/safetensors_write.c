/* safetensors_write.c - tensors into a safetensors file, in memory or on disk.
 *
 * Whatever is to be written becomes a list of placed tensors first; from it
 * follow the order, the header and every byte of the file.
 *
 * SPDX-License-Identifier: MIT
 */
#include "format/safetensors_write.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/mapfile.h"
#include "base/size.h"
#include "format/json.h"
#include "format/safetensors.h"
#include "format/weights.h"

#define PIECE_ELEMENTS 32768u     /* whole blocks of every type            */
#define PIECE_BYTES    (4u << 20) /* of what is stored as it is given      */

struct placed {
    const char *name;
    uint32_t rank;
    const uint64_t *dims;
    enum dtype given, stored;
    const void *data;
    size_t n, n_bytes; /* elements; bytes as they are stored                 */
};

struct writing {
    struct placed *tensors;
    size_t n;
    char *header;
    float *floats; /* of a piece                                            */
    unsigned char *narrow;
    const struct safetensors_watch *watch; /* or NULL                       */
};

/* Where the file goes: to the disk, or to memory that is large enough. */
struct sink {
    struct mapfile_sink *file;
    unsigned char *at;
};

/* -- what is written ------------------------------------------------------- */

static enum unstir_status place(struct writing *x, const struct placed *tensor,
                                struct unstir_error *err)
{
    struct placed *p = &x->tensors[x->n];
    bool fits = true;

    *p = *tensor;
    if (p->name[0] == '\0' || strlen(p->name) > SAFETENSORS_MAX_NAME ||
        strcmp(p->name, SAFETENSORS_METADATA) == 0)
        return error_set(err, UNSTIR_ERR_ARG,
                         "\"%.100s\" cannot be the name of a tensor", p->name);
    if (p->rank > SAFETENSORS_MAX_RANK || p->stored >= DTYPE_FIRST_BLOCK)
        return error_set(err, UNSTIR_ERR_ARG,
                         "tensor \"%.100s\": %u dimensions of type %s; at most "
                         "%u, of no quantised type, can be stored",
                         p->name, p->rank, dtype_name(p->stored),
                         SAFETENSORS_MAX_RANK);
    p->n = 1;
    for (uint32_t i = 0; i < p->rank; i++)
        fits &=
            p->dims[i] <= SIZE_MAX && size_mul(p->n, (size_t)p->dims[i], &p->n);
    if (!fits || !size_mul(p->n, dtype_size(p->stored), &p->n_bytes))
        return error_set(err, UNSTIR_ERR_ARG,
                         "tensor \"%.100s\" is larger than memory can be",
                         p->name);
    x->n++;
    return UNSTIR_OK;
}

/* Half precision is given as f32. */
static enum dtype given_as(enum dtype stored)
{
    return stored == DTYPE_F16 || stored == DTYPE_BF16 ? DTYPE_F32 : stored;
}

static enum unstir_status place_entries(struct writing *x,
                                        const struct safetensors_entry *entries,
                                        size_t n, struct unstir_error *err)
{

    TRY(alloc_zero(&x->tensors, n, sizeof *x->tensors, err));
    for (size_t i = 0; i < n; i++) {
        const struct safetensors_entry *e = &entries[i];

        TRY(place(x,
                  &(struct placed){.name = e->name,
                                   .rank = e->rank,
                                   .dims = e->dims,
                                   .given = given_as(e->dtype),
                                   .stored = e->dtype,
                                   .data = e->data},
                  err));
    }
    return UNSTIR_OK;
}

/* The format has no quantised types; half precision keeps what they say. */
static enum dtype stored_as(enum dtype t, const enum dtype *told)
{
    if (told && dtype_is_float(t))
        return *told;
    return t >= DTYPE_FIRST_BLOCK ? DTYPE_F16 : t;
}

static enum unstir_status place_weights(struct writing *x,
                                        const struct weights *w,
                                        const enum dtype *dtype,
                                        struct unstir_error *err)
{

    TRY(alloc_zero(&x->tensors, weights_len(w), sizeof *x->tensors, err));
    for (size_t i = 0; i < weights_len(w); i++) {
        const struct tensor_view *v = weights_at(w, i);

        TRY(place(x,
                  &(struct placed){.name = v->name,
                                   .rank = v->rank,
                                   .dims = v->dims,
                                   .given = v->dtype,
                                   .stored = stored_as(v->dtype, dtype),
                                   .data = v->data},
                  err));
    }
    return UNSTIR_OK;
}

static int compare(const void *a, const void *b)
{
    const struct placed *x = a, *y = b;
    size_t p = dtype_size(x->stored), q = dtype_size(y->stored);

    return p != q ? (p > q ? -1 : 1) : strcmp(x->name, y->name);
}

/* -- the header ------------------------------------------------------------ */

static void put_entry(struct json_writer *w, const struct placed *p,
                      size_t offset)
{
    json_open_object(w, p->name);
    json_put_string(w, "dtype", dtype_name(p->stored));
    json_open_array(w, "shape");
    for (uint32_t i = 0; i < p->rank; i++)
        json_put_int(w, NULL, (int64_t)p->dims[i]);
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
    if (n_meta > 0)
        json_open_object(w, SAFETENSORS_METADATA);
    for (size_t i = 0; i < n_meta; i++)
        json_put_string(w, meta[i].key, meta[i].value);
    if (n_meta > 0)
        json_close(w);
    for (size_t i = 0; i < x->n; i++) {
        put_entry(w, &x->tensors[i], offset);
        offset += x->tensors[i].n_bytes;
    }
    return json_finish(&x->header, w, false, err);
}

/* Order, header and room for a piece. */
static enum unstir_status prepare(struct writing *x,
                                  const struct safetensors_meta *meta,
                                  size_t n_meta, struct unstir_error *err)
{

    if (x->n > 1)
        qsort(x->tensors, x->n, sizeof *x->tensors, compare);
    TRY(alloc_zero(&x->floats, PIECE_ELEMENTS, sizeof *x->floats, err));
    TRY(alloc_zero(&x->narrow, PIECE_ELEMENTS, sizeof(double), err));
    return make_header(x, meta, n_meta, err);
}

static void writing_fini(struct writing *x)
{
    alloc_free(x->tensors);
    alloc_free(x->header);
    alloc_free(x->floats);
    alloc_free(x->narrow);
}

/* -- the bytes ------------------------------------------------------------- */

static enum unstir_status put(struct sink *sink, const void *bytes, size_t n,
                              struct unstir_error *err)
{
    if (sink->file)
        return mapfile_put(sink->file, bytes, n, err);
    if (n > 0)
        memcpy(sink->at, bytes, n);
    sink->at += n;
    return UNSTIR_OK;
}

static enum unstir_status put_header(const struct writing *x, struct sink *sink,
                                     struct unstir_error *err)
{
    static const char blanks[8] = "        ";
    size_t n_text = strlen(x->header), n = size_align(n_text, 8);
    unsigned char length[8];

    for (int i = 0; i < 8; i++)
        length[i] = (unsigned char)((uint64_t)n >> 8 * i);
    TRY(put(sink, length, sizeof length, err));
    TRY(put(sink, x->header, n_text, err));
    return put(sink, blanks, n - n_text, err);
}

static enum unstir_status put_piece(const struct writing *x, struct sink *sink,
                                    const void *bytes, size_t n,
                                    struct unstir_error *err)
{
    TRY(put(sink, bytes, n, err));
    if (x->watch && !x->watch->goes_on(x->watch->arg, n))
        return error_set(err, UNSTIR_ERR_CANCELLED, "stopped while writing");
    return UNSTIR_OK;
}

static enum unstir_status put_as_given(const struct writing *x,
                                       const struct placed *p,
                                       struct sink *sink,
                                       struct unstir_error *err)
{
    const unsigned char *from = p->data;

    for (size_t i = 0; i < p->n_bytes; i += PIECE_BYTES) {
        size_t n = p->n_bytes - i < PIECE_BYTES ? p->n_bytes - i : PIECE_BYTES;

        TRY(put_piece(x, sink, from + i, n, err));
    }
    return UNSTIR_OK;
}

static enum unstir_status put_tensor(const struct writing *x,
                                     const struct placed *p, struct sink *sink,
                                     struct unstir_error *err)
{
    const unsigned char *from = p->data;

    if (p->given == p->stored)
        return put_as_given(x, p, sink, err);
    for (size_t i = 0; i < p->n; i += PIECE_ELEMENTS) {
        size_t n = p->n - i < PIECE_ELEMENTS ? p->n - i : PIECE_ELEMENTS;

        dtype_load(x->floats, from + dtype_bytes(p->given, i), p->given, n);
        dtype_store(x->narrow, p->stored, x->floats, n);
        TRY(put_piece(x, sink, x->narrow, n * dtype_size(p->stored), err));
    }
    return UNSTIR_OK;
}

static enum unstir_status put_all(const struct writing *x, struct sink *sink,
                                  struct unstir_error *err)
{
    TRY(put_header(x, sink, err));
    for (size_t i = 0; i < x->n; i++)
        TRY(put_tensor(x, &x->tensors[i], sink, err));
    return UNSTIR_OK;
}

static enum unstir_status fill_file(void *arg, struct mapfile_sink *file,
                                    struct unstir_error *err)
{
    struct sink sink = {.file = file};

    return put_all(arg, &sink, err);
}

static enum unstir_status fill_memory(unsigned char **bytes, size_t *n_bytes,
                                      const struct writing *x,
                                      struct unstir_error *err)
{
    size_t total = 8 + size_align(strlen(x->header), 8);
    struct sink sink = {.file = NULL};

    for (size_t i = 0; i < x->n; i++)
        if (!size_add(total, x->tensors[i].n_bytes, &total))
            return error_set(err, UNSTIR_ERR_ARG,
                             "the tensors are larger than memory can be");
    TRY(alloc_zero(bytes, total, 1, err));
    sink.at = *bytes;
    *n_bytes = total;
    return put_all(x, &sink, err); /* into memory nothing fails */
}

/* -- the whole ------------------------------------------------------------- */

enum unstir_status safetensors_build(unsigned char **bytes, size_t *n_bytes,
                                     const struct safetensors_entry *entries,
                                     size_t n,
                                     const struct safetensors_meta *meta,
                                     size_t n_meta, struct unstir_error *err)
{
    struct writing x = {.n = 0};
    enum unstir_status status = place_entries(&x, entries, n, err);

    *bytes = NULL;
    *n_bytes = 0;
    if (status == UNSTIR_OK)
        status = prepare(&x, meta, n_meta, err);
    if (status == UNSTIR_OK)
        status = fill_memory(bytes, n_bytes, &x, err);
    writing_fini(&x);
    return status;
}

/* The tensors in `x`, which are placed if `status` says so; ends x. */
static enum unstir_status write_placed(const char *path, struct writing *x,
                                       enum unstir_status status,
                                       const struct safetensors_meta *meta,
                                       size_t n_meta, struct unstir_error *err)
{
    if (status == UNSTIR_OK)
        status = prepare(x, meta, n_meta, err);
    if (status == UNSTIR_OK)
        status = mapfile_write_by(path, fill_file, x, err);
    writing_fini(x);
    return status;
}

enum unstir_status safetensors_write(const char *path,
                                     const struct safetensors_entry *entries,
                                     size_t n,
                                     const struct safetensors_meta *meta,
                                     size_t n_meta, struct unstir_error *err)
{
    struct writing x = {.n = 0};
    enum unstir_status status = place_entries(&x, entries, n, err);

    return write_placed(path, &x, status, meta, n_meta, err);
}

enum unstir_status safetensors_write_weights(
    const char *path, const struct weights *w, const enum dtype *dtype,
    const struct safetensors_meta *meta, size_t n_meta,
    const struct safetensors_watch *watch, struct unstir_error *err)
{
    struct writing x = {.watch = watch};
    enum unstir_status status = place_weights(&x, w, dtype, err);

    return write_placed(path, &x, status, meta, n_meta, err);
}

uint64_t safetensors_weights_bytes(const struct weights *w,
                                   const enum dtype *dtype)
{
    uint64_t n_bytes = 0;

    for (size_t i = 0; i < weights_len(w); i++) {
        const struct tensor_view *v = weights_at(w, i);

        n_bytes += (uint64_t)v->n * dtype_size(stored_as(v->dtype, dtype));
    }
    return n_bytes;
}
