/* SPDX-License-Identifier: MIT */
/*
 * Trains a model pair. The photos are read in the order of their paths, so that the same folder, seed and
 * steps give the same bytes. From a given pair, every fifth photo is kept out of the training, and the result
 * must do better on those.
 */
#include "fs/cli/cli.h"

#include <errno.h>
#include <inttypes.h>
#include <libgen.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "fs/cli/train_measure.h"
#include "fs/file.h"
#include "lethe/seal.h"
#include "lethe/train.h"

#define CHECKED_PHOTOS 8 /* that the finished pair is measured on */
#define HELD_PHOTOS 24   /* the same, when it must do better than another */
#define HOLD_EVERY 5
#define LEAST_GAIN 0.02 /* dB */
#define PROBE_STEPS 40
#define SAVE_MS 60000

struct training {
    struct lethe_paths paths, held; /* all, and those that only measure: borrowed from paths */
    struct lethe_pool *pool;
    struct lethe_trainer *trainer;
    struct lethe_pair *init; /* to go on from, or NULL */
    char part[PATH_MAX];     /* where the training is saved while it goes */
    struct lethe_buf saved;  /* what it goes on from; empty: from the start */
    int64_t saved_ms;
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
    if (training->init && !err) {
        training->held.path = calloc(training->paths.count / HOLD_EVERY + 1, sizeof *training->held.path);
        for (size_t i = HOLD_EVERY - 1; i < training->paths.count && training->held.path; i += HOLD_EVERY) {
            training->held.path[training->held.count++] = training->paths.path[i];
        }
        err = training->held.path ? LETHE_OK : LETHE_ERR_NOMEM;
    }
    return err;
}

static bool is_held(const struct training *training, size_t index)
{
    return training->init && index % HOLD_EVERY == HOLD_EVERY - 1;
}

/* Decodes a file if it is a picture; *jpeg tells which. */
static bool read_picture(const char *path, struct lethe_raster *raster, bool *jpeg)
{
    struct lethe_buf file = {0};
    bool done = false;

    *raster = (struct lethe_raster){0};
    if (!lethe_file_read(path, LETHE_TRAIN_FILE_MAX, &file) && file.len > 8) {
        *jpeg = file.data[0] == 0xff && file.data[1] == 0xd8;
        done = !(*jpeg ? lethe_jpeg_read(file.data, file.len, &lethe_image_limits_default, raster)
                       : lethe_png_read(file.data, file.len, &lethe_image_limits_default, raster));
    }
    lethe_buf_release(&file);
    return done;
}

/* So that an end by chance costs a minute. A failure to is no reason to stop; the last one is told by its
 * caller. */
static enum lethe_err save(struct training *training)
{
    struct lethe_buf bytes = {0};
    enum lethe_err err = lethe_trainer_save(training->trainer, &bytes);

