/* SPDX-License-Identifier: MIT */
/*
 * The residual: what the Decrypter's picture lacks, entropy-coded given that picture, losslessly, in integers only.
 * Streams are cut into independent bands of rows, so that a pool works on one photo.
 * xhat arrays: one 8-bit plane for every channel or component, at that plane's own size.
 */
#ifndef LETHE_RESIDUAL_H
#define LETHE_RESIDUAL_H

#include "lethe/bytes.h"
#include "lethe/err.h"
#include "lethe/image.h"
#include "lethe/pool.h"

enum lethe_effort { LETHE_EFFORT_FAST, LETHE_EFFORT_STRONG };

/*
 * Samples given xhat. xhat[c] points to width * height bytes: the Decrypter's idea of the top 8 bits of channel c.
 * Appends to out.
 */
enum lethe_err lethe_residual_samples_encode(const struct lethe_raster *raster, const uint8_t *const xhat[4],
                                             enum lethe_effort effort, struct lethe_pool *pool,
                                             struct lethe_buf *out) LETHE_MUST_CHECK;
/* Fills raster, which the caller has initialised with the right shape. LETHE_ERR_FORMAT on malformed bytes. */
enum lethe_err lethe_residual_samples_decode(const uint8_t *bytes, size_t len, const uint8_t *const xhat[4],
                                             struct lethe_pool *pool, struct lethe_raster *raster) LETHE_MUST_CHECK;
/*
 * Whether the picture was drawn, and may well be told by its colours: most pixels repeat a neighbour, as those of
 * screenshots and diagrams do and those of photos do not, or all colours fit a palette.
 */
bool lethe_residual_samples_drawn(const struct lethe_raster *raster);
/* Told, from any thread, of rows that are final: count of them from first on; those of a band in their order. */
struct lethe_rows_told {
    void (*told)(void *context, uint32_t first, uint32_t count);
    void *context;
};
/* The same; told may be NULL. */
enum lethe_err lethe_residual_samples_decode_told(const uint8_t *bytes, size_t len, const uint8_t *const xhat[4],
                                                  struct lethe_pool *pool, const struct lethe_rows_told *told,
                                                  struct lethe_raster *raster) LETHE_MUST_CHECK;

/*
 * Quantised DCT coefficients given xhat. xhat[c] has blocks_w * 8 columns and blocks_h * 8 rows for component c
 * (the Decrypter's picture brought to the component's size by the caller, edges replicated).
 */
enum lethe_err lethe_residual_coefs_encode(const struct lethe_jpeg *jpeg, const uint8_t *const xhat[4],
                                           enum lethe_effort effort, struct lethe_pool *pool,
                                           struct lethe_buf *out) LETHE_MUST_CHECK;
/* Fills the coefficients of jpeg, whose shape comes from lethe_jpeg_shape. */
enum lethe_err lethe_residual_coefs_decode(const uint8_t *bytes, size_t len, const uint8_t *const xhat[4],
                                           struct lethe_pool *pool, struct lethe_jpeg *jpeg) LETHE_MUST_CHECK;

/*
 * The same by bands, for who wants the first rows first. bytes, xhat's planes and jpeg are borrowed until the decoder is
 * freed; what a band covers of xhat must be there when it runs. Bands 0 to n - 1 hold the MCU rows below
 * lethe_coefs_decoder_rows(n): of each component the block rows below v times that (UINT32_MAX: all).
 */
struct lethe_coefs_decoder;
enum lethe_err lethe_coefs_decoder_new(const uint8_t *bytes, size_t len, const uint8_t *const xhat[4],
                                       struct lethe_jpeg *jpeg, struct lethe_coefs_decoder **out) LETHE_MUST_CHECK;
void lethe_coefs_decoder_free(struct lethe_coefs_decoder *decoder);
size_t lethe_coefs_decoder_bands(const struct lethe_coefs_decoder *decoder);
uint32_t lethe_coefs_decoder_rows(const struct lethe_coefs_decoder *decoder, size_t bands);
enum lethe_err lethe_coefs_decoder_run(struct lethe_coefs_decoder *decoder, size_t from, size_t to,
                                       struct lethe_pool *pool) LETHE_MUST_CHECK;

#endif
