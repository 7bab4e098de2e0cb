/* SPDX-License-Identifier: MIT */
/*
 * The engine alone, on files: a photo becomes an artifact (a picture) and a residual, and comes back.
 *
 *   residual file: "LTHR" | 1 | size of the photo's file u64 | BLAKE2b-256 of it | block recipe | block
 * residual
 *
 * With --key both are sealed, under a zero vault id and the fixed object ids below. Without, the artifact's
 * picture holds: length of the payload u64 | payload | random bytes up to the picture's capacity.
 */
#include "fs/cli/cli.h"

#include <stdio.h>
#include <string.h>

#include "fs/file.h"
#include "fs/place.h"
#include "lethe/codec.h"
#include "lethe/seal.h"

#define FILE_MAX_BYTES (2ull << 30)
#define MODEL_MAX (64u << 20)
#define MAGIC "LTHR"
#define FORMAT 1

struct crypt {
    struct lethe_secret *key; /* NULL: unsealed */
    struct lethe_pair *own;   /* from --model */
    struct lethe_pool *pool;
};

static struct lethe_object_name name_of(enum lethe_object_kind kind)
{
    struct lethe_object_name name = {.kind = kind};

    name.id.bytes[0] = (uint8_t)kind;
    return name;
}

static void crypt_release(struct crypt *crypt)
{
    lethe_secret_free(crypt->key);
    lethe_pair_free(crypt->own);
    lethe_pool_free(crypt->pool);
}

/* 32 bytes, or 64 hexadecimal digits and perhaps a newline. */
static enum lethe_err read_key(const char *path, struct lethe_secret **out)
{
    struct lethe_buf bytes = {0};
    uint8_t key[LETHE_KEY_BYTES];
    enum lethe_err err = lethe_file_read(path, 2 * LETHE_KEY_BYTES + 1, &bytes);

    if (!err && bytes.len == LETHE_KEY_BYTES) {
        memcpy(key, bytes.data, sizeof key);
    } else if (!err) {
        size_t len = bytes.len - (bytes.len > 0 && bytes.data[bytes.len - 1] == '\n');

        for (size_t i = 0; i < len; i++) {
            bytes.data[i] = bytes.data[i] >= 'A' && bytes.data[i] <= 'F' ? bytes.data[i] + 32 : bytes.data[i];
        }
        err = lethe_unhex((const char *)bytes.data, len, key, sizeof key);
    }
    if (err) {
        (void)lethe_cli_fail(LETHE_ERR_ARG,
                             "the key %s is not 32 bytes or 64 hexadecimal digits that can be read", path);
        err = LETHE_ERR_ARG;
    } else {
        err = lethe_secret_new(key, out);
    }
    explicit_bzero(key, sizeof key);
    if (bytes.data) {
        explicit_bzero(bytes.data, bytes.cap);
    }
    lethe_buf_release(&bytes);
    return err;
}

static enum lethe_err crypt_start(struct crypt *crypt, const char *key, const char *model)
{
    struct lethe_buf bytes = {0};
    enum lethe_err err = lethe_seal_start();

    err = err ? err : lethe_pool_new(0, &crypt->pool);
    if (!err && key) {
        err = read_key(key, &crypt->key);
    }
    if (!err && model) {
        err = lethe_file_read(model, MODEL_MAX, &bytes);
        err = err ? err : lethe_pair_parse(bytes.data, bytes.len, &crypt->own);
        if (err) {
            err = LETHE_ERR_ARG;
            (void)lethe_cli_fail(err, "%s is no model pair that can be read", model);
        }
    }
    lethe_buf_release(&bytes);
    return err;
}

static enum lethe_err wrap_artifact(const struct crypt *crypt, const struct lethe_buf *payload,
                                    struct lethe_buf *out)
{
    struct lethe_object_name name = name_of(LETHE_OBJECT_ARTIFACT);
    const struct lethe_random *random = lethe_random_system();
    struct lethe_buf bytes = {0};
    size_t used;
    enum lethe_err err;

    if (crypt->key) {
        return lethe_artifact_seal(crypt->key, &name, payload->data, payload->len, random, out);
    }
    lethe_buf_put_u64(&bytes, payload->len);
    lethe_buf_put(&bytes, payload->data, payload->len);
    used = bytes.len;
    err = lethe_buf_status(&bytes);
    err = err ? err : lethe_buf_resize(&bytes, (size_t)lethe_noise_png_capacity(used));
    if (!err) {
        random->fill(random->context, bytes.data + used, bytes.len - used);
        err = lethe_noise_png_wrap(bytes.data, bytes.len, out);
    }
    lethe_buf_release(&bytes);
    return err;
}

