/* SPDX-License-Identifier: MIT */
/*
 * The file of a model pair. All integers are little-endian.
 *
 *   8 bytes   "LETHPAIR"
 *   u16       version, 1
 *   u16       architecture, 1: the networks of encrypter.c and decrypter.c with the widths of weights.h
 *   u32       length of what follows without the hash
 *   weights   every member of struct lethe_weights in the order of its declaration, arrays row by row, last
 * index fastest; int8 and uint8 as one byte, 16- and 32-bit numbers as two's complement 32 bytes  BLAKE2b-256
 * of all bytes before
 *
 * A reader refuses a larger version or architecture (LETHE_ERR_VERSION), another length (LETHE_ERR_FORMAT), a
 * wrong hash (LETHE_ERR_INTEGRITY) and weights out of the bounds of weights.h (LETHE_ERR_FORMAT). The id of a
 * pair is the first 16 bytes of BLAKE2b-256 over the whole file.
 */
#include "lethe/model.h"

#include <pthread.h>
#include <sodium.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "engine/codec/pair.h"
#include "lethe/log.h"
#include "lethe/weights.h"

#define MAGIC "LETHPAIR"
#define HEADER 16
#define HASH 32
#define VERSION 1
#define ARCHITECTURE 1

static void hash(const uint8_t *bytes, size_t len, uint8_t out[HASH])
{
    crypto_generichash(out, HASH, bytes, len, NULL, 0);
}

/* One walk over the members serves both directions: numbers move from bytes to weights, or the other way. */
struct walk {
    struct lethe_reader *reader; /* NULL when writing */
    struct lethe_buf *out;
};

static void walk8(struct walk *walk, void *values, size_t count)
{
    if (walk->reader) {
        lethe_read_bytes(walk->reader, values, count);
    } else {
        lethe_buf_put(walk->out, values, count);
    }
}

static void walk16(struct walk *walk, void *values, size_t count)
{
    uint16_t *v = values;

    for (size_t i = 0; i < count; i++) {
        if (walk->reader) {
            v[i] = lethe_read_u16(walk->reader);
        } else {
            lethe_buf_put_u16(walk->out, v[i]);
        }
    }
}

static void walk32(struct walk *walk, void *values, size_t count)
{
    uint32_t *v = values;

    for (size_t i = 0; i < count; i++) {
        if (walk->reader) {
            v[i] = lethe_read_u32(walk->reader);
        } else {
            lethe_buf_put_u32(walk->out, v[i]);
        }
    }
}

#define WALK8(member) walk8(walk, &w->member, sizeof w->member)
#define WALK16(member) walk16(walk, &w->member, sizeof w->member / 2)
#define WALK32(member) walk32(walk, &w->member, sizeof w->member / 4)

static void walk_weights(struct walk *walk, struct lethe_weights *w)
{
    WALK16(enc_linear);
    WALK32(enc_bias);
    WALK8(enc_conv1);
    WALK32(enc_requant1);
    WALK8(enc_conv2);
    WALK32(enc_requant2);
    WALK8(enc_conv3);
    WALK16(enc_mult);
    WALK8(enc_shift);
    WALK32(enc_scale);
    WALK8(rate);
    WALK16(dither);
    WALK16(noise);
    WALK16(dec_linear);
    WALK32(dec_gain);
    WALK8(dec_bits);
    WALK32(dec_bias);
    WALK8(dec_conv1);
    WALK32(dec_requant1);
    WALK8(dec_conv2);
    WALK32(dec_requant2);
    WALK8(dec_conv3);
    WALK16(dec_mult);
    WALK8(dec_shift);
}

static bool weights8_ok(const int8_t *weights, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (weights[i] < -LETHE_WEIGHT_MAX || weights[i] > LETHE_WEIGHT_MAX) {
            return false;
        }
    }
    return true;
}

static bool mults_ok(const int16_t *mults, size_t count, uint8_t shift)
{
    for (size_t i = 0; i < count; i++) {
        if (mults[i] < -LETHE_OUT_MULT_MAX || mults[i] > LETHE_OUT_MULT_MAX) {
            return false;
        }
    }
    return shift >= LETHE_OUT_SHIFT_MIN && shift <= LETHE_OUT_SHIFT_MAX;
}

