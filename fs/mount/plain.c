/* SPDX-License-Identifier: MIT */
#include "fs/mount/plain.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "fs/file.h"
#include "lethe/log.h"

#define BUCKETS 1024u
#define WAITING 256u    /* files that are to be copied; others try again at their next close */
#define STEP (1u << 20) /* bytes copied at once */
#define COPIES_MAX 65536u

struct copy {
    struct lethe_id content;
    int fd;
    int32_t number; /* the kernel's */
    uint64_t bytes; /* counted in the content store */
    /* lock */
    unsigned users;    /* inodes that are open through it */
    struct copy *next; /* same bucket */
    struct copy *older, *newer;
};

/* An inode that is open. */
struct node {
    uint64_t ino;
    unsigned cached, passed; /* opens; the kernel allows one kind at a time */
    struct copy *copy;       /* while passed > 0 */
    struct node *next;
};

struct lethe_plain {
    struct lethe_tree *tree;
    struct lethe_contents *contents;
    struct lethe_passer *passer;
    int folder;
    unsigned most;
    uint64_t bytes_most;
    atomic_bool begun;
    pthread_t worker;

    pthread_mutex_t lock; /* a leaf, for all that follows */
    pthread_cond_t wake;
    bool stop;
    struct copy *copies[BUCKETS];
    struct copy *oldest, *newest;
    unsigned count;
    uint64_t bytes;
    struct node *nodes[BUCKETS];
    uint64_t waiting[WAITING];
    unsigned waiting_first, waiting_count;
};

static struct copy **bucket_of(struct lethe_plain *plain, const struct lethe_id *content)
{
    return &plain->copies[lethe_get_u64(content->bytes) % BUCKETS];
}

/* --- copies; the lock is held --- */

static struct copy *find_copy(struct lethe_plain *plain, const struct lethe_id *content)
{
    struct copy *copy = *bucket_of(plain, content);

    while (copy && !lethe_id_equal(&copy->content, content)) {
        copy = copy->next;
    }
    return copy;
}

static void list_out(struct lethe_plain *plain, struct copy *copy)
{
    *(copy->older ? &copy->older->newer : &plain->oldest) = copy->newer;
    *(copy->newer ? &copy->newer->older : &plain->newest) = copy->older;
    copy->older = copy->newer = NULL;
}

static void list_in(struct lethe_plain *plain, struct copy *copy)
{
    copy->older = plain->newest;
    *(plain->newest ? &plain->newest->newer : &plain->oldest) = copy;
    plain->newest = copy;
}

/* It is found no more. */
static void take_out(struct lethe_plain *plain, struct copy *copy)
{
    struct copy **at = bucket_of(plain, &copy->content);

    while (*at != copy) {
        at = &(*at)->next;
    }
    *at = copy->next;
    list_out(plain, copy);
    copy->next = NULL;
    plain->count--;
    plain->bytes -= copy->bytes;
}

/* --- copies; the lock is not held --- */

static void copy_free(struct lethe_plain *plain, struct copy *copy)
{
    if (copy) {
        if (copy->number > 0) {
            lethe_passer_unregister(plain->passer, copy->number);
        }
        close(copy->fd);
        lethe_contents_beside_give(plain->contents, copy->bytes);
        free(copy);
    }
}

/* Those that nobody has open, used longest ago first. */
static void make_way(struct lethe_plain *plain, uint64_t bytes, unsigned most)
{
    struct copy *gone = NULL, *copy, *newer;
    uint64_t freed = 0;

    pthread_mutex_lock(&plain->lock);
    for (copy = plain->oldest; copy && (freed < bytes || plain->count > most); copy = newer) {
        newer = copy->newer;
        if (copy->users == 0) {
            take_out(plain, copy);
            freed += copy->bytes;
            copy->next = gone;
            gone = copy;
        }
    }
    pthread_mutex_unlock(&plain->lock);
    while ((copy = gone)) {
        gone = copy->next;
        copy_free(plain, copy);
    }
}

static void give_way(void *context, uint64_t bytes)
{
    make_way(context, bytes, UINT32_MAX);
}

/* --- making copies: the worker --- */

static enum lethe_err fill(struct lethe_plain *plain, struct lethe_content *content, uint64_t size, int fd, uint8_t *buffer)
{
    uint64_t at = 0;

