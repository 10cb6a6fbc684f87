/* t_pictures.c - model, settings and seed in, picture out: the bytes of the
 * reference's pipelines (tools/goldens/make_pictures.py) on every rung.
 *
 * At most one in a hundred bytes may differ by more than 1, none by more than
 * 3.  Threads and the company in a batch must not change a single byte.
 *
 * SPDX-License-Identifier: MIT
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/compiler.h"
#include "format/json.h"
#include "golden.h"
#include "json_file.h"
#include "kernels/kernels.h"
#include "unstir.h"

#define MAX_TESTS 64

static const char *const rungs[] = {"scalar", "portable", "avx2"};

struct task {
    const struct json *row;
    const char *isa;
    char name[64];
};

static struct unstir_model *open_model(const char *id, const char *isa)
{
    struct unstir_model_options options = {.isa = isa};
    struct unstir_model *model;
    struct unstir_error err;
    char path[128];

    (void)snprintf(path, sizeof path, "tests/data/models/%s", id);
    if (unstir_model_open(&model, path, &options, &err))
        fail_msg("%s", err.detail);
    return model;
}

static struct unstir_executor *new_executor(unsigned n_threads)
{
    struct unstir_executor_options options = {.n_threads = n_threads};
    struct unstir_executor *exec;

    assert_int_equal(unstir_executor_new(&exec, &options, NULL), 0);
    return exec;
}

static struct unstir_request request_of(const struct json *row)
{
    struct unstir_request r = UNSTIR_REQUEST_INIT;
    const struct json *class_id = json_get(row, "class");
    const struct json *guidance = json_get(row, "guidance_scale");

    r.sampler = json_string(json_get(row, "sampler"));
    r.steps = (uint32_t)json_int(json_get(row, "steps"));
    r.seed = (uint64_t)json_int(json_get(row, "seed"));
    r.eta = json_real(json_get(row, "eta"));
    r.width = (uint32_t)json_int(json_get(row, "width"));
    r.height = (uint32_t)json_int(json_get(row, "height"));
    if (class_id)
        r.class_id = json_int(class_id);
    if (guidance)
        r.guidance = json_real(guidance);
    return r;
}

static struct unstir_image paint(const struct unstir_model *model,
                                 const struct unstir_request *r,
                                 struct unstir_executor *exec)
{
    struct unstir_generation *gen;
    struct unstir_image image;
    struct unstir_error err;

    if (unstir_generation_begin(&gen, model, r, &err))
        fail_msg("%s", err.detail);
    while (!unstir_generation_is_done(gen))
        if (unstir_generation_step(gen, exec, &err))
            fail_msg("%s", err.detail);
    if (unstir_generation_image(gen, &image, &err))
        fail_msg("%s", err.detail);
    unstir_generation_free(gen);
    return image;
}

static size_t image_bytes(const struct unstir_image *image)
{
    return (size_t)image->width * image->height * image->channels;
}

static int hex_byte(const char *text)
{
    char pair[3] = {text[0], text[1], '\0'};
    return (int)strtol(pair, NULL, 16);
}

static void compare(const struct task *task, const struct unstir_image *image)
{
    const char *wanted = json_string(json_get(task->row, "pixels"));
    size_t n = image_bytes(image);
    struct golden_bytes bytes = {0};

    assert_int_equal(strlen(wanted), 2 * n);
    for (size_t i = 0; i < n; i++)
        golden_count_byte(&bytes, image->pixels[i], hex_byte(wanted + 2 * i));
    golden_check_bytes(task->name, &bytes);
}

static void test_picture(void **state)
{
    const struct task *task = *state;
    struct kernel_table table;

    if (!kernels_select(&table, task->isa)) {
        printf("SKIP %s: this CPU cannot run it\n", task->name);
        skip();
    }
    struct unstir_model *model =
        open_model(json_string(json_get(task->row, "model")), task->isa);
    struct unstir_request r = request_of(task->row);
    struct unstir_image first = {0};

    for (unsigned n_threads = 1; n_threads <= 4; n_threads *= 2) {
        struct unstir_executor *exec = new_executor(n_threads);
        struct unstir_image image = paint(model, &r, exec);
        unstir_executor_free(exec);
        if (n_threads == 1) {
            first = image;
            compare(task, &first);
            continue;
        }
        assert_memory_equal(image.pixels, first.pixels, image_bytes(&first));
        unstir_image_fini(&image);
    }
    unstir_image_fini(&first);
    unstir_model_close(model);
}

/* Pictures in one batch: with and without guidance, other seeds, samplers and
 * counts of steps, another size, more than one evaluation takes. */
