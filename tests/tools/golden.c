/* SPDX-License-Identifier: MIT */
/*
 * Makes the vectors of the golden photos anew: lethe-golden tests/golden [NAME...]. For a change of the format, or of an
 * encoder: an artifact that is there is kept, so that nothing changes but what the change is about; remove it first
 * when it cannot be read any more.
 */
#include <unistd.h>

#include "tests/tools/golden.h"

/* The bytes of a small generator, so that artifacts can be made again. */
static void count_on(void *context, void *out, size_t len)
{
    uint64_t *state = context;
    uint8_t *bytes = out;

    for (size_t i = 0; i < len; i++) {
        *state = *state * 6364136223846793005u + 1442695040888963407u;
        bytes[i] = (uint8_t)(*state >> 56);
    }
}

static unsigned strength_of(const char *name)
{
    unsigned sum = 0;

    for (; *name; name++) {
        sum += (uint8_t)*name;
    }
    return sum % 4;
}

static int write_part(const char *name, const char *suffix, const void *bytes, size_t len)
{
    char path[512];
    FILE *file;
    int failed;

    snprintf(path, sizeof path, "vectors/%.256s.%s", name, suffix);
    file = fopen(path, "wb");
    if (!file) {
        perror(path);
        return 1;
    }
    failed = fwrite(bytes, 1, len, file) != len;
    failed |= fclose(file) != 0;
    if (failed) {
        perror(path);
    }
    return failed;
}

static enum lethe_err make(const char *name, const struct lethe_pair *pair, struct golden *golden)
{
    uint64_t state = 1;
    const struct lethe_random random = {count_on, &state};
    struct lethe_buf file = {0};
    struct lethe_photo *photo = NULL;
    enum lethe_err err = golden_read("photos", name, "", &file);

    err = err ? err : lethe_photo_parse(file.data, file.len, &lethe_image_limits_default, &photo, &golden->reason);
    if (!err && golden_read("vectors", name, golden_suffix[ARTIFACT], &golden->part[ARTIFACT])) {
        err = lethe_photo_encrypt(photo, pair, strength_of(name), &random, NULL, &golden->part[ARTIFACT]);
    }
    err = err ? err : golden_derive(name, photo, pair, &file, golden);
    lethe_photo_free(photo);
    lethe_buf_release(&file);
    return err;
}

static bool wanted(const char *name, int argc, char **argv)
{
    for (int i = 2; i < argc; i++) {
        if (strcmp(argv[i], name) == 0) {
            return true;
        }
    }
    return argc == 2;
}

int main(int argc, char **argv)
{
    struct lethe_pair *pair = NULL;
    struct dirent **list = NULL;
    int count, failed = 0;

    if (argc < 2) {
        fprintf(stderr, "usage: lethe-golden tests/golden [NAME...]\n");
        return 2;
    }
    count = chdir(argv[1]) == 0 ? golden_photos(&list) : -1;
    if (count < 0 || golden_pair(&pair)) {
        fprintf(stderr, "lethe-golden: %s holds no photos, or no pair that can be read\n", argv[1]);
        return 1;
    }
    for (int i = 0; i < count; i++) {
        const char *name = list[i]->d_name;
        struct golden golden = {.reason = LETHE_REASON_NONE};
        enum lethe_err err;

        if (wanted(name, argc, argv)) {
            err = make(name, pair, &golden);
            if (err == LETHE_ERR_UNSUPPORTED) {
                const char *reason = lethe_reason_name(golden.reason);

                failed |= write_part(name, "reason", reason, strlen(reason));
            } else if (err) {
                fprintf(stderr, "lethe-golden: %s: %s\n", name, lethe_err_str(err));
                failed = 1;
            }
            for (int part = 0; part < GOLDEN_PARTS && !err; part++) {
                const struct lethe_buf *bytes = &golden.part[part];

                failed |= bytes->len && write_part(name, golden_suffix[part], bytes->data, bytes->len);
            }
            golden_release(&golden);
        }
        free(list[i]);
    }
    free(list);
    lethe_pair_free(pair);
    return failed;
}
