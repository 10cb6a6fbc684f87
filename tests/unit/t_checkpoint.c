/* t_checkpoint.c - opening a model: defaults when nothing is said, and what
 * unstir.json and scheduler_config.json may not say.
 *
 * The network is a small one with drawn weights; nothing is read from disk.
 *
 * SPDX-License-Identifier: MIT
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "base/alloc.h"
#include "base/compiler.h"
#include "format/json.h"
#include "json_file.h"
#include "pipeline/checkpoint.h"

/* %s: more members, each with a comma in front. */
#define UNET                                                   \
    "{\"_class_name\":\"UNet2DModel\",\"layers_per_block\":1," \
    "\"block_out_channels\":[4,4],\"norm_num_groups\":2,"      \
    "\"down_block_types\":[\"DownBlock2D\",\"DownBlock2D\"],"  \
    "\"up_block_types\":[\"UpBlock2D\",\"UpBlock2D\"],"        \
    "\"add_attention\":false%s}"
#define GREY ",\"in_channels\":1,\"out_channels\":1"

struct texts {
    const char *unet, *scheduler, *unstir, *index;
};

static struct json *parse(const char *text)
{
    return text ? json_text(text) : NULL;
}

/* The model borrows the documents: all end together. */
struct opened {
    struct unstir_model *model;
    struct json *unet, *scheduler, *unstir, *index;
};

static enum unstir_status open_texts(struct opened *o, const struct texts *t,
                                     const char *name, struct unstir_error *err)
{
    char unet[1024];

    (void)snprintf(unet, sizeof unet, UNET, t->unet ? t->unet : GREY);
    *o = (struct opened){.unet = parse(unet),
                         .scheduler = parse(t->scheduler),
                         .unstir = parse(t->unstir),
                         .index = parse(t->index)};
    struct checkpoint_parts parts = {.name = name,
                                     .digest = "d",
                                     .index = o->index,
                                     .unet_config = o->unet,
                                     .scheduler_config = o->scheduler,
                                     .unstir = o->unstir};
    return checkpoint_new(&o->model, &parts, NULL, err);
}

static void close_texts(struct opened *o)
{
    checkpoint_free(o->model);
    json_free(o->unet);
    json_free(o->scheduler);
    json_free(o->unstir);
    json_free(o->index);
}

static void must_open(struct opened *o, const struct texts *t, const char *name)
{
    struct unstir_error err;

    if (open_texts(o, t, name, &err))
        fail_msg("%s", err.detail);
}

/* Without unstir.json the folder's own configuration speaks. */
static void test_derived_defaults(void **state)
{
    static const struct {
        struct texts texts;
        const char *sampler;
        uint32_t steps, width, height, max_size;
    } rows[] = {
        {{NULL, NULL, NULL, NULL}, "ddpm", 1000, 64, 64, 256},
        {{GREY ",\"sample_size\":28", NULL, NULL, NULL},
         "ddpm",
         1000,
         28,
         28,
         112},
        {{GREY ",\"sample_size\":[24,16]",
          "{\"_class_name\":\"DDIMScheduler\"}", NULL, NULL},
         "ddim",
         50,
         16,
         24,
         96},
        {{GREY ",\"sample_size\":32",
          "{\"_class_name\":\"DDPMScheduler\",\"num_train_timesteps\":40}",
          NULL, NULL},
         "ddpm",
         40,
         32,
         32,
         128},
        {{GREY ",\"sample_size\":32",
          "{\"_class_name\":\"DDIMScheduler\",\"num_train_timesteps\":40}",
          NULL, NULL},
         "ddim",
         40,
         32,
         32,
         128},
        {{GREY ",\"sample_size\":1024", NULL, NULL, NULL},
         "ddpm",
         1000,
         1024,
         1024,
         CHECKPOINT_MAX_SIZE},
    };

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct opened o;
        must_open(&o, &rows[i].texts, "folder");
        const struct unstir_model_info *info = unstir_model_info(o.model);
        if (strcmp(info->default_sampler, rows[i].sampler) ||
            info->default_steps != rows[i].steps ||
            info->default_width != rows[i].width ||
            info->default_height != rows[i].height ||
            info->max_size != rows[i].max_size)
            fail_msg("row %zu: %s, %u steps, %u x %u, at most %u", i,
                     info->default_sampler, info->default_steps,
                     info->default_width, info->default_height, info->max_size);
        assert_int_equal(info->size_multiple, 2);
        assert_int_equal(info->min_size, 2);
        assert_int_equal(info->n_labels, 0);
        assert_int_equal(info->null_class, -1);
        assert_true(info->default_guidance == 1);
        assert_string_equal(info->id, "folder");
        close_texts(&o);
    }
}