    while (at < size) {
        size_t got;
        enum lethe_err err = lethe_content_read(content, at, buffer, STEP, &got, NULL);

        if (err || got == 0 || pwrite(fd, buffer, got, (off_t)at) != (ssize_t)got) {
            return err ? err : LETHE_ERR_IO;
        }
        at += got;
        pthread_mutex_lock(&plain->lock);
        err = plain->stop ? LETHE_ERR_CANCELLED : LETHE_OK;
        pthread_mutex_unlock(&plain->lock);
        if (err) {
            return err;
        }
    }
    return LETHE_OK;
}

static bool is_known(struct lethe_plain *plain, const struct lethe_id *id)
{
    bool known;

    pthread_mutex_lock(&plain->lock);
    known = find_copy(plain, id) != NULL;
    pthread_mutex_unlock(&plain->lock);
    return known;
}

static bool make_room(struct lethe_plain *plain, uint64_t bytes)
{
    uint64_t have;

    if (bytes > plain->bytes_most) {
        return false;
    }
    pthread_mutex_lock(&plain->lock);
    have = plain->bytes_most - plain->bytes;
    pthread_mutex_unlock(&plain->lock);
    make_way(plain, have < bytes ? bytes - have : 0, plain->most - 1);
    return lethe_contents_beside_take(plain->contents, bytes);
}

