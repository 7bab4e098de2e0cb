/* SPDX-License-Identifier: MIT */
/* What a crash leaves of a record: the names first, then the bytes of each file that has one. */
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/crash/recorder.h"
#include "tests/crash/recorder_private.h"

#define SECTOR 512u

/* One crash. Arrays by file or key. */
struct crash {
    size_t end; /* the operations before this one were made */
    enum rec_crash how;
    uint64_t seed;
    size_t journal;  /* REC_ORDERED: names and sizes from this operation on are lost */
    size_t *synced;  /* of a file: all its operations before this one are durable */
    uint32_t *names; /* of a key: the file, or REC_NONE */
    bool *blocked;   /* of a key: a change was lost, so later ones are too */
};

struct image {
    uint8_t *data;
    size_t size, room;
};

static void need(bool condition, const char *what)
{
    if (!condition) {
        fprintf(stderr, "replay: %s\n", what);
        abort();
    }
}

static uint32_t chance(struct crash *crash, uint32_t n)
{
    crash->seed = crash->seed * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)((crash->seed >> 33) % n);
}

/* --- names --- */

static bool is_name(const struct rec_op *op)
{
    return op->kind == REC_NAME || op->kind == REC_UNNAME || op->kind == REC_RENAME ||
           op->kind == REC_EXCHANGE;
}

static bool name_synced(const struct crash *crash, const struct rec_op *op, size_t i)
{
    return crash->synced[rec.keys[op->key].folder] > i ||
           (op->key2 != REC_NONE && crash->synced[rec.keys[op->key2].folder] > i);
}

static void apply_name(struct crash *crash, const struct rec_op *op)
{
    if (op->kind == REC_NAME) {
        crash->names[op->key] = op->file;
    } else if (op->kind == REC_UNNAME) {
        crash->names[op->key] = REC_NONE;
    } else if (op->kind == REC_EXCHANGE) {
        uint32_t file = crash->names[op->key];

        crash->names[op->key] = crash->names[op->key2];
        crash->names[op->key2] = file;
    } else {
        crash->names[op->key] = REC_NONE;
        crash->names[op->key2] = op->file;
    }
}

static bool keep_name(struct crash *crash, const struct rec_op *op, size_t i)
{
    if (crash->blocked[op->key] || (op->key2 != REC_NONE && crash->blocked[op->key2])) {
        return false;
    }
    switch (crash->how) {
    case REC_KILLED:
    case REC_NAMES_FIRST:
        return true;
    case REC_ORDERED:
        return i < crash->journal;
    case REC_ANY:
        return chance(crash, 2) != 0;
    default:
        return false;
    }
}

/* What an operation that is there stands on is there too: forced[key] while going backwards. */
static void replay_names(struct crash *crash)
{
    bool *forced = calloc(rec.key_count + 1, sizeof *forced);
    bool *must = calloc(crash->end + 1, sizeof *must);

    need(forced && must, "no memory");
    for (size_t i = crash->end; i-- > 0;) {
        const struct rec_op *op = &rec.ops[i];

        if (is_name(op) &&
            (name_synced(crash, op, i) || forced[op->key] || (op->key2 != REC_NONE && forced[op->key2]))) {
            must[i] = forced[op->key] = true;
            if (op->key2 != REC_NONE) {
                forced[op->key2] = true;
            }
        }
    }
    for (size_t i = 0; i < crash->end; i++) {
        const struct rec_op *op = &rec.ops[i];

        if (!is_name(op)) {
            continue;
        }
        if (must[i] || keep_name(crash, op, i)) {
            apply_name(crash, op);
        } else {
            crash->blocked[op->key] = true;
            if (op->key2 != REC_NONE) {
                crash->blocked[op->key2] = true;
            }
        }
    }
    free(forced);
    free(must);
}

/* --- bytes --- */

static void resize(struct image *image, size_t size)
{
    if (size > image->room) {
        image->room = size + size / 2;
        image->data = realloc(image->data, image->room);
        need(image->data != NULL, "no memory");
    }
    if (size > image->size) {
        memset(image->data + image->size, 0, size - image->size);
    }
    image->size = size;
}

static void put(struct image *image, uint64_t offset, const uint8_t *bytes, size_t len)
{
    if (offset + len > image->size) {
        resize(image, offset + len);
    }
    if (len > 0) {
        memcpy(image->data + offset, bytes, len);
    }
}

static void apply(struct image *image, const struct rec_op *op)
{
    if (op->kind == REC_WRITE) {
        put(image, op->offset, op->data, op->len);
    } else if (op->kind == REC_TRUNCATE) {
        resize(image, op->offset);
    } else if (op->kind == REC_PUNCH && op->offset < image->size) {
        size_t room = image->size - op->offset;

        memset(image->data + op->offset, 0, op->len < room ? op->len : room);
    }
}