static void test_ids(void **state)
{
    static const struct {
        const char *name, *unstir, *wanted;
    } rows[] = {
        {"my model (2)", NULL, "my-model--2-"},
        {".hidden", NULL, "-hidden"},
        {"", NULL, "model"},
        {"folder", "{\"id\":\"cat-1.5_x\"}", "cat-1.5_x"},
    };

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct texts texts = {.unstir = rows[i].unstir};
        struct opened o;
        must_open(&o, &texts, rows[i].name);
        assert_string_equal(unstir_model_info(o.model)->id, rows[i].wanted);
        close_texts(&o);
    }
}

/* Leading steps of 11 timesteps, begun 5 late: four end at timestep 11, which
 * is none, six at 10.  That four do not fit is no reason to refuse the rest. */
static void test_short_table_with_offset(void **state)
{
    static const struct texts texts = {
        .scheduler = "{\"_class_name\":\"DDIMScheduler\","
                     "\"num_train_timesteps\":11,\"steps_offset\":5}"};
    const struct unstir_model_info *info;
    struct opened o;

    (void)state;
    must_open(&o, &texts, "folder");
    info = unstir_model_info(o.model);
    assert_string_equal(info->default_sampler, "ddim");
    assert_int_equal(info->max_steps, 11);
    assert_int_equal(info->default_steps, 6);
    close_texts(&o);
}

/* A model whose own sampler cannot run is there for others, which a request
 * names; asked for without a name it says why, and which they are. */
static void test_own_sampler_refused(void **state)
{
    static const struct {
        const char *scheduler, *said;
    } rows[] = {
        {"{\"_class_name\":\"SASolverScheduler\",\"steps_offset\":1,"
         "\"beta_schedule\":\"scaled_linear\"}",
         "SASolverScheduler"},
        {"{\"_class_name\":\"NewestScheduler\",\"beta_start\":0.001}",
         "NewestScheduler"},
        {"{\"variance_type\":\"fixed_large_log\"}", "fixed_large_log"},
        {"{\"variance_type\":\"learned\"}", "learned"},
        {"{\"_class_name\":\"DPMSolverMultistepScheduler\","
         "\"use_karras_sigmas\":true,\"use_lu_lambdas\":true}",
         "use_lu_lambdas"},
    };

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct texts texts = {.scheduler = rows[i].scheduler};
        struct unstir_request r = UNSTIR_REQUEST_INIT, full;
        struct unstir_error err = {0};
        struct opened o;

        must_open(&o, &texts, "folder");
        const struct unstir_model_info *info = unstir_model_info(o.model);
        assert_int_equal(info->n_notes, 1);
        assert_non_null(strstr(info->notes[0], rows[i].said));
        assert_int_equal(
            unstir_request_check(o.model, &r, &full, NULL, NULL, &err),
            UNSTIR_ERR_ARG);
        assert_string_equal(err.field, "sampler");
        if (!strstr(err.detail, rows[i].said) || !strstr(err.detail, "euler"))
            fail_msg("row %zu: %s", i, err.detail);
        r.sampler = "euler";
        if (unstir_request_check(o.model, &r, &full, NULL, NULL, &err))
            fail_msg("row %zu: %s", i, err.detail);
        close_texts(&o);
        texts.unstir = "{\"defaults\":{\"sampler\":\"euler\"}}";
        r.sampler = NULL;
        must_open(&o, &texts, "folder");
        if (unstir_request_check(o.model, &r, &full, NULL, NULL, &err))
            fail_msg("row %zu: %s", i, err.detail);
        assert_string_equal(full.sampler, "euler");
        close_texts(&o);
    }
}

