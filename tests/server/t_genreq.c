/* t_genreq.c - from JSON to the one internal form of "make an image".
 *
 * SPDX-License-Identifier: MIT
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "genreq.h"
#include "loras.h"

static struct config config;
static struct models models;
static struct model model = {.models = &models};
static struct models models = {.first = &model, .n = 1};
static struct service service = {.config = &config, .models = &models};

/* LoRAs of the table: nothing here reads their files. */
#define DIGEST_1 \
    "1111111111111111111111111111111111111111111111111111111111111111"
#define DIGEST_2 \
    "2222222222222222222222222222222222222222222222222222222222222222"
static char lora_path[] = "/loras/file";
static struct lora_file files[] = {
    {.name = "broken", .path = lora_path, .why = "it is broken"},
    {.name = "film",
     .path = lora_path,
     .is_usable = true,
     .details = {.digest = DIGEST_2, .n_bytes = 600}},
    {.name = "ink",
     .path = lora_path,
     .is_usable = true,
     .details = {.digest = DIGEST_1, .n_bytes = 600}}};
static struct lora_file *file_table[] = {&files[0], &files[1], &files[2]};
static struct loras loras = {.files = file_table, .n = 3};

static int open_model(void **state)
{
    const struct unstir_model_options options = {.precision =
                                                     UNSTIR_PRECISION_F32};
    struct unstir_error error;

    (void)state;
    config_defaults(&config);
    if (unstir_model_open(&model.described, "tests/data/models/tiny", &options,
                          &error) != UNSTIR_OK) {
        print_error("%s\n", error.detail);
        return -1;
    }
    model.info = unstir_model_info(model.described);
    model.state = MODEL_READY;
    cost_init(&model.cost, model.info->default_width,
              model.info->default_height, model.info->evaluation_gflop,
              model.info->decode_gflop);
    return 0;
}

static int close_model(void **state)
{
    (void)state;
    unstir_model_close(model.described);
    config_fini(&config);
    return 0;
}

struct reading {
    struct mem_arena *arena;
    struct problem *problem;
    struct genreq req;
    bool is_good;
};

static void read_json(struct reading *r, const char *json, bool is_lenient)
{
    struct genreq_options options = {.is_lenient = is_lenient};
    struct intake in = {.doc = NULL};

    r->arena = mem_arena_new(1 << 20);
    assert_non_null(r->arena);
    r->problem = mem_arena_zero(r->arena, 1, sizeof *r->problem);
    problem_init(r->problem, r->arena, ERROR_INVALID_PARAMETERS);
    intake_parse(&in, json, strlen(json));
    if (in.doc == NULL)
        print_error("%s: %s\n", json, in.why);
    assert_non_null(in.doc);
    r->is_good = genreq_read(&r->req, &service, &in, &options, r->problem);
    intake_fini(&in);
}

static void end_reading(struct reading *r)
{
    genreq_fini(&r->req);
    mem_arena_free(r->arena);
}

static void test_defaults(void **state)
{
    struct reading r;

    (void)state;
    read_json(&r, "{}", false);
    assert_true(r.is_good);
    assert_int_equal(r.req.n, 1);
    assert_int_equal(r.req.resolved.steps, 4);
    assert_int_equal(r.req.resolved.width, 16);
    assert_string_equal(r.req.resolved.sampler, "ddim");
    assert_false(r.req.has_own_seed);
    assert_true(r.req.resolved.seed < UINT64_C(1) << 53);
    assert_true(r.req.has_metadata);
    assert_int_equal(r.req.file.png_level, -1);
    assert_int_equal(r.req.preview_every, 1);
    assert_true(r.req.keeps_previews);
    assert_false(r.req.continues_on_disconnect);
    assert_true(r.req.ttl_s == 600);
    assert_ptr_equal(r.req.model, &model);
    assert_int_equal(model.n_users, 0); /* work holds it, not a request */
    end_reading(&r);
}

static void test_class_of_prompt_and_class(void **state)
{
    static const struct {
        const char *json;
        int64_t wanted;
    } rows[] = {{"{\"prompt\":\"sneaker\"}", 7},
                {"{\"prompt\":\" SNEAKER \"}", 7},
                {"{\"prompt\":\"7\"}", 7},
                {"{\"class\":7}", 7},
                {"{\"class\":\"7\"}", 7},
                {"{\"class\":\"ankle boot\"}", 9},
                {"{\"class\":\"sneaker\",\"prompt\":\"7\"}", 7},
                {"{\"prompt\":\"\"}", -1},
                {"{\"class\":\"none\"}", -1},
                {"{}", -1}};

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct reading r;
        int64_t got;

        read_json(&r, rows[i].json, false);
        assert_true(r.is_good);
        /* The null class may be told by its number. */
        got = r.req.resolved.class_id == model.info->null_class
                  ? -1
                  : r.req.resolved.class_id;
        if (got != rows[i].wanted)
            print_error("%s: wanted class %d, got %d\n", rows[i].json,
                        (int)rows[i].wanted, (int)got);
        assert_true(got == rows[i].wanted);
        end_reading(&r);
    }
}

