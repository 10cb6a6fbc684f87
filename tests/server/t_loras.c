/* t_loras.c - the folder of LoRAs: names, files, links, changes.
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
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "buf.h"
#include "lora_scan.h"

#define PATH_SIZE 512

static char root[] = "/tmp/unstir-loras-XXXXXX";
static char folder[PATH_SIZE];
static char content[65536];
static size_t n_content;

static void path_of(char path[PATH_SIZE], const char *name)
{
    (void)snprintf(path, PATH_SIZE, "%.200s/%.200s", folder, name);
}

static void write_file(const char *name, size_t n)
{
    char path[PATH_SIZE];
    FILE *file;

    path_of(path, name);
    file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(content, 1, n, file), n);
    assert_int_equal(fclose(file), 0);
}

static void write_link(const char *to, const char *name)
{
    char path[PATH_SIZE];

    path_of(path, name);
    assert_int_equal(symlink(to, path), 0);
}

static int make_folder(void **state)
{
    FILE *file = fopen("tests/data/lora/style.safetensors", "rb");

    (void)state;
    if (file == NULL || mkdtemp(root) == NULL)
        return -1;
    n_content = fread(content, 1, sizeof content, file);
    (void)fclose(file);
    (void)snprintf(folder, sizeof folder, "%s", root);
    write_file("secret.safetensors", n_content);
    (void)snprintf(folder, sizeof folder, "%s/loras", root);
    if (mkdir(folder, 0700) != 0)
        return -1;
    write_file("style.safetensors", n_content);
    write_file("cut.safetensors", n_content / 2);
    write_file("notes.txt", 10);
    write_link("style.safetensors", "alias.safetensors");
    write_link("../secret.safetensors", "away.safetensors");
    write_link("../loras/style.safetensors", "round.safetensors");
    return n_content > 0 && n_content < sizeof content ? 0 : -1;
}

static int remove_folder(void **state)
{
    static const char *const names[] = {
        "style.safetensors", "cut.safetensors",  "notes.txt",
        "alias.safetensors", "away.safetensors", "round.safetensors"};
    char path[PATH_SIZE];

    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        path_of(path, names[i]);
        (void)unlink(path);
    }
    (void)rmdir(folder);
    (void)snprintf(path, sizeof path, "%s/secret.safetensors", root);
    (void)unlink(path);
    return rmdir(root);
}

static void test_names(void **state)
{
    static const struct {
        const char *name;
        bool is_right;
    } rows[] = {
        {"ink", true},
        {"ink wash (v2) [x] + 0.8 & more", true},
        {"caf\xc3\xa9", true},
        {"\xe5\xa2\xa8", true},
        {"\xf0\x9f\x8e\xa8", true},
        {"a.b", true},
        {"%2e%2e", true}, /* nobody decodes it */
        {"", false},
        {".", false},
        {"..", false},
        {".hidden", false},
        {"a/b", false},
        {"/etc", false},
        {"a\\b", false},
        {"a:0.8", false},
        {"<a", false},
        {"a>", false},
        {"a,b", false},
        {"a\nb", false},
        {"a\tb", false},
        {"a\x7f", false},
        {"\xc2\x85", false},         /* a control character */
        {"a\xff", false},            /* no UTF-8 */
        {"\xc0\xae\xc0\xae", false}, /* ".." in too many bytes */
        {"\xe0\x80\xaf", false},
        {"\xed\xa0\x80", false}, /* a surrogate */
        {"\xf4\x90\x80\x80", false},
        {"\xc3", false},
        {"\xe5\xa2", false},
    };
    char longest[LORA_NAME_BYTES + 2];

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (lora_is_name(rows[i].name, strlen(rows[i].name)) !=
            rows[i].is_right)
            fail_msg("\"%s\": wanted %s", rows[i].name,
                     rows[i].is_right ? "a name" : "none");
    memset(longest, 'a', sizeof longest);
    assert_true(lora_is_name(longest, LORA_NAME_BYTES));
    assert_false(lora_is_name(longest, LORA_NAME_BYTES + 1));
    assert_false(lora_is_name("a\0b", 3));
}