/* DDPM cannot take this configuration, DDIM can: one is offered. */
static void test_unusable_sampler(void **state)
{
    struct texts texts = {.scheduler =
                              "{\"_class_name\":\"DDIMScheduler\","
                              "\"variance_type\":\"fixed_large_log\"}"};
    struct unstir_request r = UNSTIR_REQUEST_INIT, full;
    struct unstir_error err = {0};
    struct opened o;

    must_open(&o, &texts, "folder");
    assert_int_equal(unstir_request_check(o.model, &r, &full, NULL, NULL, &err),
                     0);
    assert_string_equal(full.sampler, "ddim");
    r.sampler = "ddpm";
    assert_int_equal(unstir_request_check(o.model, &r, &full, NULL, NULL, &err),
                     UNSTIR_ERR_ARG);
    assert_string_equal(err.field, "sampler");
    assert_non_null(strstr(err.detail, "fixed_large"));
    close_texts(&o);
}

/* Nothing can be made of noise where the first timestep has no signal left, but
 * of a picture something, from a later one. */
static void test_no_signal(void **state)
{
    static uint8_t pixels[16 * 16];
    const struct unstir_image picture = {16, 16, 1, pixels};
    struct texts texts = {
        .scheduler = "{\"_class_name\":\"DDIMScheduler\",\"clip_sample\":"
                     "false,\"timestep_spacing\":\"trailing\","
                     "\"rescale_betas_zero_snr\":true}"};
    struct unstir_request r = UNSTIR_REQUEST_INIT, full;
    struct unstir_error err = {0};
    struct opened o;

    must_open(&o, &texts, "folder");
    assert_int_equal(unstir_request_check(o.model, &r, &full, NULL, NULL, &err),
                     UNSTIR_ERR_ARG);
    assert_non_null(strstr(err.detail, "no signal left"));
    r.init_image = &picture;
    r.strength = 0.5;
    if (unstir_request_check(o.model, &r, &full, NULL, NULL, &err))
        fail_msg("%s", err.detail);
    assert_string_equal(full.sampler, "ddim");
    close_texts(&o);
}

static void test_id2label(void **state)
{
    struct texts texts = {
        .unet = GREY ",\"num_class_embeds\":3",
        .index = "{\"id2label\":{\"0\":\"tench, Tinca tinca\",\"1\":\" cat \","
                 "\"2\":\"\",\"7\":\"too far\",\"x\":\"odd\"}}"};
    struct unstir_error err;
    struct opened o;
    int64_t id;

    must_open(&o, &texts, "folder");
    const struct unstir_model_info *info = unstir_model_info(o.model);
    assert_int_equal(info->n_labels, 3);
    assert_string_equal(info->labels[1].name, "Tinca tinca");
    assert_int_equal(unstir_model_find_class(o.model, "TINCA TINCA", &id, &err),
                     0);
    assert_int_equal(id, 0);
    assert_int_equal(unstir_model_find_class(o.model, "cat", &id, &err), 0);
    assert_int_equal(id, 1);
    close_texts(&o);
}

