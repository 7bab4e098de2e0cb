/* SPDX-License-Identifier: MIT */
/* The command line: words to values, exit codes, one-line errors, and manual pages that know every option. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <ctype.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>

#include "fs/cli/cli.h"
#include "fs/file.h"
#include "lethe/image.h"
#include "lethe/model.h"

#define NS 1000000000ll

typedef int (*command_fn)(int argc, char **argv);

static const struct {
    const char *name;
    command_fn run;
} commands[] = {
    {"init", lethe_cmd_init},       {"mount", lethe_cmd_mount},     {"umount", lethe_cmd_umount},
    {"sync", lethe_cmd_sync},       {"status", lethe_cmd_status},   {"inspect", lethe_cmd_inspect},
    {"check", lethe_cmd_check},     {"gc", lethe_cmd_gc},           {"passwd", lethe_cmd_passwd},
    {"recover", lethe_cmd_recover}, {"key", lethe_cmd_key},         {"model", lethe_cmd_model},
    {"train", lethe_cmd_train},     {"encrypt", lethe_cmd_encrypt}, {"decrypt", lethe_cmd_decrypt},
};

static char folder[] = "/tmp/lethefs-cli-XXXXXX";
static char out_text[65536], err_text[65536];

static int remove_entry(const char *path, const struct stat *stat_buf, int type, struct FTW *where)
{
    (void)stat_buf;
    (void)type;
    (void)where;
    return remove(path);
}

static int group_start(void **state)
{
    char home[64];

    (void)state;
    if (!mkdtemp(folder)) {
        return -1;
    }
    snprintf(home, sizeof home, "%s/state", folder);
    setenv("XDG_STATE_HOME", home, 1);
    snprintf(home, sizeof home, "%s/cache", folder);
    setenv("XDG_CACHE_HOME", home, 1);
    return 0;
}

static int group_end(void **state)
{
    (void)state;
    return nftw(folder, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}

/* A path in the folder; a few may be in use at a time. */
static const char *in(const char *name)
{
    static char paths[8][128];
    static unsigned next;
    char *path = paths[next++ % 8];

    snprintf(path, sizeof paths[0], "%s/%s", folder, name);
    return path;
}

static int redirect(int fd, const char *path)
{
    int before = dup(fd), to = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

    assert_true(before >= 0 && to >= 0);
    dup2(to, fd);
    close(to);
    return before;
}

static void take_back(int fd, int before, const char *path, char *text, size_t size)
{
    struct lethe_buf bytes = {0};

    dup2(before, fd);
    close(before);
    assert_int_equal(lethe_file_read(path, size - 1, &bytes), LETHE_OK);
    memcpy(text, bytes.data, bytes.len);
    text[bytes.len] = '\0';
    lethe_buf_release(&bytes);
}

/* Runs a command with words up to NULL; what it wrote is in out_text and err_text. */
static int run(command_fn command, ...)
{
    char out_path[128], err_path[128];
    char *words[32];
    va_list arguments;
    int count = 0, out, err, code;

    va_start(arguments, command);
    while (count < 31 && (words[count] = va_arg(arguments, char *))) {
        count++;
    }
    va_end(arguments);
    words[count] = NULL;
    snprintf(out_path, sizeof out_path, "%s/out", folder);
    snprintf(err_path, sizeof err_path, "%s/err", folder);
    fflush(stdout);
    fflush(stderr);
    out = redirect(STDOUT_FILENO, out_path);
    err = redirect(STDERR_FILENO, err_path);
    code = command(count, words);
    fflush(stdout);
    fflush(stderr);
    take_back(STDOUT_FILENO, out, out_path, out_text, sizeof out_text);
    take_back(STDERR_FILENO, err, err_path, err_text, sizeof err_text);
    return code;
}

static bool one_line(const char *text)
{
    const char *newline = strchr(text, '\n');

    return strncmp(text, "lethefs: ", 9) == 0 && newline && newline[1] == '\0';
}

