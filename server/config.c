/* config.c - options from defaults, a file, the environment and flags.
 *
 * Every source ends in set_option(), which checks a text against its row and
 * stores the value; a source differs only in how it finds names and texts.
 * A list given by one source replaces that of an earlier source.
 *
 * SPDX-License-Identifier: MIT
 */
#include "config.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "buf.h"
#include "server.h"
#include "unstir.h"

#define FILE_MAX_BYTES (64u << 10)
#define NAME_BYTES     64

enum option_kind {
    OPTION_GROUP,
    OPTION_TEXT,
    OPTION_CHOICE,
    OPTION_LIST,
    OPTION_BOOL,
    OPTION_INT,
    OPTION_SIZE,
    OPTION_TIME
};

struct option {
    enum option_kind kind;
    const char *flag; /* of a group: its title                               */
    const char *def;  /* TEXT, CHOICE, LIST                                  */
    int64_t number;   /* default of BOOL, INT, SIZE, TIME (ms)               */
    int64_t min, max;
    const char *choices;
    const char *text;
    size_t offset;
};

#define AT(name) offsetof(struct config, name)
static const struct option options[] = {
#define CONFIG_GROUP(title) {.kind = OPTION_GROUP, .flag = title},
#define ROW(kind_, name, flag_, text_, ...) \
    {.kind = kind_,                         \
     .flag = flag_,                         \
     .text = text_,                         \
     .offset = AT(name),                    \
     __VA_ARGS__},
#define NUMBER(kind, name, flag, text, def, min_, max_) \
    ROW(kind, name, flag, text, .number = def, .min = min_, .max = max_)
#define CONFIG_TEXT(name, flag, def_, text) \
    ROW(OPTION_TEXT, name, flag, text, .def = def_)
#define CONFIG_CHOICE(name, flag, def_, choices_, text) \
    ROW(OPTION_CHOICE, name, flag, text, .def = def_, .choices = choices_)
#define CONFIG_LIST(name, flag, def_, text) \
    ROW(OPTION_LIST, name, flag, text, .def = def_)
#define CONFIG_BOOL(name, flag, def, text) \
    ROW(OPTION_BOOL, name, flag, text, .number = def)
#define CONFIG_INT(name, flag, def, min, max, text) \
    NUMBER(OPTION_INT, name, flag, text, def, min, max)
#define CONFIG_SIZE(name, flag, def, min, max, text) \
    NUMBER(OPTION_SIZE, name, flag, text, def, min, max)
#define CONFIG_TIME(name, flag, def, min, max, text) \
    NUMBER(OPTION_TIME, name, flag, text, def, min, max)
#include "config_table.h"
};
#define N_OPTIONS (sizeof options / sizeof *options)

/* The last group says what this command is to do; the others are settings,
 * which files have and config_print() prints. */
static size_t n_settings(void)
{
    size_t i = N_OPTIONS - 1;

    while (options[i].kind != OPTION_GROUP)
        i--;
    return i;
}

/* Where a text came from, for messages: "--steps", "UNSTIR_STEPS" or
 * "FILE:7: steps"; and where to write them.                                */
struct source {
    const char *label;
    char *why;
    size_t why_size;
};

static bool wrong(const struct source *source, const char *value,
                  const char *format, ...) BUF_PRINTF(3, 4);
static bool wrong(const struct source *source, const char *value,
                  const char *format, ...)
{
    int n = snprintf(source->why, source->why_size, "%s%s%s: ", source->label,
                     value ? " " : "", value ? value : "");
    va_list args;

    if (n < 0 || (size_t)n >= source->why_size)
        return false;
    va_start(args, format);
    (void)vsnprintf(source->why + n, source->why_size - (size_t)n, format,
                    args);
    va_end(args);
    return false;
}

/* ----------------------------------------------------------------- numbers */

struct unit {
    const char *name;
    int64_t factor;
};

