/* safetensors.c - the reader and writer of the safetensors format.
 *
 * File: 8 bytes little-endian header length N, N bytes of JSON, tensor data.
 * Everything in it is taken for hostile; the rules are those of the format's
 * own reader, stricter where parsers are known to differ (duplicate names,
 * unknown members), with ceilings of ours on counts and lengths.
 *
 * SPDX-License-Identifier: MIT
 */
#include "format/safetensors.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/mapfile.h"
#include "base/size.h"
#include "format/json.h"
#include "format/pickle.h"
#include "format/weights_build.h"

#define MAX_HEADER_BYTES 100000000u /* the format's own ceiling              */
#define MAX_TENSORS      100000u
#define MAX_NAME_BYTES   512u
#define MAX_RANK         8u
#define METADATA         "__metadata__"

/* Types of the format that no network here can use. */
static const char *const foreign_types[] = {
    "BOOL",        "F4",  "F6_E2M3", "F6_E3M2", "F8_E8M0", "F8_E4M3FNUZ",
    "F8_E5M2FNUZ", "I16", "U16",     "U32",     "C64",     "U64",
};

/* -- reading --------------------------------------------------------------- */

struct reader {
    const char *file; /* for errors                                          */
    const unsigned char *bytes;
    size_t n_bytes;
    const unsigned char *data;
    size_t n_data;
    struct json *header;
    struct weights *weights;
};

static enum unstir_status bad(const struct reader *r, const char *tensor,
                              const char *why, struct unstir_error *err)
{
    return error_set(err, UNSTIR_ERR_FORMAT, "%.180s: tensor \"%.100s\" %s",
                     r->file, tensor, why);
}

static uint64_t load_u64(const unsigned char *p)
{
    uint64_t x = 0;
    for (int i = 7; i >= 0; i--)
        x = x << 8 | p[i];
    return x;
}

static enum unstir_status parse_header(struct reader *r,
                                       struct unstir_error *err)
{
    if (r->n_bytes < 8)
        return error_set(err, UNSTIR_ERR_FORMAT,
                         "%.200s: %zu bytes, too short for a safetensors file "
                         "(at least 8)",
                         r->file, r->n_bytes);
    uint64_t n = load_u64(r->bytes);
    if (n > MAX_HEADER_BYTES)
        return error_set(err, UNSTIR_ERR_FORMAT,
                         "%.200s: header of %llu bytes, at most %u are "
                         "allowed; this is hardly a safetensors file",
                         r->file, (unsigned long long)n, MAX_HEADER_BYTES);
    if (n > r->n_bytes - 8)
        return error_set(err, UNSTIR_ERR_FORMAT,
                         "%.200s: header of %llu bytes but the file has %zu; "
                         "the download is probably incomplete",
                         r->file, (unsigned long long)n, r->n_bytes);
    const char *text = (const char *)r->bytes + 8;
    if (n == 0 || text[0] != '{')
        return error_set(err, UNSTIR_ERR_FORMAT,
                         "%.200s: the header does not begin with '{'", r->file);
    TRY(error_prefix(json_parse(&r->header, text, (size_t)n, err), r->file,
                     err));
    r->data = r->bytes + 8 + n;
    r->n_data = r->n_bytes - 8 - (size_t)n;
    return UNSTIR_OK;
}

static enum unstir_status check_metadata(const struct reader *r,
                                         const struct json *all,
                                         struct unstir_error *err)
{
    size_t i = 0;
    const char *key;
    const struct json *value;
    if (json_type(all) != JSON_OBJECT)
        return error_set(err, UNSTIR_ERR_FORMAT,
                         "%.200s: " METADATA " must be an object", r->file);
    while (json_each(all, &i, &key, &value))
        if (json_type(value) != JSON_STRING)
            return error_set(err, UNSTIR_ERR_FORMAT,
                             "%.200s: " METADATA " \"%.100s\" must be a string",
                             r->file, key);
    return UNSTIR_OK;
}

static enum unstir_status read_dtype(const struct reader *r,
                                     const struct json *v,
                                     struct tensor_view *t,
                                     struct unstir_error *err)
{
    if (json_type(v) != JSON_STRING)
        return bad(r, t->name, "has no \"dtype\" string", err);
    const char *name = json_string(v);
    if (dtype_parse(name, &t->dtype))
        return UNSTIR_OK;
    for (size_t i = 0; i < ARRAY_LEN(foreign_types); i++)
        if (strcmp(name, foreign_types[i]) == 0)
            return error_set(err, UNSTIR_ERR_UNSUPPORTED,
                             "%.180s: tensor \"%.100s\" is of type %s, which "
                             "is not supported (F32, F16, BF16, F64, F8, I8, "
                             "U8, I32, I64 are)",
                             r->file, t->name, name);
    return error_set(err, UNSTIR_ERR_FORMAT,
                     "%.180s: tensor \"%.100s\" has unknown dtype \"%.20s\"",
                     r->file, t->name, name);
}

