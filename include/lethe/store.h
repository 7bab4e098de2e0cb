/* SPDX-License-Identifier: MIT */
/*
 * A backend: named immutable objects, and a few small ones that are replaced conditionally (head, vault.json).
 * One vtable that the directory, S3 and every decorator (retry, throttle, fault injection) implement. Calls are
 * synchronous and may come from many threads at once. Keys are relative paths of [a-z0-9./-], at most 200 bytes,
 * without empty, "." or ".." parts.
 */
#ifndef LETHE_STORE_H
#define LETHE_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lethe/bytes.h"
#include "lethe/err.h"

#define LETHE_STORE_KEY_MAX 200
#define LETHE_STORE_VERSION_MAX 80

/* An opaque version of a replaceable object, as the backend names it ("" is none). */
struct lethe_store_version {
    char text[LETHE_STORE_VERSION_MAX];
};

struct lethe_store_stat {
    uint64_t size;
    int64_t modified; /* seconds since 1970, by the store's clock */
};

struct lethe_store;

struct lethe_store_ops {
    /*
     * Appends at most len bytes from offset on to out (UINT64_MAX: to the end). version may be NULL.
     * LETHE_ERR_NOT_FOUND, LETHE_ERR_UNREACHABLE, LETHE_ERR_DENIED, LETHE_ERR_IO. A short object gives fewer bytes.
     */
    enum lethe_err (*get)(struct lethe_store *store, const char *key, uint64_t offset, uint64_t len,
                          struct lethe_buf *out, struct lethe_store_version *version);
    /* Create-only and durable on return. LETHE_ERR_EXISTS when the key is taken (then nothing changed). */
    enum lethe_err (*put)(struct lethe_store *store, const char *key, const uint8_t *bytes, size_t len);
    /*
     * Replaces the object if its version still is *expected ("": it must not exist); LETHE_ERR_CONFLICT otherwise.
     * On LETHE_ERR_UNREACHABLE it is unknown whether it happened: the caller reads back. Durable on return.
     * LETHE_ERR_UNSUPPORTED, and nothing changed: the store has no conditional writes.
     */
    enum lethe_err (*replace)(struct lethe_store *store, const char *key, const uint8_t *bytes, size_t len,
                              const struct lethe_store_version *expected, struct lethe_store_version *version);
    /*
     * Writes a replaceable object whatever is there, durable on return. For a store whose replace is
     * LETHE_ERR_UNSUPPORTED for want of conditional writes; NULL: replace works, nobody needs this.
     */
    enum lethe_err (*overwrite)(struct lethe_store *store, const char *key, const uint8_t *bytes, size_t len);
    /* LETHE_OK also when the object is not there. */
    enum lethe_err (*remove)(struct lethe_store *store, const char *key);
    /* Calls each for every key that begins with prefix, in any order; a non-zero result stops and is returned. */
    enum lethe_err (*list)(struct lethe_store *store, const char *prefix,
                           enum lethe_err (*each)(void *context, const char *key, const struct lethe_store_stat *stat),
                           void *context);
    enum lethe_err (*stat)(struct lethe_store *store, const char *key, struct lethe_store_stat *out);
    /*
     * For how long nothing has been heard of a store that is being asked; 0 when nothing is under way. NULL: the store
     * answers at once or not at all.
     */
    unsigned (*quiet_ms)(struct lethe_store *store);
    /* The owner leaves: calls wait for nothing any more that is not the store itself. NULL: they never do. */
    void (*hurry)(struct lethe_store *store);
    /* Frees the store and, for a decorator, what it decorates. */
    void (*close)(struct lethe_store *store);
};

/* Every implementation embeds this as its first member. */
struct lethe_store {
    const struct lethe_store_ops *ops;
};

enum lethe_err lethe_store_get(struct lethe_store *store, const char *key, uint64_t offset, uint64_t len,
                               struct lethe_buf *out, struct lethe_store_version *version) LETHE_MUST_CHECK;
enum lethe_err lethe_store_put(struct lethe_store *store, const char *key, const uint8_t *bytes, size_t len)
    LETHE_MUST_CHECK;
enum lethe_err lethe_store_replace(struct lethe_store *store, const char *key, const uint8_t *bytes, size_t len,
                                   const struct lethe_store_version *expected, struct lethe_store_version *version)
    LETHE_MUST_CHECK;
/* LETHE_ERR_UNSUPPORTED where there is no need for it. */
enum lethe_err lethe_store_overwrite(struct lethe_store *store, const char *key, const uint8_t *bytes, size_t len)
    LETHE_MUST_CHECK;
enum lethe_err lethe_store_remove(struct lethe_store *store, const char *key) LETHE_MUST_CHECK;
enum lethe_err lethe_store_list(struct lethe_store *store, const char *prefix,
                                enum lethe_err (*each)(void *context, const char *key,
                                                       const struct lethe_store_stat *stat),
                                void *context) LETHE_MUST_CHECK;
enum lethe_err lethe_store_stat(struct lethe_store *store, const char *key, struct lethe_store_stat *out)
    LETHE_MUST_CHECK;
unsigned lethe_store_quiet_ms(struct lethe_store *store);
void lethe_store_hurry(struct lethe_store *store);
void lethe_store_close(struct lethe_store *store); /* NULL does nothing */

