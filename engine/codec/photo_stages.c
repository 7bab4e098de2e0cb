/* SPDX-License-Identifier: MIT */
/*
 * A JPEG restored by stages, so that its first bytes are ready before the last rows are decoded: the first
 * band of coefficients with the rows of the Decrypter's picture that it needs, as many bands as there are
 * threads, and then the rest at once; or all at once, where nobody waits for the first bytes. The container's rebuilder asks for rows as it comes to them, on the
 * calling thread.
 */
#include <stdlib.h>

#include "photo_private.h"

struct stages {
    const struct lethe_pair *pair;
    struct lethe_jpeg *jpeg;
    struct lethe_pool *pool;
    const struct lethe_photo_watch *watch;
    struct lethe_buf *out;
    struct photo_shape shape;
    struct lethe_latents_decoder *latents[PHOTO_GROUPS];
    struct lethe_ycc picture[PHOTO_GROUPS];
    struct photo_planes planes;
    struct lethe_coefs_decoder *decoder;
    unsigned stage;
    size_t bands;        /* decoded */
    uint32_t mcu_rows;   /* that these hold */
    uint32_t rows;       /* of the pictures, done */
    uint32_t head;       /* of the pictures, done for the first stage alone: they are drawn again */
    uint32_t mcu_planes; /* MCU rows of the planes, done */
    uint32_t vmax;
};

static void stages_release(struct stages *s)
{
    lethe_coefs_decoder_free(s->decoder);
    lethe_photo_planes_release(&s->planes);
    for (unsigned group = 0; group < PHOTO_GROUPS; group++) {
        lethe_latents_decoder_free(s->latents[group]);
        lethe_ycc_release(&s->picture[group]);
    }
}

/* Everything that comes before the first stage. */
static enum lethe_err stages_init(struct stages *s, const struct photo_artifact *parts,
                                  const struct lethe_reader *residual)
{
    const uint8_t *xhat[4] = {0};
    enum lethe_err err = LETHE_OK;

    if (!lethe_id_equal(&parts->pair, lethe_pair_id(s->pair))) {
        return LETHE_ERR_ARG;
    }
    for (unsigned group = 0; group < lethe_photo_groups(&s->shape) && !err; group++) {
        err = lethe_photo_latents_open(parts, group, &s->latents[group]);
        err = err ? err : lethe_ycc_init(&s->picture[group], s->shape.width, s->shape.height);
    }
    for (unsigned c = 0; c < s->shape.channels && !err; c++) {
        size_t size;

        s->vmax = s->shape.v[c] > s->vmax ? s->shape.v[c] : s->vmax;
        s->planes.width[c] = s->jpeg->component[c].blocks_w * 8;
        s->planes.height[c] = s->jpeg->component[c].blocks_h * 8;
        s->planes.plane[c] =
            lethe_mul_size(s->planes.width[c], s->planes.height[c], &size) ? malloc(size) : NULL;
        err = s->planes.plane[c] ? LETHE_OK : LETHE_ERR_NOMEM;
        xhat[c] = s->planes.plane[c];
    }
    return err ? err
               : lethe_coefs_decoder_new(residual->at, lethe_reader_left(residual), xhat, s->jpeg,
                                         &s->decoder);
}

static uint32_t at_most(uint64_t value, uint32_t most)
{
    return value < most ? (uint32_t)value : most;
}

/* The Decrypter's pictures down to row to, in the file's colours. */
static enum lethe_err draw(struct stages *s, uint32_t to)
{
    uint32_t from = s->rows, end, step;
    bool head = s->stage == 0 && to <= LETHE_DECRYPTER_ROWS / 2;

