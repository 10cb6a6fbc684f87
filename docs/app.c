/* app.c - a picture of a sneaker on stdout, by the library.
 *
 *     cc docs/app.c $(pkg-config --cflags --libs unstir) -o app
 *     ./app [MODEL] > sneaker.png
 *
 * SPDX-License-Identifier: MIT
 */
#include <stdio.h>
#include <unstir.h>

int main(int argc, char **argv)
{
    const char *path = argc > 1 ? argv[1] : "models/fashion";
    struct unstir_error err = {0};
    struct unstir_model *model;
    struct unstir_executor *exec;
    struct unstir_generation *gen;
    struct unstir_request req = UNSTIR_REQUEST_INIT;
    unsigned char *png;
    size_t n;

    req.label = "sneaker";
    req.seed = 7;
    if (unstir_model_open(&model, path, NULL, &err) ||
        unstir_executor_new(&exec, NULL, &err) ||
        unstir_generation_begin(&gen, model, &req, &err))
        return fprintf(stderr, "%s\n", err.detail), 1;
    /* Between two steps: look at it, cancel or save it. */
    while (!unstir_generation_is_done(gen))
        if (unstir_generation_step(gen, exec, &err))
            return fprintf(stderr, "%s\n", err.detail), 1;
    if (unstir_generation_png(gen, NULL, &png, &n, &err))
        return fprintf(stderr, "%s\n", err.detail), 1;
    int is_whole = fwrite(png, 1, n, stdout) == n && fflush(stdout) == 0;
    if (!is_whole)
        perror("stdout");
    unstir_free(png);
    unstir_generation_free(gen);
    unstir_executor_free(exec);
    unstir_model_close(model);
    return is_whole ? 0 : 1;
}
