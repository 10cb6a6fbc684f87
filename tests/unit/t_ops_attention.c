/* t_ops_attention.c - attention and its adjoint against double.
 *
 * Bounds.  A score is a sum of d products: d EPS of their magnitudes, about
 * d EPS |q| |k| scale, which exp turns into a relative error of p; o is a
 * mean of v with these weights, so 2 d EPS |v| with |q| |k| scale near 1, plus
 * len_k EPS for the sums.  The adjoint is compared with the closed form in
 * double, and that with central differences.
 *
 * SPDX-License-Identifier: MIT
 */
#include "numbers.h"

#include "base/compiler.h"
#include "ops/attention.h"
#include "tables.h"

struct shape_row {
    uint32_t n, heads, d, len_q, len_k, pad;
    bool is_causal; /* forward only */
};

/* `pad` is added to every stride (columns of one product). */
static const struct shape_row shapes[] = {
    {1, 1, 1, 1, 1, 0, false},
    {2, 3, 8, 5, 7, 0, false},
    {2, 2, 32, 49, 49, 64, false},
    {1, 1, 96, 49, 49, 3, false},
    {1, 2, 20, 65, 97, 5, false},
    {1, 1, 256, 70, 200, 0, false},
    {1, 1, 512, 9, 9, 1, false},
    {1, 5, 13, 130, 3, 0, false},
    {2, 3, 8, 1, 1, 0, true},
    {2, 2, 16, 77, 77, 8, true},
    {1, 1, 64, 97, 97, 0, true},
    {1, 2, 8, 231, 231, 1, true},
    /* pieces of several tiles of queries, the last of part of them */
    {1, 32, 2, 250, 40, 2, false},
    {1, 32, 1, 231, 231, 0, true},
};

struct attention_case {
    struct attention_args a;
    size_t nq, nk; /* floats of q (and o), of k (and v) */
    float *q, *k, *v, *o, *lse, *d_o;
};

static void case_open(struct attention_case *t, const struct shape_row *s)
{
    uint32_t ld = s->heads * s->d + s->pad;

    t->nq = (size_t)s->n * s->len_q * ld;
    t->nk = (size_t)s->n * s->len_k * ld;
    t->q = numbers_random(t->nq, 1, 1);
    t->k = numbers_random(t->nk, 2, 1);
    t->v = numbers_random(t->nk, 3, 1);
    t->d_o = numbers_random(t->nq, 4, 1);
    t->o = numbers_random(t->nq, 5, 1);
    t->lse = numbers_new((size_t)s->n * s->heads * s->len_q);
    t->a = (struct attention_args){
        .n = s->n,
        .heads = s->heads,
        .d = s->d,
        .len_q = s->len_q,
        .len_k = s->len_k,
        .ldq = ld,
        .ldk = ld,
        .ldv = ld,
        .ldo = ld,
        .scale = 1 / sqrtf((float)s->d),
        .is_causal = s->is_causal,
        .q = t->q,
        .k = t->k,
        .v = t->v,
        .o = t->o,
        .lse = t->lse,
    };
}

static void case_close(struct attention_case *t)
{
    numbers_free(t->q);
    numbers_free(t->k);
    numbers_free(t->v);
    numbers_free(t->o);
    numbers_free(t->lse);
    numbers_free(t->d_o);
}

/* Double copies of one head of one image, contiguous. */
struct naive {
    bool is_causal;
    size_t d, len_q, len_k;
    double scale, *q, *k, *v, *p, *o;
};

static double *gather(const float *x, size_t ld, size_t len, size_t d)
{
    double *y = test_malloc((len * d + 1) * sizeof *y);

    for (size_t i = 0; i < len * d; i++)
        y[i] = x[i / d * ld + i % d];
    return y;
}

static size_t head_at(const struct attention_case *t, size_t image, size_t head,
                      size_t len)
{
    return image * len * t->a.ldq + head * t->a.d;
}

static void naive_open(struct naive *h, const struct attention_case *t,
                       size_t image, size_t head)
{
    const struct attention_args *a = &t->a;

    memset(h, 0, sizeof *h);
    h->d = a->d;
    h->len_q = a->len_q;
    h->len_k = a->len_k;
    h->scale = a->scale;
    h->is_causal = a->is_causal;
    h->q = gather(t->q + head_at(t, image, head, a->len_q), a->ldq, a->len_q,
                  a->d);
    h->k = gather(t->k + head_at(t, image, head, a->len_k), a->ldk, a->len_k,
                  a->d);
    h->v = gather(t->v + head_at(t, image, head, a->len_k), a->ldv, a->len_k,
                  a->d);
    h->p = test_malloc(h->len_q * h->len_k * sizeof *h->p);
    h->o = test_malloc(h->len_q * h->d * sizeof *h->o);
}