static void write_file(const char *path, const void *bytes, size_t len)
{
    assert_int_equal(lethe_file_write_durably(path, bytes, len, 0600), LETHE_OK);
}

static void sizes(void **state)
{
    static const struct {
        const char *text;
        uint64_t value;
    } good[] = {{"0", 0},
                {"512", 512},
                {"1K", 1024},
                {"64K", 65536},
                {"10M", 10 << 20},
                {"2G", 2ull << 30},
                {"1T", 1ull << 40},
                {"3MiB", 3 << 20},
                {"3MB", 3 << 20},
                {"18446744073709551615", UINT64_MAX},
                {"16777215T", 16777215ull << 40}};
    static const char *const bad[] = {"",
                                      "M",
                                      "-1",
                                      " 1",
                                      "+1",
                                      "1m",
                                      "1KK",
                                      "1K ",
                                      "1.5G",
                                      "1Kib",
                                      "0x1",
                                      "16777216T",
                                      "18446744073709551616"};
    uint64_t value;

    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        assert_int_equal(lethe_cli_size(good[i].text, &value), LETHE_OK);
        assert_true(value == good[i].value);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(lethe_cli_size(bad[i], &value), LETHE_ERR_ARG);
    }
}

static void durations(void **state)
{
    static const struct {
        const char *text;
        int64_t value;
    } good[] = {{"0", 0},       {"45", 45},       {"45s", 45},     {"90m", 5400},
                {"12h", 43200}, {"30d", 2592000}, {"2w", 1209600}, {"9223372036", 9223372036}};
    static const char *const bad[] = {"",    "s",   "-1s", "1.5h",       "1y",
                                      "1hm", " 1s", "1s ", "9223372037", "200000d"};
    int64_t value;

    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        assert_int_equal(lethe_cli_duration(good[i].text, &value), LETHE_OK);
        assert_true(value == good[i].value);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(lethe_cli_duration(bad[i], &value), LETHE_ERR_ARG);
    }
}

static void times(void **state)
{
    int64_t value, before, after;
    static const char *const bad[] = {"",   "@", "@x", "yesterday", "2026-13-01", "2026-01-31T25:00:00Z",
                                      "-1d"};

    (void)state;
    assert_int_equal(lethe_cli_time("@1000", &value), LETHE_OK);
    assert_true(value == 1000 * NS);
    assert_int_equal(lethe_cli_time("2026-01-31T12:00:00Z", &value), LETHE_OK);
    assert_true(value == 1769860800 * NS);
    setenv("TZ", "XXX-1", 1); /* one hour east */
    tzset();
    assert_int_equal(lethe_cli_time("2026-01-31T12:00:00", &value), LETHE_OK);
    assert_true(value == (1769860800 - 3600) * NS);
    assert_int_equal(lethe_cli_time("2026-01-31", &value), LETHE_OK);
    assert_true(value == (1769860800 - 13 * 3600) * NS);
    unsetenv("TZ");
    tzset();
    before = (int64_t)time(NULL) - 2 * 86400;
    assert_int_equal(lethe_cli_time("2d", &value), LETHE_OK);
    after = (int64_t)time(NULL) - 2 * 86400;
    assert_true(value >= before * NS && value <= after * NS);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(lethe_cli_time(bad[i], &value), LETHE_ERR_ARG);
    }
}

static void byte_words(void **state)
{
    char text[32];

    (void)state;
    assert_string_equal(lethe_cli_bytes(0, text), "0 bytes");
    assert_string_equal(lethe_cli_bytes(1023, text), "1023 bytes");
    assert_string_equal(lethe_cli_bytes(1024, text), "1.0 KiB");
    assert_string_equal(lethe_cli_bytes(5ull << 30, text), "5.0 GiB");
    assert_string_equal(lethe_cli_bytes(UINT64_MAX, text), "16384.0 PiB");
}