static const struct unit time_units[] = {
    {"", 1000},     {"ms", 1},      {"s", 1000}, {"m", 60000},
    {"min", 60000}, {"h", 3600000}, {NULL, 0}};
static const struct unit size_units[] = {
    {"", 1},          {"B", 1},         {"KiB", 1 << 10},
    {"MiB", 1 << 20}, {"GiB", 1 << 30}, {"K", 1 << 10},
    {"M", 1 << 20},   {"G", 1 << 30},   {NULL, 0}};
static const struct unit plain_units[] = {{"", 1}, {NULL, 0}};

/* "1.5h" by the units; false if it is not of that form. */
static bool parse_number(const char *text, const struct unit *units,
                         int64_t *out)
{
    char *end;
    double value;

    if (!isdigit((unsigned char)text[0]) && text[0] != '-')
        return false;
    if (strspn(text, "-0123456789.") == 0 || strchr(text, 'x'))
        return false;
    value = strtod(text, &end);
    for (; units->name; units++) {
        if (strcmp(units->name, end) != 0)
            continue;
        value *= (double)units->factor;
        if (!(value > -9e15 && value < 9e15) ||
            (units->factor == 1 && value != (double)(int64_t)value))
            return false;
        *out = (int64_t)(value + (value < 0 ? -0.5 : 0.5));
        return true;
    }
    return false;
}

static void format_number(enum option_kind kind, int64_t value, char *out,
                          size_t size)
{
    if (kind == OPTION_TIME)
        (void)snprintf(out, size,
                       value % 1000 ? "%" PRId64 "ms" : "%" PRId64 "s",
                       value % 1000 ? value : value / 1000);
    else if (kind == OPTION_SIZE && value && value % (1 << 30) == 0)
        (void)snprintf(out, size, "%" PRId64 "GiB", value >> 30);
    else if (kind == OPTION_SIZE && value && value % (1 << 20) == 0)
        (void)snprintf(out, size, "%" PRId64 "MiB", value >> 20);
    else if (kind == OPTION_SIZE && value && value % (1 << 10) == 0)
        (void)snprintf(out, size, "%" PRId64 "KiB", value >> 10);
    else
        (void)snprintf(out, size, "%" PRId64, value);
}

static bool set_number(const struct option *option, void *place,
                       const char *text, const struct source *source)
{
    const struct unit *units = option->kind == OPTION_TIME   ? time_units
                               : option->kind == OPTION_SIZE ? size_units
                                                             : plain_units;
    const char *form =
        option->kind == OPTION_TIME   ? "a time such as 30, 250ms or 5m, "
        : option->kind == OPTION_SIZE ? "a size such as 65536, 64KiB or 1GiB, "
                                      : "a whole number, ";
    char low[32];
    char high[32];
    int64_t value;

    format_number(option->kind, option->min, low, sizeof low);
    format_number(option->kind, option->max, high, sizeof high);
    if (!parse_number(text, units, &value) || value < option->min ||
        value > option->max)
        return wrong(source, text, "must be %s%s..%s", form, low, high);
    memcpy(place, &value, sizeof value);
    return true;
}

/* --------------------------------------------------------- other kinds -- */

static bool set_bool(void *place, const char *text, const struct source *source)
{
    static const char *const words[] = {"false", "true", "no", "yes",
                                        "off",   "on",   "0",  "1"};
    size_t i;

    for (i = 0; i < sizeof words / sizeof *words; i++) {
        if (strcmp(words[i], text) == 0) {
            memcpy(place, &(bool){i % 2 == 1}, sizeof(bool));
            return true;
        }
    }
    return wrong(source, text, "must be true or false");
}

static bool set_text(char **place, const char *text,
                     const struct source *source)
{
    char *copy = mem_strdup(text);

    if (!copy)
        return wrong(source, NULL, "out of memory");
    mem_free(*place);
    *place = copy;
    return true;
}

