/* SPDX-License-Identifier: MIT */
/*
 * Trains a model pair. The photos are read in the order of their paths, so that the same folder, seed and
 * steps give the same bytes.
 */
#include "fs/cli/cli.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "fs/cli/paths.h"
#include "fs/file.h"
#include "lethe/codec.h"
#include "lethe/seal.h"
#include "lethe/train.h"

#define FILE_MAX_BYTES (512u << 20)
#define CHECKED_PHOTOS 8 /* that the finished pair is measured on */
#define PROBE_STEPS 40

struct training {
    struct lethe_paths paths;
    struct lethe_pool *pool;
    uint64_t seed, minutes;
    bool synthetic;
    struct lethe_progress progress;
    int64_t started; /* monotonic milliseconds, of the steps under way */
    uint32_t probe;  /* steps after which a probe ends; 0: no probe */
    double step_ms;
    struct lethe_train_progress last;
};

static volatile sig_atomic_t interrupted;

static void on_signal(int number)
{
    (void)number;
    interrupted = 1;
}

static int64_t now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static enum lethe_err find_photos(struct training *training, const struct lethe_cli_list *folders)
{
    enum lethe_err err = LETHE_OK;

    for (size_t i = 0; i < folders->count && !err; i++) {
        err = lethe_paths_add(&training->paths, folders->values[i]);
    }
    lethe_paths_sort(&training->paths);
    return err;
}

/* Decodes a file if it is a picture; *jpeg tells which. */
static bool read_picture(const char *path, struct lethe_raster *raster, bool *jpeg)
{
    struct lethe_buf file = {0};
    bool done = false;

    *raster = (struct lethe_raster){0};
    if (!lethe_file_read(path, FILE_MAX_BYTES, &file) && file.len > 8) {
        *jpeg = file.data[0] == 0xff && file.data[1] == 0xd8;
        done = !(*jpeg ? lethe_jpeg_read(file.data, file.len, &lethe_image_limits_default, raster)
                       : lethe_png_read(file.data, file.len, &lethe_image_limits_default, raster));
    }
    lethe_buf_release(&file);
    return done;
}

static bool on_progress(void *context, const struct lethe_train_progress *progress)
{
    struct training *training = context;

    training->last = *progress;
    if (training->started == 0) { /* the first step is no measure: it warms everything up */
        training->started = now_ms();
        return true;
    }
    lethe_progress_update(&training->progress, progress->step, progress->steps);
    if (training->probe && progress->step >= training->probe) {
        training->step_ms = (double)(now_ms() - training->started) / (progress->step - 1);
        return false;
    }
    return !interrupted;
}

/* A trainer with all photos; *used counts those that it took. */
static enum lethe_err prepare(struct training *training, uint32_t steps, bool probe,
                              struct lethe_trainer **out, size_t *used)
{
    struct lethe_train_options options = {
        .seed = training->seed,
        .steps = steps,
        .report = probe ? 1 : 20,
        .synthetic = training->synthetic,
        .progress = on_progress,
        .context = training,
    };
    enum lethe_err err = lethe_trainer_new(&options, out);

    *used = 0;
    lethe_progress_start(&training->progress, "reading");
    for (size_t i = 0; i < training->paths.count && !err; i++) {
        struct lethe_raster raster;
        bool jpeg = false, taken = false;

        if (interrupted) {
            err = LETHE_ERR_CANCELLED;
        } else if (read_picture(training->paths.path[i], &raster, &jpeg)) {
            err = lethe_trainer_add(*out, &raster, jpeg, &taken);
            *used += taken;
            lethe_raster_release(&raster);
        }
        lethe_progress_update(&training->progress, i + 1, training->paths.count);
    }
    lethe_progress_end(&training->progress);
    return err;
}

