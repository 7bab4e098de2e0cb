/* SPDX-License-Identifier: MIT */
/*
 * What a bucket tells without a key: names, sizes, counts, times, kinds, the parameters of vault.json. The rules that
 * lethefs-format(5) gives for all of these are checked as a thief would use them; what breaks one is a weakness.
 */
#include <dirent.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "fs/drill/drill.h"
#include "lethe/log.h"

#define NONCES_MAX 20000  /* objects whose first bytes are fetched */
#define PIXELS_AT 49      /* of a noise picture: signature, IHDR, IDAT, zlib and deflate headers, the first filter */
#define WEAK_MEMORY_MIB 64 /* RFC 9106, section 4: the second recommended option, 64 MiB and 3 passes */
#define WEAK_PASSES 3

static bool hex(const char *text, size_t len)
{
    return strspn(text, "0123456789abcdef") >= len;
}

/* The kind that a key of the format stands for: 'a', 'o', 'j', 'h' (head), 'v' (vault.json); 0 for none. */
static char kind_of(const char *key)
{
    size_t len = strlen(key);

    if (strcmp(key, "head") == 0) {
        return 'h';
    }
    if (strcmp(key, "vault.json") == 0) {
        return 'v';
    }
    if (len == 41 && strncmp(key, "a/", 2) == 0 && hex(key + 2, 2) && key[4] == '/' && hex(key + 5, 32) &&
        memcmp(key + 2, key + 5, 2) == 0 && strcmp(key + 37, ".png") == 0) {
        return 'a';
    }
    if (len == 37 && strncmp(key, "o/", 2) == 0 && hex(key + 2, 2) && key[4] == '/' && hex(key + 5, 32) &&
        memcmp(key + 2, key + 5, 2) == 0) {
        return 'o';
    }
    if (len == 51 && strncmp(key, "j/", 2) == 0 && hex(key + 2, 16) && key[18] == '-' && hex(key + 19, 32)) {
        return 'j';
    }
    return 0;
}

static enum lethe_err add_object(void *context, const char *key, const struct lethe_store_stat *stat)
{
    struct drill *drill = context;

    if ((drill->count & (drill->count - 1)) == 0) { /* a power of two: time to double */
        struct drill_object *grown =
            realloc(drill->objects, (drill->count ? drill->count * 2 : 1) * sizeof *grown);

        if (!grown) {
            return LETHE_ERR_NOMEM;
        }
        drill->objects = grown;
    }
    snprintf(drill->objects[drill->count].key, sizeof drill->objects->key, "%s", key);
    drill->objects[drill->count].size = stat->size;
    drill->objects[drill->count++].modified = stat->modified;
    return LETHE_OK;
}

static int compare_objects(const void *a, const void *b)
{
    return strcmp(((const struct drill_object *)a)->key, ((const struct drill_object *)b)->key);
}

static int compare_sizes(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return x < y ? -1 : x > y;
}

/* A pack is Padmé-sized as a whole, any other object inside its seal. */
static bool padded(uint64_t size)
{
    return lethe_padme(size) == size ||
           (size > LETHE_SEAL_OVERHEAD && lethe_padme(size - LETHE_SEAL_OVERHEAD) == size - LETHE_SEAL_OVERHEAD);
}

/* Whether some Padmé length fills the picture of this width and height, and none smaller would do. */
static bool padded_picture(uint64_t width, uint64_t height)
{
    uint64_t below = height == width ? 3 * width * (width - 1) : 3 * (width - 1) * (width - 1);
    uint64_t least = below >= LETHE_SEAL_OVERHEAD ? below - LETHE_SEAL_OVERHEAD + 1 : 1;

    return lethe_padme(least) + LETHE_SEAL_OVERHEAD <= 3 * width * height;
}

/* Folders keep replaceable objects as KEY.NUMBER with this many digits, and write through tmp/. */
#define VERSION_DIGITS 20

static void strip_version(char *key)
{
    size_t len = strlen(key);

    if (len > VERSION_DIGITS + 1 && key[len - VERSION_DIGITS - 1] == '.' &&
        strspn(key + len - VERSION_DIGITS, "0123456789") == VERSION_DIGITS) {
        key[len - VERSION_DIGITS - 1] = '\0';
    }
}

struct nonce {
    uint8_t bytes[LETHE_NONCE_BYTES];
};

static int compare_nonces(const void *a, const void *b)
{
    return memcmp(a, b, sizeof(struct nonce));
}