static void test_seeds(void **state)
{
    static const struct {
        const char *json;
        uint64_t wanted;
    } rows[] = {
        {"{\"seed\":0}", 0},
        {"{\"seed\":42}", 42},
        {"{\"seed\":\"42\"}", 42},
        {"{\"seed\":9223372036854775807}", INT64_MAX},
        {"{\"seed\":\"18446744073709551615\"}", UINT64_MAX},
    };

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct reading r;

        read_json(&r, rows[i].json, false);
        assert_true(r.is_good);
        assert_true(r.req.has_own_seed);
        assert_true(r.req.resolved.seed == rows[i].wanted);
        end_reading(&r);
    }
}

static const struct problem_violation *find(const struct problem *problem,
                                            const char *pointer)
{
    for (size_t i = 0; i < problem->n_violations; i++)
        if (strcmp(problem->violations[i].pointer, pointer) == 0)
            return &problem->violations[i];
    print_error("no violation of %s\n", pointer);
    return NULL;
}

/* One of each layer: the table, the service, the model, unknown names. */
static void test_all_violations_at_once(void **state)
{
    static const struct {
        const char *pointer, *nearest;
    } rows[] = {
        {"/n", "[16]"},
        {"/widht", "[\"width\"]"},
        {"/prompt", "[\"coat\"]"},
        {"/width", "[18]"},
        {"/steps", "[1000]"},
        {"/ttl_s", "[86400]"},
        {"/output/format", "[\"png\",\"jpeg\",\"webp\",\"safetensors\"]"},
        {"/strength", NULL},
        {"/loras/0", NULL},
        {"/precision", "[\"f32\"]"}};
    struct reading r;

    (void)state;
    read_json(&r,
              "{\"n\":17,\"widht\":3,\"prompt\":\"cout\",\"width\":17,"
              "\"steps\":5000,\"ttl_s\":86401,\"output\":{\"format\":\"bmp\"},"
              "\"strength\":0.5,\"loras\":[\"x\"],\"precision\":\"bf16\"}",
              false);
    assert_false(r.is_good);
    assert_int_equal(r.problem->code, ERROR_INVALID_PARAMETERS);
    assert_int_equal(r.problem->n_violations, sizeof rows / sizeof *rows);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const struct problem_violation *v = find(r.problem, rows[i].pointer);

        assert_non_null(v);
        if (rows[i].nearest == NULL) {
            assert_null(v->nearest);
            continue;
        }
        if (v->nearest == NULL)
            print_error("%s: no nearest value\n", rows[i].pointer);
        assert_non_null(v->nearest);
        assert_string_equal(v->nearest, rows[i].nearest);
    }
    assert_int_equal(model.n_users, 0);
    end_reading(&r);
}

static void test_lenient_passes_over_unknown_names_only(void **state)
{
    struct reading r;

    (void)state;
    read_json(&r, "{\"stepz\":3,\"loras\":[]}", true);
    assert_true(r.is_good);
    end_reading(&r);
    read_json(&r, "{\"stepz\":3,\"steps\":0}", true);
    assert_false(r.is_good);
    assert_int_equal(r.problem->n_violations, 1);
    end_reading(&r);
}

static void test_model_that_cannot_be_used(void **state)
{
    static const enum model_state waits[] = {MODEL_LOADING, MODEL_UNLOADED,
                                             MODEL_UNLOADING};
    struct unstir_model *described = model.described;
    struct reading r;

    (void)state;
    model.state = MODEL_LOADING;
    model.described = NULL; /* nothing to check a request against */
    read_json(&r, "{}", false);
    assert_false(r.is_good);
    assert_int_equal(r.problem->code, ERROR_LOADING);
    end_reading(&r);
    model.described = described;
    for (size_t i = 0; i < sizeof waits / sizeof *waits; i++) {
        model.state = waits[i]; /* described: its jobs wait */
        read_json(&r, "{}", false);
        assert_true(r.is_good);
        end_reading(&r);
    }
    model.state = MODEL_FAILED;
    read_json(&r, "{}", false);
    assert_int_equal(r.problem->code, ERROR_NO_MODEL);
    assert_string_equal(r.problem->detail,
                        "model tiny is failed: the model could not be loaded; "
                        "the server's log says why");
    end_reading(&r);
    model.state = MODEL_READY;
    read_json(&r, "{\"model\":\"other\"}", false);
    assert_non_null(find(r.problem, "/model"));
    end_reading(&r);
}

