/* SPDX-License-Identifier: MIT */
/*
 * Fault injection for tests. A call that fails was not made at all; a lost answer is a put or replace that
 * was made and then reports LETHE_ERR_UNREACHABLE. Calls and random numbers count from the moment a plan is
 * set, so that a run with the same plan and one thread repeats itself.
 */
#include <pthread.h>
#include <stdlib.h>

#include "lethe/store.h"

struct fault_store {
    struct lethe_store base;
    struct lethe_store *inner;
    pthread_mutex_t lock; /* guards all below */
    struct lethe_fault_plan plan;
    uint64_t calls;      /* since the store was made */
    uint64_t plan_calls; /* since the plan was set */
    uint64_t random;
};

struct verdict {
    enum lethe_err before; /* returned instead of the call */
    bool lost;             /* the call is made and its answer lost */
    bool no_conditions;
};

/* SplitMix64: Steele, Lea, Flood, "Fast Splittable Pseudorandom Number Generators", OOPSLA 2014. */
static uint64_t next_random(struct fault_store *fault)
{
    uint64_t z = fault->random += 0x9e3779b97f4a7c15U;

    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9U;
    z = (z ^ z >> 27) * 0x94d049bb133111ebU;
    return z ^ z >> 31;
}

static struct verdict judge(struct fault_store *fault, bool writes)
{
    const struct lethe_fault_plan *plan = &fault->plan;
    struct verdict verdict = {LETHE_OK, false, false};

    pthread_mutex_lock(&fault->lock);
    fault->calls++;
    fault->plan_calls++;
    if (plan->fail_nth != 0 && (fault->plan_calls == plan->fail_nth ||
                                (plan->fail_from_then_on && fault->plan_calls > plan->fail_nth))) {
        verdict.before = plan->error ? plan->error : LETHE_ERR_UNREACHABLE;
    }
    if (next_random(fault) % 1000 < plan->permille) {
        verdict.before = plan->error ? plan->error : LETHE_ERR_UNREACHABLE;
    }
    verdict.no_conditions = plan->no_conditions;
    verdict.lost = next_random(fault) % 1000 < plan->lost_answer_permille && writes;
    pthread_mutex_unlock(&fault->lock);
    return verdict;
}

static struct fault_store *fault_of(struct lethe_store *store)
{
    return (struct fault_store *)store;
}

static enum lethe_err fault_get(struct lethe_store *store, const char *key, uint64_t offset, uint64_t len,
                                struct lethe_buf *out, struct lethe_store_version *version)
{
    struct verdict verdict = judge(fault_of(store), false);

    return verdict.before ? verdict.before
                          : lethe_store_get(fault_of(store)->inner, key, offset, len, out, version);
}

static enum lethe_err fault_put(struct lethe_store *store, const char *key, const uint8_t *bytes, size_t len)
{
    struct verdict verdict = judge(fault_of(store), true);
    enum lethe_err err;

    if (verdict.before) {
        return verdict.before;
    }
    err = lethe_store_put(fault_of(store)->inner, key, bytes, len);
    return !err && verdict.lost ? LETHE_ERR_UNREACHABLE : err;
}

static enum lethe_err fault_replace(struct lethe_store *store, const char *key, const uint8_t *bytes,
                                    size_t len, const struct lethe_store_version *expected,
                                    struct lethe_store_version *version)
{
    struct verdict verdict = judge(fault_of(store), true);
    enum lethe_err err;

    if (verdict.before) {
        return verdict.before;
    }
    if (verdict.no_conditions) {
        return LETHE_ERR_UNSUPPORTED;
    }
    err = lethe_store_replace(fault_of(store)->inner, key, bytes, len, expected, version);
    return !err && verdict.lost ? LETHE_ERR_UNREACHABLE : err;
}

static enum lethe_err fault_overwrite(struct lethe_store *store, const char *key, const uint8_t *bytes,
                                      size_t len)
{
    struct verdict verdict = judge(fault_of(store), true);
    struct lethe_store *inner = fault_of(store)->inner;
    enum lethe_err err = LETHE_ERR_CONFLICT;

    if (verdict.before) {
        return verdict.before;
    }
    if (!verdict.no_conditions) {
        return lethe_store_overwrite(inner, key, bytes, len);
    }
    while (err == LETHE_ERR_CONFLICT) { /* whatever is there, by the means that the inner store has */
        struct lethe_store_version version = {""};
        struct lethe_buf now = {0};

        err = lethe_store_get(inner, key, 0, UINT64_MAX, &now, &version);
        lethe_buf_release(&now);
        err = err && err != LETHE_ERR_NOT_FOUND ? err
                                                : lethe_store_replace(inner, key, bytes, len, &version, NULL);
    }
    return !err && verdict.lost ? LETHE_ERR_UNREACHABLE : err;
}

static enum lethe_err fault_remove(struct lethe_store *store, const char *key)
{
    struct verdict verdict = judge(fault_of(store), false);

    return verdict.before ? verdict.before : lethe_store_remove(fault_of(store)->inner, key);
}

static enum lethe_err fault_list(struct lethe_store *store, const char *prefix,
                                 enum lethe_err (*each)(void *context, const char *key,
                                                        const struct lethe_store_stat *stat),
                                 void *context)
{
    struct verdict verdict = judge(fault_of(store), false);

    return verdict.before ? verdict.before : lethe_store_list(fault_of(store)->inner, prefix, each, context);
}

static enum lethe_err fault_stat(struct lethe_store *store, const char *key, struct lethe_store_stat *out)
{
    struct verdict verdict = judge(fault_of(store), false);

    return verdict.before ? verdict.before : lethe_store_stat(fault_of(store)->inner, key, out);
}

static void fault_close(struct lethe_store *store)
{
    struct fault_store *fault = fault_of(store);

    lethe_store_close(fault->inner);
    pthread_mutex_destroy(&fault->lock);
    free(fault);
}

static const struct lethe_store_ops fault_ops = {
    .get = fault_get,
    .put = fault_put,
    .replace = fault_replace,
    .overwrite = fault_overwrite,
    .remove = fault_remove,
    .list = fault_list,
    .stat = fault_stat,
    .close = fault_close,
};

enum lethe_err lethe_store_fault_new(struct lethe_store *inner, const struct lethe_fault_plan *plan,
                                     struct lethe_store **out)
{
    struct fault_store *fault = calloc(1, sizeof *fault);

    *out = NULL;
    if (!fault) {
        lethe_store_close(inner);
        return LETHE_ERR_NOMEM;
    }
    fault->base.ops = &fault_ops;
    fault->inner = inner;
    pthread_mutex_init(&fault->lock, NULL);
    lethe_store_fault_set(&fault->base, plan);
    *out = &fault->base;
    return LETHE_OK;
}

uint64_t lethe_store_fault_calls(struct lethe_store *store)
{
    struct fault_store *fault = fault_of(store);
    uint64_t calls;

    pthread_mutex_lock(&fault->lock);
    calls = fault->calls;
    pthread_mutex_unlock(&fault->lock);
    return calls;
}

void lethe_store_fault_set(struct lethe_store *store, const struct lethe_fault_plan *plan)
{
    struct fault_store *fault = fault_of(store);

    pthread_mutex_lock(&fault->lock);
    fault->plan = *plan;
    fault->plan_calls = 0;
    fault->random = plan->seed;
    pthread_mutex_unlock(&fault->lock);
}
