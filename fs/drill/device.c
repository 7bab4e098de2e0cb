/* SPDX-License-Identifier: MIT */
/*
 * The device, stolen while nothing is mounted: every file of its state and cache is searched for marks of
 * plaintext, and must be noise, but for the device secret (whose holder then only lacks the passphrase: see
 * guess.c) and what is empty. Space that was never written, or pads a unit of 4 KiB, is no data. Nothing is
 * written.
 */
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fs/drill/drill.h"
#include "fs/mount/plain.h"
#include "fs/mount/session.h"

#define CHUNK (4u << 20)
#define UNIT 4096
#define LEAST 1024 /* bytes below which byte values say nothing */

static const char *const marks[] = {"SQLite format 3", "JFIF",  "Exif",      "IHDR",      "IDAT",
                                    "CREATE TABLE",    "user.", "<?xpacket", "-----BEGIN"};

#define SECRETS 64 /* of key slots: salts, wrapped keys, commitments */
#define SECRET_MAX 80

struct search {
    struct drill *drill;
    struct {
        char hex[2 * SECRET_MAX + 1];
        uint8_t raw[SECRET_MAX];
        size_t len;
    } secrets[SECRETS];
    size_t secret_count;
    size_t files, marked, odd, with_slots;
    bool offline; /* mount --offline keeps vault.json here, on purpose */
    bool plain;   /* mount -o cache=plain has kept copies in the clear here, which are gone, but not wiped */
    uint64_t bytes;
    double least_p;
    char example[512];
};

/* What of vault.json a passphrase could be tried on. */
static enum lethe_err collect_secrets(struct search *search)
{
    static const char *const fields[] = {"\"salt\": \"", "\"wrapped\": \"", "\"commitment\": \""};
    struct lethe_buf json = {0};
    enum lethe_err err = lethe_store_get(search->drill->store, "vault.json", 0, UINT64_MAX, &json, NULL);

    lethe_buf_put_u8(&json, 0);
    err = err ? err : lethe_buf_status(&json);
    for (size_t i = 0; i < sizeof fields / sizeof *fields && !err; i++) {
        const char *at = (const char *)json.data;

        while ((at = strstr(at, fields[i])) && search->secret_count < SECRETS) {
            size_t len = strspn(at += strlen(fields[i]), "0123456789abcdef") / 2;

            if (len > 0 && len <= SECRET_MAX &&
                !lethe_unhex(at, 2 * len, search->secrets[search->secret_count].raw, len)) {
                snprintf(search->secrets[search->secret_count].hex, 2 * len + 1, "%s", at);
                search->secrets[search->secret_count++].len = len;
            }
        }
    }
    lethe_buf_release(&json);
    return err;
}

static bool holds_secret(const struct search *search, const uint8_t *bytes, size_t len)
{
    for (size_t i = 0; i < search->secret_count; i++) {
        size_t size = search->secrets[i].len;

        if (memmem(bytes, len, search->secrets[i].raw, size) ||
            memmem(bytes, len, search->secrets[i].hex, 2 * size)) {
            return true;
        }
    }
    return false;
}

/* A random byte string holds one of the longer marks about never; four letters once in 4 GiB: they must stand
 * alone. */
static bool holds_mark(const uint8_t *bytes, size_t len)
{
    size_t found = 0;

    for (size_t i = 0; i < sizeof marks / sizeof *marks; i++) {
        size_t mark = strlen(marks[i]);
        const uint8_t *at = memmem(bytes, len, marks[i], mark);

        found += at ? mark > 8 ? 2 : 1 : 0;
    }
    return found > 1;
}

/* Moves the bytes of bytes that are data to its front: units of zeros, and zeros at a unit's end, are space.
 */
static size_t squeeze(uint8_t *bytes, size_t len)
{
    size_t to = 0;

    for (size_t at = 0; at < len; at += UNIT) {
        size_t end = len - at < UNIT ? len : at + UNIT;

        while (end > at && bytes[end - 1] == 0) {
            end--;
        }
        memmove(bytes + to, bytes + at, end - at);
        to += end - at;
    }
    return to;
}