static bool is_choice(const char *choices, const char *text)
{
    size_t n = strlen(text);

    while (*choices) {
        size_t length = strcspn(choices, "|");

        if (length == n && strncmp(choices, text, n) == 0)
            return true;
        choices += length + (choices[length] == '|');
    }
    return false;
}

static void list_clear(struct config_list *list)
{
    while (list->n)
        mem_free(list->items[--list->n]);
}

static bool list_add(struct config_list *list, const char *text, size_t n,
                     const struct source *source)
{
    char *copy;

    if (list->n == CONFIG_MAX_LIST)
        return wrong(source, NULL, "at most %d are allowed", CONFIG_MAX_LIST);
    copy = mem_zero(n + 1, 1);
    if (!copy)
        return wrong(source, NULL, "out of memory");
    memcpy(copy, text, n);
    list->items[list->n++] = copy;
    return true;
}

static bool set_option(struct config *config, const struct option *option,
                       const char *text, const struct source *source)
{
    char *place = (char *)config + option->offset;

    switch (option->kind) {
    case OPTION_GROUP:
        return false;
    case OPTION_CHOICE:
        if (!is_choice(option->choices, text))
            return wrong(source, text, "must be one of %s", option->choices);
        return set_text((char **)(void *)place, text, source);
    case OPTION_TEXT:
        return set_text((char **)(void *)place, text, source);
    case OPTION_LIST:
        return list_add((struct config_list *)(void *)place, text, strlen(text),
                        source);
    case OPTION_BOOL:
        return set_bool(place, text, source);
    case OPTION_INT:
    case OPTION_SIZE:
    case OPTION_TIME:
        return set_number(option, place, text, source);
    }
    return false;
}

static const struct option *find_option(const char *flag, size_t n)
{
    size_t i;

    for (i = 0; i < N_OPTIONS; i++)
        if (options[i].kind != OPTION_GROUP && strlen(options[i].flag) == n &&
            strncmp(options[i].flag, flag, n) == 0)
            return &options[i];
    return NULL;
}

static bool unknown(const struct source *source, const char *flag,
                    const char *dashes)
{
    const char *names[N_OPTIONS];
    size_t n = 0;
    size_t i;
    int near;

    for (i = 0; i < N_OPTIONS; i++)
        if (options[i].kind != OPTION_GROUP)
            names[n++] = options[i].flag;
    near = unstir_nearest(flag, names, n);
    if (near < 0)
        return wrong(source, NULL, "unknown (--help lists all)");
    return wrong(source, NULL, "unknown; did you mean %s%s?", dashes,
                 names[near]);
}

/* Lists that this source has begun, one bit an option: the first value of a
 * source replaces those of earlier ones.                                   */
struct begun {
    bool has[N_OPTIONS];
};

static void begin_list(struct config *config, const struct option *option,
                       struct begun *begun)
{
    char *place = (char *)config + option->offset;

    if (option->kind != OPTION_LIST || begun->has[option - options])
        return;
    begun->has[option - options] = true;
    list_clear((struct config_list *)(void *)place);
}

/* ---------------------------------------------------------------- defaults */

void config_defaults(struct config *config)
{
    struct source source = {"default", (char[64]){0}, 64};
    size_t i;

    memset(config, 0, sizeof *config);
    for (i = 0; i < N_OPTIONS; i++) {
        const struct option *option = &options[i];
        char *place = (char *)config + option->offset;

        if (option->kind == OPTION_TEXT || option->kind == OPTION_CHOICE)
            (void)set_text((char **)(void *)place, option->def, &source);
        else if (option->kind == OPTION_BOOL)
            memcpy(place, &(bool){option->number != 0}, sizeof(bool));
        else if (option->kind >= OPTION_INT)
            memcpy(place, &option->number, sizeof option->number);
    }
}