/* LETHE_ERR_KEY: sealed, and not with this key. LETHE_ERR_INTEGRITY: no picture that we wrote. */
static enum lethe_err unwrap_artifact(const struct crypt *crypt, const struct lethe_buf *png,
                                      struct lethe_buf *out)
{
    struct lethe_object_name name = name_of(LETHE_OBJECT_ARTIFACT);
    struct lethe_buf bytes = {0};
    uint64_t len;
    enum lethe_err err = lethe_noise_png_unwrap(png->data, png->len, &bytes);

    if (err) {
        goto out;
    }
    if (crypt->key) {
        err = lethe_artifact_open(crypt->key, &name, png->data, png->len, out);
        err = err == LETHE_ERR_INTEGRITY ? LETHE_ERR_KEY : err;
        goto out;
    }
    len = bytes.len >= 8 ? lethe_get_u64(bytes.data) : UINT64_MAX;
    if (len > bytes.len - 8 || lethe_noise_png_capacity(len + 8) != bytes.len) {
        err = LETHE_ERR_KEY;
        goto out;
    }
    lethe_buf_put(out, bytes.data + 8, (size_t)len);
    err = lethe_buf_status(out);
out:
    lethe_buf_release(&bytes);
    return err;
}

static enum lethe_err wrap_residual(const struct crypt *crypt, const struct lethe_buf *plain,
                                    struct lethe_buf *out)
{
    struct lethe_object_name name = name_of(LETHE_OBJECT_RESIDUAL);

    if (crypt->key) {
        return lethe_object_seal(crypt->key, &name, true, plain->data, plain->len, lethe_random_system(),
                                 out);
    }
    lethe_buf_put(out, plain->data, plain->len);
    return lethe_buf_status(out);
}

static enum lethe_err unwrap_residual(const struct crypt *crypt, const struct lethe_buf *file,
                                      struct lethe_buf *out)
{
    struct lethe_object_name name = name_of(LETHE_OBJECT_RESIDUAL);

    if (crypt->key) {
        enum lethe_err err = lethe_object_open(crypt->key, &name, true, file->data, file->len, out);

        return err == LETHE_ERR_INTEGRITY ? LETHE_ERR_KEY : err;
    }
    if (file->len < 5 || memcmp(file->data, MAGIC, 4) != 0) {
        return LETHE_ERR_KEY;
    }
    lethe_buf_put(out, file->data, file->len);
    return lethe_buf_status(out);
}

struct residual {
    uint64_t size;
    uint8_t hash[32];
    const uint8_t *recipe, *residual;
    size_t recipe_len, residual_len;
};

static enum lethe_err parse_residual(const struct lethe_buf *plain, struct residual *out)
{
    struct lethe_reader reader;
    uint8_t magic[4], format;

    lethe_reader_init(&reader, plain->data, plain->len);
    lethe_read_bytes(&reader, magic, sizeof magic);
    format = lethe_read_u8(&reader);
    if (memcmp(magic, MAGIC, sizeof magic) == 0 && format > FORMAT) {
        return LETHE_ERR_VERSION;
    }
    out->size = lethe_read_u64(&reader);
    lethe_read_bytes(&reader, out->hash, sizeof out->hash);
    out->recipe = lethe_read_block(&reader, &out->recipe_len);
    out->residual = lethe_read_block(&reader, &out->residual_len);
    if (lethe_reader_status(&reader, true) || memcmp(magic, MAGIC, sizeof magic) != 0 || format != FORMAT ||
        out->size > FILE_MAX_BYTES) {
        return LETHE_ERR_INTEGRITY;
    }
    return LETHE_OK;
}

/* The pair that the artifact asks for. Errors have been said. */
static enum lethe_err find_pair(const struct crypt *crypt, const struct lethe_buf *payload,
                                const struct lethe_pair **out)
{
    const struct lethe_pair *pair;
    struct lethe_id id;
    char hex[33];
    enum lethe_err err = lethe_artifact_pair(payload->data, payload->len, &id);

    if (err) {
        (void)lethe_cli_fail(LETHE_ERR_INTEGRITY, "the artifact is damaged: %s", lethe_err_str(err));
        return LETHE_ERR_INTEGRITY;
    }
    if (crypt->own && lethe_id_equal(lethe_pair_id(crypt->own), &id)) {
        *out = crypt->own;
        return LETHE_OK;
    }
    for (unsigned i = 0; (pair = lethe_pair_shipped(i)); i++) {
        if (lethe_id_equal(lethe_pair_id(pair), &id)) {
            *out = pair;
            return LETHE_OK;
        }
    }
    lethe_hex(id.bytes, sizeof id.bytes, hex);
    (void)lethe_cli_fail(LETHE_ERR_NOT_FOUND, "the artifact needs model pair %s: give it with --model", hex);
    return LETHE_ERR_NOT_FOUND;
}