/* What Idempotency-Key compares: a drawn seed does not count, an own does. */
static void test_digest(void **state)
{
    static const struct {
        const char *one, *other;
        bool is_same;
    } rows[] = {
        {"{}", "{}", true},
        {"{}", "{\"n\":1,\"steps\":4,\"sampler\":\"ddim\"}", true},
        {"{\"class\":7}", "{\"class\":\"sneaker\"}", true},
        {"{\"seed\":1}", "{\"seed\":\"1\"}", true},
        {"{\"seed\":1}", "{\"seed\":2}", false},
        {"{\"seed\":1}", "{}", false},
        {"{\"n\":2}", "{}", false},
        {"{\"tag\":\"a\"}", "{\"tag\":\"b\"}", false},
    };

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        uint8_t a[SHA256_BYTES], b[SHA256_BYTES];
        struct reading one, other;

        read_json(&one, rows[i].one, false);
        read_json(&other, rows[i].other, false);
        assert_true(genreq_digest(&one.req, a));
        assert_true(genreq_digest(&other.req, b));
        if ((memcmp(a, b, sizeof a) == 0) != rows[i].is_same)
            print_error("%s and %s: wanted %s\n", rows[i].one, rows[i].other,
                        rows[i].is_same ? "the same" : "different");
        assert_true((memcmp(a, b, sizeof a) == 0) == rows[i].is_same);
        end_reading(&one);
        end_reading(&other);
    }
}

/* The canonical request reads back to itself. */
static void check_fixed_point(const struct reading *r)
{
    struct reading again;
    struct json_out out;
    struct buf first, second;

    assert_true(r->is_good);
    buf_init(&first, 65536);
    jout_init(&out, &first);
    genreq_write(&r->req, &out, NULL);
    assert_false(first.failed);
    read_json(&again, first.bytes, true); /* "label" is for people */
    assert_true(again.is_good);
    buf_init(&second, 65536);
    jout_init(&out, &second);
    genreq_write(&again.req, &out, NULL);
    assert_string_equal(second.bytes, first.bytes);
    buf_fini(&first);
    buf_fini(&second);
    end_reading(&again);
}

static void test_canonical_form_is_a_fixed_point(void **state)
{
    struct reading r;

    (void)state;
    read_json(&r,
              "{\"class\":\"bag\",\"seed\":\"18446744073709551615\",\"n\":3,"
              "\"eta\":0.5,\"priority\":-1,\"tag\":\"\\u00e9\",\"ttl_s\":9,"
              "\"preview\":{\"every\":2,\"max_edge\":64},"
              "\"output\":{\"png_level\":0},\"on_disconnect\":\"continue\"}",
              false);
    check_fixed_point(&r);
    end_reading(&r);
}

static void open_loras(void)
{
    static char folder[] = "/loras";

    mem_free(config.lora_dir);
    config.lora_dir = mem_strdup(folder);
    config.lora_bytes = 1000;
    service.loras = &loras;
}

static void test_loras_share_a_model(void **state)
{
    static const char *const same[] = {
        "{\"loras\":[{\"name\":\"ink\",\"scale\":0.5}]}",
        "{\"loras\":[\"ink:0.5\"]}",
        "{\"loras\":\"ink:0.5\"}",
        "{\"loras\":{\"name\":\"ink\",\"weight\":0.5}}",
        "{\"loras\":[{\"name\":\"ink\",\"scale\":0.5,\"text_scale\":0.5}]}",
        "{\"loras\":[\"ink:0.5:0.5\",\"film:0\"]}",
        "{\"loras\":[{\"name\":\"ink\",\"scale\":0.5,\"sha256\":\"" DIGEST_1
        "\"}]}"};
    enum { N = sizeof same / sizeof *same };
    struct reading readings[N], other;

    (void)state;
    open_loras();
    for (size_t i = 0; i < N; i++) {
        read_json(&readings[i], same[i], false);
        if (!readings[i].is_good)
            fail_msg("%s: refused", same[i]);
        assert_ptr_not_equal(readings[i].req.model, &model);
        assert_ptr_equal(readings[i].req.model, readings[0].req.model);
        assert_int_equal(readings[i].req.model->n_refs, i + 1);
    }
    assert_ptr_equal(readings[0].req.model->base, &model);
    assert_ptr_equal(model_cost(readings[0].req.model), &model.cost);
    assert_string_equal(model_id(readings[0].req.model), model_id(&model));
    assert_string_not_equal(readings[0].req.model->info->digest,
                            model.info->digest);
    read_json(&other, "{\"loras\":[\"ink:0.5:0.6\"]}", false);
    assert_ptr_not_equal(other.req.model, readings[0].req.model);
    end_reading(&other);
    read_json(&other, "{\"loras\":[\"ink:0\"]}", false);
    assert_ptr_equal(other.req.model, &model);
    end_reading(&other);
    for (size_t i = 0; i < N; i++)
        end_reading(&readings[i]);
    assert_null(models.first_derived); /* nobody names it any more */
    service.loras = NULL;
}