/* Without a null class a class must be said, and there is no guidance. */
static void test_no_null_class(void **state)
{
    struct texts texts = {.unet = GREY ",\"num_class_embeds\":3",
                          .unstir = "{\"defaults\":{\"guidance_scale\":5}}"};
    struct unstir_request r = UNSTIR_REQUEST_INIT, full;
    struct unstir_error err = {0};
    struct opened o;

    must_open(&o, &texts, "folder");
    assert_int_equal(unstir_model_info(o.model)->n_classes, 3);
    assert_int_equal(unstir_request_check(o.model, &r, &full, NULL, NULL, &err),
                     UNSTIR_ERR_ARG);
    assert_string_equal(err.field, "class");
    r.class_id = 2;
    r.guidance = 4;
    assert_int_equal(unstir_request_check(o.model, &r, &full, NULL, NULL, &err),
                     0);
    assert_true(full.guidance == 1);
    close_texts(&o);
    texts.unet = GREY ",\"num_class_embeds\":1";
    must_open(&o, &texts, "folder");
    r.class_id = UNSTIR_CLASS_UNSET;
    assert_int_equal(unstir_request_check(o.model, &r, &full, NULL, NULL, &err),
                     0);
    assert_int_equal(full.class_id, 0);
    close_texts(&o);
}

#define CLASSES GREY ",\"num_class_embeds\":3"

/* A model's interval of guidance holds where neither end is said, and is
 * written down, so that a written request means the same without it. */
static void test_guidance_interval(void **state)
{
    static const struct {
        double said_start, said_end, start, end;
    } rows[] = {
        {UNSTIR_UNSET_F, UNSTIR_UNSET_F, 0.25, 0.5},
        {0.75, UNSTIR_UNSET_F, 0.75, 1},
        {UNSTIR_UNSET_F, 0.125, 0, 0.125},
        {0, 1, 0, 1},
    };
    struct texts texts = {
        .unet = CLASSES,
        .unstir = "{\"null_class\":2,\"defaults\":{\"guidance_scale\":3,"
                  "\"guidance_start\":0.25,\"guidance_end\":0.5}}"};
    struct unstir_error err = {0};
    struct opened o;

    must_open(&o, &texts, "folder");
    assert_true(unstir_model_info(o.model)->default_guidance_start == 0.25);
    assert_true(unstir_model_info(o.model)->default_guidance_end == 0.5);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct unstir_request r = UNSTIR_REQUEST_INIT, full;
        char *json;

        r.class_id = 1;
        r.guidance_start = rows[i].said_start;
        r.guidance_end = rows[i].said_end;
        assert_int_equal(
            unstir_request_check(o.model, &r, &full, NULL, NULL, &err), 0);
        if (full.guidance_start != rows[i].start ||
            full.guidance_end != rows[i].end)
            fail_msg("row %zu: got %g to %g, wanted %g to %g", i,
                     full.guidance_start, full.guidance_end, rows[i].start,
                     rows[i].end);
        assert_int_equal(unstir_request_json(o.model, &full, &json, &err), 0);
        assert_non_null(strstr(json, "\"guidance_start\""));
        assert_non_null(strstr(json, "\"guidance_end\""));
        unstir_free(json);
    }
    close_texts(&o);
}