    if (to <= from || to <= s->head) {
        return LETHE_OK;
    }
    step = head ? LETHE_BLOCK : LETHE_DECRYPTER_ROWS;
    end = at_most(((uint64_t)to + step - 1) / step * step, s->shape.height);
    for (unsigned group = 0; group < lethe_photo_groups(&s->shape); group++) {
        struct lethe_ycc *picture = &s->picture[group];
        uint32_t need = end / LETHE_BLOCK + 2; /* the network sees two rows of blocks beyond its own */
        enum lethe_err err = head ? lethe_latents_decoder_head(s->latents[group], need)
                                  : lethe_latents_decoder_run(s->latents[group], need, s->pool);

        err = err ? err
                  : lethe_decrypter_rows(s->pair, lethe_latents_decoder_latents(s->latents[group]), s->pool,
                                         from, end, picture);

        if (err) {
            return err;
        }
        if (group == 0 && lethe_photo_is_rgb(&s->shape)) {
            size_t first = (size_t)from * picture->width;
            uint8_t *const planes[3] = {picture->planes[0] + first, picture->planes[1] + first,
                                        picture->planes[2] + first};

            lethe_colour_from_ycc(planes, (size_t)(end - from) * picture->width, s->pool);
        }
    }
    if (head) {
        s->head = end;
    } else {
        s->rows = end;
    }
    return LETHE_OK;
}

/* Bands up to this one, and what they need. */
static enum lethe_err decode(struct stages *s, size_t bands)
{
    uint32_t mcu_rows = lethe_coefs_decoder_rows(s->decoder, bands);
    unsigned colours = lethe_photo_colours(&s->shape);
    enum lethe_err err = draw(s, at_most((uint64_t)mcu_rows * 8 * s->vmax, s->shape.height));

    for (unsigned c = 0; c < s->shape.channels && !err; c++) {
        struct lethe_sampling sampling;
        uint64_t step = 8 * (uint64_t)s->shape.v[c];

        lethe_photo_sampling(&s->shape, c, &sampling);
        lethe_colour_shrink_rows(&sampling, s->picture[c >= colours].planes[c < colours ? c : 0],
                                 s->planes.plane[c], s->planes.width[c],
                                 at_most(s->mcu_planes * step, s->planes.height[c]),
                                 at_most(mcu_rows * step, s->planes.height[c]), s->pool);
    }
    s->mcu_planes = mcu_rows;
    err = err ? err : lethe_coefs_decoder_run(s->decoder, s->bands, bands, s->pool);
    s->bands = bands;
    s->mcu_rows = mcu_rows;
    return err;
}

static enum lethe_err need(void *context, uint32_t mcu_row)
{
    struct stages *s = context;
    size_t all = lethe_coefs_decoder_bands(s->decoder), left = all - s->bands;

    if (mcu_row < s->mcu_rows) {
        return LETHE_OK;
    }
    if (s->watch && s->stage > 0) {
        s->watch->ready(s->watch->context, s->out->data, s->out->len);
    }
    while (mcu_row >= s->mcu_rows && s->bands < all) {
        /* A stage keeps no more threads busy than it has bands, so where nobody waits for the first there is one. */
        size_t next = !s->watch || s->stage > 1 ? left : s->stage == 1 ? lethe_pool_threads(s->pool) : 1;
        enum lethe_err err = decode(s, next < left ? s->bands + next : all);

        if (err) {
            return err;
        }
        s->stage++;
        left = all - s->bands;
    }
    return mcu_row < s->mcu_rows ? LETHE_OK : LETHE_ERR_FORMAT;
}

enum lethe_err lethe_photo_restore_stages(const struct lethe_pair *pair, const struct photo_artifact *parts,
                                          const struct lethe_reader *residual, struct lethe_jpeg *jpeg,
                                          const uint8_t *recipe, size_t recipe_len, struct lethe_pool *pool,
                                          const struct lethe_photo_watch *watch, size_t max_len,
                                          struct lethe_buf *out)
{
    struct stages s = {
        .pair = pair, .jpeg = jpeg, .pool = pool, .watch = watch, .out = out, .shape = parts->shape};
    const struct lethe_jpeg_feed feed = {need, &s};
    enum lethe_err err = stages_init(&s, parts, residual);

    if (!err) {
        err = lethe_jpeg_rebuild_fed(jpeg, recipe, recipe_len, max_len, &feed, out);
    }
    if (!err && s.bands < lethe_coefs_decoder_bands(
                              s.decoder)) { /* of a scan that was cut: malformed ones are refused */
        err = decode(&s, lethe_coefs_decoder_bands(s.decoder));
    }
    stages_release(&s);
    return err;
}