/* Restores the file and compares it with the hash that the residual holds. */
static enum lethe_err restore(const struct crypt *crypt, const struct lethe_pair *pair,
                              const struct lethe_buf *payload, const struct residual *residual,
                              struct lethe_buf *out)
{
    uint8_t hash[32];
    enum lethe_err err = lethe_photo_restore(
        pair, payload->data, payload->len, residual->residual, residual->residual_len, residual->recipe,
        residual->recipe_len, &lethe_image_limits_default, crypt->pool, (size_t)residual->size, out);

    if (err == LETHE_ERR_NOMEM) {
        return err;
    }
    if (!err) {
        lethe_hash(out->data, out->len, hash);
    }
    if (err || out->len != residual->size || memcmp(hash, residual->hash, sizeof hash) != 0) {
        return LETHE_ERR_INTEGRITY;
    }
    return LETHE_OK;
}

static enum lethe_err read_input(const char *path, struct lethe_buf *out)
{
    enum lethe_err err = lethe_file_read(path, FILE_MAX_BYTES, out);

    if (err) {
        (void)lethe_cli_fail(err, "%s cannot be read: %s", path, lethe_err_str(err));
    }
    return err;
}

static enum lethe_err write_output(const char *path, const struct lethe_buf *bytes)
{
    enum lethe_err err = lethe_file_write_output(path, bytes->data, bytes->len, 0644);

    if (err) {
        (void)lethe_cli_fail(err, "%s cannot be written: %s", path, lethe_err_str(err));
    }
    return err;
}

static const char *why_not(enum lethe_reason reason)
{
    switch (reason) {
    case LETHE_REASON_NO_PICTURE:
        return "it is neither a PNG nor a JPEG";
    case LETHE_REASON_MALFORMED:
        return "it is damaged, or ends early";
    case LETHE_REASON_KIND:
        return "it is a rare kind of PNG or JPEG; a vault keeps such files as sealed segments";
    case LETHE_REASON_TOO_LARGE:
        return "it is too large; a vault keeps such files as sealed segments";
    default:
        return "its compression would cost too much to describe; a vault keeps such files as sealed segments";
    }
}

struct encrypting {
    struct lethe_buf file, payload, plain, artifact, residual;
};

/* Everything from the file to the two outputs, in memory. Errors have been said. */
static enum lethe_err encrypt(const struct crypt *crypt, const char *path, unsigned strength,
                              enum lethe_effort effort, struct encrypting *parts)
{
    const struct lethe_pair *pair = crypt->own ? crypt->own : lethe_pair_shipped(0);
    struct lethe_photo *photo = NULL;
    struct lethe_buf coded = {0};
    enum lethe_reason reason = LETHE_REASON_NONE;
    const uint8_t *recipe;
    uint8_t hash[32];
    size_t len;
    enum lethe_err err = read_input(path, &parts->file);

    if (err) {
        return err;
    }
    err = lethe_photo_parse(parts->file.data, parts->file.len, &lethe_image_limits_default, &photo, &reason);
    if (err == LETHE_ERR_UNSUPPORTED) {
        (void)lethe_cli_fail(err, "%s cannot be transformed: %s", path, why_not(reason));
        goto out;
    }
    err = err ? err : pair ? LETHE_OK : LETHE_ERR_NOT_FOUND;
    err =
        err ? err
            : lethe_photo_encrypt(photo, pair, strength, lethe_random_system(), crypt->pool, &parts->payload);
    err = err ? err
              : lethe_photo_residual(photo, pair, parts->payload.data, parts->payload.len, effort,
                                     crypt->pool, &coded, NULL);
    if (!err) {
        recipe = lethe_photo_recipe(photo, &len);
        lethe_hash(parts->file.data, parts->file.len, hash);
        lethe_buf_put(&parts->plain, MAGIC, 4);
        lethe_buf_put_u8(&parts->plain, FORMAT);
        lethe_buf_put_u64(&parts->plain, parts->file.len);
        lethe_buf_put(&parts->plain, hash, sizeof hash);
        lethe_buf_put_block(&parts->plain, recipe, len);
        lethe_buf_put_block(&parts->plain, coded.data, coded.len);
        err = lethe_buf_status(&parts->plain);
    }
    err = err ? err : wrap_artifact(crypt, &parts->payload, &parts->artifact);
    err = err ? err : wrap_residual(crypt, &parts->plain, &parts->residual);
    if (err) {
        (void)lethe_cli_fail(err, "%s cannot be encrypted: %s", path, lethe_err_str(err));
    }
out:
    lethe_photo_free(photo);
    lethe_buf_release(&coded);
    return err;
}