static void naive_close(struct naive *h)
{
    test_free(h->q);
    test_free(h->k);
    test_free(h->v);
    test_free(h->p);
    test_free(h->o);
}

/* p and o; lse[i] of each query too, unless NULL. */
static void naive_forward(struct naive *h, double *lse)
{
    for (size_t i = 0; i < h->len_q; i++) {
        double *p = h->p + i * h->len_k, sum = 0;

        for (size_t j = 0; j < h->len_k; j++) {
            double dot = 0;

            for (size_t c = 0; c < h->d; c++)
                dot += h->q[i * h->d + c] * h->k[j * h->d + c];
            p[j] = h->is_causal && j > i ? 0 : exp(dot * h->scale);
            sum += p[j];
        }
        if (lse)
            lse[i] = log(sum);
        for (size_t c = 0; c < h->d; c++)
            h->o[i * h->d + c] = 0;
        for (size_t j = 0; j < h->len_k; j++) {
            p[j] /= sum;
            for (size_t c = 0; c < h->d; c++)
                h->o[i * h->d + c] += p[j] * h->v[j * h->d + c];
        }
    }
}

static double naive_loss(struct naive *h, const double *d_o)
{
    double loss = 0;

    naive_forward(h, NULL);
    for (size_t i = 0; i < h->len_q * h->d; i++)
        loss += h->o[i] * d_o[i];
    return loss;
}

/* The closed form of the adjoint, on the p and o of naive_forward(). */
static void naive_backward(const struct naive *h, const double *d_o, double *dq,
                           double *dk, double *dv)
{
    size_t d = h->d;

    memset(dq, 0, h->len_q * d * sizeof *dq);
    memset(dk, 0, h->len_k * d * sizeof *dk);
    memset(dv, 0, h->len_k * d * sizeof *dv);
    for (size_t i = 0; i < h->len_q; i++) {
        double mean = 0;

        for (size_t c = 0; c < d; c++)
            mean += d_o[i * d + c] * h->o[i * d + c];
        for (size_t j = 0; j < h->len_k; j++) {
            double p = h->p[i * h->len_k + j], dp = 0;

            for (size_t c = 0; c < d; c++)
                dp += d_o[i * d + c] * h->v[j * d + c];
            for (size_t c = 0; c < d; c++) {
                double ds = h->scale * p * (dp - mean);

                dv[j * d + c] += p * d_o[i * d + c];
                dq[i * d + c] += ds * h->k[j * d + c];
                dk[j * d + c] += ds * h->q[i * d + c];
            }
        }
    }
}

static void run_forward(const struct kernel_table *k, unsigned threads,
                        const struct attention_args *a)
{
    struct bench b;

    bench_open(&b, k, threads, attention_scratch(k, threads, a));
    attention_run(&b.ctx, a);
    bench_close(&b);
}

static void check_forward(const struct kernel_table *k,
                          struct attention_case *t)
{
    const struct attention_args *a = &t->a;
    float *before = numbers_copy(t->o, t->nq);
    double lse[256];

    run_forward(k, 1, a);
    for (size_t image = 0; image < a->n; image++)
        for (size_t head = 0; head < a->heads; head++) {
            float *o = t->o + head_at(t, image, head, a->len_q);
            struct naive h;

            naive_open(&h, t, image, head);
            naive_forward(&h, lse);
            for (size_t i = 0; i < a->len_q * a->d; i++)
                assert_near("o", k->isa, i, o[i / a->d * a->ldo + i % a->d],
                            h.o[i], (4 * sqrt(a->d) + a->len_k + 20) * EPS * 2);
            for (size_t i = 0; i < a->len_q; i++)
                assert_near("lse", k->isa, i,
                            t->lse[(image * a->heads + head) * a->len_q + i],
                            lse[i], (4 * sqrt(a->d) + a->len_k + 20) * EPS);
            naive_close(&h);
        }
    /* Columns between the strides stay as they are. */
    for (size_t i = 0; i < t->nq; i++)
        if (i % a->ldo >= (size_t)a->heads * a->d)
            assert_true(t->o[i] == before[i]);
    assert_guards("o", t->o, t->nq);
    assert_guards("lse", t->lse, (size_t)a->n * a->heads * a->len_q);
    numbers_free(before);
}