void config_fini(struct config *config)
{
    size_t i;

    for (i = 0; i < N_OPTIONS; i++) {
        char *place = (char *)config + options[i].offset;

        if (options[i].kind == OPTION_LIST)
            list_clear((struct config_list *)(void *)place);
        else if (options[i].kind == OPTION_TEXT ||
                 options[i].kind == OPTION_CHOICE)
            mem_free(*(char **)(void *)place);
    }
    memset(config, 0, sizeof *config);
}

/* -------------------------------------------------------------------- file */

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r';
}

/* One line, n bytes without its newline. */
static bool parse_line(struct config *config, const char *line, size_t n,
                       struct begun *begun, const struct source *source)
{
    const char *equals = memchr(line, '=', n);
    size_t n_name = equals ? (size_t)(equals - line) : n;
    char value[1024];
    char name[NAME_BYTES];
    char label[400];
    struct source named = *source;
    size_t n_value;
    const struct option *option;

    if (memchr(line, 0, n))
        return wrong(source, NULL, "has a NUL byte");
    while (n_name && is_blank(line[n_name - 1]))
        n_name--;
    (void)snprintf(name, sizeof name, "%.*s", (int)(n_name < 60 ? n_name : 60),
                   line);
    (void)snprintf(label, sizeof label, "%s: %s", source->label, name);
    named.label = label;
    if (!equals)
        return wrong(&named, NULL, "must be `name = value`");
    equals++;
    n_value = (size_t)(line + n - equals);
    while (n_value && is_blank(*equals)) {
        equals++;
        n_value--;
    }
    if (n_value >= sizeof value)
        return wrong(&named, NULL, "is longer than %zu bytes",
                     sizeof value - 1);
    memcpy(value, equals, n_value);
    value[n_value] = 0;
    option = find_option(line, n_name);
    if (!option || option >= options + n_settings())
        return unknown(&named, name, "");
    begin_list(config, option, begun);
    return set_option(config, option, value, &named);
}

enum config_result config_parse(struct config *config, const char *text,
                                size_t n, const char *file_name, char *why,
                                size_t why_size)
{
    struct begun begun = {{false}};
    size_t line_number = 0;
    size_t at = 0;

    while (at < n) {
        const char *end = memchr(text + at, '\n', n - at);
        size_t length = (end ? (size_t)(end - text) : n) - at;
        const char *line = text + at;
        char label[300];
        struct source source = {label, why, why_size};

        line_number++;
        at += length + 1;
        while (length && is_blank(line[length - 1]))
            length--;
        while (length && is_blank(*line)) {
            line++;
            length--;
        }
        if (length == 0 || *line == '#')
            continue;
        (void)snprintf(label, sizeof label, "%.200s:%zu", file_name,
                       line_number);
        if (!parse_line(config, line, length, &begun, &source))
            return CONFIG_WRONG;
    }
    return CONFIG_OK;
}

static enum config_result read_file(struct config *config, const char *path,
                                    char *why, size_t why_size)
{
    FILE *file = fopen(path, "rbe");
    enum config_result result = CONFIG_WRONG;
    char *text = mem_zero(FILE_MAX_BYTES + 1, 1);
    size_t n;

    if (!file || !text) {
        (void)snprintf(why, why_size, "%.200s: %s", path,
                       file ? "out of memory" : strerror(errno));
        goto out;
    }
    n = fread(text, 1, FILE_MAX_BYTES + 1, file);
    if (ferror(file))
        (void)snprintf(why, why_size, "%.200s: %s", path, strerror(errno));
    else if (n > FILE_MAX_BYTES)
        (void)snprintf(why, why_size, "%.200s: larger than %u bytes", path,
                       FILE_MAX_BYTES);
    else
        result = config_parse(config, text, n, path, why, why_size);
out:
    if (file)
        (void)fclose(file);
    mem_free(text);
    return result;
}

/* ------------------------------------------------------------- environment */

static void env_name(const struct option *option, char *out, size_t size)
{
    size_t i;

    (void)snprintf(out, size, "UNSTIR_%s", option->flag);
    for (i = 0; out[i]; i++)
        out[i] = out[i] == '-' ? '_' : (char)toupper((unsigned char)out[i]);
}

