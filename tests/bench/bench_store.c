/* SPDX-License-Identifier: MIT */
/*
 * The transport alone: puts the files of a folder into a store as objects, and gets them again, so many at once, as
 * the sealer and the restorer do.
 *
 *     lethe-bench-store LOCATION FOLDER up|down REQUESTS
 *
 * Prints one JSON object. The objects are named bench/NUMBER, in the order of the folder's names; down compares them.
 */
#include <dirent.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "fs/file.h"
#include "lethe/store.h"

#define FILES_MAX 10000
#define FILE_MAX (64u << 20)
#define REQUESTS_MAX 256

struct bench {
    struct lethe_store *store;
    bool up;
    struct lethe_buf *files;
    size_t count;
    atomic_size_t next;
    atomic_int failed;
};

static void *work(void *argument)
{
    struct bench *bench = argument;
    struct lethe_buf there = {0};
    size_t i;

    while ((i = atomic_fetch_add(&bench->next, 1)) < bench->count && !atomic_load(&bench->failed)) {
        const struct lethe_buf *file = &bench->files[i];
        char key[64];
        enum lethe_err err;

        snprintf(key, sizeof key, "bench/%zu", i);
        if (bench->up) {
            err = lethe_store_put(bench->store, key, file->data, file->len);
        } else {
            lethe_buf_reset(&there);
            err = lethe_store_get(bench->store, key, 0, UINT64_MAX, &there, NULL);
            if (!err && (there.len != file->len || memcmp(there.data, file->data, file->len) != 0)) {
                err = LETHE_ERR_DIFFERS;
            }
        }
        if (err) {
            atomic_store(&bench->failed, (int)err);
        }
    }
    lethe_buf_release(&there);
    return NULL;
}

static enum lethe_err load(struct bench *bench, const char *folder)
{
    struct dirent **names = NULL;
    int count = scandir(folder, &names, NULL, alphasort);
    enum lethe_err err = count < 0 || count > FILES_MAX ? LETHE_ERR_ARG : LETHE_OK;

    bench->files = calloc(FILES_MAX, sizeof *bench->files);
    if (!bench->files) {
        err = LETHE_ERR_NOMEM;
    }
    for (int i = 0; i < count; i++) {
        char path[4096];

        snprintf(path, sizeof path, "%s/%s", folder, names[i]->d_name);
        if (!err && names[i]->d_name[0] != '.') {
            err = lethe_file_read(path, FILE_MAX, &bench->files[bench->count++]);
        }
        free(names[i]);
    }
    free(names);
    return err;
}

static double run(struct bench *bench, unsigned requests)
{
    pthread_t threads[REQUESTS_MAX];
    struct timespec start, end;
    unsigned started = 0;

    clock_gettime(CLOCK_MONOTONIC, &start);
    while (started < requests && !pthread_create(&threads[started], NULL, work, bench)) {
        started++;
    }
    for (unsigned i = 0; i < started; i++) {
        pthread_join(threads[i], NULL);
    }
    clock_gettime(CLOCK_MONOTONIC, &end);
    return (double)(end.tv_sec - start.tv_sec) + (double)(end.tv_nsec - start.tv_nsec) / 1e9;
}

int main(int argc, char **argv)
{
    struct bench bench = {0};
    unsigned requests = argc == 5 ? (unsigned)strtoul(argv[4], NULL, 10) : 0;
    size_t bytes = 0;
    enum lethe_err err;
    double seconds;

    if (requests < 1 || requests > REQUESTS_MAX || (strcmp(argv[3], "up") != 0 && strcmp(argv[3], "down") != 0)) {
        fprintf(stderr, "usage: lethe-bench-store LOCATION FOLDER up|down REQUESTS\n");
        return 2;
    }
    bench.up = strcmp(argv[3], "up") == 0;
    err = load(&bench, argv[2]);
    if (!err) {
        err = lethe_store_open(argv[1], false, &bench.store);
    }
    if (err) {
        fprintf(stderr, "%s: %s\n", argv[1], lethe_err_str(err));
        return 1;
    }
    seconds = run(&bench, requests);
    err = (enum lethe_err)atomic_load(&bench.failed);
    for (size_t i = 0; i < bench.count; i++) {
        bytes += bench.files[i].len;
        lethe_buf_release(&bench.files[i]);
    }
    free(bench.files);
    lethe_store_close(bench.store);
    if (err) {
        fprintf(stderr, "%s: %s\n", argv[1], lethe_err_str(err));
        return 1;
    }
    printf("{\"direction\": \"%s\", \"objects\": %zu, \"bytes\": %zu, \"requests\": %u, \"seconds\": %.3f}\n", argv[3],
           bench.count, bytes, requests, seconds);
    return 0;
}
