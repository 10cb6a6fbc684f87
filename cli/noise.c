/* noise.c - `unstir noise`: the forward process as a film strip.
 *
 * SPDX-License-Identifier: MIT
 */
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "commands.h"
#include "output.h"
#include "pictures.h"

#define MAX_FRAMES 64

struct noise_values {
    struct opts_common common;
    const char *output, *schedule, *model;
    uint32_t steps, timesteps, size;
    uint64_t seed;
    bool is_forced;
};

#define FIELD(name) .offset = offsetof(struct noise_values, name)

static const char *const schedules[] = {"linear", "cosine", "scaled-linear",
                                        NULL};

static const struct opt options[] = {
    {.name = "output",
     .letter = 'o',
     .kind = OPT_TEXT,
     .meta = "FILE",
     .fallback = "noise.png, numbered when it exists",
     FIELD(output),
     .help = "where the strip goes; - is stdout"},
    {.name = "steps",
     .kind = OPT_U32,
     .meta = "N",
     .min = 1,
     .max = MAX_FRAMES - 1,
     .fallback = "8",
     FIELD(steps),
     .help = "pictures behind the first, from nearly clean to static"},
    {.name = "schedule",
     .kind = OPT_CHOICE,
     .meta = "linear|cosine|scaled-linear",
     .choices = schedules,
     .fallback = "cosine",
     FIELD(schedule),
     .help = "how fast noise grows"},
    {.name = "timesteps",
     .kind = OPT_U32,
     .meta = "T",
     .min = 1,
     .max = 100000,
     .fallback = "1000",
     FIELD(timesteps),
     .help = "length of the chain"},
    {.name = "model",
     .letter = 'm',
     .kind = OPT_TEXT,
     .meta = "PATH",
     FIELD(model),
     .help = "take the schedule of this model instead"},
    {.name = "seed",
     .kind = OPT_U64,
     .meta = "N",
     .fallback = "0",
     FIELD(seed),
     .help = "of the noise"},
    {.name = "size",
     .kind = OPT_U32,
     .meta = "N",
     .min = 1,
     .max = 4096,
     .fallback = "as it is, at most 512",
     FIELD(size),
     .help = "longest edge of one picture"},
    {.name = "force",
     .kind = OPT_FLAG,
     FIELD(is_forced),
     .help = "replace a file that exists"},
};

/* The picture, its longest edge cut to what the strip can hold. */
static int read_picture(struct unstir_image *image,
                        const struct noise_values *v)
{
    const char *path = v->common.operands[0];
    struct unstir_error err = {0};
    struct unstir_image whole;
    int rc = picture_read(&whole, path);
    if (rc != CLI_OK)
        return rc;
    uint32_t edge = whole.width > whole.height ? whole.width : whole.height;
    uint32_t limit = v->size > 0 ? v->size : edge < 512 ? edge : 512;
    if (limit == edge) {
        *image = whole;
        return CLI_OK;
    }
    uint32_t width = (uint32_t)((uint64_t)whole.width * limit / edge);
    uint32_t height = (uint32_t)((uint64_t)whole.height * limit / edge);
    enum unstir_status status = unstir_image_resize(
        &whole, width > 0 ? width : 1, height > 0 ? height : 1, image, &err);
    unstir_image_fini(&whole);
    return status == UNSTIR_OK ? CLI_OK : cli_fail_on(path, &err);
}

/* Frame 0 is the picture, frame k stands at t = k T / steps - 1. */
static int make_frames(struct unstir_image *frames, uint32_t n,
                       const struct unstir_forward *forward, uint32_t length,
                       const struct unstir_image *image)
{
    struct unstir_error err = {0};
    for (uint32_t k = 0; k <= n; k++) {
        int32_t t = (int32_t)((uint64_t)k * length / n) - 1;
        if (unstir_forward_image(forward, image, t, &frames[k], &err) !=
            UNSTIR_OK)
            return cli_fail(&err);
    }
    return CLI_OK;
}

static void report(const struct noise_values *v, const char *file)
{
    if (v->common.is_json) {
        fputs("{\"file\":", stdout);
        cli_json_string(stdout, file);
        printf(",\"steps\":%u,\"seed\":", v->steps);
        cli_json_u64(stdout, v->seed);
        puts("}");
    } else if (strcmp(file, "-") != 0) {
        puts(file);
    }
}

static int noise_run(const struct noise_values *v, const char *file,
                     struct unstir_model *model)
{
    struct unstir_image image = {0}, frames[MAX_FRAMES] = {{0}};
    uint32_t length =
        model ? unstir_model_info(model)->n_train_timesteps : v->timesteps;
    const struct unstir_forward forward = {.model = model,
                                           .schedule = v->schedule,
                                           .n_timesteps = v->timesteps,
                                           .seed = v->seed};
    int rc = read_picture(&image, v);
    if (rc == CLI_OK)
        rc = make_frames(frames, v->steps, &forward, length, &image);
    if (rc == CLI_OK)
        rc = picture_write_sheet(file, frames, v->steps + 1, v->steps + 1, 2,
                                 64, 0);
    for (uint32_t i = 0; i <= v->steps; i++)
        unstir_image_fini(&frames[i]);
    unstir_image_fini(&image);
    return rc;
}

static int noise_main(int argc, char **argv)
{
    struct noise_values v = {
        .steps = 8, .timesteps = 1000, .schedule = "cosine"};
    struct unstir_error err = {0};
    struct unstir_model *model = NULL;
    char file[PATH_MAX];
    int rc = opts_parse(&command_noise, argc, argv, &v);
    if (rc != OPTS_GO_ON)
        return rc;
    if (v.output) {
        enum unstir_format format;
        rc = picture_format(v.output, &format);
        if (rc == CLI_OK)
            rc = output_check(v.output, v.is_forced);
        snprintf(file, sizeof(file), "%s", v.output);
        if (rc != CLI_OK)
            return rc;
    } else {
        output_number(file, sizeof(file), "noise.png");
    }
    if (v.model) {
        const char *path;
        rc = cli_find_model(&path, v.model);
        if (rc != CLI_OK)
            return rc;
        if (unstir_model_open(&model, path, NULL, &err) != UNSTIR_OK)
            return cli_fail(&err);
    }
    rc = noise_run(&v, file, model);
    unstir_model_close(model);
    if (rc == CLI_OK)
        report(&v, file);
    return rc;
}

const struct command command_noise = {
    .name = "noise",
    .summary = "the forward process as a film strip",
    .synopsis = "[options] PICTURE",
    .text = "A picture and what is left of it after ever more steps of noise: "
            "each step shrinks it toward grey and adds a little static.",
    .examples = "unstir noise cat.png --steps 8 -o strip.png\n"
                "unstir noise cat.png --schedule linear --seed 3\n",
    .options = options,
    .n_options = sizeof(options) / sizeof(*options),
    .min_operands = 1,
    .max_operands = 1,
    .has_json = true,
    .main = noise_main,
};