static struct lora_folder read_folder(struct lora_file **known, size_t n_known,
                                      size_t max_files, uint64_t max_bytes)
{
    struct lora_folder f = {.path = folder,
                            .max_files = max_files,
                            .max_bytes = max_bytes,
                            .known = known,
                            .n_known = n_known};

    lora_folder_read(&f);
    return f;
}

static void free_folder(struct lora_folder *f)
{
    for (size_t i = 0; i < f->n; i++)
        lora_file_free(f->files[i]);
    mem_free(f->files);
}

static void test_folder(void **state)
{
    static const char *const names[] = {"alias", "cut", "round", "style"};
    struct lora_folder f = read_folder(NULL, 0, 100, 1 << 20);
    const struct lora_file *style, *cut;

    (void)state;
    assert_true(f.is_good);
    assert_int_equal(f.n, 4);
    for (size_t i = 0; i < 4; i++)
        assert_string_equal(f.files[i]->name, names[i]);
    style = lora_file_find(f.files, f.n, "style");
    cut = lora_file_find(f.files, f.n, "cut");
    assert_true(style->is_usable);
    assert_int_equal(style->details.n_bytes, n_content);
    assert_int_equal(strlen(style->details.digest), 64);
    assert_false(cut->is_usable);
    if (strstr(cut->why, "LoRA cut") == NULL || strstr(cut->why, "/") != NULL)
        fail_msg("told \"%s\"", cut->why);
    assert_null(lora_file_find(f.files, f.n, "away"));
    assert_null(lora_file_find(f.files, f.n, "../secret"));
    assert_null(lora_file_find(f.files, 0, "style"));
    free_folder(&f);
}

/* What has not changed is the same entry; what has is another. */
static void test_changes(void **state)
{
    struct lora_folder first = read_folder(NULL, 0, 100, 1 << 20), second;

    (void)state;
    write_file("cut.safetensors", n_content / 3);
    second = read_folder(first.files, first.n, 100, 1 << 20);
    assert_int_equal(second.n, first.n);
    for (size_t i = 0; i < first.n; i++)
        assert_int_equal(second.files[i] == first.files[i],
                         strcmp(first.files[i]->name, "cut") != 0);
    lora_file_free(lora_file_find(second.files, second.n, "cut"));
    mem_free(second.files);
    free_folder(&first);
}

