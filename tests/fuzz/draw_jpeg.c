/* SPDX-License-Identifier: MIT */
/* JPEGs of every kind that libjpeg writes, with other segments, trailers and damage put in. */
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <jpeglib.h>

#include "draw.h"

struct failing {
    struct jpeg_error_mgr errors;
    jmp_buf out;
};

static void fail(j_common_ptr info)
{
    longjmp(((struct failing *)info->err)->out, 1);
}

static void say_nothing(j_common_ptr info)
{
    (void)info;
}

struct plan {
    struct scene scene;
    jpeg_scan_info scans[64];
    int scan_count;
    bool arithmetic, optimised;
    uint32_t width, height;
};

/* Sampling factors with at most ten blocks in an MCU, or one scan for each component. */
static void draw_sampling(struct draw *draw, struct jpeg_compress_struct *info)
{
    unsigned style = draw_below(draw, 4);

    for (int c = 0; c < info->num_components; c++) {
        bool full = c == 0 || c == 3;

        info->comp_info[c].h_samp_factor = info->comp_info[c].v_samp_factor = 1;
        if (style == 3) {
            info->comp_info[c].h_samp_factor = 1 + (int)draw_below(draw, 4);
            info->comp_info[c].v_samp_factor = 1 + (int)draw_below(draw, 4);
        } else if (style > 0 && full) {
            info->comp_info[c].h_samp_factor = 2;
            info->comp_info[c].v_samp_factor = (int)style;
        }
    }
}

static bool interleaves(const struct jpeg_compress_struct *info)
{
    int blocks = 0;

    for (int c = 0; c < info->num_components; c++) {
        blocks += info->comp_info[c].h_samp_factor * info->comp_info[c].v_samp_factor;
    }
    return blocks <= 10;
}

static void add_scan(struct plan *plan, int first, int count, int ss, int se, int ah, int al)
{
    jpeg_scan_info *scan = &plan->scans[plan->scan_count++];

    *scan = (jpeg_scan_info){.comps_in_scan = count, .Ss = ss, .Se = se, .Ah = ah, .Al = al};
    for (int i = 0; i < count; i++) {
        scan->component_index[i] = first + i;
    }
}

/* Progressive: bands and bits cut anyhow, and at times not all of them told. */
static void draw_progression(struct draw *draw, struct plan *plan, int components, bool together)
{
    int low = (int)draw_below(draw, 4);
    bool whole = !draw_rarely(draw, 4);

    for (int al = low; al >= 0; al--) {
        for (int c = 0; c < (together ? 1 : components); c++) {
            add_scan(plan, c, together ? components : 1, 0, 0, al == low ? 0 : al + 1, al);
        }
    }
    for (int c = 0; c < components; c++) {
        int bits = (int)draw_below(draw, 3), cut = 1 + (int)draw_below(draw, 63);

        for (int al = bits; al >= (whole ? 0 : bits); al--) {
            add_scan(plan, c, 1, 1, cut, al == bits ? 0 : al + 1, al);
            if (cut < 63) {
                add_scan(plan, c, 1, cut + 1, 63, al == bits ? 0 : al + 1, al);
            }
        }
    }
}

static void draw_scans(struct draw *draw, struct plan *plan, struct jpeg_compress_struct *info)
{
    bool together = interleaves(info) && draw_below(draw, 4) > 0, progressive = draw_below(draw, 2);

    if (progressive) {
        draw_progression(draw, plan, info->num_components, together);
    } else if (!together || (draw_rarely(draw, 4) && info->num_components > 2)) {
        int first = together ? 1 : 0; /* the first alone, the others in one scan, or each alone */

        for (int c = 0; c <= (together ? 0 : info->num_components - 1); c++) {
            add_scan(plan, c, 1, 0, 63, 0, 0);
        }
        if (together) {
            add_scan(plan, first, info->num_components - 1, 0, 63, 0, 0);
        }
    }
    if (plan->scan_count > 0) {
        info->scan_info = plan->scans;
        info->num_scans = plan->scan_count;
    }
}

