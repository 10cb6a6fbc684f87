/* buf.c - memory of the service: heap, byte buffers, arenas.
 *
 * Buffers double, so n additions cost O(n).  Arenas are a list of blocks of
 * at least 4 KiB; a request that needs little costs one malloc.
 *
 * SPDX-License-Identifier: MIT
 */
#include "buf.h"

#include <stdalign.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BLOCK_BYTES 4096u

/* ------------------------------------------------------------------ heap */

/* Relaxed: tests set it while one thread runs. */
static atomic_long fail_after;

static bool must_fail(void)
{
    long k = atomic_load_explicit(&fail_after, memory_order_relaxed);

    if (k == 0)
        return false;
    atomic_store_explicit(&fail_after, k - 1, memory_order_relaxed);
    return k == 1;
}

void mem_test_fail_after(long k)
{
    atomic_store_explicit(&fail_after, k, memory_order_relaxed);
}

void *mem_zero(size_t n, size_t size)
{
    if (must_fail())
        return NULL;
    return calloc(n ? n : 1, size ? size : 1);
}

/* Doubled until `wanted` fits; 0 if that cannot be. */
static size_t grown_capacity(size_t capacity, size_t wanted)
{
    size_t next = capacity ? capacity : 8;

    while (next < wanted) {
        if (next > SIZE_MAX / 2)
            return 0;
        next *= 2;
    }
    return next;
}

/* Room for `next` items in place of `memory`; new ones are not cleared.  NULL
 * leaves `memory` as it is. */
static void *resized(void *memory, size_t next, size_t size)
{
    if (next == 0 || must_fail() || next > SIZE_MAX / size)
        return NULL;
    return realloc(memory, next * size);
}

/* The pointer is copied by its bytes, since its type is the caller's. */
bool mem_grow(void *array, size_t *capacity, size_t wanted, size_t size)
{
    size_t before = *capacity, next = grown_capacity(before, wanted);
    void *memory, *grown;

    if (wanted <= before)
        return true;
    memcpy(&memory, array, sizeof memory);
    grown = resized(memory, next, size);
    if (!grown)
        return false;
    memset((char *)grown + before * size, 0, (next - before) * size);
    memcpy(array, &grown, sizeof grown);
    *capacity = next;
    return true;
}

char *mem_strdup(const char *text)
{
    size_t n = strlen(text) + 1;
    char *copy = mem_zero(n, 1);

    if (copy)
        memcpy(copy, text, n);
    return copy;
}

void mem_free(void *pointer)
{
    free(pointer);
}

/* --------------------------------------------------------------- buffers */

void buf_init(struct buf *buf, size_t limit)
{
    *buf = (struct buf){.limit = limit};
}

void buf_fini(struct buf *buf)
{
    mem_free(buf->bytes);
    *buf = (struct buf){.limit = buf->limit};
}

void buf_clear(struct buf *buf)
{
    buf->n = 0;
    buf->failed = false;
    if (buf->bytes)
        buf->bytes[0] = 0;
}

/* The final 0 has room too.  The rest stays as it is: clearing the half of a
 * large body that is to come would keep the loop for milliseconds. */
bool buf_reserve(struct buf *buf, size_t n)
{
    size_t next = buf_capacity_after(buf, n);
    void *bytes = buf->bytes;

    buf->failed = buf->failed || n > buf->limit - buf->n;
    if (!buf->failed && buf->n + n + 1 > buf->capacity) {
        bytes = resized(bytes, next, 1);
        buf->failed = !bytes;
    }
    if (buf->failed)
        return false;
    buf->bytes = bytes;
    buf->capacity = next;
    return true;
}

size_t buf_capacity_after(const struct buf *buf, size_t n)
{
    return buf->limit - buf->n < n
               ? buf->capacity
               : grown_capacity(buf->capacity, buf->n + n + 1);
}

bool buf_add(struct buf *buf, const void *bytes, size_t n)
{
    if (!buf_reserve(buf, n))
        return false;
    if (n)
        memcpy(buf->bytes + buf->n, bytes, n);
    buf->n += n;
    buf->bytes[buf->n] = 0;
    return true;
}