/* Whether a key has the form above. */
bool lethe_store_key_valid(const char *key);

/*
 * Opens a location: a path, file:///path, or s3://bucket/prefix as the environment and ~/.aws describe it (see
 * lethe_store_open_with). create: makes the folder when it is missing; a bucket is never made. LETHE_ERR_NOT_FOUND when
 * folder or bucket are missing; LETHE_ERR_UNSUPPORTED for other schemes.
 */
enum lethe_err lethe_store_open(const char *location, bool create, struct lethe_store **out) LETHE_MUST_CHECK;

/* The directory backend alone. */
enum lethe_err lethe_store_dir_open(const char *path, bool create, struct lethe_store **out) LETHE_MUST_CHECK;

/*
 * As lethe_store_get of a whole object of at most max_len bytes, tried again in the same way: for the first word with a
 * store that is not decorated yet. store stays the caller's.
 */
enum lethe_err lethe_store_get_patiently(struct lethe_store *store, const char *key, uint64_t max_len,
                                         unsigned deadline_ms, struct lethe_buf *out,
                                         struct lethe_store_version *version) LETHE_MUST_CHECK;

/* Retries LETHE_ERR_UNREACHABLE with exponential back-off and full jitter until deadline_ms have passed. Takes inner. */
enum lethe_err lethe_store_retry_new(struct lethe_store *inner, unsigned deadline_ms, struct lethe_store **out)
    LETHE_MUST_CHECK;

/* Keeps what is put and got below so many bytes a second (0: no limit). Takes inner. */
enum lethe_err lethe_store_throttle_new(struct lethe_store *inner, uint64_t up, uint64_t down, struct lethe_store **out)
    LETHE_MUST_CHECK;

/* Every call that would write gives LETHE_ERR_DENIED and does not reach inner. Takes inner. */
enum lethe_err lethe_store_read_only_new(struct lethe_store *inner, struct lethe_store **out) LETHE_MUST_CHECK;
bool lethe_store_is_read_only(const struct lethe_store *store);

/* Fault injection, for tests. Takes inner. */
struct lethe_fault_plan {
    uint64_t seed;
    unsigned fail_nth;        /* the Nth call fails (1 is the first); 0: none */
    bool fail_from_then_on;   /* and every later one */
    unsigned permille;        /* of calls that fail at random */
    unsigned lost_answer_permille; /* of puts and replaces that happen, and then report LETHE_ERR_UNREACHABLE */
    enum lethe_err error;     /* what a failure returns; 0 means LETHE_ERR_UNREACHABLE */
    bool no_conditions;       /* replace is LETHE_ERR_UNSUPPORTED, and overwrite works */
};
enum lethe_err lethe_store_fault_new(struct lethe_store *inner, const struct lethe_fault_plan *plan,
                                     struct lethe_store **out) LETHE_MUST_CHECK;
/* Calls seen so far, and a way to change the plan between steps of a test. */
uint64_t lethe_store_fault_calls(struct lethe_store *fault);
void lethe_store_fault_set(struct lethe_store *fault, const struct lethe_fault_plan *plan);

/*
 * Whether the backend at location has logged, in a line that names cause and remedy, why a call of it gave err: then
 * nobody else has to.
 */
bool lethe_store_told(const char *location, enum lethe_err err);

/* How to reach a store that is not a folder. {0} is valid: all from the environment and ~/.aws. Texts are borrowed. */
struct lethe_store_options {
    const char *endpoint;    /* http://host:port or https://...; NULL: AWS_ENDPOINT_URL, the profile's, or Amazon's */
    const char *region;      /* NULL: AWS_REGION, AWS_DEFAULT_REGION, the profile's, or us-east-1 */
    bool path_style;         /* the bucket stands in the path, */
    bool host_style;         /* or in the host name; neither: in the path where there is an endpoint, as most want it */
    const char *ca_file;     /* certificate authorities, PEM; NULL: AWS_CA_BUNDLE, the profile's, or the system's */
    const char *credentials; /* a file in the form of ~/.aws/credentials; nothing else is asked for keys then */
    const char *profile;     /* its section; NULL: AWS_PROFILE, or default */
    uint64_t in_flight;      /* requests at once; 0: 32 */
    unsigned timeout_ms;     /* of a request that moves few bytes; 0: 60 s */
    uint64_t up_limit, down_limit; /* bytes a second, of a folder as well; 0: none */
    bool read_only;          /* nothing is written, not even what opening tidies up: lethe_store_read_only_new */
};

/*
 * As lethe_store_open; options may be NULL. One line was logged when it fails. For s3:// also LETHE_ERR_KEY: there are no
 * credentials, the store refuses them, or they have no permission; LETHE_ERR_UNREACHABLE: no such bucket, another region,
 * a certificate that is not trusted; LETHE_ERR_ARG: no bucket, or an endpoint that is no URL. A store that does not answer
 * now is opened all the same: calls of it give LETHE_ERR_UNREACHABLE, and LETHE_ERR_DENIED for what will not pass by itself.
 */
enum lethe_err lethe_store_open_with(const char *location, bool create, const struct lethe_store_options *options,
                                     struct lethe_store **out) LETHE_MUST_CHECK;

#endif