static const char *env_get(char *const *env, const char *name)
{
    size_t n = strlen(name);

    for (; *env; env++)
        if (strncmp(*env, name, n) == 0 && (*env)[n] == '=')
            return *env + n + 1;
    return NULL;
}

/* Lists stand as a,b,c. */
static bool set_env(struct config *config, const struct option *option,
                    const char *value, const struct source *source)
{
    struct config_list *list =
        (struct config_list *)(void *)((char *)config + option->offset);

    if (option->kind != OPTION_LIST)
        return set_option(config, option, value, source);
    list_clear(list);
    while (*value) {
        size_t n = strcspn(value, ",");

        if (n && !list_add(list, value, n, source))
            return false;
        value += n + (value[n] == ',');
    }
    return true;
}

static enum config_result read_env(struct config *config, char *const *env,
                                   char *why, size_t why_size)
{
    size_t i;

    for (i = 0; i < N_OPTIONS; i++) {
        char name[NAME_BYTES];
        struct source source = {name, why, why_size};
        const char *value;

        if (options[i].kind == OPTION_GROUP)
            continue;
        env_name(&options[i], name, sizeof name);
        value = env_get(env, name);
        if (value && *value && !set_env(config, &options[i], value, &source))
            return CONFIG_WRONG;
    }
    return CONFIG_OK;
}

/* ------------------------------------------------------------------- flags */

/* One argument (and perhaps the next); returns how many were used, 0 after
 * an error.                                                                 */
static int read_flag(struct config *config, int argc, char **argv,
                     struct begun *begun, struct source *source)
{
    const char *flag = argv[0] + 2;
    const char *equals = strchr(flag, '=');
    size_t n = equals ? (size_t)(equals - flag) : strlen(flag);
    const struct option *option = find_option(flag, n);
    bool is_off = !option && n > 3 && strncmp(flag, "no-", 3) == 0;
    char label[NAME_BYTES];

    (void)snprintf(label, sizeof label, "--%.*s", (int)(n < 60 ? n : 60), flag);
    source->label = label;
    if (is_off)
        option = find_option(flag + 3, n - 3);
    if (!option || (is_off && option->kind != OPTION_BOOL)) {
        (void)unknown(source, label + 2, "--");
        return 0;
    }
    begin_list(config, option, begun);
    if (is_off && !equals)
        return set_option(config, option, "false", source) ? 1 : 0;
    if (option->kind == OPTION_BOOL && !equals)
        return set_option(config, option, "true", source) ? 1 : 0;
    if (is_off || (!equals && argc < 2)) {
        (void)wrong(source, NULL, is_off ? "takes no value" : "needs a value");
        return 0;
    }
    if (!set_option(config, option, equals ? equals + 1 : argv[1], source))
        return 0;
    return equals ? 1 : 2;
}

static enum config_result read_flags(struct config *config, int argc,
                                     char **argv, char *why, size_t why_size)
{
    struct source source = {"", why, why_size};
    struct begun begun = {{false}};
    int i = 0;

    while (i < argc) {
        char *long_form[2] = {(char *)"--model", NULL};
        int used;

        if (strcmp(argv[i], "-h") == 0 || strcmp(argv[i], "--help") == 0)
            return CONFIG_HELP;
        if (strcmp(argv[i], "-m") == 0) {
            long_form[1] = i + 1 < argc ? argv[i + 1] : NULL;
            used = read_flag(config, argc - i, long_form, &begun, &source);
        } else if (strncmp(argv[i], "--", 2) == 0 && argv[i][2]) {
            used = read_flag(config, argc - i, argv + i, &begun, &source);
        } else {
            source.label = argv[i];
            (void)wrong(&source, NULL, "not an option (--help lists all)");
            used = 0;
        }
        if (used == 0)
            return CONFIG_WRONG;
        i += used;
    }
    return CONFIG_OK;
}