static void look_at_file(struct search *search, const char *path, const char *name)
{
    uint8_t *bytes = malloc(CHUNK);
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOATIME);
    ssize_t got;

    if (fd < 0) { /* not ours: the time of reading then shows */
        fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    }
    search->files++;
    if (strcmp(name, "vault.json") == 0) {
        search->offline = true;
    }
    search->plain |= strcmp(name, LETHE_PLAIN_MARK) == 0;
    while (bytes && fd >= 0 && (got = read(fd, bytes, CHUNK)) > 0) {
        struct drill_bytes measured;
        size_t len;

        search->bytes += (uint64_t)got;
        if (holds_mark(bytes, (size_t)got)) {
            search->marked++;
            snprintf(search->example, sizeof search->example, "%s", name);
        }
        if (strcmp(name, "vault.json") == 0) {
            continue;
        }
        if (holds_secret(search, bytes, (size_t)got)) {
            search->with_slots++;
            snprintf(search->example, sizeof search->example, "%s", name);
        }
        len = squeeze(bytes, (size_t)got);
        if (len < LEAST || strcmp(name, "device-secret") == 0) {
            continue;
        }
        drill_bytes_measure(bytes, len, 0, &measured);
        search->least_p = measured.chi_p < search->least_p ? measured.chi_p : search->least_p;
        if (measured.chi_p < 1e-9) {
            search->odd++;
            snprintf(search->example, sizeof search->example, "%s", name);
        }
    }
    if (fd >= 0) {
        close(fd);
    }
    free(bytes);
}

static void look_at_folder(struct search *search, const char *folder, unsigned depth)
{
    DIR *stream = depth < 16 ? opendir(folder) : NULL;
    const struct dirent *entry;

    while (stream && (entry = readdir(stream))) {
        char path[4096];
        struct stat stat_buf;

        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0 ||
            snprintf(path, sizeof path, "%s/%s", folder, entry->d_name) >= (int)sizeof path ||
            lstat(path, &stat_buf)) {
            continue;
        }
        if (S_ISDIR(stat_buf.st_mode)) {
            look_at_folder(search, path, depth + 1);
        } else if (S_ISREG(stat_buf.st_mode)) {
            drill_progress(search->drill, "device", search->files, search->files + 1);
            look_at_file(search, path, entry->d_name);
        }
    }
    if (stream) {
        closedir(stream);
    }
}

enum lethe_err drill_device(struct drill *drill)
{
    struct lethe_id id = lethe_vault_file_settings(drill->file)->id;
    struct search search = {.drill = drill, .least_p = 1};
    char detail[640];
    enum lethe_err err = collect_secrets(&search);

    for (int cache = 0; cache < 2 && !err; cache++) {
        char *folder = NULL;

        err = lethe_session_folder(cache ? drill->options->cache_root : drill->options->state_root, cache,
                                   &id, &folder);
        if (!err) {
            look_at_folder(&search, folder, 0);
        }
        free(folder);
    }
    if (search.with_slots) {
        snprintf(detail, sizeof detail, "a file on the device holds a part of a key slot: %s",
                 search.example);
        drill_weakness(drill, "key slots on the device", detail);
    }
    if (search.marked) {
        snprintf(detail, sizeof detail, "a file on the device holds marks of plaintext: %s", search.example);
        drill_weakness(drill, "plaintext on the device", detail);
    } else if (search.odd) {
        snprintf(detail, sizeof detail, "a file on the device can be told from random bytes: %s",
                 search.example);
        drill_weakness(drill, "no noise on the device", detail);
    }
    (void)json_object_set_new(
        drill->report, "device",
        json_pack("{s:I, s:I, s:I, s:I, s:I, s:b, s:b, s:f}", "files", (json_int_t)search.files, "bytes",
                  (json_int_t)search.bytes, "with_marks", (json_int_t)search.marked, "told_from_noise",
                  (json_int_t)search.odd, "with_parts_of_key_slots", (json_int_t)search.with_slots,
                  "kept_for_offline", search.offline, "kept_in_the_clear", search.plain, "least_p", search.least_p));
    return err;
}