static void test_refusals(void **state)
{
    static const struct {
        struct texts texts;
        const char *said;
    } rows[] = {
        {{NULL, NULL, "[]", NULL}, "not an object"},
        {{NULL, NULL, "{\"id\":\"a/b\"}", NULL}, "a/b"},
        {{NULL, NULL, "{\"id\":\"\"}", NULL}, "0 characters"},
        {{NULL, NULL, "{\"id\":\"..\"}", NULL}, ".."},
        {{NULL, NULL, "{\"id\":7}", NULL}, "id"},
        {{NULL, NULL, "{\"title\":[]}", NULL}, "title"},
        {{NULL, NULL, "{\"labels\":[]}", NULL}, "labels"},
        {{NULL, NULL, "{\"labels\":{\"cat\":0}}", NULL}, "cat"},
        {{CLASSES, NULL, "{\"labels\":{\"cat\":3}}", NULL}, "0 to 2"},
        {{CLASSES, NULL, "{\"labels\":{\"cat\":-1}}", NULL}, "0 to 2"},
        {{CLASSES, NULL, "{\"labels\":{\"cat\":\"1\"}}", NULL}, "cat"},
        {{CLASSES, NULL, "{\"labels\":{\"\":1}}", NULL}, "0 bytes"},
        {{CLASSES, NULL, "{\"null_class\":3}", NULL}, "null_class"},
        {{NULL, NULL, "{\"null_class\":0}", NULL}, "null_class"},
        {{NULL, NULL, "{\"defaults\":7}", NULL}, "defaults"},
        {{NULL, NULL, "{\"defaults\":{\"steps\":0}}", NULL}, "steps"},
        {{NULL, NULL, "{\"defaults\":{\"steps\":1001}}", NULL}, "steps"},
        {{NULL, NULL, "{\"defaults\":{\"sampler\":\"dimm\"}}", NULL}, "dimm"},
        {{NULL, NULL, "{\"defaults\":{\"guidance_scale\":-1}}", NULL},
         "guidance_scale"},
        {{NULL, NULL, "{\"defaults\":{\"guidance_end\":1.5}}", NULL},
         "guidance_end 1.5"},
        {{NULL, NULL,
          "{\"defaults\":{\"guidance_start\":0.5,\"guidance_end\":0.25}}",
          NULL},
         "guidance_start 0.5"},
        {{NULL, NULL, "{\"defaults\":{\"width\":15}}", NULL}, "width"},
        {{NULL, NULL, "{\"defaults\":{\"height\":1024}}", NULL}, "height"},
        {{NULL, NULL, "{\"limits\":[]}", NULL}, "limits"},
        {{NULL, NULL, "{\"limits\":{\"size_multiple\":3}}", NULL},
         "multiples of 2"},
        {{NULL, NULL, "{\"limits\":{\"max_size\":32}}", NULL}, "width"},
        {{NULL, NULL, "{\"limits\":{\"max_size\":99999}}", NULL}, "max_size"},
        {{NULL, NULL, "{\"limits\":{\"max_steps\":0}}", NULL}, "max_steps"},
        {{NULL, "{\"_class_name\":\"SCMScheduler\"}", NULL, NULL},
         "SCMScheduler"},
        {{NULL, "{\"_class_name\":7}", NULL, NULL}, "_class_name"},
        {{",\"in_channels\":4,\"out_channels\":4", NULL, NULL, NULL},
         "4 channels"},
        {{",\"in_channels\":3,\"out_channels\":1", NULL, NULL, NULL},
         "3 channels into 1"},
    };

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct unstir_error err = {0};
        struct opened o;
        if (!open_texts(&o, &rows[i].texts, "folder", &err))
            fail_msg("row %zu was taken", i);
        assert_null(o.model);
        if (!strstr(err.detail, rows[i].said))
            fail_msg("row %zu: \"%s\" does not say \"%s\"", i, err.detail,
                     rows[i].said);
        close_texts(&o);
    }
}

/* A network with a second half of output channels: DDPM takes it for the
 * variance, DDIM leaves it alone; without it, learned variances are refused. */
/* Networks that cannot paint alone, and decoders that do not fit. */
static void test_latent_refusals(void **state)
{
    static const char vae[] =
        "{\"_class_name\":\"AutoencoderKL\",\"block_out_channels\":[4],"
        "\"norm_num_groups\":2%s}";
    static const struct {
        const char *unet, *vae, *said;
    } rows[] = {
        {"{\"_class_name\":\"UNet2DConditionModel\",\"norm_num_groups\":2,"
         "\"block_out_channels\":[4],\"cross_attention_dim\":4,"
         "\"down_block_types\":[\"DownBlock2D\"],\"up_block_types\":"
         "[\"UpBlock2D\"],\"attention_head_dim\":1}",
         NULL, "lacks its text encoder and its autoencoder"},
        {"{\"_class_name\":\"AutoencoderTiny\"}", NULL, "takes no steps"},
        {NULL, ",\"latent_channels\":5", "reads 5"},
        {NULL, ",\"latent_channels\":1,\"out_channels\":2", "2 channels"},
        {NULL, ",\"latent_channels\":1,\"scaling_factor\":0", "scaling_factor"},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct unstir_error err = {0};
        struct unstir_model *model;
        char unet[1024], text[256];

        (void)snprintf(unet, sizeof unet, UNET, GREY);
        (void)snprintf(text, sizeof text, vae, rows[i].vae ? rows[i].vae : "");
        struct json *u = parse(rows[i].unet ? rows[i].unet : unet);
        struct json *v = rows[i].vae ? parse(text) : NULL;
        struct checkpoint_parts parts = {
            .name = "x", .digest = "d", .unet_config = u, .vae_config = v};
        if (!checkpoint_new(&model, &parts, NULL, &err))
            fail_msg("row %zu was taken", i);
        if (!strstr(err.detail, rows[i].said))
            fail_msg("row %zu: \"%s\" does not say \"%s\"", i, err.detail,
                     rows[i].said);
        json_free(u);
        json_free(v);
    }
}