static void test_company(void **state)
{
    enum { N = 20 };
    const char *isa = *state;
    struct unstir_model *model = open_model("tiny", isa);
    struct unstir_executor *exec = new_executor(2);
    struct unstir_generation *gens[N], *running[N];
    struct unstir_request requests[N];
    struct unstir_error err;
    size_t n_running = N;

    for (size_t i = 0; i < N; i++) {
        requests[i] = (struct unstir_request)UNSTIR_REQUEST_INIT;
        requests[i].seed = 100 + i;
        requests[i].class_id = (int64_t)(i % 10);
        requests[i].steps = 3 + (uint32_t)(i % 3);
        requests[i].guidance = i % 4 ? 3 : 1;
        requests[i].sampler = i % 5 ? "ddim" : "ddpm";
        requests[i].width = i % 7 ? 16 : 8;
        if (unstir_generation_begin(&gens[i], model, &requests[i], &err))
            fail_msg("%s", err.detail);
        running[i] = gens[i];
    }
    while (n_running) {
        size_t n = 0;
        if (unstir_step_many(running, n_running, exec, &err))
            fail_msg("%s", err.detail);
        for (size_t i = 0; i < n_running; i++)
            if (!unstir_generation_is_done(running[i]))
                running[n++] = running[i];
        n_running = n;
    }
    for (size_t i = 0; i < N; i++) {
        struct unstir_image alone = paint(model, &requests[i], exec), image;
        assert_int_equal(unstir_generation_image(gens[i], &image, &err), 0);
        if (memcmp(alone.pixels, image.pixels, image_bytes(&alone)))
            fail_msg("picture %zu of the batch differs from itself alone", i);
        unstir_image_fini(&alone);
        unstir_image_fini(&image);
        unstir_generation_free(gens[i]);
    }
    unstir_executor_free(exec);
    unstir_model_close(model);
}

static void test_company_on(void **state)
{
    struct kernel_table table;

    if (!kernels_select(&table, *state)) {
        printf("SKIP company on %s: this CPU cannot run it\n",
               (const char *)*state);
        skip();
    }
    test_company(state);
}

int main(void)
{
    static struct task tasks[MAX_TESTS];
    static struct CMUnitTest tests[MAX_TESTS];
    static char names[ARRAY_LEN(rungs)][32];
    struct json *rows = json_file_open("tests/data/pictures.json");
    size_t n = 0;

    for (size_t r = 0; r < ARRAY_LEN(rungs); r++) {
        for (size_t i = 0; i < json_len(rows) && n < MAX_TESTS - 8; i++, n++) {
            tasks[n].row = json_at(rows, i);
            tasks[n].isa = rungs[r];
            (void)snprintf(tasks[n].name, sizeof tasks[n].name,
                           "picture %zu on %s", i, rungs[r]);
            tests[n] = (struct CMUnitTest){.name = tasks[n].name,
                                           .test_func = test_picture,
                                           .initial_state = &tasks[n]};
        }
        (void)snprintf(names[r], sizeof names[r], "company on %s", rungs[r]);
        tests[n++] = (struct CMUnitTest){.name = names[r],
                                         .test_func = test_company_on,
                                         .initial_state = (void *)rungs[r]};
    }
    int rc = _cmocka_run_group_tests("t_pictures", tests, n, NULL, NULL);
    json_free(rows);
    return rc;
}