/* The file must be known before the flags are read: they come last. */
static const char *file_of(int argc, char **argv, char *const *env)
{
    const char *path = env_get(env, "UNSTIR_CONFIG");
    int i;

    for (i = 0; i < argc; i++) {
        if (strncmp(argv[i], "--config=", 9) == 0)
            path = argv[i] + 9;
        else if (strcmp(argv[i], "--config") == 0 && i + 1 < argc)
            path = argv[i + 1];
    }
    return path && *path ? path : NULL;
}

enum config_result config_load(struct config *config, int argc, char **argv,
                               char *const *env, char *why, size_t why_size)
{
    const char *path = file_of(argc, argv, env);
    enum config_result result = CONFIG_OK;

    config_defaults(config);
    if (path)
        result = read_file(config, path, why, why_size);
    if (result == CONFIG_OK)
        result = read_env(config, env, why, why_size);
    if (result == CONFIG_OK)
        result = read_flags(config, argc, argv, why, why_size);
    return result;
}

/* -------------------------------------------------------------------- help */

/* Nothing for what has no default of its own. */
static void default_text(const struct option *option, char *out, size_t size)
{
    out[0] = '\0';
    if (option->kind == OPTION_BOOL)
        (void)snprintf(out, size, "%s", option->number ? "on" : "");
    else if (option->kind < OPTION_INT)
        (void)snprintf(out, size, "%s", option->def);
    else if (option->number >= 0)
        format_number(option->kind, option->number, out, size);
}

bool server_describe(size_t i, struct server_option *out)
{
    static const char *const forms[] = {
        [OPTION_TEXT] = "TEXT", [OPTION_LIST] = "TEXT", [OPTION_BOOL] = "",
        [OPTION_INT] = "N",     [OPTION_SIZE] = "SIZE", [OPTION_TIME] = "TIME"};
    const char *group = NULL;

    for (size_t row = 0; row < N_OPTIONS; row++) {
        const struct option *option = &options[row];

        if (option->kind == OPTION_GROUP) {
            group = option->flag;
            continue;
        }
        if (i-- > 0) {
            group = NULL;
            continue;
        }
        *out = (struct server_option){
            .group = group,
            .flag = option->flag,
            .form = option->choices ? option->choices : forms[option->kind],
            .text = option->text};
        default_text(option, out->fallback, sizeof out->fallback);
        env_name(option, out->env, sizeof out->env);
        return true;
    }
    return false;
}

void config_print(const struct config *config, FILE *out)
{
    size_t i;
    size_t k;

    for (i = 0; i < n_settings(); i++) {
        const struct option *option = &options[i];
        const char *place = (const char *)config + option->offset;
        const struct config_list *list;
        int64_t number;
        char text[64];

        switch (option->kind) {
        case OPTION_GROUP:
            (void)fprintf(out, "%s# %s\n", i ? "\n" : "", option->flag);
            break;
        case OPTION_TEXT:
        case OPTION_CHOICE:
            (void)fprintf(out, "%s = %s\n", option->flag,
                          *(char *const *)(const void *)place);
            break;
        case OPTION_LIST:
            list = (const struct config_list *)(const void *)place;
            for (k = 0; k < list->n; k++)
                (void)fprintf(out, "%s = %s\n", option->flag, list->items[k]);
            break;
        case OPTION_BOOL:
            (void)fprintf(out, "%s = %s\n", option->flag,
                          *(const bool *)(const void *)place ? "true"
                                                             : "false");
            break;
        case OPTION_INT:
        case OPTION_SIZE:
        case OPTION_TIME:
            memcpy(&number, place, sizeof number);
            if (number < option->min)
                break; /* not given                                          */
            format_number(option->kind, number, text, sizeof text);
            (void)fprintf(out, "%s = %s\n", option->flag, text);
            break;
        }
    }
}