static void set_up(struct draw *draw, struct plan *plan, struct jpeg_compress_struct *info)
{
    static const J_COLOR_SPACE spaces[] = {JCS_YCbCr, JCS_GRAYSCALE, JCS_RGB, JCS_CMYK, JCS_YCCK};
    J_COLOR_SPACE space = spaces[draw_below(draw, 8) % 5];
    bool four = space == JCS_CMYK || space == JCS_YCCK;

    info->image_width = plan->width;
    info->image_height = plan->height;
    info->input_components = four ? 4 : space == JCS_GRAYSCALE ? 1 : 3;
    info->in_color_space = four ? JCS_CMYK : space == JCS_GRAYSCALE ? JCS_GRAYSCALE : JCS_RGB;
    jpeg_set_defaults(info);
    jpeg_set_colorspace(info, space);
    jpeg_set_quality(info, 1 + (int)draw_below(draw, 100), !draw_rarely(draw, 8));
    draw_sampling(draw, info);
    info->write_JFIF_header = info->write_JFIF_header && !draw_rarely(draw, 4);
    info->write_Adobe_marker = draw_rarely(draw, 4) ? !info->write_Adobe_marker : info->write_Adobe_marker;
    info->optimize_coding = plan->optimised = draw_below(draw, 2);
    info->arith_code = plan->arithmetic = draw_rarely(draw, 24);
    info->dct_method = draw_below(draw, 2) ? JDCT_ISLOW : JDCT_IFAST;
    if (draw_rarely(draw, 3)) {
        info->restart_interval = 1 + draw_below(draw, 12);
    } else if (draw_rarely(draw, 4)) {
        info->restart_in_rows = 1;
    }
    for (int c = 1; c < info->num_components && draw_rarely(draw, 3); c++) { /* tables of their own, or all one */
        info->comp_info[c].quant_tbl_no = 0;
        info->comp_info[c].dc_tbl_no = info->comp_info[c].ac_tbl_no = (int)draw_below(draw, 2);
    }
    draw_scans(draw, plan, info);
}

static bool compress(struct draw *draw, struct plan *plan, struct lethe_buf *out)
{
    struct jpeg_compress_struct info;
    struct failing failing;
    unsigned char *bytes = NULL;
    unsigned long len = 0;
    uint8_t *volatile row = malloc((size_t)plan->width * 4);
    volatile bool good = false;

    info.err = jpeg_std_error(&failing.errors);
    failing.errors.error_exit = fail;
    failing.errors.output_message = say_nothing;
    if (setjmp(failing.out) == 0) {
        jpeg_create_compress(&info);
        jpeg_mem_dest(&info, &bytes, &len);
        set_up(draw, plan, &info);
        jpeg_start_compress(&info, TRUE);
        while (row && info.next_scanline < info.image_height) {
            JSAMPROW rows[1] = {row};
            uint32_t y = info.next_scanline;

            for (uint32_t x = 0; x < plan->width; x++) {
                for (unsigned c = 0; c < (unsigned)info.input_components; c++) {
                    row[x * (uint32_t)info.input_components + c] = (uint8_t)(scene_at(&plan->scene, x, y, c) >> 8);
                }
            }
            (void)jpeg_write_scanlines(&info, rows, 1);
        }
        jpeg_finish_compress(&info);
        lethe_buf_put(out, bytes, len);
        good = row && !lethe_buf_status(out);
    }
    jpeg_destroy_compress(&info);
    free(bytes);
    free(row);
    return good;
}

static void put_segment(struct lethe_buf *out, unsigned marker, const char *name, size_t name_len,
                        const struct lethe_buf *bytes)
{
    size_t size = 2 + name_len + bytes->len;

    lethe_buf_put(out, (const uint8_t[4]){0xff, (uint8_t)marker, (uint8_t)(size >> 8), (uint8_t)size}, 4);
    lethe_buf_put(out, name, name_len);
    lethe_buf_put(out, bytes->data, bytes->len);
}