static void test_forward(void **state)
{
    struct kernel_table tables[MAX_RUNGS];
    size_t n = rungs(tables);

    for (size_t i = 0; i < ARRAY_LEN(shapes); i++)
        for (size_t r = 0; r < n; r++) {
            struct attention_case t;

            case_open(&t, &shapes[i]);
            check_forward(&tables[r], &t);
            case_close(&t);
        }
}

/* -- operands of bf16 ------------------------------------------------------ */

static const char *const bf16_tables[] = {
    "scalar bf16", "portable bf16", "avx2 bf16", "avx512bf16", "emulated"};

/* Rounding an operand errs by 2^-8 of it at most, a product of two by 2.01 *
 * 2^-8.  So a score errs by e = 2.01 * 2^-8 scale sum |q| |k|, p by a factor
 * between exp(-2 e) and exp(2 e), and o by that and one more product. */
static double bf16_bound(const struct naive *h, size_t i, size_t c)
{
    double e = 0, sum = 0;

    for (size_t j = 0; j < h->len_k; j++) {
        double size = 0;

        for (size_t x = 0; x < h->d; x++)
            size += fabs(h->q[i * h->d + x] * h->k[j * h->d + x]);
        e = fmax(e, 2.01 * 0x1p-8 * fabs(h->scale) * size);
        sum += h->p[i * h->len_k + j] * fabs(h->v[j * h->d + c]);
    }
    return (expm1(2 * e) + 2.01 * 0x1p-8 * exp(2 * e) + h->len_k * EPS) * sum +
           1e-6;
}

static void check_bf16(const struct kernel_table *k, struct attention_case *t)
{
    const struct attention_args *a = &t->a;
    double error = 0, size = 0;

    t->a.lse = NULL;
    run_forward(k, 1, a);
    for (size_t image = 0; image < a->n; image++)
        for (size_t head = 0; head < a->heads; head++) {
            float *o = t->o + head_at(t, image, head, a->len_q);
            struct naive h;

            naive_open(&h, t, image, head);
            naive_forward(&h, NULL);
            for (size_t i = 0; i < a->len_q * a->d; i++) {
                double got = o[i / a->d * a->ldo + i % a->d];

                assert_near("o", k->isa, i, got, h.o[i],
                            bf16_bound(&h, i / a->d, i % a->d));
                error += pow(got - h.o[i], 2);
                size += pow(h.o[i], 2);
            }
            naive_close(&h);
        }
    assert_guards("o", t->o, t->nq);
    print_message("%s, d %u, %u x %u: error %.2g of the outputs\n", k->isa,
                  a->d, a->len_q, a->len_k, sqrt(error / size));
}

/* The same bytes by any number of threads, and for a picture alone. */
static void check_bf16_bytes(const struct kernel_table *k,
                             struct attention_case *t)
{
    float *first = numbers_copy(t->o, t->nq);
    uint32_t n = t->a.n;

    for (unsigned threads = 2; threads <= 4; threads += 2) {
        run_forward(k, threads, &t->a);
        assert_memory_equal(first, t->o, t->nq * sizeof *first);
    }
    t->a.n = 1;
    t->a.q += (n - 1) * (t->nq / n);
    t->a.k += (n - 1) * (t->nk / n);
    t->a.v += (n - 1) * (t->nk / n);
    t->a.o += (n - 1) * (t->nq / n);
    run_forward(k, 1, &t->a);
    assert_memory_equal(first, t->o, t->nq * sizeof *first);
    numbers_free(first);
}

static void test_bf16(void **state)
{
    struct kernel_table k;

    for (size_t r = 0; r < ARRAY_LEN(bf16_tables); r++) {
        if (!tables_select(&k, bf16_tables[r])) {
            print_message("SKIP %s: it cannot run here\n", bf16_tables[r]);
            continue;
        }
        for (size_t i = 0; i < ARRAY_LEN(shapes); i++) {
            struct attention_case t;

            case_open(&t, &shapes[i]);
            check_bf16(&k, &t);
            check_bf16_bytes(&k, &t);
            case_close(&t);
        }
    }
}

/* Scores in the thousands and, with lse wanted, f32 as before. */
static void test_bf16_edges(void **state)
{
    static const struct shape_row shape = {1, 1, 16, 70, 300, 0, false};
    struct kernel_table narrow, plain;
    struct attention_case t;

    case_open(&t, &shape);
    assert_true(tables_select(&narrow, "scalar bf16"));
    assert_true(tables_select(&plain, "scalar"));
    run_forward(&plain, 1, &t.a);
    float *first = numbers_copy(t.o, t.nq);
    run_forward(&narrow, 1, &t.a);
    assert_memory_equal(first, t.o, t.nq * sizeof *first);
    numbers_free(first);
    t.a.lse = NULL;
    t.a.scale = 1000;
    run_forward(&narrow, 1, &t.a);
    for (size_t i = 0; i < t.nq; i++)
        assert_true(isfinite(t.o[i]) && fabsf(t.o[i]) < 6);
    case_close(&t);
}

