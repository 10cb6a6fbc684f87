/* layers.c - what each layer of a network runs by, for people.
 *
 * SPDX-License-Identifier: MIT
 */
#include "format/json.h"
#include "model/network.h"
#include "model/network_parts.h"
#include "ops/plan.h"

static void put_layer(struct json_writer *w, const char *name,
                      const struct plan_product *p)
{
    json_open_object(w, NULL);
    json_put_string(w, "layer", name);
    json_put_int(w, "n", p->n);
    json_put_int(w, "height", p->h);
    json_put_int(w, "width", p->w);
    json_put_int(w, "cin", p->cin);
    json_put_int(w, "cout", p->cout);
    json_put_int(w, "kernel", p->kernel);
    json_put_int(w, "stride", p->stride);
    json_put_string(w, "algorithm", p->way);
    json_put_string(w, "operands", p->operands);
    json_put_int(w, "packed_bytes", (int64_t)p->packed_bytes);
    json_close(w);
}

enum unstir_status network_put_layers(struct json_writer *w,
                                      const struct network *net,
                                      const struct model_size *size,
                                      struct unstir_error *err)
{
    struct plan *plan;

    TRY(network_plan(&plan, net, LOWER_WHOLE, size, 1, err));
    for (size_t i = 0; i < plan_n_steps(plan); i++) {
        const struct plan_product *p = plan_step_product(plan, i);

        if (p)
            put_layer(w, plan_step_name(plan, i), p);
    }
    plan_free(plan);
    return UNSTIR_OK;
}