static void test_learned_variance(void **state)
{
    struct texts texts = {.unet = ",\"in_channels\":1,\"out_channels\":2,"
                                  "\"sample_size\":8",
                          .scheduler = "{\"variance_type\":\"learned_range\"}"};
    struct unstir_request r = UNSTIR_REQUEST_INIT;
    struct unstir_executor *exec;
    struct unstir_generation *gen;
    struct unstir_error err = {0};
    struct opened o;

    must_open(&o, &texts, "folder");
    assert_int_equal(unstir_executor_new(&exec, NULL, &err), 0);
    r.steps = 3;
    for (int i = 0; i < 2; i++) {
        r.sampler = i ? "ddim" : "ddpm";
        if (unstir_generation_begin(&gen, o.model, &r, &err))
            fail_msg("%s", err.detail);
        while (!unstir_generation_is_done(gen))
            if (unstir_generation_step(gen, exec, &err))
                fail_msg("%s", err.detail);
        unstir_generation_free(gen);
    }
    unstir_executor_free(exec);
    close_texts(&o);
    texts.unet = GREY;
    texts.scheduler = "{\"_class_name\":\"DDIMScheduler\","
                      "\"variance_type\":\"learned\"}";
    must_open(&o, &texts, "folder");
    r.sampler = "ddpm";
    assert_int_equal(unstir_generation_begin(&gen, o.model, &r, &err),
                     UNSTIR_ERR_ARG);
    assert_non_null(strstr(err.detail, "learned"));
    close_texts(&o);
}

static void test_no_memory(void **state)
{
    struct texts texts = {.unet = CLASSES,
                          .unstir = "{\"labels\":{\"cat\":1},\"x\":1}"};
    unsigned n_failed = 0;
    struct opened o;
    struct json *unet = NULL;
    char text[1024];

    (void)snprintf(text, sizeof text, UNET, CLASSES);
    unet = json_text(text);
    struct json *unstir = json_text(texts.unstir);
    struct checkpoint_parts parts = {
        .name = "m", .digest = "d", .unet_config = unet, .unstir = unstir};
    for (long k = 1;; k++) {
        alloc_test_fail_after(k);
        enum unstir_status st = checkpoint_new(&o.model, &parts, NULL, NULL);
        alloc_test_fail_after(0);
        checkpoint_free(o.model);
        if (!st)
            break;
        n_failed++;
        if (k > 5000)
            fail_msg("still failing after %ld allocations", k);
    }
    assert_true(n_failed > 10);
    json_free(unet);
    json_free(unstir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_derived_defaults),
        cmocka_unit_test(test_short_table_with_offset),
        cmocka_unit_test(test_ids),
        cmocka_unit_test(test_own_sampler_refused),
        cmocka_unit_test(test_no_signal),
        cmocka_unit_test(test_unusable_sampler),
        cmocka_unit_test(test_id2label),
        cmocka_unit_test(test_no_null_class),
        cmocka_unit_test(test_guidance_interval),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_latent_refusals),
        cmocka_unit_test(test_learned_variance),
        cmocka_unit_test(test_no_memory),
    };
    return cmocka_run_group_tests_name("t_checkpoint", tests, NULL, NULL);
}