/* Scores that lie far apart, so that each query sees one key alone: that with
 * the largest, the smallest or a middling number, wherever it lies; and those
 * of other queries beside it all the same. */
static void check_far(const struct kernel_table *k, struct attention_case *t,
                      uint32_t step)
{
    struct attention_args *a = &t->a;

    memset(t->q, 0, t->nq * sizeof *t->q);
    memset(t->k, 0, t->nk * sizeof *t->k);
    for (size_t i = 0; i < a->len_q; i++)
        t->q[i * a->ldq] = (float)(i % 3) - 1;
    for (size_t j = 0; j < a->len_k; j++)
        t->k[j * a->ldk] = (float)(j * step % a->len_k) - 255;
    a->scale = 64;
    run_forward(k, 1, a);
    for (size_t j = 0; j < a->len_k; j++)
        for (size_t i = 0; i < a->len_q; i++) {
            size_t rank = j * step % a->len_k;

            if (rank != (i % 3 ? a->len_k - 1 : 0) || i % 3 == 1)
                continue;
            for (size_t c = 0; c < a->d; c++)
                assert_near("far", k->isa, i, t->o[i * a->ldo + c],
                            t->v[j * a->ldv + c],
                            0x1p-8 * fabsf(t->v[j * a->ldv + c]));
        }
}

static void test_bf16_far(void **state)
{
    static const struct shape_row shape = {1, 1, 16, 70, 511, 0, false};
    static const uint32_t steps[] = {1, 100, 255, 510}; /* to 511 coprime */
    struct kernel_table k;

    for (size_t r = 0; r < ARRAY_LEN(bf16_tables); r++)
        for (size_t i = 0; i < ARRAY_LEN(steps); i++) {
            struct attention_case t;

            if (!tables_select(&k, bf16_tables[r]))
                continue;
            case_open(&t, &shape);
            t.a.lse = NULL;
            check_far(&k, &t, steps[i]);
            case_close(&t);
        }
}

/* -- threads, edges -------------------------------------------------------- */

static void test_forward_any_threads(void **state)
{
    struct kernel_table tables[MAX_RUNGS];
    size_t n = rungs(tables);

    for (size_t i = 0; i < ARRAY_LEN(shapes); i++)
        for (size_t r = 0; r < n; r++) {
            struct attention_case t;
            float *first;

            case_open(&t, &shapes[i]);
            run_forward(&tables[r], 1, &t.a);
            first = numbers_copy(t.o, t.nq);
            for (unsigned threads = 2; threads <= 4; threads += 2) {
                run_forward(&tables[r], threads, &t.a);
                assert_memory_equal(first, t.o, t.nq * sizeof *first);
            }
            numbers_free(first);
            case_close(&t);
        }
}

/* Scores in the thousands: without the running maximum this overflows. */
static void test_large_scores(void **state)
{
    static const struct shape_row shape = {1, 1, 16, 70, 300, 0, false};
    struct kernel_table tables[MAX_RUNGS];
    size_t n = rungs(tables);

    for (size_t r = 0; r < n; r++) {
        struct attention_case t;

        case_open(&t, &shape);
        t.a.scale = 1000;
        run_forward(&tables[r], 1, &t.a);
        for (size_t i = 0; i < t.nq; i++)
            assert_true(isfinite(t.o[i]) && fabsf(t.o[i]) < 6);
        case_close(&t);
    }
}

struct adjoints {
    float *dq, *dk, *dv;
};

static void run_backward(const struct kernel_table *k, unsigned threads,
                         const struct attention_case *t,
                         const struct adjoints *g)
{
    struct attention_bwd_args a = {t->a, t->d_o, g->dq, g->dk, g->dv};
    struct bench b;

    bench_open(&b, k, threads, attention_bwd_scratch(k, threads, &t->a));
    attention_bwd(&b.ctx, &a);
    bench_close(&b);
}