/* Steps that fit into the minutes asked for, by a few steps of trial. */
static enum lethe_err count_steps(struct training *training, uint32_t *steps)
{
    struct lethe_trainer *trainer = NULL;
    struct lethe_buf unused = {0};
    size_t used;
    enum lethe_err err = prepare(training, 100000, true, &trainer, &used);

    if (!err) {
        training->probe = PROBE_STEPS;
        err = lethe_trainer_run(trainer, training->pool, &unused);
        training->probe = 0;
        training->started = 0;
        if (err == LETHE_ERR_CANCELLED && !interrupted && training->step_ms > 0) {
            double wanted = (double)training->minutes * 60000 / training->step_ms;

            *steps = wanted < 100 ? 100 : wanted > 4e9 ? 4000000000u : (uint32_t)wanted;
            err = LETHE_OK;
        }
    }
    lethe_trainer_free(trainer);
    lethe_buf_release(&unused);
    return err;
}

/* One photo at one strength: adds to the quality; returns the artifact's bits, 0 when it has no recipe. */
static double measure_photo(const struct training *training, const struct lethe_pair *pair,
                            const struct lethe_buf *file, unsigned strength, double *psnr, double *pixels)
{
    struct lethe_photo *photo = NULL;
    struct lethe_photo_quality quality = {0};
    struct lethe_buf artifact = {0}, residual = {0};
    enum lethe_reason reason;
    double bits = 0;

    if (!lethe_photo_parse(file->data, file->len, &lethe_image_limits_default, &photo, &reason) &&
        !lethe_photo_encrypt(photo, pair, strength, lethe_random_system(), training->pool, &artifact) &&
        !lethe_photo_residual(photo, pair, artifact.data, artifact.len, LETHE_EFFORT_FAST, training->pool,
                              &residual, &quality)) {
        bits = 8.0 * (double)artifact.len;
        *psnr = lethe_quality_psnr(&quality);
        *pixels = (double)lethe_photo_info(photo)->width * lethe_photo_info(photo)->height;
    }
    lethe_photo_free(photo);
    lethe_buf_release(&artifact);
    lethe_buf_release(&residual);
    return bits;
}

/* What the pair's integers do with some of the photos, spread over the list. */
static void measure(const struct training *training, const struct lethe_pair *pair)
{
    size_t stride = training->paths.count / CHECKED_PHOTOS + 1;

    for (unsigned strength = 0; strength < 4 && training->paths.count; strength++) {
        double psnr_sum = 0, bits_sum = 0, pixel_sum = 0;
        unsigned count = 0;

        for (size_t i = 0; i < training->paths.count && !interrupted; i += stride) {
            struct lethe_buf file = {0};
            double psnr = 0, pixels = 0, bits = 0;

            if (!lethe_file_read(training->paths.path[i], FILE_MAX_BYTES, &file)) {
                bits = measure_photo(training, pair, &file, strength, &psnr, &pixels);
            }
            lethe_buf_release(&file);
            if (bits > 0) {
                psnr_sum += psnr;
                bits_sum += bits;
                pixel_sum += pixels;
                count++;
            }
        }
        if (count) {
            printf("strength %u: %.2f dB at %.3f bits per pixel (mean of %u of the photos)\n", strength,
                   psnr_sum / count, bits_sum / pixel_sum, count);
        }
    }
}

static int finish(const struct training *training, const struct lethe_buf *bytes, const char *path,
                  uint32_t steps)
{
    struct lethe_pair *pair = NULL;
    char hex[33];
    enum lethe_err err = lethe_pair_parse(bytes->data, bytes->len, &pair);

    err = err ? err : lethe_file_write_durably(path, bytes->data, bytes->len, 0600);
    if (err) {
        lethe_pair_free(pair);
        return lethe_cli_fail(err, "the model %s cannot be written: %s", path, lethe_err_str(err));
    }
    lethe_hex(lethe_pair_id(pair)->bytes, sizeof lethe_pair_id(pair)->bytes, hex);
    printf("pair %s, %zu bytes, in %s: seed %" PRIu64 ", %" PRIu32 " steps\n", hex, bytes->len, path,
           training->seed, steps);
    measure(training, pair);
    lethe_pair_free(pair);
    return LETHE_EXIT_DONE;
}