static bool within32(const int32_t *values, size_t count, int32_t least, int32_t most)
{
    for (size_t i = 0; i < count; i++) {
        if (values[i] < least || values[i] > most) {
            return false;
        }
    }
    return true;
}

static bool requant_ok(const struct lethe_requant *requant)
{
    return within32(requant->mult, LETHE_HIDDEN, 1, 1 << 30) &&
           within32(requant->bias, LETHE_HIDDEN, -LETHE_REQUANT_BIAS, LETHE_REQUANT_BIAS);
}

enum lethe_err lethe_weights_check(const struct lethe_weights *w)
{
    bool ok = weights8_ok(w->enc_conv1[0], sizeof w->enc_conv1) &&
              weights8_ok(w->enc_conv2[0][0], sizeof w->enc_conv2) &&
              weights8_ok(w->enc_conv3[0], sizeof w->enc_conv3) &&
              weights8_ok(w->dec_conv1[0][0], sizeof w->dec_conv1) &&
              weights8_ok(w->dec_conv2[0][0], sizeof w->dec_conv2) &&
              weights8_ok(w->dec_conv3[0], sizeof w->dec_conv3) && requant_ok(&w->enc_requant1) &&
              requant_ok(&w->enc_requant2) && mults_ok(w->enc_mult, LETHE_LATENTS, w->enc_shift) &&
              within32(w->enc_bias, LETHE_LATENTS, -(1 << 28), 1 << 28) &&
              within32(w->dec_bias, LETHE_PIXELS, -(1 << 27), 1 << 27);

    for (unsigned rate = 0; ok && rate < LETHE_RATES; rate++) {
        ok = requant_ok(&w->dec_requant1[rate]) && requant_ok(&w->dec_requant2[rate]) &&
             mults_ok(w->dec_mult[rate], LETHE_PIXELS, w->dec_shift[rate]) && w->dec_bits[rate] >= 1 &&
             w->dec_bits[rate] <= 14;
        for (size_t i = 0; ok && i < LETHE_PIXELS; i++) {
            for (size_t k = 0; k < LETHE_LATENTS; k++) {
                int64_t weight = ((int64_t)w->dec_linear[i][k] * w->dec_gain[rate][k] + 32768) >> 16;

                ok = ok && weight >= -LETHE_LINEAR_MAX && weight <= LETHE_LINEAR_MAX;
            }
        }
    }
    for (unsigned s = 0; ok && s < LETHE_STRENGTHS; s++) {
        ok = w->rate[s] < LETHE_RATES && w->dither[s] <= 256 && w->noise[s] <= 1024;
    }
    return ok ? LETHE_OK : LETHE_ERR_FORMAT;
}

enum lethe_err lethe_weights_serialise(const struct lethe_weights *weights, struct lethe_buf *out)
{
    struct lethe_weights *copy;
    struct lethe_buf body = {0};
    uint8_t digest[HASH];
    enum lethe_err err;

    if (lethe_weights_check(weights)) {
        return LETHE_ERR_ARG;
    }
    copy = malloc(sizeof *copy); /* the walk takes what it could write to */
    if (!copy) {
        return LETHE_ERR_NOMEM;
    }
    *copy = *weights;
    walk_weights(&(struct walk){.out = &body}, copy);
    free(copy);
    err = lethe_buf_status(&body);
    if (!err) {
        struct lethe_buf file = {0};

        lethe_buf_put(&file, MAGIC, 8);
        lethe_buf_put_u16(&file, VERSION);
        lethe_buf_put_u16(&file, ARCHITECTURE);
        lethe_buf_put_u32(&file, (uint32_t)body.len);
        lethe_buf_put(&file, body.data, body.len);
        err = lethe_buf_status(&file);
        if (!err) {
            hash(file.data, file.len, digest);
            lethe_buf_put(out, file.data, file.len);
            lethe_buf_put(out, digest, HASH);
            err = lethe_buf_status(out);
        }
        lethe_buf_release(&file);
    }
    lethe_buf_release(&body);
    return err;
}

