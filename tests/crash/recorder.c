/* SPDX-License-Identifier: MIT */
#include "tests/crash/recorder.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "tests/crash/recorder_private.h"

struct rec rec;

pthread_mutex_t rec_lock = PTHREAD_MUTEX_INITIALIZER;

void rec_need(bool condition)
{
    if (!condition) {
        static const char text[] = "recorder: a call that it cannot follow\n";

        (void)syscall(SYS_write, 2, text, sizeof text - 1);
        abort();
    }
}

/* --- the record --- */

uint32_t rec_new_file(bool folder)
{
    if (rec.file_count == rec.file_room) {
        rec.file_room = rec.file_room ? 2 * rec.file_room : 64;
        rec.files = realloc(rec.files, rec.file_room * sizeof *rec.files);
        rec_need(rec.files != NULL);
    }
    rec.files[rec.file_count] = (struct rec_file){.folder = folder};
    return rec.file_count++;
}

/* One number for each (folder, name). */
uint32_t rec_key(uint32_t folder, const char *name)
{
    for (uint32_t i = 0; i < rec.key_count; i++) {
        if (rec.keys[i].folder == folder && strcmp(rec.keys[i].name, name) == 0) {
            return i;
        }
    }
    if (rec.key_count == rec.key_room) {
        rec.key_room = rec.key_room ? 2 * rec.key_room : 64;
        rec.keys = realloc(rec.keys, rec.key_room * sizeof *rec.keys);
        rec_need(rec.keys != NULL);
    }
    rec.keys[rec.key_count] = (struct rec_key){.folder = folder, .name = strdup(name), .base = REC_NONE};
    rec_need(rec.keys[rec.key_count].name != NULL);
    return rec.key_count++;
}

void rec_append(struct rec_op op, const void *bytes)
{
    if (bytes) {
        op.data = malloc(op.len ? op.len : 1);
        rec_need(op.data != NULL);
        memcpy(op.data, bytes, op.len);
    }
    if (rec.op_count == rec.op_room) {
        rec.op_room = rec.op_room ? 2 * rec.op_room : 1024;
        rec.ops = realloc(rec.ops, rec.op_room * sizeof *rec.ops);
        rec_need(rec.ops != NULL);
    }
    rec.ops[rec.op_count++] = op;
}

/* Numbers of inodes come again: a file is known by its number from its first name to its last. */
uint32_t rec_file_of(const struct stat *stat)
{
    for (uint32_t i = rec.file_count; i-- > 0;) {
        if (rec.files[i].ino == stat->st_ino && rec.files[i].dev == stat->st_dev && rec.files[i].alive) {
            return i;
        }
    }
    return REC_NONE;
}

void rec_bind_file(uint32_t file, const struct stat *stat)
{
    uint32_t old = rec_file_of(stat);

    if (old != REC_NONE) {
        rec.files[old].alive = false;
    }
    rec.files[file].dev = stat->st_dev;
    rec.files[file].ino = stat->st_ino;
    rec.files[file].alive = true;
}

uint32_t rec_file_of_fd(int fd)
{
    struct stat stat;

    return rec.recording && fstat(fd, &stat) == 0 ? rec_file_of(&stat) : REC_NONE;
}

/* The folder of a path, and its last part; REC_NONE when it is not ours. */
uint32_t rec_folder_of(int at, const char *path, const char **name)
{
    const char *slash = strrchr(path, '/');
    char parent[PATH_MAX];
    struct stat stat;

    if (!rec.recording) {
        return REC_NONE;
    }
    *name = slash ? slash + 1 : path;
    if (!slash) {
        strcpy(parent, ".");
    } else if (slash == path) {
        strcpy(parent, "/");
    } else {
        rec_need((size_t)(slash - path) < sizeof parent);
        memcpy(parent, path, (size_t)(slash - path));
        parent[slash - path] = '\0';
    }
    if (!slash && at != AT_FDCWD) {
        return fstat(at, &stat) == 0 ? rec_file_of(&stat) : REC_NONE;
    }
    return fstatat(at, parent, &stat, 0) == 0 ? rec_file_of(&stat) : REC_NONE;
}

static void scan(uint32_t folder, const char *path)
{
    DIR *stream = opendir(path);
    const struct dirent *entry;

    rec_need(stream != NULL);
    while ((entry = readdir(stream)) != NULL) {
        char below[PATH_MAX];
        struct stat stat;
        uint32_t file, key;

        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) {
            continue;
        }
        rec_need(snprintf(below, sizeof below, "%s/%s", path, entry->d_name) < (int)sizeof below);
        rec_need(lstat(below, &stat) == 0);
        if (S_ISSOCK(stat.st_mode)) {
            continue;
        }
        rec_need(S_ISREG(stat.st_mode) || S_ISDIR(stat.st_mode));
        file = rec_file_of(&stat);
        if (file == REC_NONE) {
            file = rec_new_file(S_ISDIR(stat.st_mode));
            rec_bind_file(file, &stat);
            if (S_ISDIR(stat.st_mode)) {
                scan(file, below);
            } else {
                FILE *stream_in = fopen(below, "rb");

                rec.files[file].base = malloc((size_t)stat.st_size + 1);
                rec.files[file].base_size = (size_t)stat.st_size;
                rec_need(stream_in && rec.files[file].base);
                rec_need(fread(rec.files[file].base, 1, (size_t)stat.st_size, stream_in) == (size_t)stat.st_size);
                fclose(stream_in);
            }
        }
        key = rec_key(folder, entry->d_name);
        rec.keys[key].base = file;
    }
    closedir(stream);
}

void rec_start(const char *folder)
{
    struct stat root;

    rec_forget();
    pthread_mutex_lock(&rec_lock);
    rec_need(stat(folder, &root) == 0);
    snprintf(rec.folder, sizeof rec.folder, "%s", folder);
    rec_bind_file(rec_new_file(true), &root);
    scan(0, folder);
    rec.recording = true;
    pthread_mutex_unlock(&rec_lock);
}

void rec_stop(void)
{
    pthread_mutex_lock(&rec_lock);
    rec.recording = false;
    pthread_mutex_unlock(&rec_lock);
}

size_t rec_count(void)
{
    size_t count;

    pthread_mutex_lock(&rec_lock);
    count = rec.op_count;
    pthread_mutex_unlock(&rec_lock);
    return count;
}

bool rec_is_sync(size_t i)
{
    return i < rec.op_count && rec.ops[i].kind == REC_SYNC;
}

void rec_forget(void)
{
    for (size_t i = 0; i < rec.op_count; i++) {
        free(rec.ops[i].data);
    }
    for (uint32_t i = 0; i < rec.file_count; i++) {
        free(rec.files[i].base);
    }
    for (uint32_t i = 0; i < rec.key_count; i++) {
        free(rec.keys[i].name);
    }
    free(rec.ops);
    free(rec.files);
    free(rec.keys);
    rec = (struct rec){0};
}
