/* fields.h - reading the fields of a component's config.json.
 *
 * Each reader takes a key, a fallback for an absent or null one, and a range;
 * what is wrong is named by key and value.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef MODEL_FIELDS_H
#define MODEL_FIELDS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "tensor/act.h"

struct json;

/* There and null; absent keys are not. */
bool field_is_null(const struct json *config, const char *key);

enum unstir_status field_u32(const struct json *config, const char *key,
                             uint32_t fallback, int64_t min, int64_t max,
                             uint32_t *out, struct unstir_error *err);

/* Within -1e9 to 1e9. */
enum unstir_status field_finite(const struct json *config, const char *key,
                                double fallback, double *out,
                                struct unstir_error *err);

/* One of n words, the first if absent: *out is its place. */
enum unstir_status field_word(const struct json *config, const char *key,
                              const char *const *words, int n, int *out,
                              struct unstir_error *err);

/* The same above 0, or not near it: for what divides. */
enum unstir_status field_positive(const struct json *config, const char *key,
                                  double fallback, double *out,
                                  struct unstir_error *err);
enum unstir_status field_divisor(const struct json *config, const char *key,
                                 double fallback, double *out,
                                 struct unstir_error *err);

/* The name of an activation; absent and null are the fallback. */
enum unstir_status field_act_of(const struct json *config, const char *key,
                                enum act fallback, enum act *out,
                                struct unstir_error *err);

/* "act_fn". */
enum unstir_status field_act(const struct json *config, enum act fallback,
                             enum act *out, struct unstir_error *err);

/* "norm_num_groups", which divides each of n channels. */
enum unstir_status field_groups(const struct json *config,
                                const uint32_t *channels, uint32_t n,
                                uint32_t max, uint32_t *out,
                                struct unstir_error *err);

/* A number or a pair; h and w are left alone if it is not said. */
enum unstir_status field_sample_size(const struct json *config, uint32_t *h,
                                     uint32_t *w, struct unstir_error *err);

/* v, which is entry i of `key`: 1 to max. */
enum unstir_status field_number(const struct json *v, const char *key,
                                uint32_t i, uint32_t max, uint32_t *out,
                                struct unstir_error *err);

/* A list of 1 to max_len numbers, 1 to max. */
enum unstir_status field_list(const struct json *config, const char *key,
                              const uint32_t *fallback, uint32_t n_fallback,
                              uint32_t max_len, uint32_t max, uint32_t *out,
                              uint32_t *n, struct unstir_error *err);

/* n numbers, or one for all. */
enum unstir_status field_each(const struct json *config, const char *key,
                              uint32_t fallback, uint32_t n, uint32_t max,
                              uint32_t *out, struct unstir_error *err);

/* A list of n of the words, one a level: out[i] are places. */
enum unstir_status field_names(const struct json *config, const char *key,
                               const char *const *words, int n_words,
                               const int *fallback, uint32_t n_fallback,
                               uint32_t n, int *out, struct unstir_error *err);

/* Features of the reference that are not supported: null, false or absent. */
enum unstir_status field_must_be_null(const struct json *config,
                                      const char *const *keys, size_t n,
                                      struct unstir_error *err);

#endif