/* The first bytes of each object: its nonce, and of a picture also width and height. */
static enum lethe_err look_at_heads(struct drill *drill, json_t *inventory)
{
    size_t many = drill->count < NONCES_MAX ? drill->count : NONCES_MAX, found = 0, repeated = 0, loose = 0;
    struct nonce *nonces = calloc(many ? many : 1, sizeof *nonces);
    struct lethe_buf head = {0};
    char detail[200];
    enum lethe_err err = nonces ? LETHE_OK : LETHE_ERR_NOMEM;

    for (size_t i = 0; i < many && !err; i++) {
        const struct drill_object *object = &drill->objects[i * drill->count / many];
        char kind = kind_of(object->key);
        size_t at = kind == 'a' ? PIXELS_AT : 0;

        drill_progress(drill, "inventory", i, many);
        if (kind == 'v' || kind == 0) {
            continue;
        }
        lethe_buf_reset(&head);
        err = lethe_store_get(drill->store, object->key, 0, at + LETHE_NONCE_BYTES, &head, NULL);
        if (err == LETHE_ERR_NOT_FOUND) { /* collected meanwhile */
            err = LETHE_OK;
            continue;
        }
        if (!err && head.len == at + LETHE_NONCE_BYTES) {
            memcpy(nonces[found++].bytes, head.data + at, LETHE_NONCE_BYTES);
            loose += kind == 'a' ? !padded_picture(lethe_get_u32be(head.data + 16), lethe_get_u32be(head.data + 20))
                                 : kind != 'h' && !padded(object->size);
        }
    }
    if (!err && found) {
        qsort(nonces, found, sizeof *nonces, compare_nonces);
        for (size_t i = 1; i < found; i++) {
            repeated += compare_nonces(&nonces[i - 1], &nonces[i]) == 0;
        }
    }
    if (repeated) {
        snprintf(detail, sizeof detail, "%zu objects begin with the nonce of another", repeated);
        drill_weakness(drill, "reused nonce", detail);
    }
    if (loose) {
        snprintf(detail, sizeof detail, "%zu objects have sizes that no padded content has", loose);
        drill_weakness(drill, "no padding", detail);
    }
    (void)json_object_set_new(inventory, "nonces", json_integer((json_int_t)found));
    (void)json_object_set_new(inventory, "repeated_nonces", json_integer((json_int_t)repeated));
    (void)json_object_set_new(inventory, "unpadded", json_integer((json_int_t)loose));
    lethe_buf_release(&head);
    free(nonces);
    return err;
}

/*
 * Distinct sizes among the artifacts. A thief who could foretell the size of every artifact exactly would be right
 * once for each distinct size: the most that sizes of artifacts alone can tell of this vault.
 */
static enum lethe_err count_sizes(const struct drill *drill, char kind, json_t *out)
{
    uint64_t *sizes = calloc(drill->count ? drill->count : 1, sizeof *sizes), total = 0;
    size_t count = 0, distinct = 0, alone = 0;

    if (!sizes) {
        return LETHE_ERR_NOMEM;
    }
    for (size_t i = 0; i < drill->count; i++) {
        if (kind_of(drill->objects[i].key) == kind) {
            sizes[count++] = drill->objects[i].size;
            total += drill->objects[i].size;
        }
    }
    qsort(sizes, count, sizeof *sizes, compare_sizes);
    for (size_t i = 0; i < count; i++) {
        bool first = i == 0 || sizes[i - 1] != sizes[i], last = i + 1 == count || sizes[i + 1] != sizes[i];

        distinct += first;
        alone += first && last;
    }
    (void)json_object_update_new(out, json_pack("{s:I, s:I, s:I, s:I, s:f}", "count", (json_int_t)count, "bytes",
                                                (json_int_t)total, "distinct_sizes", (json_int_t)distinct, "alone",
                                                (json_int_t)alone, "most_by_size",
                                                count ? (double)distinct / (double)count : 0.0));
    free(sizes);
    return LETHE_OK;
}

/* What the folder shows that the listing of keys does not: files whose names the format has no place for. */
static size_t foreign_files(const char *path, const char *prefix, unsigned depth, char *example, size_t room)
{
    DIR *stream = opendir(path);
    const struct dirent *entry;
    size_t found = 0;

    while (stream && (entry = readdir(stream))) {
        char below[4096], key[LETHE_STORE_KEY_MAX + 260];
        struct stat stat_buf;

        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0 ||
            (depth == 0 && strcmp(entry->d_name, "tmp") == 0)) {
            continue;
        }
        if (snprintf(below, sizeof below, "%s/%s", path, entry->d_name) >= (int)sizeof below ||
            snprintf(key, sizeof key, "%s%s", prefix, entry->d_name) >= (int)sizeof key || lstat(below, &stat_buf)) {
            continue;
        }
        if (S_ISDIR(stat_buf.st_mode) && depth < 3) {
            strcat(key, "/");
            found += foreign_files(below, key, depth + 1, example, room);
            continue;
        }
        strip_version(key);
        if (!S_ISREG(stat_buf.st_mode) || !kind_of(key)) { /* a link is none of ours either */
            snprintf(example, room, "%s", key);
            found++;
        }
    }
    if (stream) {
        closedir(stream);
    }
    return found;
}