enum lethe_err lethe_pair_parse(const uint8_t *bytes, size_t len, struct lethe_pair **out)
{
    struct lethe_reader reader;
    struct lethe_pair *pair = NULL;
    uint8_t magic[8], digest[HASH];
    uint16_t version, architecture;
    uint32_t body;
    enum lethe_err err;

    *out = NULL;
    lethe_reader_init(&reader, bytes, len);
    lethe_read_bytes(&reader, magic, sizeof magic);
    version = lethe_read_u16(&reader);
    architecture = lethe_read_u16(&reader);
    body = lethe_read_u32(&reader);
    if (len < HEADER + HASH || memcmp(magic, MAGIC, sizeof magic) || version == 0 || architecture == 0) {
        return LETHE_ERR_FORMAT;
    }
    if (version > VERSION || architecture > ARCHITECTURE) {
        return LETHE_ERR_VERSION;
    }
    if (body != len - HEADER - HASH) {
        return LETHE_ERR_FORMAT;
    }
    hash(bytes, len - HASH, digest);
    if (memcmp(digest, bytes + len - HASH, HASH)) {
        return LETHE_ERR_INTEGRITY;
    }
    if (posix_memalign((void **)&pair, 64, sizeof *pair)) {
        return LETHE_ERR_NOMEM;
    }
    memset(pair, 0, sizeof *pair);
    lethe_reader_init(&reader, bytes + HEADER, body);
    walk_weights(&(struct walk){.reader = &reader}, &pair->weights);
    err = lethe_reader_status(&reader, true);
    if (!err) {
        err = lethe_weights_check(&pair->weights);
    }
    if (!err) {
        pair->bytes = malloc(len);
        err = pair->bytes ? LETHE_OK : LETHE_ERR_NOMEM;
    }
    if (!err) {
        memcpy(pair->bytes, bytes, len);
        pair->len = len;
        hash(bytes, len, digest);
        memcpy(pair->id.bytes, digest, sizeof pair->id.bytes);
        err = lethe_encrypter_pack(pair);
    }
    if (!err) {
        err = lethe_decrypter_pack(pair);
    }
    if (err) {
        lethe_pair_free(pair);
        return err;
    }
    *out = pair;
    return LETHE_OK;
}

void lethe_pair_free(struct lethe_pair *pair)
{
    if (!pair) {
        return;
    }
    free(pair->bytes);
    free(pair);
}

const struct lethe_id *lethe_pair_id(const struct lethe_pair *pair)
{
    return &pair->id;
}

const uint8_t *lethe_pair_bytes(const struct lethe_pair *pair, size_t *len)
{
    *len = pair->len;
    return pair->bytes;
}

const struct lethe_weights *lethe_pair_weights(const struct lethe_pair *pair)
{
    return &pair->weights;
}

unsigned lethe_pair_rate(const struct lethe_pair *pair, unsigned strength)
{
    return pair->weights.rate[strength < LETHE_STRENGTHS ? strength : LETHE_STRENGTHS - 1];
}

/* models.c puts the files of engine/codec/models into the program. */
extern const uint8_t lethe_model_base_1[], lethe_model_base_1_end[];

static struct lethe_pair *shipped[1];
static pthread_once_t shipped_once = PTHREAD_ONCE_INIT;

static void parse_shipped(void)
{
    enum lethe_err err = lethe_pair_parse(lethe_model_base_1,
                                          (size_t)(lethe_model_base_1_end - lethe_model_base_1), &shipped[0]);

    if (err) {
        lethe_log(LETHE_LOG_ERROR,
                  "the model pair inside this program is damaged: %s; install the package again",
                  lethe_err_str(err));
    }
}

const struct lethe_pair *lethe_pair_shipped(unsigned index)
{
    pthread_once(&shipped_once, parse_shipped);
    return index < sizeof shipped / sizeof shipped[0] ? shipped[index] : NULL;
}