static enum unstir_status read_shape(const struct reader *r,
                                     const struct json *v,
                                     struct tensor_view *t,
                                     struct unstir_error *err)
{
    if (json_type(v) != JSON_ARRAY)
        return bad(r, t->name, "has no \"shape\" array", err);
    if (json_len(v) > MAX_RANK)
        return bad(r, t->name, "has more than 8 dimensions", err);
    t->rank = (uint32_t)json_len(v);
    t->n = 1;
    bool fits = true;
    for (uint32_t i = 0; i < t->rank; i++) {
        const struct json *d = json_at(v, i);
        if (json_type(d) != JSON_INT || json_int(d) < 0)
            return bad(r, t->name,
                       "has a dimension that is no whole number from 0 up",
                       err);
        t->dims[i] = (uint64_t)json_int(d);
        fits &= size_mul(t->n, (size_t)t->dims[i], &t->n);
    }
    if (!fits || !size_mul(t->n, dtype_size(t->dtype), &t->n_bytes))
        return bad(r, t->name, "is larger than memory can be (overflow)", err);
    return UNSTIR_OK;
}

static enum unstir_status read_offsets(const struct reader *r,
                                       const struct json *v,
                                       struct tensor_view *t,
                                       struct unstir_error *err)
{
    const struct json *b = json_at(v, 0), *e = json_at(v, 1);
    if (json_type(v) != JSON_ARRAY || json_len(v) != 2 ||
        json_type(b) != JSON_INT || json_type(e) != JSON_INT ||
        json_int(b) < 0 || json_int(e) < 0)
        return bad(r, t->name,
                   "needs \"data_offsets\" of two whole numbers from 0 up",
                   err);
    uint64_t begin = (uint64_t)json_int(b), end = (uint64_t)json_int(e);
    if (end < begin)
        return bad(r, t->name, "ends before it begins", err);
    if (end > r->n_data)
        return error_set(err, UNSTIR_ERR_FORMAT,
                         "%.180s: tensor \"%.100s\" ends at byte %llu but the "
                         "file has %zu bytes of data; the download is "
                         "probably incomplete: compare the file's size with "
                         "its source",
                         r->file, t->name, (unsigned long long)end, r->n_data);
    if (end - begin != t->n_bytes)
        return error_set(err, UNSTIR_ERR_FORMAT,
                         "%.180s: tensor \"%.100s\" takes %llu bytes but its "
                         "shape and dtype %s need %zu",
                         r->file, t->name, (unsigned long long)(end - begin),
                         dtype_name(t->dtype), t->n_bytes);
    t->data = r->data + begin;
    return UNSTIR_OK;
}

static enum unstir_status read_tensor(struct reader *r, const char *name,
                                      const struct json *v,
                                      struct unstir_error *err)
{
    static const char *const members[] = {"dtype", "shape", "data_offsets"};
    struct tensor_view t = {.name = name};
    size_t i = 0;
    const char *key;
    const struct json *member;
    if (strlen(name) > MAX_NAME_BYTES)
        return bad(r, name, "has a name of more than 512 bytes", err);
    if (name[0] == '\0')
        return bad(r, name, "has an empty name", err);
    if (json_type(v) != JSON_OBJECT)
        return bad(r, name, "must be described by an object", err);
    while (json_each(v, &i, &key, &member)) {
        size_t k = 0;
        while (k < ARRAY_LEN(members) && strcmp(key, members[k]) != 0)
            k++;
        if (k == ARRAY_LEN(members))
            return error_set(err, UNSTIR_ERR_FORMAT,
                             "%.180s: tensor \"%.100s\" has unknown member "
                             "\"%.60s\"",
                             r->file, name, key);
    }
    TRY(read_dtype(r, json_get(v, "dtype"), &t, err));
    TRY(read_shape(r, json_get(v, "shape"), &t, err));
    TRY(read_offsets(r, json_get(v, "data_offsets"), &t, err));
    return weights_add(r->weights, &t, err);
}

static int compare_places(const void *a, const void *b)
{
    const struct tensor_view *x = a, *y = b;
    const unsigned char *p = x->data, *q = y->data;
    if (p != q)
        return p < q ? -1 : 1;
    return (x->n_bytes > y->n_bytes) - (x->n_bytes < y->n_bytes);
}