/* A profile in one to three segments, in order. */
static void put_icc(struct draw *draw, struct drawn *drawn, struct lethe_buf *out)
{
    unsigned count = 1 + draw_below(draw, 3);
    struct lethe_buf part = {0};

    for (unsigned i = 1; i <= count; i++) {
        char name[14] = "ICC_PROFILE";

        lethe_buf_reset(&part);
        draw_bytes(draw, &part, 20 + draw_below(draw, 300));
        lethe_buf_put(&drawn->icc, part.data, part.len);
        name[12] = (char)i;
        name[13] = (char)count;
        put_segment(out, 0xe2, name, sizeof name, &part);
    }
    lethe_buf_release(&part);
}

static void put_segments(struct draw *draw, struct drawn *drawn, struct lethe_buf *out)
{
    struct lethe_buf bytes = {0};

    for (unsigned n = draw_below(draw, 4); n > 0; n--) {
        lethe_buf_reset(&bytes);
        switch (draw_below(draw, 7)) {
        case 0:
            if (drawn->orientation == 0) {
                drawn->orientation = 1 + draw_below(draw, 8);
                draw_tiff(draw, drawn->orientation, &bytes);
                put_segment(out, 0xe1, "Exif\0", 6, &bytes);
            }
            break;
        case 1:
            if (drawn->icc.len == 0) {
                put_icc(draw, drawn, out);
            }
            break;
        case 2:
            lethe_buf_put(&bytes, "<x:xmpmeta xmlns:x='adobe:ns:meta/'/>", 37);
            put_segment(out, 0xe1, "http://ns.adobe.com/xap/1.0/", 29, &bytes);
            break;
        case 3:
            draw_bytes(draw, &bytes, draw_below(draw, 300));
            put_segment(out, 0xfe, "", 0, &bytes);
            break;
        case 4:
            draw_bytes(draw, &bytes, draw_below(draw, 80));
            put_segment(out, 0xe3 + draw_below(draw, 8), "maker", 6, &bytes);
            break;
        case 5: /* fill bytes */
            for (unsigned i = draw_below(draw, 4); i > 0; i--) {
                lethe_buf_put_u8(out, 0xff);
            }
            break;
        default:
            draw_bytes(draw, &bytes, 60);
            put_segment(out, 0xed, "Photoshop 3.0", 14, &bytes);
            break;
        }
    }
    lethe_buf_release(&bytes);
}

/* Where the first segment of this marker stands, or 0. */
static size_t find(const struct lethe_buf *file, unsigned marker, size_t from)
{
    size_t at = from;

    while (at + 4 < file->len && file->data[at] == 0xff && file->data[at + 1] != 0xda) {
        if (file->data[at + 1] == marker) {
            return at;
        }
        at += 2 + (size_t)(file->data[at + 2] << 8 | file->data[at + 3]);
    }
    return at + 4 < file->len && file->data[at + 1] == marker ? at : 0;
}

static void remove_bytes(struct lethe_buf *file, size_t at, size_t len)
{
    memmove(file->data + at, file->data + at + len, file->len - at - len);
    file->len -= len;
}

/* What some writers do otherwise: no tables, several tables in a segment, numbers of markers, what follows the end. */
static void make_odd(struct draw *draw, const struct plan *plan, struct lethe_buf *file)
{
    size_t at, next, len;

    if (!plan->optimised && !plan->arithmetic && draw_rarely(draw, 8)) { /* like motion JPEG */
        while ((at = find(file, 0xc4, 2)) > 0) {
            remove_bytes(file, at, 2 + (size_t)(file->data[at + 2] << 8 | file->data[at + 3]));
        }
    } else if (draw_rarely(draw, 3)) { /* all tables that follow each other in one segment */
        at = find(file, 0xc4, 2);
        while (at > 0) {
            len = (size_t)(file->data[at + 2] << 8 | file->data[at + 3]);
            next = at + 2 + len;
            if (next + 4 > file->len || file->data[next + 1] != 0xc4) {
                break;
            }
            len += (size_t)(file->data[next + 2] << 8 | file->data[next + 3]) - 2;
            remove_bytes(file, next, 4);
            file->data[at + 2] = (uint8_t)(len >> 8);
            file->data[at + 3] = (uint8_t)len;
        }
    }
    if (draw_rarely(draw, 10)) { /* extended sequential */
        at = find(file, 0xc0, 2);
        file->data[at ? at + 1 : 0] = at ? 0xc1 : 0xff;
    }
    if (draw_rarely(draw, 12)) { /* other numbers of restart markers */
        for (size_t i = 2; i + 1 < file->len; i++) {
            if (file->data[i] == 0xff && (file->data[i + 1] & 0xf8) == 0xd0) {
                file->data[i + 1] = 0xd0 | (draw_noise(draw) & 7);
            }
        }
    }
}