/* From the very bytes that are about to be written, back to the file. */
static enum lethe_err verify(const struct crypt *crypt, const struct encrypting *parts)
{
    struct lethe_buf payload = {0}, plain = {0}, again = {0};
    const struct lethe_pair *pair = NULL;
    struct residual residual;
    enum lethe_err err = unwrap_artifact(crypt, &parts->artifact, &payload);

    err = err ? err : unwrap_residual(crypt, &parts->residual, &plain);
    err = err ? err : parse_residual(&plain, &residual);
    err = err ? err : find_pair(crypt, &payload, &pair);
    err = err ? err : restore(crypt, pair, &payload, &residual, &again);
    if (!err && (again.len != parts->file.len || memcmp(again.data, parts->file.data, again.len) != 0)) {
        err = LETHE_ERR_DIFFERS;
    }
    lethe_buf_release(&payload);
    lethe_buf_release(&plain);
    lethe_buf_release(&again);
    return err;
}

/* An output may replace neither an input nor the other output. */
static int check_apart(const char *command, const char *output, const char *const *others, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (lethe_place_within(output, others[i])) {
            return lethe_cli_usage("%s: %s is named twice, and would be overwritten: give the output another name",
                                   command, output);
        }
    }
    return -1;
}

int lethe_cmd_encrypt(int argc, char **argv)
{
    const char *model = NULL, *key = NULL, *effort = "fast", *args[3];
    uint64_t strength = 2;
    const struct lethe_option options[] = {
        {"model", LETHE_OPTION_TEXT, &model, 0, 0, "FILE a model pair (the newest shipped one)"},
        {"strength", LETHE_OPTION_NUMBER, &strength, 0, 3, "0..3 noise of the artifact (2)"},
        {"effort", LETHE_OPTION_TEXT, &effort, 0, 0, "LEVEL fast (default) or strong"},
        {"key", LETHE_OPTION_TEXT, &key, 0, 0, "FILE seal both with its 32 bytes or 64 hexadecimal digits"},
        LETHE_CLI_OPTIONS_END,
    };
    const struct lethe_command command = {.name = "encrypt",
                                          .usage = "IN ARTIFACT.png RESIDUAL [OPTION]...",
                                          .about =
                                              "The engine alone: a photo becomes an artifact and a residual.",
                                          .min_args = 3,
                                          .max_args = 3,
                                          .options = options};
    struct encrypting parts = {0};
    struct crypt crypt = {0};
    size_t count;
    enum lethe_err err;
    int code = lethe_cli_parse(&command, argc, argv, args, &count);

    if (code >= 0) {
        return code;
    }
    if (strcmp(effort, "fast") != 0 && strcmp(effort, "strong") != 0) {
        return lethe_cli_usage("encrypt: --effort is fast or strong, not '%s'", effort);
    }
    code = check_apart("encrypt", args[1], args, 1);
    code = code < 0 ? check_apart("encrypt", args[2], args, 2) : code;
    if (code >= 0) {
        return code;
    }
    err = crypt_start(&crypt, key, model);
    err = err ? err
              : encrypt(&crypt, args[0], (unsigned)strength,
                        strcmp(effort, "strong") == 0 ? LETHE_EFFORT_STRONG : LETHE_EFFORT_FAST, &parts);
    if (!err) {
        err = verify(&crypt, &parts);
        if (err) {
            err = err == LETHE_ERR_NOMEM ? err : LETHE_ERR_DIFFERS;
            (void)lethe_cli_fail(err, "%s did not come back byte for byte: nothing was written", args[0]);
        }
    }
    err = err ? err : write_output(args[1], &parts.artifact);
    err = err ? err : write_output(args[2], &parts.residual);
    if (!err && !key) {
        fprintf(stderr,
                "lethefs: artifact and residual are not sealed: whoever has the program has the photo; see"
                " --key\n");
    }
    lethe_buf_release(&parts.file);
    lethe_buf_release(&parts.payload);
    lethe_buf_release(&parts.plain);
    lethe_buf_release(&parts.artifact);
    lethe_buf_release(&parts.residual);
    crypt_release(&crypt);
    return lethe_exit_code(err);
}