static void exit_codes(void **state)
{
    (void)state;
    assert_int_equal(lethe_exit_code(LETHE_OK), 0);
    assert_int_equal(lethe_exit_code(LETHE_ERR_IO), 1);
    assert_int_equal(lethe_exit_code(LETHE_ERR_DENIED), 1);
    assert_int_equal(lethe_exit_code(LETHE_ERR_ARG), 2);
    assert_int_equal(lethe_exit_code(LETHE_ERR_KEY), 3);
    assert_int_equal(lethe_exit_code(LETHE_ERR_INTEGRITY), 4);
    assert_int_equal(lethe_exit_code(LETHE_ERR_UNREACHABLE), 5);
    assert_int_equal(lethe_exit_code(LETHE_ERR_BUSY), 6);
    assert_int_equal(lethe_exit_code(LETHE_ERR_CONFLICT), 6);
}

struct parsed {
    bool flag;
    const char *text;
    uint64_t number, size;
    struct lethe_cli_list list;
    const char *args[2];
    size_t count;
};

static int parse(struct parsed *to, int argc, char **argv)
{
    const struct lethe_option options[] = {
        {"flag", LETHE_OPTION_FLAG, &to->flag, 0, 0, "a flag"},
        {"f", LETHE_OPTION_FLAG, &to->flag, 0, 0, "the same"},
        {"text", LETHE_OPTION_TEXT, &to->text, 0, 0, "TEXT a text"},
        {"t", LETHE_OPTION_TEXT, &to->text, 0, 0, "TEXT the same"},
        {"number", LETHE_OPTION_NUMBER, &to->number, 3, 9, "N a number"},
        {"size", LETHE_OPTION_SIZE, &to->size, 0, 0, "SIZE a size"},
        {"list", LETHE_OPTION_LIST, &to->list, 0, 0, "X... a list"},
        LETHE_CLI_OPTIONS_END,
    };
    const struct lethe_command command = {
        .name = "test", .usage = "A [B]", .about = "", .min_args = 1, .max_args = 2, .options = options};

    *to = (struct parsed){0};
    return lethe_cli_parse(&command, argc, argv, to->args, &to->count);
}

static struct parsed parsed;

static int parse_it(int argc, char **argv)
{
    return parse(&parsed, argc, argv);
}

static void options_are_parsed(void **state)
{
    (void)state;
    assert_int_equal(run(parse_it, "test", "a", NULL), -1);
    assert_int_equal(parsed.count, 1);
    assert_int_equal(
        run(parse_it, "test", "--flag", "a", "--text=x=y", "b", "--number", "9", "--size=2K", NULL), -1);
    assert_true(parsed.flag);
    assert_string_equal(parsed.text, "x=y");
    assert_true(parsed.number == 9 && parsed.size == 2048 && parsed.count == 2);
    assert_string_equal(parsed.args[1], "b");
    assert_int_equal(run(parse_it, "test", "-f", "-t", "--text", "--", "--flag", NULL), -1);
    assert_string_equal(parsed.text, "--text");
    assert_string_equal(parsed.args[0], "--flag");
    assert_int_equal(run(parse_it, "test", "a", "--list", "x", "y", "--flag", "b", NULL), -1);
    assert_int_equal(parsed.list.count, 2);
    assert_string_equal(parsed.args[1], "b");
    assert_int_equal(run(parse_it, "test", "-", NULL), -1);
    assert_string_equal(parsed.args[0], "-");
}