bool buf_text(struct buf *buf, const char *text)
{
    return buf_add(buf, text, strlen(text));
}

bool buf_byte(struct buf *buf, char byte)
{
    return buf_add(buf, &byte, 1);
}

bool buf_printf(struct buf *buf, const char *format, ...)
{
    va_list args;
    int n;

    va_start(args, format);
    n = vsnprintf(NULL, 0, format, args);
    va_end(args);
    if (n < 0 || !buf_reserve(buf, (size_t)n)) {
        buf->failed = true;
        return false;
    }
    va_start(args, format);
    (void)vsnprintf(buf->bytes + buf->n, (size_t)n + 1, format, args);
    va_end(args);
    buf->n += (size_t)n;
    return true;
}

char *buf_take(struct buf *buf, size_t *n)
{
    char *bytes = buf->failed ? NULL : buf->bytes;

    *n = bytes ? buf->n : 0;
    if (!bytes)
        mem_free(buf->bytes);
    *buf = (struct buf){.limit = buf->limit};
    return bytes;
}

/* ---------------------------------------------------------------- arenas */

struct block {
    struct block *next;
    size_t used, size;
    alignas(max_align_t) char bytes[];
};

struct mem_arena {
    struct block *newest;
    size_t limit, total;
};

struct mem_arena *mem_arena_new(size_t limit)
{
    struct mem_arena *arena = mem_zero(1, sizeof *arena);

    if (arena)
        arena->limit = limit;
    return arena;
}

void mem_arena_free(struct mem_arena *arena)
{
    struct block *block = arena ? arena->newest : NULL;

    while (block) {
        struct block *next = block->next;

        mem_free(block);
        block = next;
    }
    mem_free(arena);
}

static struct block *block_add(struct mem_arena *arena, size_t wanted)
{
    size_t size = wanted > BLOCK_BYTES ? wanted : BLOCK_BYTES;
    struct block *block;

    if (wanted > arena->limit - arena->total)
        return NULL;
    if (size > arena->limit - arena->total)
        size = arena->limit - arena->total;
    block = mem_zero(1, sizeof *block + size);
    if (!block)
        return NULL;
    block->size = size;
    block->next = arena->newest;
    arena->newest = block;
    arena->total += size;
    return block;
}

void *mem_arena_zero(struct mem_arena *arena, size_t n, size_t size)
{
    const size_t unit = alignof(max_align_t);
    struct block *block = arena->newest;
    size_t wanted;
    void *place;

    if (size && n > (arena->limit - unit) / size)
        return NULL;
    wanted = (n * size + unit - 1) / unit * unit;
    if (wanted == 0)
        wanted = unit;
    if (!block || wanted > block->size - block->used) {
        block = block_add(arena, wanted);
        if (!block)
            return NULL;
    }
    place = block->bytes + block->used;
    block->used += wanted;
    return place;
}

char *mem_arena_strndup(struct mem_arena *arena, const char *text, size_t n)
{
    char *copy = n < SIZE_MAX ? mem_arena_zero(arena, n + 1, 1) : NULL;

    if (copy && n)
        memcpy(copy, text, n);
    return copy;
}

char *mem_arena_strdup(struct mem_arena *arena, const char *text)
{
    return mem_arena_strndup(arena, text, strlen(text));
}

char *mem_arena_vprintf(struct mem_arena *arena, const char *format,
                        va_list args)
{
    va_list again;
    char *text;
    int n;

    va_copy(again, args);
    n = vsnprintf(NULL, 0, format, args);
    text = n < 0 ? NULL : mem_arena_zero(arena, (size_t)n + 1, 1);
    if (text)
        (void)vsnprintf(text, (size_t)n + 1, format, again);
    va_end(again);
    return text;
}

char *mem_arena_printf(struct mem_arena *arena, const char *format, ...)
{
    va_list args;
    char *text;

    va_start(args, format);
    text = mem_arena_vprintf(arena, format, args);
    va_end(args);
    return text;
}
