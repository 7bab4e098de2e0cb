/* SPDX-License-Identifier: MIT */
#include "fs/vault/uploads.h"

#include <pthread.h>
#include <stdlib.h>

#include "fs/spares.h"

#define IN_FLIGHT 32u
#define WAITING_BYTES (64u << 20) /* sealed, not yet put; one object beyond it may wait as well */
#define WAITING_COUNT 256u

struct upload {
    enum lethe_object_kind kind;
    struct lethe_id id;
    struct lethe_buf sealed;
    lethe_upload_done done;
    void *context;
    struct upload *next;
};

struct lethe_uploads {
    struct lethe_vault *vault;
    unsigned in_flight;
    pthread_mutex_t lock; /* guards all below */
    pthread_cond_t moved; /* something was taken or done */
    struct upload *first, **last;
    size_t bytes, count;  /* waiting or under way */
    unsigned threads;
    bool cancel;
};

enum lethe_err lethe_uploads_new(struct lethe_vault *vault, unsigned in_flight, struct lethe_uploads **out)
{
    struct lethe_uploads *uploads = calloc(1, sizeof *uploads);

    *out = uploads;
    if (!uploads) {
        return LETHE_ERR_NOMEM;
    }
    uploads->vault = vault;
    uploads->in_flight = in_flight ? in_flight : IN_FLIGHT;
    uploads->last = &uploads->first;
    pthread_mutex_init(&uploads->lock, NULL);
    pthread_cond_init(&uploads->moved, NULL);
    return LETHE_OK;
}

void lethe_uploads_free(struct lethe_uploads *uploads)
{
    if (uploads) {
        lethe_uploads_wait(uploads);
        pthread_cond_destroy(&uploads->moved);
        pthread_mutex_destroy(&uploads->lock);
        free(uploads);
    }
}

/* Takes upload. Without the lock. */
static void put_one(struct lethe_uploads *uploads, struct upload *upload, bool cancelled)
{
    size_t stored = upload->sealed.len;
    enum lethe_err err = cancelled ? LETHE_ERR_CANCELLED
                                   : lethe_vault_put(uploads->vault, upload->kind, &upload->id, upload->sealed.data,
                                                     upload->sealed.len);

    lethe_spares_give(lethe_vault_spares(uploads->vault), &upload->sealed);
    upload->done(upload->context, err, err ? 0 : stored);
    free(upload);
}

/* Until nothing waits. The lock is held on entry and on return. */
static void work(struct lethe_uploads *uploads)
{
    struct upload *upload;

    while ((upload = uploads->first) != NULL) {
        size_t len = upload->sealed.len;
        bool cancelled = uploads->cancel;

        uploads->first = upload->next;
        if (!uploads->first) {
            uploads->last = &uploads->first;
        }
        pthread_mutex_unlock(&uploads->lock);
        put_one(uploads, upload, cancelled);
        pthread_mutex_lock(&uploads->lock);
        uploads->bytes -= len;
        uploads->count--;
        pthread_cond_broadcast(&uploads->moved);
    }
}

static void *thread_main(void *argument)
{
    struct lethe_uploads *uploads = argument;

    pthread_mutex_lock(&uploads->lock);
    work(uploads);
    uploads->threads--;
    pthread_cond_broadcast(&uploads->moved);
    pthread_mutex_unlock(&uploads->lock);
    return NULL;
}

/* The lock is held. Without a single thread, the caller does the work. */
static void start_thread(struct lethe_uploads *uploads)
{
    pthread_attr_t detached;
    pthread_t thread;

    if (uploads->threads >= uploads->in_flight || uploads->threads >= uploads->count) {
        return;
    }
    pthread_attr_init(&detached);
    pthread_attr_setdetachstate(&detached, PTHREAD_CREATE_DETACHED);
    uploads->threads++;
    if (pthread_create(&thread, &detached, thread_main, uploads)) {
        uploads->threads--;
        if (uploads->threads == 0) {
            work(uploads);
        }
    }
    pthread_attr_destroy(&detached);
}

void lethe_uploads_put(struct lethe_uploads *uploads, enum lethe_object_kind kind, const struct lethe_id *id,
                       struct lethe_buf *sealed, lethe_upload_done done, void *context)
{
    struct upload *upload = malloc(sizeof *upload);

    if (!upload) {
        lethe_buf_release(sealed);
        done(context, LETHE_ERR_NOMEM, 0);
        return;
    }
    *upload = (struct upload){.kind = kind, .id = *id, .sealed = *sealed, .done = done, .context = context};
    *sealed = (struct lethe_buf){0};
    pthread_mutex_lock(&uploads->lock);
    if (uploads->in_flight == 1) {
        bool cancelled = uploads->cancel;

        pthread_mutex_unlock(&uploads->lock);
        put_one(uploads, upload, cancelled);
        return;
    }
    while (!uploads->cancel && (uploads->bytes >= WAITING_BYTES || uploads->count >= WAITING_COUNT)) {
        pthread_cond_wait(&uploads->moved, &uploads->lock);
    }
    *uploads->last = upload;
    uploads->last = &upload->next;
    uploads->bytes += upload->sealed.len;
    uploads->count++;
    start_thread(uploads);
    pthread_mutex_unlock(&uploads->lock);
}

void lethe_uploads_wait(struct lethe_uploads *uploads)
{
    pthread_mutex_lock(&uploads->lock);
    while (uploads->count > 0 || uploads->threads > 0) {
        pthread_cond_wait(&uploads->moved, &uploads->lock);
    }
    pthread_mutex_unlock(&uploads->lock);
}

void lethe_uploads_cancel(struct lethe_uploads *uploads, bool cancel)
{
    pthread_mutex_lock(&uploads->lock);
    uploads->cancel = cancel;
    pthread_cond_broadcast(&uploads->moved);
    pthread_mutex_unlock(&uploads->lock);
}