static void bad_words_are_usage(void **state)
{
    (void)state;
    assert_int_equal(run(parse_it, "test", NULL), 2);
    assert_true(one_line(err_text));
    assert_int_equal(run(parse_it, "test", "a", "b", "c", NULL), 2);
    assert_int_equal(run(parse_it, "test", "a", "--other", NULL), 2);
    assert_non_null(strstr(err_text, "--other"));
    assert_int_equal(run(parse_it, "test", "a", "-flag", NULL), 2);
    assert_int_equal(run(parse_it, "test", "a", "--f", NULL), 2);
    assert_int_equal(run(parse_it, "test", "a", "--fla", NULL), 2);
    assert_int_equal(run(parse_it, "test", "a", "--flag=yes", NULL), 2);
    assert_int_equal(run(parse_it, "test", "a", "--text", NULL), 2);
    assert_int_equal(run(parse_it, "test", "a", "--number", "2", NULL), 2);
    assert_int_equal(run(parse_it, "test", "a", "--number", "10", NULL), 2);
    assert_int_equal(run(parse_it, "test", "a", "--number", "4x", NULL), 2);
    assert_int_equal(run(parse_it, "test", "a", "--number=", NULL), 2);
    assert_int_equal(run(parse_it, "test", "a", "--size", "big", NULL), 2);
    assert_true(one_line(err_text));
}

/* Every command: --help on standard output with 0, an unknown option with 2 and one line. */
static void every_command_helps(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++) {
        char name[16];

        snprintf(name, sizeof name, "%s", commands[i].name);
        assert_int_equal(run(commands[i].run, name, "--help", NULL), 0);
        assert_non_null(strstr(out_text, name));
        assert_string_equal(err_text, "");
        assert_int_equal(run(commands[i].run, name, "--no-such-option", NULL), 2);
        assert_true(one_line(err_text));
        assert_string_equal(out_text, "");
    }
}

/* Whether the page documents the option: "Fl -name" or "Fl n" as a whole word. */
static bool documents(const char *page, const char *option)
{
    char macro[80];
    size_t len;

    snprintf(macro, sizeof macro, "Fl %s", option + 1);
    len = strlen(macro);
    for (const char *at = page; (at = strstr(at, macro)); at += len) {
        if (!isalnum((unsigned char)at[len]) && at[len] != '-') {
            return true;
        }
    }
    return false;
}

static void pages_know_every_option(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++) {
        struct lethe_buf page = {0};
        char path[64], name[16];

        snprintf(name, sizeof name, "%s", commands[i].name);
        snprintf(path, sizeof path, "man/lethefs-%s.1", name);
        assert_int_equal(lethe_file_read(path, 1 << 20, &page), LETHE_OK);
        lethe_buf_put_u8(&page, 0);
        assert_int_equal(run(commands[i].run, name, "--help", NULL), 0);
        for (char *line = strtok(out_text, "\n"); line; line = strtok(NULL, "\n")) {
            char option[64];

            if (strncmp(line, "  -", 3) == 0) {
                assert_int_equal(sscanf(line, " %63s", option), 1);
                if (!documents((const char *)page.data, option)) {
                    fail_msg("%s says nothing of %s", path, option);
                }
            }
        }
        lethe_buf_release(&page);
    }
}

/* A picture that is no flat colour, as a PNG. */
static void draw_photo(const char *path)
{
    struct lethe_raster raster;
    struct lethe_buf png = {0};

    assert_int_equal(lethe_raster_init(&raster, 96, 64, 3, 8), LETHE_OK);
    for (unsigned c = 0; c < 3; c++) {
        for (unsigned y = 0; y < 64; y++) {
            for (unsigned x = 0; x < 96; x++) {
                raster.planes[c][y * 96 + x] =
                    (uint16_t)((x * (c + 1) + y * y / (c + 3) + (x * y) % 7) & 255);
            }
        }
    }
    assert_int_equal(lethe_png_write(&raster, 6, &png), LETHE_OK);
    write_file(path, png.data, png.len);
    lethe_buf_release(&png);
    lethe_raster_release(&raster);
}

static bool same_file(const char *a, const char *b)
{
    struct lethe_buf first = {0}, second = {0};
    bool same;

    assert_int_equal(lethe_file_read(a, 1 << 24, &first), LETHE_OK);
    assert_int_equal(lethe_file_read(b, 1 << 24, &second), LETHE_OK);
    same = first.len == second.len && memcmp(first.data, second.data, first.len) == 0;
    lethe_buf_release(&first);
    lethe_buf_release(&second);
    return same;
}