/* Tensors must tile the data: no overlap, no hole, nothing behind. */
static enum unstir_status check_tiling(struct reader *r,
                                       struct unstir_error *err)
{
    struct weights *w = r->weights;
    const unsigned char *end = r->data;
    if (w->n > 1)
        qsort(w->views, w->n, sizeof(*w->views), compare_places);
    for (size_t i = 0; i < w->n; i++) {
        const struct tensor_view *t = &w->views[i];
        const unsigned char *begin = t->data;
        if (begin != end)
            return error_set(
                err, UNSTIR_ERR_FORMAT,
                "%.180s: tensor \"%.100s\" begins at byte %zu of the data, "
                "must be %zu (%s)",
                r->file, t->name, (size_t)(begin - r->data),
                (size_t)(end - r->data), begin < end ? "overlap" : "hole");
        end = begin + t->n_bytes;
    }
    size_t used = (size_t)(end - r->data);
    if (used != r->n_data)
        return error_set(err, UNSTIR_ERR_FORMAT,
                         "%.200s: %zu bytes of data behind the last tensor",
                         r->file, r->n_data - used);
    return UNSTIR_OK;
}

static enum unstir_status read_all(struct reader *r, struct unstir_error *err)
{
    size_t i = 0;
    const char *name;
    const struct json *v;
    size_t n_tensors =
        json_len(r->header) - (json_get(r->header, METADATA) != NULL);
    if (n_tensors > MAX_TENSORS)
        return error_set(err, UNSTIR_ERR_FORMAT,
                         "%.200s: %zu tensors, at most %u are allowed", r->file,
                         n_tensors, MAX_TENSORS);
    while (json_each(r->header, &i, &name, &v)) {
        if (strcmp(name, METADATA) == 0)
            TRY(check_metadata(r, v, err));
        else
            TRY(read_tensor(r, name, v, err));
    }
    TRY(check_tiling(r, err));
    return weights_seal(r->weights, err);
}

/* `map` is taken over; it is empty for memory of the caller's. */
static enum unstir_status read_file(struct weights **out, struct mapfile map,
                                    const void *bytes, size_t n_bytes,
                                    const char *name, struct unstir_error *err)
{
    struct reader r = {.file = name, .bytes = bytes, .n_bytes = n_bytes};
    struct weights_source source = {.map = map};
    enum unstir_status status = weights_new(&r.weights, err);
    if (status == UNSTIR_OK)
        status = parse_header(&r, err);
    if (status == UNSTIR_ERR_FORMAT && pickle_is(bytes, n_bytes))
        status = pickle_refuse(name, err);
    source.header = r.header;
    if (status != UNSTIR_OK) {
        json_free(source.header);
        mapfile_close(&source.map);
        goto out;
    }
    status = weights_add_source(r.weights, &source, err);
    if (status == UNSTIR_OK)
        status = read_all(&r, err);
out:
    if (status != UNSTIR_OK) {
        weights_close(r.weights);
        r.weights = NULL;
    }
    *out = r.weights;
    return status;
}

enum unstir_status safetensors_open(struct weights **out, const char *path,
                                    struct unstir_error *err)
{
    struct mapfile map;
    *out = NULL;
    TRY(mapfile_open(&map, path, 0, err));
    return read_file(out, map, map.bytes, map.n_bytes, path, err);
}

enum unstir_status safetensors_parse(struct weights **out, const void *bytes,
                                     size_t n_bytes, const char *name,
                                     struct unstir_error *err)
{
    struct mapfile none = {0};
    return read_file(out, none, bytes, n_bytes, name, err);
}

/* -- writing --------------------------------------------------------------- */

struct placed {
    const struct safetensors_entry *entry;
    size_t n, n_bytes;
};

static enum unstir_status place(struct placed *p,
                                const struct safetensors_entry *e,
                                struct unstir_error *err)
{
    bool fits = true;
    if (e->name[0] == '\0' || strlen(e->name) > MAX_NAME_BYTES ||
        strcmp(e->name, METADATA) == 0)
        return error_set(err, UNSTIR_ERR_ARG,
                         "\"%.100s\" cannot be the name of a tensor", e->name);
    if (e->rank > MAX_RANK || (unsigned)e->dtype >= DTYPE_COUNT)
        return error_set(err, UNSTIR_ERR_ARG,
                         "tensor \"%.100s\": rank %u or type out of range",
                         e->name, e->rank);
    p->entry = e;
    p->n = 1;
    for (uint32_t i = 0; i < e->rank; i++)
        fits &= size_mul(p->n, (size_t)e->dims[i], &p->n);
    if (!fits || !size_mul(p->n, dtype_size(e->dtype), &p->n_bytes))
        return error_set(err, UNSTIR_ERR_ARG, "tensor \"%.100s\": overflow",
                         e->name);
    return UNSTIR_OK;
}

