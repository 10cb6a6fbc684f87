/* convert.c - `unstir convert`: a model in another layout or number format.
 *
 * SPDX-License-Identifier: MIT
 */
#include <string.h>

#include "cli.h"
#include "commands.h"
#include "lora_weight.h"
#include "opts_parts.h"
#include "progress.h"

#define MAX_LORAS 16

struct convert_values {
    struct opts_common common;
    const char *dtype, *prediction, *lora, *vae;
    struct opt_list text_encoders;
};

#define FIELD(name) .offset = offsetof(struct convert_values, name)

static const char *const dtypes[] = {"f32", "f16", "bf16", NULL};
static const char *const predictions[] = {"epsilon", "v_prediction", NULL};

static const struct opt options[] = {
    {.name = "dtype",
     .kind = OPT_CHOICE,
     .meta = "f32|f16|bf16",
     .choices = dtypes,
     .fallback = "as it is",
     FIELD(dtype),
     .help = "store weights in this format"},
    {.name = "prediction-type",
     .kind = OPT_CHOICE,
     .meta = "epsilon|v_prediction",
     .choices = predictions,
     .fallback = "found out",
     FIELD(prediction),
     .help = "what the network of a single file predicts"},
    {.name = "lora",
     .kind = OPT_TEXT,
     .meta = "FILE[:SCALE][,...]",
     FIELD(lora),
     .help = "add these LoRAs to the weights for good"},
    OPTS_PARTS("Parts of the model", "the model's own"),
};

struct loras {
    char text[4096]; /* the option, cut in pieces                           */
    const char *files[MAX_LORAS];
    double scales[MAX_LORAS];
    size_t n;
};

static bool cut_loras(struct loras *l, const char *option)
{
    char *piece = l->text;

    if (!option)
        return true;
    if (strlen(option) >= sizeof l->text)
        return false;
    memcpy(l->text, option, strlen(option) + 1);
    while (piece) {
        char *comma = strchr(piece, ',');

        if (comma)
            *comma = '\0';
        if (!*piece || l->n == MAX_LORAS)
            return false;
        l->files[l->n] = piece;
        lora_weight_cut(piece, &l->scales[l->n++]);
        piece = comma ? comma + 1 : NULL;
    }
    return true;
}

/* What the library's calls while it works need. */
struct telling {
    const struct opts_common *common;
    struct progress bar; /* without a unit: not begun                        */
};

static void tell(void *arg, const char *text)
{
    struct telling *t = arg;

    progress_clear(&t->bar);
    cli_note("note: %s", text);
}

static bool show(void *arg, uint64_t done_bytes, uint64_t total_bytes)
{
    struct telling *t = arg;

    if (total_bytes > 0) {
        if (!t->bar.unit)
            progress_begin(&t->bar, t->common, &progress_megabytes, 0,
                           total_bytes);
        progress_show(&t->bar, done_bytes, NULL, 0);
    }
    return !cli_is_interrupted();
}

static int convert_main(int argc, char **argv)
{
    struct convert_values v = {0};
    struct unstir_error err = {0};
    struct unstir_model_options parts = {0};
    struct loras loras = {.n = 0};
    struct telling telling = {.common = &v.common};
    const char *input;
    char *json;
    int rc = opts_parse(&command_convert, argc, argv, &v);
    if (rc != OPTS_GO_ON)
        return rc;
    if (!cut_loras(&loras, v.lora)) {
        cli_error("--lora %s: wanted: up to %d of FILE or FILE:SCALE, with "
                  "commas between",
                  v.lora, MAX_LORAS);
        return CLI_USAGE;
    }
    rc = opts_parts(&parts, v.vae, &v.text_encoders);
    if (rc == CLI_OK)
        rc = cli_find_model(&input, v.common.operands[0]);
    if (rc != CLI_OK)
        return rc;
    struct unstir_convert_options o = {
        .input = input,
        .output = v.common.operands[1],
        .dtype = v.dtype,
        .prediction_type = v.prediction,
        .merges_path = cli_shared_file("clip-bpe/merges.txt"),
        .loras = loras.files,
        .lora_scales = loras.scales,
        .n_loras = loras.n,
        .vae = parts.vae,
        .text_encoders = {parts.text_encoders[0], parts.text_encoders[1]},
        .note = v.common.is_quiet || v.common.is_json ? NULL : tell,
        .note_arg = &telling,
        .progress = show,
        .progress_arg = &telling,
    };
    cli_catch_interrupts();
    enum unstir_status status = unstir_convert(&o, &json, &err);
    progress_clear(&telling.bar);
    if (status != UNSTIR_OK)
        return cli_fail(&err);
    if (v.common.is_json)
        fputs(json, stdout);
    else if (!v.common.is_quiet)
        cli_note("%s written", o.output);
    unstir_free(json);
    return CLI_OK;
}

const struct command command_convert = {
    .name = "convert",
    .summary = "a model in another layout or number format",
    .synopsis = "[options] INPUT OUTPUT",
    .text = "INPUT is a diffusers folder or a single .safetensors or .gguf "
            "file of Stable Diffusion 1.x, 2.x or SDXL.  Quantised weights "
            "are stored as f16 unless told otherwise.  An "
            "OUTPUT that ends in .safetensors is one file, anything else a "
            "folder; it must not be there yet.  Parts that INPUT's "
            "unstir.json names become part of OUTPUT; what else it says goes "
            "on with it, and into a folder what is in embeddings/.  Ctrl-C "
            "ends it and leaves nothing behind.",
    .examples = "unstir convert model.safetensors model --dtype f16\n"
                "unstir convert model-q8_0.gguf model\n"
                "unstir convert unet.safetensors model --vae vae.safetensors "
                "--text-encoder clip_l.safetensors\n"
                "unstir convert model merged --lora style.safetensors:0.8\n",
    .options = options,
    .n_options = sizeof(options) / sizeof(*options),
    .min_operands = 2,
    .max_operands = 2,
    .has_json = true,
    .main = convert_main,
};