    err = err ? err : lethe_file_write_durably(training->part, bytes.data, bytes.len, 0600);
    lethe_buf_release(&bytes);
    training->saved_ms = now_ms();
    return err;
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
    if (!training->probe && !interrupted && now_ms() - training->saved_ms > SAVE_MS) {
        (void)save(training);
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
        .init = training->init,
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
        } else if (!is_held(training, i) && read_picture(training->paths.path[i], &raster, &jpeg)) {
            err = lethe_trainer_add(*out, &raster, jpeg && !training->init, &taken);
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

/* Tells what the pair does with photos. *gain: the mean over the strengths of what it does better than the
 * first. */
static void tell(const struct training *training, const struct lethe_pair *pair, double *gain)
{
    struct lethe_train_figures now, before = {0};
    const struct lethe_paths *paths = training->init ? &training->held : &training->paths;
    size_t most = training->init ? HELD_PHOTOS : CHECKED_PHOTOS;

    *gain = 0;
    lethe_train_measure(paths, most, pair, training->pool, &now);
    if (training->init) {
        lethe_train_measure(paths, most, training->init, training->pool, &before);
    }
    for (unsigned s = 0; s < LETHE_STRENGTHS && now.photos; s++) {
        printf("strength %u: %.2f dB at %.3f bits per pixel", s, now.psnr[s], now.bpp[s]);
        if (before.photos) {
            double better = lethe_train_gain(&now, &before, s);

            *gain += better / LETHE_STRENGTHS;
            printf(", %+.2f dB", better);
        }
        printf(" (mean of %u photos%s)\n", now.photos, training->init ? " that were not trained on" : "");
    }
}

static int finish(const struct training *training, const struct lethe_buf *bytes, const char *path)
{
    struct lethe_pair *pair = NULL;
    char hex[33];
    double gain = 0;
    int code = LETHE_EXIT_DONE;
    enum lethe_err err = lethe_pair_parse(bytes->data, bytes->len, &pair);

    if (!err) {
        tell(training, pair, &gain);
        if (training->init && gain < LEAST_GAIN) {
            lethe_pair_free(pair);
            (void)unlink(training->part);
            return lethe_cli_fail(LETHE_ERR_ARG,
                                  "the new pair is not better than the given one on photos that it was not "
                                  "trained on (%+.2f dB): nothing was written; keep the given one, or give "
                                  "more --photos or --steps",
                                  gain);
        }
        err = lethe_file_write_output(path, bytes->data, bytes->len, 0600);
    }
    if (err) {
        code = lethe_cli_fail(err, "the model %s cannot be written: %s", path, lethe_err_str(err));
    } else {
        (void)unlink(training->part);
        lethe_hex(lethe_pair_id(pair)->bytes, sizeof lethe_pair_id(pair)->bytes, hex);
        printf("pair %s, %zu bytes, in %s: seed %" PRIu64 ", %" PRIu32 " steps", hex, bytes->len, path,
               training->seed, training->last.steps);
        printf(training->init ? ", %.2f dB better than the given one\n" : "\n", gain);
    }
    lethe_pair_free(pair);
    return code;
}

/* What the saved training was: it goes on as such. */
static enum lethe_err take_saved(struct training *training, uint32_t *steps)
{
    struct lethe_train_about about;
    enum lethe_err err = lethe_file_read(training->part, LETHE_TRAIN_FILE_MAX, &training->saved);

    err = err ? err : lethe_train_about_read(training->saved.data, training->saved.len, &about);
    if (err) {
        (void)lethe_cli_fail(err, "%s, where an unfinished training would be, cannot be read: %s",
                             training->part, lethe_err_str(err));
        return err;
    }
    training->seed = about.seed;
    training->synthetic = about.synthetic;
    *steps = about.steps;
    return LETHE_OK;
}

static int train(struct training *training, const struct lethe_cli_list *folders, const char *out,
                 uint32_t steps, bool resume)
{
    struct lethe_buf bytes = {0};
    size_t used = 0;
    int code;
    enum lethe_err err = find_photos(training, folders);

    if (!err && resume) {
        err = take_saved(training, &steps);
    }
    if (err) {
        return lethe_exit_code(err);
    }
    if (training->minutes) {
        err = count_steps(training, &steps);
    }
    err = err ? err : prepare(training, steps, false, &training->trainer, &used);
    if (!err && training->init && (used == 0 || training->held.count == 0)) {
        return lethe_cli_fail(LETHE_ERR_ARG,
                              "%zu photos are too few to tune a pair: every fifth is needed to measure; give "
                              "more --photos",
                              training->paths.count);
    }
    if (!err && used == 0 && !training->synthetic) {
        return lethe_cli_fail(LETHE_ERR_ARG,
                              "there is no photo of at least 96x96 pixels to train on: give other --photos,"
                              " or leave --photos-only out");
    }
    if (!err && resume) {
        err = lethe_trainer_resume(training->trainer, training->saved.data, training->saved.len);
        if (err) {
            return lethe_cli_fail(
                err,
                "%s is of a training on other photos, or from another pair: give the same, or "
                "remove it to begin again",
                training->part);
        }
    }
    if (!err) {
        fprintf(stderr, "training on %zu photos%s\n", used, training->synthetic ? " and drawn pictures" : "");
        lethe_progress_start(&training->progress, "training");
        training->saved_ms = now_ms();
        err = lethe_trainer_run(training->trainer, training->pool, &bytes);
        lethe_progress_end(&training->progress);
    }
    if (err == LETHE_ERR_CANCELLED && interrupted && training->trainer && training->saved_ms &&
        !save(training)) {
        (void)lethe_cli_fail(err,
                             "training was ended after %" PRIu32 " of %" PRIu32
                             " steps; the same command with --resume "
                             "goes on",
                             training->last.step, training->last.steps);
    } else if (err) {
        (void)lethe_cli_fail(err, "training ended early: %s; no pair was written", lethe_err_str(err));
    }
    if (err) {
        lethe_buf_release(&bytes);
        return lethe_exit_code(err);
    }
    code = finish(training, &bytes, out);
    lethe_buf_release(&bytes);
    return code;
}

static enum lethe_err read_init(struct training *training, const char *path)
{
    struct lethe_buf bytes = {0};
    enum lethe_err err = lethe_file_read(path, LETHE_TRAIN_FILE_MAX, &bytes);

    err = err ? err : lethe_pair_parse(bytes.data, bytes.len, &training->init);
    lethe_buf_release(&bytes);
    if (err) {
        (void)lethe_cli_fail(err, "%s is no model pair that can be gone on from: %s", path,
                             lethe_err_str(err));
    }
    return err;
}

static bool may_write(const char *path)
{
    char folder[PATH_MAX];

    snprintf(folder, sizeof folder, "%s", path);
    return access(dirname(folder), W_OK | X_OK) == 0;
}

int lethe_cmd_train(int argc, char **argv)
{
    struct lethe_cli_list folders = {0};
    struct training training = {.seed = 1};
    const char *out = NULL, *init = NULL, *args[1];
    uint64_t steps = 0, threads = 0;
    bool photos_only = false, resume = false;
    const struct lethe_option options[] = {
        {"photos", LETHE_OPTION_LIST, &folders, 0, 0, "DIR... folders of photos, with all below"},
        {"out", LETHE_OPTION_TEXT, &out, 0, 0, "MODEL where the pair goes"},
        {"init", LETHE_OPTION_TEXT, &init, 0, 0,
         "MODEL a pair to go on from, for a better one of these photos"},
        {"resume", LETHE_OPTION_FLAG, &resume, 0, 0, "go on with a training that was interrupted"},
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
    if (resume && (steps || training.minutes || photos_only || training.seed != 1)) {
        return lethe_cli_usage(
            "train: --resume keeps the seed and the steps, and --photos-only: leave them out");
    }
    if (init && folders.count == 0) {
        return lethe_cli_usage("train: --init needs --photos to tune the pair on");
    }
    if (snprintf(training.part, sizeof training.part, "%s.part", out) >= (int)sizeof training.part) {
        return lethe_cli_fail(LETHE_ERR_ARG, "--out: the path is too long");
    }
    if (!resume && access(training.part, F_OK) == 0) {
        return lethe_cli_fail(
            LETHE_ERR_ARG, "%s is an unfinished training: go on with --resume, or remove it", training.part);
    }
    if (!may_write(training.part)) { /* now, not when the training is over */
        return lethe_cli_fail(LETHE_ERR_IO, "%s cannot be written: %s", out, strerror(errno));
    }
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    err = lethe_seal_start();
    err = err ? err : lethe_pool_new((unsigned)threads, &training.pool);
    err = err || !init ? err : read_init(&training, init);
    code = err ? lethe_exit_code(err) : train(&training, &folders, out, (uint32_t)steps, resume);
    lethe_trainer_free(training.trainer);
    lethe_pair_free(training.init);
    lethe_pool_free(training.pool);
    free(training.held.path);
    lethe_paths_release(&training.paths);
    lethe_buf_release(&training.saved);
    return code;
}