/* A content in the vault never changes; one that is not whole on this device is left alone. */
static void make_copy(struct lethe_plain *plain, uint64_t ino, uint8_t *buffer)
{
    struct lethe_content *content = NULL;
    struct copy *copy = NULL;
    struct lethe_id id;
    uint64_t size, bytes;

    if (lethe_tree_content(plain->tree, ino, &id, &size) || size == 0 || is_known(plain, &id) ||
        lethe_content_get(plain->contents, &id, size, &content)) {
        return;
    }
    size = lethe_content_size(content);
    bytes = (size + LETHE_BLOCK_BYTES - 1) / LETHE_BLOCK_BYTES * LETHE_BLOCK_BYTES;
    if (lethe_content_state(content) == LETHE_CONTENT_VAULTED && make_room(plain, bytes)) {
        copy = calloc(1, sizeof *copy);
        if (copy) {
            *copy = (struct copy){.content = id, .bytes = bytes};
            copy->fd = openat(plain->folder, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
        } else {
            lethe_contents_beside_give(plain->contents, bytes);
        }
    }
    if (copy && copy->fd >= 0 && !fill(plain, content, size, copy->fd, buffer)) {
        copy->number = lethe_passer_register(plain->passer, copy->fd);
    }
    if (copy && copy->number > 0) {
        pthread_mutex_lock(&plain->lock);
        copy->next = *bucket_of(plain, &id);
        *bucket_of(plain, &id) = copy;
        list_in(plain, copy);
        plain->count++;
        plain->bytes += copy->bytes;
        pthread_mutex_unlock(&plain->lock);
        copy = NULL;
    }
    copy_free(plain, copy);
    lethe_content_put(content);
}

static void *work(void *argument)
{
    struct lethe_plain *plain = argument;
    uint8_t *buffer = malloc(STEP);

    pthread_mutex_lock(&plain->lock);
    while (!plain->stop && buffer) {
        uint64_t ino;

        if (plain->waiting_count == 0) {
            pthread_cond_wait(&plain->wake, &plain->lock);
            continue;
        }
        ino = plain->waiting[plain->waiting_first];
        plain->waiting_first = (plain->waiting_first + 1) % WAITING;
        plain->waiting_count--;
        pthread_mutex_unlock(&plain->lock);
        make_copy(plain, ino, buffer);
        pthread_mutex_lock(&plain->lock);
    }
    pthread_mutex_unlock(&plain->lock);
    free(buffer);
    return NULL;
}

/* --- opens --- */

/* The lock is held. With make, NULL only when memory is out. */
static struct node *node_of(struct lethe_plain *plain, uint64_t ino, bool make)
{
    struct node **bucket = &plain->nodes[ino % BUCKETS], *node = *bucket;

    while (node && node->ino != ino) {
        node = node->next;
    }
    if (!node && make && (node = calloc(1, sizeof *node))) {
        node->ino = ino;
        node->next = *bucket;
        *bucket = node;
    }
    return node;
}

static void drop_if_unused(struct lethe_plain *plain, struct node *node)
{
    struct node **at = &plain->nodes[node->ino % BUCKETS];

    if (node->cached || node->passed) {
        return;
    }
    while (*at != node) {
        at = &(*at)->next;
    }
    *at = node->next;
    free(node);
}

int32_t lethe_plain_open(struct lethe_plain *plain, uint64_t ino)
{
    struct copy *copy = NULL;
    struct node *node;
    struct lethe_id id;
    uint64_t size;
    int32_t number = 0;
    bool known;

    if (!plain || !atomic_load(&plain->begun)) {
        return 0;
    }
    known = !lethe_tree_content(plain->tree, ino, &id, &size) && size > 0;
    pthread_mutex_lock(&plain->lock);
    node = node_of(plain, ino, true);
    if (node && node->cached == 0 && node->passed == 0 && known && (copy = find_copy(plain, &id))) {
        list_out(plain, copy);
        list_in(plain, copy);
        copy->users++;
        node->copy = copy;
    }
    if (node && node->copy) {
        node->passed++;
        number = node->copy->number;
    } else if (node) {
        node->cached++;
    } else {
        number = -ENOMEM;
    }
    pthread_mutex_unlock(&plain->lock);
    return number;
}

void lethe_plain_release(struct lethe_plain *plain, uint64_t ino, bool passed)
{
    struct node *node;

    if (!plain || !atomic_load(&plain->begun)) {
        return;
    }
    pthread_mutex_lock(&plain->lock);
    node = node_of(plain, ino, false);
    if (node && passed && --node->passed == 0) {
        node->copy->users--;
        node->copy = NULL;
    } else if (node && !passed && --node->cached == 0 && plain->waiting_count < WAITING) {
        plain->waiting[(plain->waiting_first + plain->waiting_count++) % WAITING] = ino;
        pthread_cond_signal(&plain->wake);
    }
    if (node) {
        drop_if_unused(plain, node);
    }
    pthread_mutex_unlock(&plain->lock);
}

/* --- life --- */

enum lethe_err lethe_plain_new(struct lethe_tree *tree, struct lethe_contents *contents, struct lethe_passer *passer,
                               const char *state_dir, const char *cache_dir, struct lethe_plain **out)
{
    struct lethe_plain *plain = calloc(1, sizeof *plain);
    char mark[4096];
    struct lethe_contents_usage usage;
    struct rlimit files;

    *out = NULL;
    if (!plain) {
        return LETHE_ERR_NOMEM;
    }
    *plain = (struct lethe_plain){.tree = tree, .contents = contents, .passer = passer, .most = 256};
    plain->folder = open(cache_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (plain->folder < 0 || snprintf(mark, sizeof mark, "%s/" LETHE_PLAIN_MARK, state_dir) >= (int)sizeof mark ||
        lethe_file_write_durably(mark, "", 0, 0600)) {
        goto failed;
    }
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = files.rlim_max;
        if (setrlimit(RLIMIT_NOFILE, &files) == 0) {
            plain->most = files.rlim_max / 2 < COPIES_MAX ? (unsigned)(files.rlim_max / 2) : COPIES_MAX;
        }
    }
    lethe_contents_usage(contents, &usage);
    plain->bytes_most = usage.limit / 2;
    pthread_mutex_init(&plain->lock, NULL);
    pthread_cond_init(&plain->wake, NULL);
    if (pthread_create(&plain->worker, NULL, work, plain)) {
        goto failed;
    }
    lethe_contents_set_beside(contents, give_way, plain);
    *out = plain;
    return LETHE_OK;
failed:
    lethe_log(LETHE_LOG_ERROR, "cache=plain: no copies can be kept in %s", cache_dir);
    if (plain->folder >= 0) {
        close(plain->folder);
    }
    free(plain);
    return LETHE_ERR_IO;
}

void lethe_plain_begin(struct lethe_plain *plain)
{
    atomic_store(&plain->begun, true);
}

void lethe_plain_free(struct lethe_plain *plain)
{
    if (!plain) {
        return;
    }
    pthread_mutex_lock(&plain->lock);
    plain->stop = true;
    pthread_cond_signal(&plain->wake);
    pthread_mutex_unlock(&plain->lock);
    pthread_join(plain->worker, NULL);
    lethe_contents_set_beside(plain->contents, NULL, NULL);
    for (unsigned i = 0; i < BUCKETS; i++) {
        while (plain->nodes[i]) { /* what the kernel did not release, as its connection ended */
            struct node *node = plain->nodes[i];

            plain->nodes[i] = node->next;
            if (node->copy) {
                node->copy->users--;
            }
            free(node);
        }
    }
    make_way(plain, UINT64_MAX, 0);
    close(plain->folder);
    pthread_mutex_destroy(&plain->lock);
    pthread_cond_destroy(&plain->wake);
    free(plain);
}