static void put_trailer(struct draw *draw, struct lethe_buf *file)
{
    size_t len;

    switch (draw_below(draw, 8)) {
    case 0:
        draw_bytes(draw, file, draw_below(draw, 300));
        break;
    case 1: /* a film behind it */
        lethe_buf_put(file, "\0\0\0\x18" "ftypmp42\0\0\0\0mp42isom", 24);
        draw_bytes(draw, file, 200);
        break;
    case 2: /* a second picture, as it is */
        len = file->len;
        if (!lethe_buf_reserve(file, len)) {
            lethe_buf_put(file, file->data, len);
        }
        break;
    case 3: /* no end, or one more */
        file->len -= draw_below(draw, 2) ? 2 : 0;
        break;
    case 4:
        lethe_buf_put(file, "\0\0\0\0\0\0\0\0\xff\xd9", 10);
        break;
    default:
        break;
    }
}

bool draw_jpeg(struct draw *draw, struct drawn *out)
{
    struct plan plan = {.width = 0};
    bool tiny = draw_rarely(draw, 4), large = draw_rarely(draw, 24), damaged, other;
    uint32_t most = tiny ? 9 : large ? 400 : 90;
    struct lethe_buf plain = {0};
    size_t frame;
    bool good;

    *out = (struct drawn){.learned = true, .lossy = true};
    plan.width = 1 + draw_below(draw, most);
    plan.height = 1 + draw_below(draw, most);
    scene_draw(draw, &plan.scene);
    if (!compress(draw, &plan, &plain)) {
        lethe_buf_release(&plain);
        return false;
    }
    make_odd(draw, &plan, &plain);
    lethe_buf_put(&out->file, plain.data, 2);
    put_segments(draw, out, &out->file);
    frame = out->file.len;
    lethe_buf_put(&out->file, plain.data + 2, plain.len - 2);
    lethe_buf_release(&plain);
    good = !lethe_buf_status(&out->file);
    other = good && draw_rarely(draw, 40);
    if (other) { /* 12 bits, or the height at the end of the scan */
        size_t sof = find(&out->file, 0xc0, 2);

        sof = sof ? sof : find(&out->file, 0xc1, 2);
        sof = sof ? sof : find(&out->file, 0xc2, 2);
        if (sof && draw_below(draw, 2)) {
            out->file.data[sof + 4] = 12;
        } else if (sof) {
            out->file.data[sof + 5] = out->file.data[sof + 6] = 0;
        }
    }
    if (good) {
        put_trailer(draw, &out->file);
    }
    damaged = draw_rarely(draw, 5);
    if (damaged) {
        draw_damage(draw, draw_below(draw, 4) ? frame + 40 : 2, &out->file);
    }
    out->learned = !damaged && !other && !plan.arithmetic;
    out->lossy = out->learned;
    out->orientation = out->orientation ? out->orientation : 1;
    snprintf(out->text, sizeof out->text, "jpeg %ux%u, %d scans%s%s", plan.width, plan.height, plan.scan_count,
             plan.arithmetic ? ", arithmetic" : "", damaged ? ", damaged" : "");
    return good && !lethe_buf_status(&out->file);
}
