/* SPDX-License-Identifier: MIT */
#include "draw.h"

#include <string.h>

void draw_init(struct draw *draw, const uint8_t *bytes, size_t len)
{
    *draw = (struct draw){.at = bytes, .left = len, .state = 0xcbf29ce484222325u};
    for (size_t i = 0; i < len; i++) {
        draw->state = (draw->state ^ bytes[i]) * 0x100000001b3u;
    }
}

uint32_t draw_noise(struct draw *draw)
{
    draw->state = draw->state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(draw->state >> 33);
}

static uint32_t byte(struct draw *draw)
{
    if (draw->left == 0) {
        return draw_noise(draw) >> 7 & 255;
    }
    draw->left--;
    return *draw->at++;
}

uint32_t draw_below(struct draw *draw, uint32_t n)
{
    uint32_t v = byte(draw);

    return (n > 256 ? v << 8 | byte(draw) : v) % n;
}

bool draw_rarely(struct draw *draw, uint32_t n)
{
    return draw_below(draw, n) == n - 1;
}

void draw_bytes(struct draw *draw, struct lethe_buf *out, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        lethe_buf_put_u8(out, (uint8_t)(draw_noise(draw) >> 9));
    }
}

void scene_draw(struct draw *draw, struct scene *scene)
{
    scene->style = draw_below(draw, 7);
    scene->noise = 1 + draw_below(draw, 40);
    scene->salt = draw_below(draw, 65536);
}

static uint32_t hash(uint32_t a, uint32_t b)
{
    uint32_t h = a * 0x9e3779b1u ^ b * 0x85ebca6bu;

    h = (h ^ h >> 15) * 0x2c1b3c6du;
    return h ^ h >> 13;
}

uint32_t scene_at(const struct scene *scene, uint32_t x, uint32_t y, unsigned c)
{
    uint32_t mixed = hash(x ^ scene->salt << 16, y + c * 0x10001u);

    switch (scene->style) {
    case 0: /* flat */
        return (scene->salt + c * 9000) & 0xffff;
    case 1: /* slopes with noise */
        return (20000 + x * (c + 1) * 97 + y * 211 + mixed % (scene->noise * 16)) & 0xffff;
    case 2: /* noise */
        return mixed & 0xffff;
    case 3: /* a few values on a ground, like text */
        return mixed % 5 ? 0xffff : hash(scene->salt, mixed % scene->noise + c) & 0xffff;
    case 4: /* runs */
        return hash(x / scene->noise + scene->salt, y / 3 + c) & 0xffff;
    case 5: /* rows that repeat */
        return hash(x + scene->salt, c) & 0xffff;
    default: /* blocks and slopes */
        return ((x / 13) ^ (y / 17)) & 1 ? 0xe000 : (x * 600 + y * 300 + c * 5000 + mixed % 700) & 0xffff;
    }
}

void draw_tiff(struct draw *draw, unsigned orientation, struct lethe_buf *out)
{
    bool big = draw_below(draw, 2), note = draw_below(draw, 2);
    uint16_t entries[2][4] = {{0x0112, 3, 1, (uint16_t)orientation}, {0x927c, 7, 40, 38}};
    uint8_t word[4];

    lethe_buf_put(out, big ? "MM\0*\0\0\0\10" : "II*\0\10\0\0\0", 8);
    for (unsigned i = 0; i < 2u + note; i++) {
        const uint16_t *e = i ? entries[i - 1] : NULL;
        uint32_t value = e ? e[3] : 0;

        if (!e) {
            lethe_buf_put_u8(out, big ? 0 : (uint8_t)(1 + note));
            lethe_buf_put_u8(out, big ? (uint8_t)(1 + note) : 0);
            continue;
        }
        for (unsigned k = 0; k < 2; k++) {
            lethe_buf_put_u8(out, (uint8_t)(big ? e[k] >> 8 : e[k] & 255));
            lethe_buf_put_u8(out, (uint8_t)(big ? e[k] & 255 : e[k] >> 8));
        }
        (big ? lethe_set_u32be : lethe_set_u32)(word, e[2]);
        lethe_buf_put(out, word, 4);
        value = e[1] == 3 && big ? value << 16 : value;
        (big ? lethe_set_u32be : lethe_set_u32)(word, value);
        lethe_buf_put(out, word, 4);
    }
    lethe_buf_put_u32(out, 0);
    if (note) {
        draw_bytes(draw, out, 40);
    }
}

void draw_damage(struct draw *draw, size_t start, struct lethe_buf *file)
{
    unsigned times = 1 + draw_below(draw, 4);

    for (unsigned i = 0; i < times && file->len > start + 1; i++) {
        size_t span = file->len - start, at = start + draw_noise(draw) % span, count = 1 + draw_below(draw, 64);

        count = count < file->len - at ? count : file->len - at;
        switch (draw_below(draw, 6)) {
        case 0:
            file->data[at] ^= (uint8_t)(1u << draw_below(draw, 8));
            break;
        case 1:
            file->data[at] = (uint8_t)draw_below(draw, 256);
            break;
        case 2: /* cut off */
            file->len = at;
            break;
        case 3: /* a hole of zeros, as of a broken disk */
            memset(file->data + at, 0, count);
            break;
        case 4: /* bytes lost */
            memmove(file->data + at, file->data + at + count, file->len - at - count);
            file->len -= count;
            break;
        default: /* lines ended like text */
            file->data[at] = draw_below(draw, 2) ? 0xff : '\n';
            break;
        }
    }
}