static void check_head(const char *isa, const struct attention_case *t,
                       const struct adjoints *g, size_t image, size_t head)
{
    const struct attention_args *a = &t->a;
    size_t d = a->d, ld = a->ldq;
    size_t q_at = head_at(t, image, head, a->len_q);
    size_t k_at = head_at(t, image, head, a->len_k);
    double *d_o = gather(t->d_o + q_at, ld, a->len_q, d);
    double *dq = gather(t->q + q_at, ld, a->len_q, d);
    double *dk = gather(t->k + k_at, ld, a->len_k, d);
    double *dv = gather(t->v + k_at, ld, a->len_k, d);
    /* dP and D are sums of d products of unit size, dK and dV of len_q. */
    double bound = (4 * sqrt(d) + a->len_k + 20) * EPS * 8 * sqrt(d + a->len_q);
    struct naive h;

    naive_open(&h, t, image, head);
    naive_forward(&h, NULL);
    naive_backward(&h, d_o, dq, dk, dv);
    for (size_t i = 0; i < a->len_q * d; i++)
        assert_near("dq", isa, i, g->dq[q_at + i / d * ld + i % d], dq[i],
                    bound);
    for (size_t i = 0; i < a->len_k * d; i++) {
        assert_near("dk", isa, i, g->dk[k_at + i / d * ld + i % d], dk[i],
                    bound);
        assert_near("dv", isa, i, g->dv[k_at + i / d * ld + i % d], dv[i],
                    bound);
    }
    naive_close(&h);
    test_free(d_o);
    test_free(dq);
    test_free(dk);
    test_free(dv);
}

static void check_backward(const struct kernel_table *k,
                           struct attention_case *t)
{
    struct adjoints g = {numbers_new(t->nq), numbers_new(t->nk),
                         numbers_new(t->nk)};
    struct adjoints again = {numbers_new(t->nq), numbers_new(t->nk),
                             numbers_new(t->nk)};

    run_forward(k, 1, &t->a);
    run_backward(k, 1, t, &g);
    for (size_t image = 0; image < t->a.n; image++)
        for (size_t head = 0; head < t->a.heads; head++)
            check_head(k->isa, t, &g, image, head);
    assert_guards("dq", g.dq, t->nq);
    assert_guards("dk", g.dk, t->nk);
    assert_guards("dv", g.dv, t->nk);
    for (unsigned threads = 2; threads <= 4; threads += 2) {
        run_backward(k, threads, t, &again);
        assert_memory_equal(g.dq, again.dq, t->nq * sizeof *g.dq);
        assert_memory_equal(g.dk, again.dk, t->nk * sizeof *g.dk);
        assert_memory_equal(g.dv, again.dv, t->nk * sizeof *g.dv);
    }
    numbers_free(g.dq);
    numbers_free(g.dk);
    numbers_free(g.dv);
    numbers_free(again.dq);
    numbers_free(again.dk);
    numbers_free(again.dv);
}

static void test_backward(void **state)
{
    struct kernel_table tables[MAX_RUNGS];
    size_t n = rungs(tables);

    for (size_t i = 0; i < ARRAY_LEN(shapes); i++)
        for (size_t r = 0; r < n; r++) {
            struct attention_case t;

            if (shapes[i].is_causal)
                continue;
            case_open(&t, &shapes[i]);
            check_backward(&tables[r], &t);
            case_close(&t);
        }
}

/* The closed form that the operation is held to is itself held to central
 * differences; h = 1e-5 leaves about 1e-9. */
static void check_differences(struct naive *h, const double *d_o, double *x,
                              const double *dx, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        double old = x[i], up, down, step = 1e-5;

        x[i] = old + step;
        up = naive_loss(h, d_o);
        x[i] = old - step;
        down = naive_loss(h, d_o);
        x[i] = old;
        assert_near("closed form", "double", i, dx[i], (up - down) / (2 * step),
                    1e-7);
    }
}

static void test_closed_form(void **state)
{
    static const struct shape_row shape = {1, 1, 6, 5, 7, 0, false};
    struct attention_case t;
    struct naive h;
    double *d_o, dq[30], dk[42], dv[42];

    case_open(&t, &shape);
    naive_open(&h, &t, 0, 0);
    d_o = gather(t.d_o, 6, 5, 6);
    naive_forward(&h, NULL);
    naive_backward(&h, d_o, dq, dk, dv);
    check_differences(&h, d_o, h.q, dq, 30);
    check_differences(&h, d_o, h.k, dk, 42);
    check_differences(&h, d_o, h.v, dv, 42);
    test_free(d_o);
    naive_close(&h);
    case_close(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_forward),
        cmocka_unit_test(test_bf16),
        cmocka_unit_test(test_bf16_edges),
        cmocka_unit_test(test_bf16_far),
        cmocka_unit_test(test_forward_any_threads),
        cmocka_unit_test(test_large_scores),
        cmocka_unit_test(test_closed_form),
        cmocka_unit_test(test_backward),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