/* A write of which sectors are lost. max: nothing beyond is there. */
static void apply_sectors(struct crash *crash, struct image *image, const struct rec_op *op, uint64_t max)
{
    uint64_t at = op->offset, end = op->offset + op->len;
    uint32_t odds = chance(crash, 3); /* half of them, most, or few */

    end = end < max ? end : max;
    while (at < end) {
        uint64_t next = (at / SECTOR + 1) * SECTOR;

        next = next < end ? next : end;
        if (odds == 0 ? chance(crash, 2) : odds == 1 ? chance(crash, 8) : !chance(crash, 8)) {
            put(image, at, op->data + (at - op->offset), next - at);
        }
        at = next;
    }
    /* The size may be there before the bytes: then they are zeros. */
    if (image->size < end && chance(crash, 4) == 0) {
        resize(image, end);
    }
}

/* Whether a truncation or hole between the cut and this write, that is lost, freed what the write fills. */
static bool on_lost_ground(const struct crash *crash, uint32_t file, size_t cut, size_t i)
{
    for (size_t k = cut; k < i; k++) {
        const struct rec_op *op = &rec.ops[k];

        if (op->file == file &&
            ((op->kind == REC_TRUNCATE && rec.ops[i].offset + rec.ops[i].len > op->offset) ||
             (op->kind == REC_PUNCH && rec.ops[i].offset < op->offset + op->len &&
              rec.ops[i].offset + rec.ops[i].len > op->offset))) {
            return true;
        }
    }
    (void)crash;
    return false;
}

static bool of_file(const struct rec_op *op, uint32_t file)
{
    return op->file == file && op->kind <= REC_PUNCH;
}

static void replay_bytes(struct crash *crash, uint32_t file, struct image *image)
{
    size_t synced = crash->synced[file], cut = crash->end, last = 0;
    uint64_t max = UINT64_MAX;

    resize(image, 0);
    put(image, 0, rec.files[file].base, rec.files[file].base_size);
    if (crash->how == REC_ORDERED) {
        cut = crash->journal > synced ? crash->journal : synced;
    } else if (crash->how == REC_ANY) {
        cut = synced + (crash->end > synced ? chance(crash, (uint32_t)(crash->end - synced) + 1) : 0);
    } else if (crash->how == REC_LEAST || crash->how == REC_NAMES_FIRST) {
        cut = synced;
    }
    for (size_t i = 0; i < crash->end; i++) {
        const struct rec_op *op = &rec.ops[i];

        if (!of_file(op, file)) {
            continue;
        }
        last = i;
        if (i >= cut && max == UINT64_MAX && crash->how == REC_ORDERED) {
            max = image->size;
        }
        if (i < synced && !op->lost) {
            apply(image, op);
        } else if (op->kind != REC_WRITE) {
            if (i < cut) {
                apply(image, op);
            }
        } else if (crash->how == REC_KILLED || (crash->how == REC_DATA_FIRST && !op->lost)) {
            apply(image, op);
        } else if (crash->how == REC_ORDERED || crash->how == REC_ANY ||
                   (op->lost && crash->how == REC_DATA_FIRST)) {
            if (i < cut || !on_lost_ground(crash, file, cut, i)) {
                apply_sectors(crash, image, op, max);
            }
        }
    }
    /* The very last call of a killed process may have been cut short. */
    if (crash->how == REC_KILLED && crash->end > 0 && last == crash->end - 1 &&
        rec.ops[last].kind == REC_WRITE && rec.ops[last].file == file && chance(crash, 2)) {
        struct rec_op part = rec.ops[last];

        part.len = chance(crash, (uint32_t)part.len + 1);
        resize(image, 0);
        put(image, 0, rec.files[file].base, rec.files[file].base_size);
        for (size_t i = 0; i < last; i++) {
            if (of_file(&rec.ops[i], file)) {
                apply(image, &rec.ops[i]);
            }
        }
        apply(image, &part);
    }
}

/* --- the image on disk --- */

static void write_file(const char *path, const struct image *image)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL, 0600);
    size_t at = 0;

    need(fd >= 0, "cannot make a file of the image");
    while (at < image->size) {
        static const uint8_t zeros[4096];
        size_t part = image->size - at < sizeof zeros ? image->size - at : sizeof zeros;

        /* Holes stay holes. */
        if (memcmp(image->data + at, zeros, part) != 0) {
            need(pwrite(fd, image->data + at, part, (off_t)at) == (ssize_t)part, "cannot write the image");
        }
        at += part;
    }
    need(ftruncate(fd, (off_t)image->size) == 0, "cannot size the image");
    close(fd);
}

static void write_folder(struct crash *crash, uint32_t folder, const char *path, char **placed,
                         struct image *image)
{
    need(mkdir(path, 0700) == 0, "cannot make a folder of the image");
    for (uint32_t key = 0; key < rec.key_count; key++) {
        uint32_t file = crash->names[key];
        char below[PATH_MAX];

        if (rec.keys[key].folder != folder || file == REC_NONE) {
            continue;
        }
        need(snprintf(below, sizeof below, "%s/%s", path, rec.keys[key].name) < (int)sizeof below,
             "path too long");
        if (rec.files[file].folder) {
            if (!placed[file]) { /* a folder has one name, whatever was lost */
                placed[file] = strdup(below);
                write_folder(crash, file, below, placed, image);
            }
        } else if (placed[file]) {
            need(link(placed[file], below) == 0, "cannot link in the image");
        } else {
            placed[file] = strdup(below);
            replay_bytes(crash, file, image);
            write_file(below, image);
        }
    }
}