static void write_text(const char *name, const char *text)
{
    char path[PATH_SIZE];
    FILE *file;

    path_of(path, name);
    file = fopen(path, "wb");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

/* PEFT's folder is a LoRA of the folder's name, unless a file has it; another
 * configuration is another LoRA, and one from elsewhere is none. */
static void test_adapter(void **state)
{
    static const char *const made[] = {"peft/adapter_config.json",
                                       "peft/adapter_model.safetensors", "peft",
                                       "peft.safetensors"};
    char path[PATH_SIZE], digest[65];
    struct lora_folder f;

    (void)state;
    path_of(path, "peft");
    assert_int_equal(mkdir(path, 0700), 0);
    write_file("peft/adapter_model.safetensors", n_content);
    for (int i = 0; i < 3; i++) {
        const struct lora_file *lora;

        if (i > 0)
            write_text("peft/adapter_config.json",
                       i == 1 ? "{\"lora_alpha\": 1}" : "{\"lora_alpha\": 2}");
        f = read_folder(NULL, 0, 100, 1 << 20);
        assert_int_equal(f.n, 5);
        lora = lora_file_find(f.files, f.n, "peft");
        assert_non_null(lora);
        assert_true(lora->is_usable);
        assert_string_not_equal(lora->details.digest, i ? digest : "");
        memcpy(digest, lora->details.digest, sizeof digest);
        free_folder(&f);
    }
    write_file("peft.safetensors", n_content / 2);
    f = read_folder(NULL, 0, 100, 1 << 20);
    assert_int_equal(f.n, 5);
    assert_false(lora_file_find(f.files, f.n, "peft")->is_usable);
    free_folder(&f);
    path_of(path, "peft.safetensors");
    assert_int_equal(unlink(path), 0);
    path_of(path, made[0]);
    assert_int_equal(unlink(path), 0);
    write_link("../../secret.safetensors", made[0]);
    f = read_folder(NULL, 0, 100, 1 << 20);
    assert_int_equal(f.n, 4);
    free_folder(&f);
    for (size_t i = 0; i < sizeof made / sizeof *made; i++) {
        path_of(path, made[i]);
        (void)remove(path);
    }
}

/* So is the folder that the reference's trainers write; PEFT's file is read
 * where both are. */
static void test_reference_folder(void **state)
{
    static const char *const made[] = {"boats/pytorch_lora_weights.safetensors",
                                       "boats/adapter_model.safetensors",
                                       "boats"};
    char path[PATH_SIZE];
    struct lora_folder f;

    (void)state;
    path_of(path, "boats");
    assert_int_equal(mkdir(path, 0700), 0);
    write_file(made[0], n_content);
    f = read_folder(NULL, 0, 100, 1 << 20);
    assert_int_equal(f.n, 5);
    assert_non_null(lora_file_find(f.files, f.n, "boats"));
    assert_true(lora_file_find(f.files, f.n, "boats")->is_usable);
    free_folder(&f);
    write_file(made[1], n_content / 2);
    f = read_folder(NULL, 0, 100, 1 << 20);
    assert_false(lora_file_find(f.files, f.n, "boats")->is_usable);
    free_folder(&f);
    for (size_t i = 0; i < sizeof made / sizeof *made; i++) {
        path_of(path, made[i]);
        assert_int_equal(remove(path), 0);
    }
}

static void test_ceilings(void **state)
{
    struct lora_folder f = read_folder(NULL, 0, 2, 100);

    (void)state;
    assert_int_equal(f.n + f.n_left_out, 5); /* "away" counts as a name */
    for (size_t i = 0; i < f.n; i++) {
        assert_false(f.files[i]->is_usable);
        assert_non_null(strstr(f.files[i]->why, "--lora-bytes allows 100"));
    }
    free_folder(&f);
}

static void test_no_folder(void **state)
{
    struct lora_folder f = {.path = "/nowhere/loras", .max_files = 5};

    (void)state;
    lora_folder_read(&f);
    assert_false(f.is_good);
    assert_int_equal(f.n, 0);
    assert_non_null(strstr(f.why, "No such file"));
    mem_free(f.files);
}

static void test_stopping(void **state)
{
    struct lora_folder f = {
        .path = folder, .max_files = 9, .is_stopping = true};

    (void)state;
    lora_folder_read(&f);
    assert_int_equal(f.n, 0);
    free_folder(&f);
}

/* Each allocation may fail: nothing is lost, what is there is right. */
static void test_memory_ends(void **state)
{
    (void)state;
    for (long k = 1; k < 16; k++) {
        struct lora_folder f;

        mem_test_fail_after(k);
        f = read_folder(NULL, 0, 100, 1 << 20);
        mem_test_fail_after(0);
        assert_true(f.n <= 4);
        free_folder(&f);
    }
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_folder),
        cmocka_unit_test(test_changes),
        cmocka_unit_test(test_adapter),
        cmocka_unit_test(test_changes),
        cmocka_unit_test(test_reference_folder),
        cmocka_unit_test(test_ceilings),
        cmocka_unit_test(test_no_folder),
        cmocka_unit_test(test_stopping),
        cmocka_unit_test(test_memory_ends),
    };

    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
