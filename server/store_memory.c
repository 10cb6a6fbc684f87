/* store_memory.c - the store that is the process itself.
 *
 * Records live in the table of jobs; this one only keeps the promise that the
 * answer comes later, so that the states around it are used from the first
 * day on.
 *
 * SPDX-License-Identifier: MIT
 */
#include "store.h"

#include <stdio.h>

#include "buf.h"

/* Posted to the loop; `store` is NULL once the store was closed. */
struct admission {
    struct loop_message message;
    struct store *store;
    struct admission *next, **link;
    store_answer_fn answer;
    void *user;
};

struct store {
    struct loop *loop;
    struct admission *first;
};

static struct store *memory_open(struct loop *loop, const char *where,
                                 char *why, size_t why_size)
{
    struct store *store = mem_zero(1, sizeof *store);

    (void)where;
    if (store == NULL)
        (void)snprintf(why, why_size, "out of memory");
    else
        store->loop = loop;
    return store;
}

static void admitted(struct loop_message *message)
{
    struct admission *a = (struct admission *)message;

    if (a->store != NULL) {
        *a->link = a->next;
        if (a->next != NULL)
            a->next->link = a->link;
        a->answer(a->user, true);
    }
    mem_free(a);
}

static void memory_admit(struct store *store, const struct store_record *record,
                         store_answer_fn answer, void *user)
{
    struct admission *a = mem_zero(1, sizeof *a);

    (void)record;
    if (a == NULL) {
        answer(user, false);
        return;
    }
    a->message.run = admitted;
    a->store = store;
    a->answer = answer;
    a->user = user;
    a->next = store->first;
    a->link = &store->first;
    if (a->next != NULL)
        a->next->link = &a->next;
    store->first = a;
    loop_post(store->loop, &a->message);
}

static void memory_settle(struct store *store,
                          const struct store_record *record)
{
    (void)store;
    (void)record;
}

static void memory_forget(struct store *store, const char *id)
{
    (void)store;
    (void)id;
}

static void memory_close(struct store *store)
{
    if (store == NULL)
        return;
    for (struct admission *a = store->first; a != NULL; a = a->next)
        a->store = NULL;
    mem_free(store);
}

const struct store_ops store_memory = {.name = "memory",
                                       .is_durable = false,
                                       .open = memory_open,
                                       .admit = memory_admit,
                                       .settle = memory_settle,
                                       .forget = memory_forget,
                                       .close = memory_close};