/* A journal that a sync of one thing writes out takes everything before along. */
static size_t journal_floor(size_t end)
{
    size_t floor = 0;

    for (size_t i = 0; i < end; i++) {
        if (rec.ops[i].kind != REC_SYNC) {
            continue;
        }
        for (size_t k = i; k-- > floor;) {
            const struct rec_op *op = &rec.ops[k];
            bool grows = op->kind == REC_TRUNCATE || op->kind == REC_PUNCH || op->kind == REC_NAME;
            bool its =
                is_name(op) && (rec.keys[op->key].folder == rec.ops[i].file ||
                                (op->key2 != REC_NONE && rec.keys[op->key2].folder == rec.ops[i].file));

            if (its || (grows && op->file == rec.ops[i].file)) {
                floor = k + 1;
                break;
            }
        }
    }
    return floor;
}

static void crash_init(struct crash *crash)
{
    crash->synced = calloc(rec.file_count + 1, sizeof *crash->synced);
    crash->names = calloc(rec.key_count + 1, sizeof *crash->names);
    crash->blocked = calloc(rec.key_count + 1, sizeof *crash->blocked);
    need(crash->synced && crash->names && crash->blocked, "no memory");
    for (uint32_t key = 0; key < rec.key_count; key++) {
        crash->names[key] = rec.keys[key].base;
    }
    for (size_t i = 0; i < crash->end; i++) {
        if (rec.ops[i].kind == REC_SYNC) {
            crash->synced[rec.ops[i].file] = i;
        }
    }
    if (crash->how == REC_ORDERED) {
        size_t floor = journal_floor(crash->end);

        crash->journal = floor + chance(crash, (uint32_t)(crash->end - floor) + 1);
    }
}

static void crash_release(struct crash *crash)
{
    free(crash->synced);
    free(crash->names);
    free(crash->blocked);
}

void rec_crash(size_t k, enum rec_crash how, uint64_t seed, const char *out)
{
    struct crash crash = {.end = k, .how = how, .seed = seed};
    char **placed = calloc(rec.file_count + 1, sizeof *placed);
    struct image image = {0};

    need(placed != NULL && k <= rec.op_count, "no such crash");
    crash_init(&crash);
    replay_names(&crash);
    write_folder(&crash, 0, out, placed, &image);
    for (uint32_t i = 0; i < rec.file_count; i++) {
        free(placed[i]);
    }
    free(placed);
    free(image.data);
    crash_release(&crash);
}

/* --- is the record whole? --- */

static bool same_bytes(const char *path, const struct image *image)
{
    FILE *stream = fopen(path, "rb");
    uint8_t *bytes = malloc(image->size + 1);
    bool same = stream && bytes && fread(bytes, 1, image->size + 1, stream) == image->size &&
                (image->size == 0 || memcmp(bytes, image->data, image->size) == 0);

    if (stream) {
        fclose(stream);
    }
    free(bytes);
    if (!same) {
        fprintf(stderr, "recorder: the bytes of %s are others\n", path);
    }
    return same;
}

static bool complete_folder(struct crash *crash, uint32_t folder, const char *path, struct image *image)
{
    size_t recorded = 0, found = 0;
    bool same = true;
    DIR *stream = opendir(path);
    const struct dirent *entry;

    for (uint32_t key = 0; key < rec.key_count; key++) {
        uint32_t file = crash->names[key];
        char below[PATH_MAX];

        if (rec.keys[key].folder != folder || file == REC_NONE) {
            continue;
        }
        need(snprintf(below, sizeof below, "%s/%s", path, rec.keys[key].name) < (int)sizeof below,
             "path too long");
        recorded++;
        if (rec.files[file].folder) {
            same &= complete_folder(crash, file, below, image);
        } else {
            replay_bytes(crash, file, image);
            same &= same_bytes(below, image);
        }
    }
    while (stream && (entry = readdir(stream)) != NULL) {
        found += strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0;
    }
    if (stream) {
        closedir(stream);
    }
    if (!stream || found != recorded) {
        fprintf(stderr, "recorder: %s has %zu names, %zu were recorded\n", path, found, recorded);
    }
    return same && stream && found == recorded;
}

bool rec_complete(void)
{
    struct crash crash = {.end = rec.op_count, .how = REC_KILLED, .seed = 1};
    struct image image = {0};
    bool same;

    crash_init(&crash);
    /* Whole to the last write. */
    crash.how = REC_DATA_FIRST;
    for (size_t i = 0; i < rec.op_count; i++) {
        if (is_name(&rec.ops[i])) {
            apply_name(&crash, &rec.ops[i]);
        }
    }
    same = complete_folder(&crash, 0, rec.folder, &image);
    free(image.data);
    crash_release(&crash);
    return same;
}