static void flip(const char *path, size_t from_end)
{
    struct lethe_buf bytes = {0};

    assert_int_equal(lethe_file_read(path, 1 << 24, &bytes), LETHE_OK);
    assert_true(bytes.len > from_end);
    bytes.data[bytes.len - 1 - from_end] ^= 1;
    write_file(path, bytes.data, bytes.len);
    lethe_buf_release(&bytes);
}

static void crypt_sealed(void **state)
{
    static const char key[] = "000102030405060708090a0b0c0d0e0f101112131415161718191A1B1C1D1E1F\n";

    (void)state;
    draw_photo(in("photo.png"));
    write_file(in("key"), key, sizeof key - 1);
    write_file(in("other"), key + 1, 32);
    assert_int_equal(
        run(lethe_cmd_encrypt, "encrypt", in("photo.png"), in("a.png"), in("r"), "--key", in("key"), NULL),
        0);
    assert_string_equal(err_text, "");
    assert_int_equal(
        run(lethe_cmd_decrypt, "decrypt", in("a.png"), in("r"), in("back"), "--key", in("key"), NULL), 0);
    assert_true(same_file(in("back"), in("photo.png")));
    assert_int_equal(run(lethe_cmd_decrypt, "decrypt", in("a.png"), in("back.png"), "--key", in("key"), NULL),
                     0);
    assert_false(same_file(in("back.png"), in("photo.png")));
    assert_int_equal(
        run(lethe_cmd_decrypt, "decrypt", in("a.png"), in("r"), in("no"), "--key", in("other"), NULL), 3);
    assert_true(one_line(err_text));
    assert_int_equal(run(lethe_cmd_decrypt, "decrypt", in("a.png"), in("r"), in("no"), NULL), 3);
    flip(in("r"), 20);
    assert_int_equal(
        run(lethe_cmd_decrypt, "decrypt", in("a.png"), in("r"), in("no"), "--key", in("key"), NULL), 4);
    assert_true(one_line(err_text));
    flip(in("a.png"), 40);
    assert_int_equal(run(lethe_cmd_decrypt, "decrypt", in("a.png"), in("no"), "--key", in("key"), NULL), 4);
    assert_int_not_equal(access(in("no"), F_OK), 0);
    write_file(in("other"), key, 31);
    assert_int_equal(
        run(lethe_cmd_encrypt, "encrypt", in("photo.png"), in("a"), in("r"), "--key", in("other"), NULL), 2);
}

static void crypt_unsealed(void **state)
{
    (void)state;
    draw_photo(in("photo.png"));
    assert_int_equal(
        run(lethe_cmd_encrypt, "encrypt", in("photo.png"), in("a.png"), in("r"), "--strength", "0", NULL), 0);
    assert_true(one_line(err_text));
    assert_int_equal(run(lethe_cmd_decrypt, "decrypt", in("a.png"), in("r"), in("back"), NULL), 0);
    assert_true(same_file(in("back"), in("photo.png")));
    flip(in("r"), 10);
    assert_int_equal(run(lethe_cmd_decrypt, "decrypt", in("a.png"), in("r"), in("no"), NULL), 4);
    write_file(in("text"), "no picture", 10);
    assert_int_equal(run(lethe_cmd_encrypt, "encrypt", in("text"), in("a2"), in("r2"), NULL), 1);
    assert_non_null(strstr(err_text, "neither a PNG nor a JPEG"));
    assert_int_not_equal(access(in("a2"), F_OK), 0);
    assert_int_equal(
        run(lethe_cmd_encrypt, "encrypt", in("photo.png"), in("a2"), in("r2"), "--strength", "4", NULL), 2);
}