/* Widest types first, so that every tensor is aligned to its own size. */
static int compare_entries(const void *a, const void *b)
{
    const struct safetensors_entry *x = ((const struct placed *)a)->entry;
    const struct safetensors_entry *y = ((const struct placed *)b)->entry;
    size_t p = dtype_size(x->dtype), q = dtype_size(y->dtype);
    return p != q ? (p > q ? -1 : 1) : strcmp(x->name, y->name);
}

static enum unstir_status write_header(char **text, const struct placed *p,
                                       size_t n,
                                       const struct safetensors_meta *meta,
                                       size_t n_meta, struct unstir_error *err)
{
    struct json_writer *w;
    size_t offset = 0;
    TRY(json_writer_new(&w, err));
    json_open_object(w, NULL);
    if (n_meta > 0) {
        json_open_object(w, METADATA);
        for (size_t i = 0; i < n_meta; i++)
            json_put_string(w, meta[i].key, meta[i].value);
        json_close(w);
    }
    for (size_t i = 0; i < n; i++) {
        json_open_object(w, p[i].entry->name);
        json_put_string(w, "dtype", dtype_name(p[i].entry->dtype));
        json_open_array(w, "shape");
        for (uint32_t d = 0; d < p[i].entry->rank; d++)
            json_put_int(w, NULL, (int64_t)p[i].entry->dims[d]);
        json_close(w);
        json_open_array(w, "data_offsets");
        json_put_int(w, NULL, (int64_t)offset);
        offset += p[i].n_bytes;
        json_put_int(w, NULL, (int64_t)offset);
        json_close(w);
        json_close(w);
    }
    return json_finish(text, w, false, err);
}

static void store_data(unsigned char *to, const struct placed *p)
{
    enum dtype t = p->entry->dtype;
    if (p->n_bytes == 0)
        return;
    if (t == DTYPE_F16 || t == DTYPE_BF16)
        dtype_store(to, t, p->entry->data, p->n);
    else
        memcpy(to, p->entry->data, p->n_bytes);
}

static enum unstir_status assemble(unsigned char **bytes, size_t *n_bytes,
                                   const struct placed *p, size_t n,
                                   const char *header, struct unstir_error *err)
{
    size_t n_text = strlen(header), n_header = size_align(n_text, 8);
    size_t total = 8 + n_header;
    void *file;
    for (size_t i = 0; i < n; i++)
        if (!size_add(total, p[i].n_bytes, &total))
            return error_set(err, UNSTIR_ERR_ARG, "tensors overflow memory");
    TRY(alloc_zero(&file, total, 1, err));
    unsigned char *at = file;
    for (int i = 0; i < 8; i++)
        at[i] = (unsigned char)((uint64_t)n_header >> 8 * i);
    memcpy(at + 8, header, n_text);
    memset(at + 8 + n_text, ' ', n_header - n_text);
    at += 8 + n_header;
    for (size_t i = 0; i < n; i++) {
        store_data(at, &p[i]);
        at += p[i].n_bytes;
    }
    *bytes = file;
    *n_bytes = total;
    return UNSTIR_OK;
}

enum unstir_status safetensors_build(unsigned char **bytes, size_t *n_bytes,
                                     const struct safetensors_entry *entries,
                                     size_t n,
                                     const struct safetensors_meta *meta,
                                     size_t n_meta, struct unstir_error *err)
{
    void *memory = NULL;
    char *header = NULL;
    enum unstir_status status;
    *bytes = NULL;
    *n_bytes = 0;
    TRY(alloc_zero(&memory, n, sizeof(struct placed), err));
    struct placed *p = memory;
    status = UNSTIR_OK;
    for (size_t i = 0; status == UNSTIR_OK && i < n; i++)
        status = place(&p[i], &entries[i], err);
    if (status != UNSTIR_OK)
        goto out;
    if (n > 1)
        qsort(p, n, sizeof(*p), compare_entries);
    status = write_header(&header, p, n, meta, n_meta, err);
    if (status == UNSTIR_OK)
        status = assemble(bytes, n_bytes, p, n, header, err);
out:
    alloc_free(header);
    alloc_free(memory);
    return status;
}

enum unstir_status safetensors_write(const char *path,
                                     const struct safetensors_entry *entries,
                                     size_t n,
                                     const struct safetensors_meta *meta,
                                     size_t n_meta, struct unstir_error *err)
{
    unsigned char *bytes;
    size_t n_bytes;
    TRY(safetensors_build(&bytes, &n_bytes, entries, n, meta, n_meta, err));
    enum unstir_status status = mapfile_write(path, bytes, n_bytes, err);
    alloc_free(bytes);
    return status;
}
