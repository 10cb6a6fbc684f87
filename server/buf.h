/* buf.h - memory of the service: the only door to malloc, growing byte
 * buffers with a ceiling, and arenas that die with their request.
 *
 * buf.c is the only file of server/ that names malloc and free, so a test
 * can fail the n-th allocation (mem_test_fail_after).  Failure is an answer,
 * not an exit: pointers are NULL, buffers remember it.
 *
 * mem_*: any thread.  A buf or an arena serves one thread at a time.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef SERVER_BUF_H
#define SERVER_BUF_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __GNUC__
#define BUF_PRINTF(format, first) \
    __attribute__((__format__(__printf__, format, first)))
#else
#define BUF_PRINTF(format, first)
#endif

/* --------------------------------------------------------------- memory -- */

/* n * size zeroed bytes, or NULL (also when the product does not fit). */
void *mem_zero(size_t n, size_t size);

/* Grow *array (items of `size` bytes, *capacity of them) to hold at least
 * `wanted`, keeping contents; new bytes are zero.  False leaves all as is. */
bool mem_grow(void *array, size_t *capacity, size_t wanted, size_t size);

char *mem_strdup(const char *text);
void mem_free(void *pointer);

/* For tests: the k-th allocation from now on fails (0: none). */
void mem_test_fail_after(long k);

/* --------------------------------------------------------------- buffer -- */

/* Bytes that grow up to `limit`.  After an addition that did not fit, or
 * for which memory was missing, `failed` is set and nothing is added any
 * more: check once at the end.  bytes[n] is always 0 once anything was
 * added, so text can be read as a string.                                  */
struct buf {
    char *bytes;
    size_t n;
    size_t capacity;
    size_t limit;
    bool failed;
};

void buf_init(struct buf *buf, size_t limit);
void buf_fini(struct buf *buf);
void buf_clear(struct buf *buf); /* keeps memory and limit, forgets failure */
bool buf_add(struct buf *buf, const void *bytes, size_t n);
bool buf_reserve(struct buf *buf, size_t n); /* room for n more bytes       */
/* The capacity that either of n bytes would leave. */
size_t buf_capacity_after(const struct buf *buf, size_t n);
bool buf_text(struct buf *buf, const char *text);
bool buf_byte(struct buf *buf, char byte);
bool buf_printf(struct buf *buf, const char *format, ...) BUF_PRINTF(2, 3);

/* Move the bytes out: the caller ends them by mem_free().  NULL if failed or
 * empty; the buf is empty after it.                                        */
char *buf_take(struct buf *buf, size_t *n);

/* ---------------------------------------------------------------- arena -- */

struct mem_arena;

/* Memory that is freed all at once; `limit` bytes at most. */
struct mem_arena *mem_arena_new(size_t limit);
void mem_arena_free(struct mem_arena *arena);

/* Zeroed, aligned for any type; NULL when the limit or memory is used up. */
void *mem_arena_zero(struct mem_arena *arena, size_t n, size_t size);
char *mem_arena_strndup(struct mem_arena *arena, const char *text, size_t n);
char *mem_arena_strdup(struct mem_arena *arena, const char *text);
char *mem_arena_printf(struct mem_arena *arena, const char *format, ...)
    BUF_PRINTF(2, 3);
char *mem_arena_vprintf(struct mem_arena *arena, const char *format,
                        va_list args);

#endif
