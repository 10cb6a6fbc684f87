/* h_loras.c - which LoRAs requests may name.
 *
 * The answer comes when the folder has been read anew, so that a file that was
 * put there before the request is in it.
 *
 * SPDX-License-Identifier: MIT
 */
#include "buf.h"
#include "handlers.h"
#include "loras.h"
#include "reply.h"
#include "request.h"

/* A name, a reason and the trigger words, each byte escaped. */
#define LORA_BYTES (8u << 10)

static void write_range(struct json_out *out, const char *key, double min,
                        double max)
{
    jout_object(out, key);
    jout_number(out, "min", min);
    jout_number(out, "max", max);
    jout_end_object(out);
}

static void write_details(const struct unstir_lora_details *d,
                          struct json_out *out)
{
    jout_string(out, "sha256", d->digest);
    jout_string(out, "kind", d->kind);
    if (d->family != NULL)
        jout_string(out, "family", d->family);
    else
        jout_null(out, "family");
    jout_bool(out, "unet", d->has_unet);
    jout_bool(out, "text_encoder", d->has_text);
    jout_int(out, "layers", d->n_layers);
    write_range(out, "rank", d->min_rank, d->max_rank);
    write_range(out, "alpha", d->min_alpha, d->max_alpha);
    jout_array(out, "triggers");
    for (size_t i = 0; i < d->n_triggers; i++)
        jout_string(out, NULL, d->triggers[i]);
    jout_end_array(out);
}

static void write_lora(const struct lora_file *file, struct json_out *out)
{
    jout_object(out, NULL);
    jout_string(out, "name", file->name);
    jout_string(out, "object", "lora");
    jout_string(out, "status", file->is_usable ? "ready" : "failed");
    jout_uint(out, "bytes", file->stamp.n_bytes);
    if (file->is_usable)
        write_details(&file->details, out);
    else
        jout_string(out, "error", file->why);
    jout_end_object(out);
}

static void reply_list(struct request *request, const struct loras *loras)
{
    struct json_out out;
    struct buf buf;

    buf_init(&buf, LORA_BYTES * (loras->n + 1));
    jout_init(&out, &buf);
    jout_object(&out, NULL);
    jout_string(&out, "object", "list");
    jout_array(&out, "data");
    for (size_t i = 0; i < loras->n; i++)
        write_lora(loras->files[i], &out);
    jout_end_array(&out);
    jout_uint(&out, "left_out", loras->n_left_out);
    jout_null(&out, "next_cursor");
    jout_end_object(&out);
    reply_header(request, "Cache-Control", "private, no-cache");
    reply_json_tagged(request, &buf);
}

struct asked {
    struct loras *loras;
    struct request *request;
    struct lora_waiter *waiter;
};

static void read_anew(void *user)
{
    struct asked *asked = user;

    reply_list(asked->request, asked->loras);
    mem_free(asked);
}

static void asker_gone(struct request *request, void *user)
{
    struct asked *asked = user;

    (void)request;
    loras_forget(asked->loras, asked->waiter);
    mem_free(asked);
}

void h_loras_list(struct service *service, struct request *request)
{
    struct asked *asked = mem_zero(1, sizeof *asked);

    if (asked != NULL) {
        asked->loras = service->loras;
        asked->request = request;
        asked->waiter = loras_refresh(service->loras, read_anew, asked);
        if (asked->waiter != NULL) {
            reply_defer(request, asker_gone, asked);
            return;
        }
    }
    mem_free(asked);
    reply_list(request, service->loras); /* no folder, or no memory: as known */
}
