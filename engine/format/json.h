/* json.h - reading and writing JSON; the only door to jansson in the engine.
 *
 * Values are borrowed from their document.  Getters take a default and name
 * the key in the error when the type is wrong.  Depth is limited to 32 before
 * parsing, duplicate keys are refused.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef FORMAT_JSON_H
#define FORMAT_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

struct json; /* any JSON value, borrowed; the document owns the root         */

/* Parse n bytes; json_free() ends the root (borrowed children die with it). */
enum unstir_status json_parse(struct json **root, const char *text, size_t n,
                              struct unstir_error *err);
void json_free(struct json *root);

/* The same of a file of at most max_bytes; errors name it. */
enum unstir_status json_read(struct json **root, const char *path,
                             size_t max_bytes, struct unstir_error *err);

/* Python's json module writes infinities, which JSON has not, and the
 * reference saves one in its schedulers: outside of strings they become null,
 * in place. */
void json_blank_infinities(char *text, size_t n);

/* Python writes whole numbers of any length ("model_max_length": 10^30): those
 * of 19 digits and more become reals in place, their last three digits an
 * exponent. */
void json_widen_integers(char *text, size_t n);

enum json_type {
    JSON_NULL,
    JSON_BOOL,
    JSON_INT,
    JSON_REAL,
    JSON_STRING,
    JSON_ARRAY,
    JSON_OBJECT
};
enum json_type json_type(const struct json *v);

/* NULL if absent (or object is not an object). */
const struct json *json_get(const struct json *object, const char *key);
size_t json_len(const struct json *array_or_object);
const struct json *json_at(const struct json *array, size_t i);

/* Iterate an object in file order: false after the last. Start with *i = 0. */
bool json_each(const struct json *object, size_t *i, const char **key,
               const struct json **value);

/* Plain values; 0, "" or false for another type. */
bool json_bool(const struct json *v);
int64_t json_int(const struct json *v);
double json_real(const struct json *v); /* integers too */
const char *json_string(const struct json *v);

/* Member of `object` or the default when absent or null; wrong type is
 * UNSTIR_ERR_FORMAT naming the key. */
enum unstir_status json_get_bool(const struct json *object, const char *key,
                                 bool fallback, bool *out,
                                 struct unstir_error *err);
enum unstir_status json_get_int(const struct json *object, const char *key,
                                int64_t fallback, int64_t min, int64_t max,
                                int64_t *out, struct unstir_error *err);
enum unstir_status json_get_real(const struct json *object, const char *key,
                                 double fallback, double *out,
                                 struct unstir_error *err);
enum unstir_status json_get_string(const struct json *object, const char *key,
                                   const char *fallback, const char **out,
                                   struct unstir_error *err);

/* -- writing: a builder that always makes valid JSON ---------------------- */

struct json_writer;
enum unstir_status json_writer_new(struct json_writer **out,
                                   struct unstir_error *err);
void json_writer_free(struct json_writer *w);
/* key NULL inside arrays and for the root. */
void json_open_object(struct json_writer *w, const char *key);
void json_open_array(struct json_writer *w, const char *key);
void json_close(struct json_writer *w);
void json_put_string(struct json_writer *w, const char *key, const char *v);
void json_put_int(struct json_writer *w, const char *key, int64_t v);
void json_put_u64(struct json_writer *w, const char *key, uint64_t v); /* as a
                      decimal string above 2^53-1, else a number             */
void json_put_real(struct json_writer *w, const char *key, double v);
void json_put_bool(struct json_writer *w, const char *key, bool v);
void json_put_null(struct json_writer *w, const char *key);
void json_put_value(struct json_writer *w, const char *key,
                    const struct json *v); /* a copy */
/* The text, compact or indented; alloc_free().  Ends the writer. */
enum unstir_status json_finish(char **text, struct json_writer *w,
                               bool is_indented, struct unstir_error *err);
/* What was written as a document to read; json_free().  Ends the writer. */
enum unstir_status json_finish_value(struct json **root, struct json_writer *w,
                                     struct unstir_error *err);

#endif
