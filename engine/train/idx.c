/* idx.c - the IDX format of MNIST and its kin, read as hostile input.
 *
 * Big-endian: two zero bytes, an element type (8: unsigned byte, the only one
 * taken), a rank, then one 32-bit size a dimension, then the elements, no
 * more and no fewer.
 *
 * SPDX-License-Identifier: MIT
 */
#include "train/dataset.h"

#include <errno.h>
#include <string.h>
#include <zlib.h>

#include "base/alloc.h"
#include "base/size.h"

#define IDX_TYPE_U8 8

struct idx_file {
    gzFile gz;
    const char *path;
    struct unstir_error *err;
};

/* Exactly n bytes or an error that says what was being read. */
static enum unstir_status idx_take(struct idx_file *f, void *dst, size_t n,
                                   const char *what)
{
    unsigned char *at = dst;
    size_t left = n;
    while (left > 0) {
        unsigned piece = left > (1u << 20) ? 1u << 20 : (unsigned)left;
        int got = gzread(f->gz, at, piece);
        if (got < 0) {
            int code;
            return error_set(f->err, UNSTIR_ERR_FORMAT, "%s: %s: %s", f->path,
                             what, gzerror(f->gz, &code));
        }
        if (got == 0)
            return error_set(f->err, UNSTIR_ERR_FORMAT,
                             "%s: ends inside its %s: %zu bytes wanted, %zu "
                             "found",
                             f->path, what, n, n - left);
        at += got;
        left -= (size_t)got;
    }
    return UNSTIR_OK;
}

static uint32_t idx_u32(const unsigned char *b)
{
    return (uint32_t)b[0] << 24 | (uint32_t)b[1] << 16 | (uint32_t)b[2] << 8 |
           b[3];
}

static enum unstir_status idx_header(struct idx_file *f, struct idx *x,
                                     uint32_t wanted_rank, size_t max_bytes)
{
    unsigned char head[4], dim[4];
    TRY(idx_take(f, head, sizeof head, "magic number"));
    if (head[0] != 0 || head[1] != 0)
        return error_set(f->err, UNSTIR_ERR_FORMAT,
                         "%s: not an IDX file: starts with %02x %02x, not two "
                         "zero bytes",
                         f->path, head[0], head[1]);
    if (head[2] != IDX_TYPE_U8)
        return error_set(f->err, UNSTIR_ERR_UNSUPPORTED,
                         "%s: element type 0x%02x; only unsigned bytes (0x08) "
                         "are read",
                         f->path, head[2]);
    if (head[3] < 1 || head[3] > 4 || (wanted_rank && head[3] != wanted_rank))
        return error_set(f->err, UNSTIR_ERR_FORMAT,
                         "%s: %u dimensions where %u are wanted", f->path,
                         head[3], wanted_rank ? wanted_rank : 4);
    x->rank = head[3];
    x->n_bytes = 1;
    for (uint32_t i = 0; i < x->rank; i++) {
        TRY(idx_take(f, dim, sizeof dim, "sizes"));
        x->dims[i] = idx_u32(dim);
        if (x->dims[i] == 0)
            return error_set(f->err, UNSTIR_ERR_FORMAT, "%s: dimension %u is 0",
                             f->path, i);
        if (!size_mul(x->n_bytes, x->dims[i], &x->n_bytes) ||
            x->n_bytes > max_bytes)
            return error_set(f->err, UNSTIR_ERR_LIMIT,
                             "%s: dimension %u is %u: more than %zu bytes in "
                             "all",
                             f->path, i, x->dims[i], max_bytes);
    }
    return UNSTIR_OK;
}

static enum unstir_status idx_body(struct idx_file *f, struct idx *x,
                                   uint32_t wanted_rank, size_t max_bytes)
{
    unsigned char extra;
    TRY(idx_header(f, x, wanted_rank, max_bytes));
    TRY(alloc_zero(&x->data, x->n_bytes, 1, f->err));
    TRY(idx_take(f, x->data, x->n_bytes, "elements"));
    if (gzread(f->gz, &extra, 1) == 1)
        return error_set(f->err, UNSTIR_ERR_FORMAT,
                         "%s: bytes behind the last of %zu elements", f->path,
                         x->n_bytes);
    return UNSTIR_OK;
}

enum unstir_status idx_read(struct idx *out, const char *path,
                            uint32_t wanted_rank, size_t max_bytes,
                            struct unstir_error *err)
{
    memset(out, 0, sizeof *out);
    struct idx_file f = {gzopen(path, "rb"), path, err};
    if (!f.gz)
        return error_set(err, UNSTIR_ERR_IO, "%s: %s", path, strerror(errno));
    enum unstir_status status = idx_body(&f, out, wanted_rank, max_bytes);
    gzclose(f.gz);
    if (status != UNSTIR_OK) {
        alloc_free(out->data);
        memset(out, 0, sizeof *out);
    }
    return status;
}