/* The whole life of a vault's keys, on disk. */
static void keys(void **state)
{
    char vault[128], one[128], two[128], three[128], phrase[128], slot[64];

    (void)state;
    snprintf(vault, sizeof vault, "%s/vault", folder);
    snprintf(one, sizeof one, "%s/one", folder);
    snprintf(two, sizeof two, "%s/two", folder);
    snprintf(three, sizeof three, "%s/three", folder);
    snprintf(phrase, sizeof phrase, "%s/phrase", folder);
    write_file(one, "first\n", 6);
    write_file(two, "second", 6);
    write_file(three, "third\n", 6);
    assert_int_equal(run(lethe_cmd_init, "init", vault, "--passfile", one, "--recovery-file", phrase,
                         "--kdf-mem", "16", NULL),
                     0);
    assert_int_equal(run(lethe_cmd_init, "init", vault, "--passfile", one, "--recovery-file", phrase, NULL),
                     1);
    assert_int_equal(run(lethe_cmd_passwd, "passwd", vault, "--passfile", two, "--new-passfile", three, NULL),
                     3);
    assert_true(one_line(err_text));
    assert_int_equal(run(lethe_cmd_passwd, "passwd", vault, "--passfile", one, "--new-passfile", two, NULL),
                     0);
    assert_int_equal(run(lethe_cmd_key, "key", "list", vault, "--passfile", one, NULL), 3);
    assert_int_equal(run(lethe_cmd_key, "key", "list", vault, "--passfile", two, NULL), 0);
    assert_null(strchr(strchr(out_text, '\n') + 1, '\n')); /* the old slot went */
    assert_int_equal(run(lethe_cmd_key, "key", "add", vault, "--passfile", two, "--new-passfile", three,
                         "--label", "phone", NULL),
                     0);
    assert_int_equal(sscanf(out_text, "%63s", slot), 1);
    assert_int_equal(run(lethe_cmd_key, "key", "list", vault, "--passfile", three, "--json", NULL), 0);
    assert_non_null(strstr(out_text, "\"phone\""));
    assert_int_equal(run(lethe_cmd_key, "key", "remove", vault, slot, "--passfile", three, NULL), 2);
    assert_int_equal(run(lethe_cmd_check, "check", vault, "--deep", "--passfile", three, NULL), 0);
    assert_int_equal(run(lethe_cmd_key, "key", "remove", vault, slot, "--passfile", two, NULL), 0);
    assert_int_equal(run(lethe_cmd_check, "check", vault, "--passfile", three, NULL), 3);
    assert_int_equal(run(lethe_cmd_status, "status", vault, "--json", NULL), 0);
    assert_non_null(strstr(out_text, "\"slots\": 1"));
    assert_int_equal(
        run(lethe_cmd_recover, "recover", vault, "--recovery-file", two, "--passfile", two, NULL), 3);
    assert_int_equal(
        run(lethe_cmd_recover, "recover", vault, "--recovery-file", phrase, "--passfile", two, NULL), 0);
    assert_non_null(strstr(out_text, "set aside"));
    assert_int_equal(run(lethe_cmd_gc, "gc", vault, "--passfile", two, "--keep", "1d", NULL), 0);
    assert_int_equal(run(lethe_cmd_check, "check", in("nowhere"), "--passfile", two, NULL), 5);
    assert_true(one_line(err_text));
    assert_int_equal(run(lethe_cmd_sync, "sync", folder, NULL), 2);
    assert_int_equal(run(lethe_cmd_umount, "umount", folder, NULL), 1);
    assert_true(one_line(err_text));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sizes),
        cmocka_unit_test(durations),
        cmocka_unit_test(times),
        cmocka_unit_test(byte_words),
        cmocka_unit_test(exit_codes),
        cmocka_unit_test(options_are_parsed),
        cmocka_unit_test(bad_words_are_usage),
        cmocka_unit_test(every_command_helps),
        cmocka_unit_test(pages_know_every_option),
        cmocka_unit_test(crypt_sealed),
        cmocka_unit_test(crypt_unsealed),
        cmocka_unit_test(keys),
    };

    return cmocka_run_group_tests(tests, group_start, group_end);
}