/* Opens both files, and tells a wrong key from damage: a key that opens one of them is right. */
static enum lethe_err open_inputs(const struct crypt *crypt, const char *artifact_path,
                                  const char *residual_path, struct lethe_buf *payload,
                                  struct lethe_buf *plain)
{
    struct lethe_buf artifact = {0}, residual = {0};
    enum lethe_err first, second = LETHE_OK, err = read_input(artifact_path, &artifact);

    if (!err && residual_path) {
        err = read_input(residual_path, &residual);
    }
    if (err) {
        goto out;
    }
    first = unwrap_artifact(crypt, &artifact, payload);
    if (residual_path) {
        second = unwrap_residual(crypt, &residual, plain);
    }
    err = first ? first : second;
    if (err == LETHE_ERR_KEY && residual_path && !(first == LETHE_ERR_KEY && second == LETHE_ERR_KEY)) {
        err = LETHE_ERR_INTEGRITY;
    }
    if (err == LETHE_ERR_KEY) {
        (void)lethe_cli_fail(err,
                             crypt->key ? "%s does not open: another key, or not sealed at all"
                                        : "%s is sealed, or was not written by 'lethefs encrypt': give --key",
                             artifact_path);
    } else if (err == LETHE_ERR_INTEGRITY || err == LETHE_ERR_FORMAT) {
        err = LETHE_ERR_INTEGRITY;
        (void)lethe_cli_fail(err, "%s is damaged: it is not what 'lethefs encrypt' wrote",
                             first ? artifact_path : residual_path);
    } else if (err) {
        (void)lethe_cli_fail(err, "%s cannot be opened: %s", artifact_path, lethe_err_str(err));
    }
out:
    lethe_buf_release(&artifact);
    lethe_buf_release(&residual);
    return err;
}

/* The photo's file, or without a residual the Decrypter's picture as a PNG. Errors have been said. */
static enum lethe_err decrypt(const struct crypt *crypt, const char *artifact_path, const char *residual_path,
                              struct lethe_buf *out)
{
    struct lethe_buf payload = {0}, plain = {0};
    struct lethe_raster raster = {0};
    const struct lethe_pair *pair = NULL;
    struct residual residual;
    enum lethe_err err = open_inputs(crypt, artifact_path, residual_path, &payload, &plain);

    err = err ? err : find_pair(crypt, &payload, &pair);
    if (err) {
        goto out;
    }
    if (residual_path) {
        err = parse_residual(&plain, &residual);
        err = err ? err : restore(crypt, pair, &payload, &residual, out);
    } else {
        err = lethe_artifact_picture(pair, payload.data, payload.len, &lethe_image_limits_default,
                                     crypt->pool, &raster);
        err = err == LETHE_ERR_FORMAT ? LETHE_ERR_INTEGRITY : err;
        err = err ? err : lethe_png_write(&raster, 6, out);
    }
    if (err) {
        (void)lethe_cli_fail(err,
                             err == LETHE_ERR_INTEGRITY ? "%s: damaged, or not of one photo: %s" : "%s: %s",
                             artifact_path, lethe_err_str(err));
    }
out:
    lethe_raster_release(&raster);
    lethe_buf_release(&payload);
    lethe_buf_release(&plain);
    return err;
}

int lethe_cmd_decrypt(int argc, char **argv)
{
    const char *model = NULL, *key = NULL, *args[3];
    const struct lethe_option options[] = {
        {"model", LETHE_OPTION_TEXT, &model, 0, 0, "FILE the model pair, when it is no shipped one"},
        {"key", LETHE_OPTION_TEXT, &key, 0, 0, "FILE the key that both were sealed with"},
        LETHE_CLI_OPTIONS_END,
    };
    const struct lethe_command command = {
        .name = "decrypt",
        .usage = "ARTIFACT.png [RESIDUAL] OUT [OPTION]...",
        .about = "The engine alone: back to the photo; without RESIDUAL, the artifact's picture as PNG.",
        .min_args = 2,
        .max_args = 3,
        .options = options};
    struct crypt crypt = {0};
    struct lethe_buf out = {0};
    size_t count;
    enum lethe_err err;
    int code = lethe_cli_parse(&command, argc, argv, args, &count);

    if (code >= 0) {
        return code;
    }
    code = check_apart("decrypt", args[count - 1], args, count - 1);
    if (code >= 0) {
        return code;
    }
    err = crypt_start(&crypt, key, model);
    err = err ? err : decrypt(&crypt, args[0], count == 3 ? args[1] : NULL, &out);
    err = err ? err : write_output(args[count - 1], &out);
    lethe_buf_release(&out);
    crypt_release(&crypt);
    return lethe_exit_code(err);
}