static int train(struct training *training, const struct lethe_cli_list *folders, const char *out,
                 uint32_t steps)
{
    struct lethe_trainer *trainer = NULL;
    struct lethe_buf bytes = {0};
    size_t used = 0;
    int code;
    enum lethe_err err = find_photos(training, folders);

    if (err) {
        return lethe_exit_code(err);
    }
    if (training->minutes) {
        err = count_steps(training, &steps);
    }
    err = err ? err : prepare(training, steps, false, &trainer, &used);
    if (!err && used == 0 && !training->synthetic) {
        code = lethe_cli_fail(LETHE_ERR_ARG,
                              "there is no photo of at least 96x96 pixels to train on: give other --photos,"
                              " or leave --photos-only out");
        goto out;
    }
    if (!err) {
        fprintf(stderr, "training on %zu photos%s\n", used, training->synthetic ? " and drawn pictures" : "");
        lethe_progress_start(&training->progress, "training");
        err = lethe_trainer_run(trainer, training->pool, &bytes);
        lethe_progress_end(&training->progress);
    }
    if (err) {
        code = lethe_cli_fail(err, "training ended early: %s; nothing was written", lethe_err_str(err));
    } else {
        code = finish(training, &bytes, out, training->last.steps);
    }
out:
    lethe_trainer_free(trainer);
    lethe_buf_release(&bytes);
    return code;
}

int lethe_cmd_train(int argc, char **argv)
{
    struct lethe_cli_list folders = {0};
    struct training training = {.seed = 1};
    const char *out = NULL, *args[1];
    uint64_t steps = 0, threads = 0;
    bool photos_only = false;
    const struct lethe_option options[] = {
        {"photos", LETHE_OPTION_LIST, &folders, 0, 0, "DIR... folders of photos, with all below"},
        {"out", LETHE_OPTION_TEXT, &out, 0, 0, "MODEL where the pair goes"},
        {"seed", LETHE_OPTION_NUMBER, &training.seed, 0, UINT64_MAX, "N the same seed, the same pair (1)"},
        {"steps", LETHE_OPTION_NUMBER, &steps, 1, 100000000,
         "N length of the training (as the shipped pair)"},
        {"minutes", LETHE_OPTION_NUMBER, &training.minutes, 1, 100000,
         "N choose --steps to take about as long"},
        {"photos-only", LETHE_OPTION_FLAG, &photos_only, 0, 0, "mix in no pictures that are drawn"},
        {"threads", LETHE_OPTION_NUMBER, &threads, 1, 1024, "N processors to use (all)"},
        LETHE_CLI_OPTIONS_END,
    };
    const struct lethe_command command = {.name = "train",
                                          .usage = "--photos DIR... --out MODEL [OPTION]...",
                                          .about = "Fits a model pair to photos.",
                                          .min_args = 0,
                                          .max_args = 0,
                                          .options = options};
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = (int)SA_RESETHAND};
    size_t count;
    enum lethe_err err;
    int code = lethe_cli_parse(&command, argc, argv, args, &count);

    if (code >= 0) {
        return code;
    }
    training.synthetic = !photos_only;
    if (!out || (folders.count == 0 && photos_only)) {
        return lethe_cli_usage("usage: lethefs train %s", command.usage);
    }
    if (steps && training.minutes) {
        return lethe_cli_usage("train: give --steps or --minutes, not both");
    }
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    err = lethe_seal_start();
    err = err ? err : lethe_pool_new((unsigned)threads, &training.pool);
    code = err ? lethe_exit_code(err) : train(&training, &folders, out, (uint32_t)steps);
    lethe_pool_free(training.pool);
    lethe_paths_release(&training.paths);
    return code;
}