static void test_loras_have_one_order(void **state)
{
    struct reading one, other;

    (void)state;
    open_loras();
    config.lora_bytes = 2000;
    read_json(&one, "{\"seed\":1,\"loras\":[\"film:0.25\",\"ink\"]}", false);
    read_json(&other, "{\"seed\":1,\"loras\":[\"ink\",\"film:0.25\"]}", false);
    assert_true(one.is_good && other.is_good);
    assert_ptr_equal(one.req.model, other.req.model);
    assert_int_equal(one.req.model->info->n_loras, 2);
    assert_string_equal(one.req.model->info->loras[0].name, "ink");
    check_fixed_point(&one);
    end_reading(&one);
    end_reading(&other);
    assert_null(models.first_derived);
    service.loras = NULL;
}

static void test_loras_that_are_wrong(void **state)
{
    static const struct {
        const char *json, *pointer, *nearest;
    } rows[] = {
        {"{\"loras\":[\"imk\"]}", "/loras/0", "[\"ink\"]"},
        {"{\"loras\":\"imk\"}", "/loras", "[\"ink\"]"},
        {"{\"loras\":[\"broken\"]}", "/loras/0", NULL},
        {"{\"loras\":[\"ink\",\"ink\"]}", "/loras/1", NULL},
        {"{\"loras\":[\"ink\",\"film\"]}", "/loras/1", NULL}, /* 1200 bytes */
        {"{\"loras\":[{\"name\":\"ink\",\"scale\":-100.5}]}", "/loras/0/scale",
         "[-100]"},
        {"{\"loras\":[\"ink:101\"]}", "/loras/0", NULL},
        {"{\"loras\":[\"ink:x\"]}", "/loras/0", NULL},
        {"{\"loras\":[\"ink:1:2:3\"]}", "/loras/0", NULL},
        {"{\"loras\":[\"\"]}", "/loras/0", NULL},
        {"{\"loras\":[{\"scale\":1}]}", "/loras/0", NULL},
        {"{\"loras\":[\"a><lora:ink\"]}", "/loras/0", NULL},
        {"{\"loras\":[\"../ink\"]}", "/loras/0", NULL},
        {"{\"loras\":[{\"name\":\"ink:0.8\",\"scale\":1}]}", "/loras/0", NULL},
        {"{\"loras\":[{\"name\":\"ink\",\"sha256\":\"" DIGEST_2 "\"}]}",
         "/loras/0", "[\"" DIGEST_1 "\"]"},
        {"{\"loras\":[[]]}", "/loras/0", NULL},
    };

    (void)state;
    open_loras();
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const struct problem_violation *v;
        struct reading r;

        read_json(&r, rows[i].json, false);
        if (r.is_good)
            fail_msg("%s: accepted", rows[i].json);
        v = find(r.problem, rows[i].pointer);
        assert_non_null(v);
        if (rows[i].nearest != NULL &&
            (v->nearest == NULL || strcmp(v->nearest, rows[i].nearest) != 0))
            fail_msg("%s: nearest %s, wanted %s", rows[i].json,
                     v->nearest != NULL ? v->nearest : "-", rows[i].nearest);
        end_reading(&r);
        assert_null(models.first_derived);
    }
    service.loras = NULL;
}

/* What is known to fail is told at once, while anybody remembers. */
static void test_loras_that_failed(void **state)
{
    struct reading r, again;

    (void)state;
    open_loras();
    read_json(&r, "{\"loras\":[\"ink\"]}", false);
    r.req.model->state = MODEL_FAILED;
    r.req.model->why_is_public = true;
    read_json(&again, "{\"loras\":[\"ink\"]}", false);
    assert_false(again.is_good);
    assert_non_null(find(again.problem, "/loras"));
    assert_int_equal(r.req.model->n_refs, 1);
    end_reading(&again);
    end_reading(&r);
    assert_null(models.first_derived);
    service.loras = NULL;
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults),
        cmocka_unit_test(test_class_of_prompt_and_class),
        cmocka_unit_test(test_seeds),
        cmocka_unit_test(test_all_violations_at_once),
        cmocka_unit_test(test_lenient_passes_over_unknown_names_only),
        cmocka_unit_test(test_model_that_cannot_be_used),
        cmocka_unit_test(test_digest),
        cmocka_unit_test(test_canonical_form_is_a_fixed_point),
        cmocka_unit_test(test_loras_share_a_model),
        cmocka_unit_test(test_loras_have_one_order),
        cmocka_unit_test(test_loras_that_are_wrong),
        cmocka_unit_test(test_loras_that_failed),
    };

    return cmocka_run_group_tests(tests, open_model, close_model);
}
