/* One stage of an explicit step on a tile: u ← α·base + (1 − α)·(v + dt·A(v)v). */

#include "tile.h"

/* 2^−x for x ≥ 0, within 2e-7 of it, relatively. */
INLINE float power_of_half(float x) {
    x = least(126.0f, x);
    float shifted = 12582912.0f - x, f = (12582912.0f - shifted) - x; /* rounded to a whole number; |f| ≤ 1/2 */
    float p = 1.326472730e-3f; /* a polynomial fitted on [−1/2, 1/2] */
    p = p * f + 9.671512991e-3f, p = p * f + 5.550733581e-2f, p = p * f + 2.402224242e-1f, p = p * f + 6.931470036e-1f;
    p = p * f + 1.0f;
    union { float f; uint32_t i; } power = {shifted};
    power.i = (power.i + 127) << 23; /* of the shifted number only the last bits survive */
    return p * power.f;
}

/* κ at the cells of some rows and the ghosts beside them. */
INLINE void edge_stopping_rows(const Channel *k, const Tile *t, const float *restrict v, float *restrict kappa,
                               int boundary, int64_t top, int64_t bottom) {
    int64_t ld = t->ld, from = first_cell(t) + top * ld, to = first_cell(t) + bottom * ld;
    float highest = k->kappa, half = 0.5f * k->sharp2 * (k->profile == EXPONENTIAL ? 1.44269504f : 1.0f);
    float wy = half * k->wy, wx = half * k->wx;
    if (k->profile == RATIONAL)
        SIMD for (int64_t i = from; i < to; i++) kappa[i] = highest / (1.0f + squared_differences(v + i, ld, wy, wx));
    else if (k->profile == EXPONENTIAL)
        SIMD for (int64_t i = from; i < to; i++) kappa[i] = highest * power_of_half(squared_differences(v + i, ld, wy, wx));
    else
        SIMD for (int64_t i = from; i < to; i++) kappa[i] = highest / sqrtf(1.0f + squared_differences(v + i, ld, wy, wx));
    fill_side_ghosts(t, kappa, of_material(boundary), top, bottom);
}

CLONED void pdeconv_edge_stopping(const Channel *k, const Tile *t, const float *v, float *kappa, int boundary) {
    edge_stopping_rows(k, t, v, kappa, boundary, 0, t->rows);
    fill_ghost_row(t, kappa, of_material(boundary), 0);
    fill_ghost_row(t, kappa, of_material(boundary), 1);
}

/* out = α·base + (1 − α)·(v + dt·A(v)v) at the cells of some rows. The last five are constants where this is inlined. */
INLINE void advance_cells(const Channel *k, const Tile *t, const float *restrict v, const float *restrict kappa,
                          const float *restrict base, float alpha, float *restrict out, int64_t top_row,
                          int64_t bottom_row, const int uniform, const int edges, const int convolves, const int reacts,
                          const int mixes) {
    int64_t ld = t->ld, from = first_cell(t) + top_row * ld, to = first_cell(t) + bottom_row * ld;
    Weights w = k->w;
    float wy = 0.5f * k->wy, wx = 0.5f * k->wx, dt = k->dt, beta = 1 - alpha, top = k->ceiling;
    float a0 = k->reaction[0], a1 = k->reaction[1], a2 = k->reaction[2];
    SIMD for (int64_t i = from; i < to; i++) {
        const float *p = v + i, *q = kappa + i;
        float c = p[0], north = p[-ld] - c, south = p[ld] - c, west = p[-1] - c, east = p[1] - c;
        float a = uniform ? w.north * north + w.south * south + w.west * west + w.east * east : 0;
        if (edges)
            a += wy * ((q[-ld] + q[0]) * north + (q[ld] + q[0]) * south) +
                 wx * ((q[-1] + q[0]) * west + (q[1] + q[0]) * east);
        if (convolves) {
            float vy = top * tanh_of(convolved(k->conv[0], k->bias[0], p, ld));
            float vx = top * tanh_of(convolved(k->conv[1], k->bias[1], p, ld));
            a += k->sy * (positive(vy) * north - negative(vy) * south) +
                 k->sx * (positive(vx) * west - negative(vx) * east);
        }
        if (reacts) a += (a0 + (a1 + a2 * c) * c) * c;
        out[i] = mixes ? alpha * base[i] + beta * (c + dt * a) : c + dt * a;
    }
}

INLINE void advance_rows(const Channel *k, const Tile *t, const float *v, const float *kappa, const float *base,
                         float alpha, float *out, int64_t top, int64_t bottom) {
    int edges = k->profile != UNIFORM, uniform = k->w.north + k->w.south + k->w.west + k->w.east != 0;
#define CASE(u, e, c, r, m)                                                    \
    case 16 * u + 8 * e + 4 * c + 2 * r + m:                                   \
        advance_cells(k, t, v, kappa, base, alpha, out, top, bottom, u, e, c, r, m); \
        break
#define CASES(u, e, c) CASE(u, e, c, 0, 0); CASE(u, e, c, 0, 1); CASE(u, e, c, 1, 0); CASE(u, e, c, 1, 1)
    switch (16 * uniform + 8 * edges + 4 * k->convolves + 2 * k->reacts + (alpha != 0)) {
        CASES(0, 0, 0); CASES(0, 0, 1); CASES(0, 1, 0); CASES(0, 1, 1);
        CASES(1, 0, 0); CASES(1, 0, 1); CASES(1, 1, 0); CASES(1, 1, 1);
    }
#undef CASES
#undef CASE
}

#define STRIP 4096 /* cells whose κ is used while it is in the first cache */

/* One stage on a whole tile. kappa is scratch memory; out gets its ghosts. */
CLONED void pdeconv_stage(const Channel *k, const Tile *t, const float *v, float *kappa, const float *base, float alpha,
                          float *out, int boundary) {
    int64_t rows = t->rows;
    if (k->profile == UNIFORM) {
        advance_rows(k, t, v, kappa, base, alpha, out, 0, rows);
    } else {
        int64_t strip = STRIP / t->ld > 1 ? STRIP / t->ld : 1, known = 0; /* rows whose κ is known */
        if (boundary == PERIODIC) edge_stopping_rows(k, t, v, kappa, boundary, rows - 1, rows);
        for (int64_t top = 0, bottom; top < rows; top = bottom) {
            bottom = top + strip < rows ? top + strip : rows;
            int64_t needed = bottom + 1 < rows ? bottom + 1 : rows;
            edge_stopping_rows(k, t, v, kappa, boundary, known, needed);
            known = needed;
            if (top == 0) fill_ghost_row(t, kappa, of_material(boundary), 0);
            if (bottom == rows) fill_ghost_row(t, kappa, of_material(boundary), 1);
            advance_rows(k, t, v, kappa, base, alpha, out, top, bottom);
        }
    }
    fill_ghosts(t, out, boundary);
}