static void look_at_names(struct drill *drill, json_t *inventory)
{
    const char *location = drill->options->location;
    const char *path = strncmp(location, "file:///", 8) == 0 ? location + 7 : strstr(location, "://") ? NULL : location;
    char example[LETHE_STORE_KEY_MAX + 260] = "", detail[700];
    size_t found = 0;

    if (path) {
        found = foreign_files(path, "", 0, example, sizeof example);
    } else {
        for (size_t i = 0; i < drill->count; i++) {
            if (!kind_of(drill->objects[i].key)) {
                snprintf(example, sizeof example, "%s", drill->objects[i].key);
                found++;
            }
        }
    }
    if (found) {
        snprintf(detail, sizeof detail, "%zu names are none of the format, '%s' among them", found, example);
        drill_weakness(drill, "plaintext name", detail);
    }
    (void)json_object_set_new(inventory, "foreign_names", json_integer((json_int_t)found));
}

static void look_at_slots(struct drill *drill)
{
    json_t *slots = json_array();

    for (size_t i = 0; i < lethe_vault_file_slots(drill->file); i++) {
        struct lethe_slot_info slot;
        char detail[160];

        if (lethe_vault_file_slot(drill->file, i, &slot)) {
            break;
        }
        if (slot.cost.memory_mib < WEAK_MEMORY_MIB || slot.cost.passes < WEAK_PASSES) {
            snprintf(detail, sizeof detail,
                     "a guess costs %" PRIu32 " MiB and %" PRIu32 " passes; RFC 9106 asks for %d MiB and %d at least",
                     slot.cost.memory_mib, slot.cost.passes, WEAK_MEMORY_MIB, WEAK_PASSES);
            drill_weakness(drill, "weak KDF", detail);
        }
        (void)json_array_append_new(slots, json_pack("{s:s, s:I, s:I, s:I}", "label", slot.label, "memory_mib",
                                                     (json_int_t)slot.cost.memory_mib, "passes",
                                                     (json_int_t)slot.cost.passes, "created",
                                                     (json_int_t)slot.created));
    }
    (void)json_object_set_new(drill->report, "key_slots", slots);
}

enum lethe_err drill_inventory(struct drill *drill)
{
    const struct lethe_vault_settings *settings = lethe_vault_file_settings(drill->file);
    static const char *const fidelities[] = {"exact", "split", "lossy"};
    json_t *inventory = json_object(), *artifacts = json_object(), *others = json_object(), *journal = json_object();
    int64_t first = 0, last = 0;
    enum lethe_err err = lethe_store_list(drill->store, "", add_object, drill);

    if (err) {
        lethe_log(LETHE_LOG_ERROR, "%s cannot be listed: %s", drill->options->location, lethe_err_str(err));
    }
    if (drill->count) {
        qsort(drill->objects, drill->count, sizeof *drill->objects, compare_objects);
        first = last = drill->objects[0].modified;
    }
    for (size_t i = 0; i < drill->count; i++) {
        first = drill->objects[i].modified < first ? drill->objects[i].modified : first;
        last = drill->objects[i].modified > last ? drill->objects[i].modified : last;
    }
    err = err ? err : count_sizes(drill, 'a', artifacts);
    err = err ? err : count_sizes(drill, 'o', others);
    err = err ? err : count_sizes(drill, 'j', journal);
    (void)json_object_update_new(
        inventory, json_pack("{s:I, s:o, s:o, s:o, s:I, s:I, s:s, s:I, s:I, s:b}", "objects", (json_int_t)drill->count,
                             "artifacts", artifacts, "others", others, "epochs", journal, "first", (json_int_t)first,
                             "last", (json_int_t)last, "fidelity", fidelities[settings->fidelity], "strength",
                             (json_int_t)settings->strength, "created", (json_int_t)settings->created,
                             "pairs_in_vault", settings->pairs_in_vault));
    look_at_names(drill, inventory);
    look_at_slots(drill);
    err = err ? err : look_at_heads(drill, inventory);
    (void)json_object_set_new(drill->report, "inventory", inventory);
    return err;
}
