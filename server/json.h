/* json.h - strict JSON in, tidy JSON out.
 *
 * json.c reads, json_out.c writes; json.c is the only file of server/ with
 * jansson.h.
 *
 * In.  jdoc_parse() refuses what RFC 8259 leaves to taste: depth above
 * JSON_MAX_DEPTH (counted before parsing: the parser's own limit is far
 * higher), more than JSON_MAX_VALUES values (a large document is a long string,
 * so all but its parsing takes no time), duplicate keys, bad UTF-8, NUL, NaN, numbers above 2^63-1, bytes
 * after the end.  jdoc_read() fills a struct by a table of fields and
 * collects every violation, with JSON Pointer, the value got and the
 * nearest allowed one; unknown fields are violations too, with a guess.
 *
 * Out.  struct json_out writes into a buf, compact, in the order of calls.
 * `key` is NULL inside arrays and for the outermost value.  Sizes: the buf's
 * limit; nesting JSON_OUT_MAX_DEPTH.
 *
 * A doc serves one thread at a time and is not tied to the loop.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef SERVER_JSON_H
#define SERVER_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "buf.h"
#include "problem.h"

#define JSON_MAX_DEPTH     8
#define JSON_MAX_VALUES    1024
#define JSON_OUT_MAX_DEPTH 32
#define JSON_SAFE_INTEGER  9007199254740991 /* 2^53-1: doubles hold it       */

/* ------------------------------------------------------------------- in -- */

struct jdoc;

/* Parse n bytes.  NULL and *why filled in ("line 2, column 5: ...") on
 * failure.  Ended by jdoc_free().                                          */
struct jdoc *jdoc_parse(const char *bytes, size_t n, char *why,
                        size_t why_size);
void jdoc_free(struct jdoc *doc); /* NULL allowed */

bool jdoc_is_object(const struct jdoc *doc);

/* A text of the outermost object, which lives with the doc; NULL if there is no
 * such member or it is no string.                                          */
const char *jdoc_string(const struct jdoc *doc, const char *name);

enum json_kind {
    JSON_KIND_STRING, /* const char *, in the arena                         */
    JSON_KIND_FILE,   /* const char *, long: it lives with the doc          */
    JSON_KIND_BOOL,   /* bool                                               */
    JSON_KIND_INT,    /* int64_t; 20.0 is 20                                */
    JSON_KIND_SEED,   /* uint64_t; a number or a decimal string             */
    JSON_KIND_NUMBER, /* double, finite                                     */
    JSON_KIND_LABEL,  /* const char *: a string, or an integer as text      */
    JSON_KIND_OBJECT, /* a struct inside the struct, by `fields`            */
    JSON_KIND_LIST    /* struct json_list of structs, each by `fields`      */
};

/* Items are zeroed before they are read.  A string may stand for an item that
 * has its first field alone, and one item for a list of one.                */
struct json_list {
    void *items; /* in the arena                                             */
    size_t n;
};

/* One field.  null is the same as absent.  Offsets are offsetof() values in
 * the struct that the table fills; of nested structs, in the nested one.   */
struct json_field {
    const char *name;
    const char *alias; /* another accepted name, or NULL                    */
    enum json_kind kind;
    size_t offset;
    size_t present;      /* offset of a bool set when given; SIZE_MAX: none   */
    double min, max;     /* INT, NUMBER; both 0: no limits of the table's own */
    size_t max_bytes;    /* STRING, LABEL; 0: 4096                            */
    const char *choices; /* STRING: "cancel|continue", or NULL              */
    const struct json_field *fields; /* OBJECT, LIST                        */
    const char *summary; /* for /openapi.json                               */
    size_t item_bytes;   /* LIST                                            */
    size_t max_items;
};

#define JSON_NO_PRESENT SIZE_MAX
#define JSON_FIELD_END                                                    \
    {                                                                     \
        NULL, NULL, JSON_KIND_BOOL, 0, 0, 0, 0, 0, NULL, NULL, NULL, 0, 0 \
    }

/* Fill *out (left alone where a field is absent or wrong) from the object.
 * Strings are copied to problem->arena.  Violations go to `problem`; true if
 * there was none.  is_lenient: unknown fields are passed over.             */
bool jdoc_read(const struct jdoc *doc, const struct json_field *fields,
               void *out, bool is_lenient, struct problem *problem);

/* The value at a JSON Pointer as JSON text in `arena`, cut to 200 bytes;
 * NULL if there is none.  For the `got` of checks made elsewhere.          */
const char *jdoc_text(const struct jdoc *doc, const char *pointer,
                      struct mem_arena *arena);

/* A string as JSON text with quotes, in `arena`. */
const char *json_quote(struct mem_arena *arena, const char *text);

/* Index of the entry of names (ends with NULL) nearest to `text`, or -1.   */
int json_nearest(const char *text, const char *const *names);

/* ------------------------------------------------------------------ out -- */

struct json_out {
    struct buf *buf;
    unsigned depth;
    uint64_t has_items; /* bit per level */
};

void jout_init(struct json_out *out, struct buf *buf);
void jout_object(struct json_out *out, const char *key);
void jout_end_object(struct json_out *out);
void jout_array(struct json_out *out, const char *key);
void jout_end_array(struct json_out *out);
void jout_string(struct json_out *out, const char *key, const char *text);
void jout_string_n(struct json_out *out, const char *key, const char *text,
                   size_t n);
void jout_int(struct json_out *out, const char *key, int64_t value);
void jout_uint(struct json_out *out, const char *key, uint64_t value);
void jout_number(struct json_out *out, const char *key, double value);
void jout_bool(struct json_out *out, const char *key, bool value);
void jout_null(struct json_out *out, const char *key);

/* A number up to 2^53-1, a decimal string above: seeds. */
void jout_seed(struct json_out *out, const char *key, uint64_t seed);

/* "2026-01-02T03:04:05.678Z" from milliseconds since 1970; 0: null.        */
void jout_time(struct json_out *out, const char *key, int64_t unix_ms);

/* Text that is JSON already. */
void jout_raw(struct json_out *out, const char *key, const char *json);

/* A string value of base64 (RFC 4648, padded). */
void jout_base64(struct json_out *out, const char *key, const void *bytes,
                 size_t n);

/* Append text as JSON string with quotes; bad UTF-8 becomes U+FFFD. */
void json_escape(struct buf *buf, const char *text, size_t n);
/* Length of the UTF-8 character at text, 0 if there is none (RFC 3629). */
size_t json_utf8_length(const unsigned char *text, size_t n);

#endif
