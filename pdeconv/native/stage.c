/* One stage of an explicit step on a tile: u ← α·base + (1 − α)·(v + dt·A(v)v). */

#include "tile.h"

/* e^−x for x ≥ 0, within 1e-7 of it, relatively. */
INLINE float exp_minus(float x) {
    x = x > 87.0f ? 87.0f : x; /* in this order a NaN stays one */
    float shifted = x * -1.44269504f + 12582912.0f, n = shifted - 12582912.0f; /* rounds to a whole number */
    float r = (-x - n * 0.693359375f) + n * 2.12194440e-4f;
    float p = 1.0f / 5040;
    p = p * r + 1.0f / 720, p = p * r + 1.0f / 120, p = p * r + 1.0f / 24, p = p * r + 1.0f / 6, p = p * r + 0.5f;
    p = p * r * r + r + 1.0f;
    union { float f; int32_t i; } power = {shifted};
    power.i = (power.i + 127) << 23; /* 2ⁿ: of the shifted number only the last bits survive */
    return p * power.f;
}

/* κ of edge-stopping diffusion at the cells and ghosts, from the state with its ghosts. */
CLONED void pdeconv_edge_stopping(const Channel *k, const Tile *t, const float *v, float *kappa, int boundary) {
    int64_t ld = t->ld, from = first_cell(t), to = past_cells(t);
    float top = k->kappa;
    if (k->profile == RATIONAL)
        SIMD for (int64_t i = from; i < to; i++) kappa[i] = top / (1.0f + squared_gradient(k, v + i, ld));
    else if (k->profile == EXPONENTIAL)
        SIMD for (int64_t i = from; i < to; i++) kappa[i] = top * exp_minus(squared_gradient(k, v + i, ld));
    else
        SIMD for (int64_t i = from; i < to; i++) kappa[i] = top / sqrtf(1.0f + squared_gradient(k, v + i, ld));
    fill_ghosts(t, kappa, of_material(boundary));
}

/* out = α·base + (1 − α)·(v + dt·A(v)v) at the cells. The last four are constants where this is inlined. */
INLINE void advance_cells(const Channel *k, const Tile *t, const float *restrict v, const float *restrict kappa,
                          const float *restrict base, float alpha, float *restrict out, const int edges,
                          const int convolves, const int reacts, const int mixes) {
    int64_t ld = t->ld, from = first_cell(t), to = past_cells(t);
    Weights w = k->w;
    float wy = 0.5f * k->wy, wx = 0.5f * k->wx, dt = k->dt, beta = 1 - alpha, top = k->ceiling;
    float a0 = k->reaction[0], a1 = k->reaction[1], a2 = k->reaction[2];
    SIMD for (int64_t i = from; i < to; i++) {
        const float *p = v + i, *q = kappa + i;
        float c = p[0], north = p[-ld] - c, south = p[ld] - c, west = p[-1] - c, east = p[1] - c;
        float a = w.north * north + w.south * south + w.west * west + w.east * east;
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

/* One stage on a whole tile. kappa is scratch memory; out gets its ghosts. */
CLONED void pdeconv_stage(const Channel *k, const Tile *t, const float *v, float *kappa, const float *base, float alpha,
                          float *out, int boundary) {
    int edges = k->profile != UNIFORM;
    if (edges) pdeconv_edge_stopping(k, t, v, kappa, boundary);
#define CASE(e, c, r, m) case 8 * e + 4 * c + 2 * r + m: advance_cells(k, t, v, kappa, base, alpha, out, e, c, r, m); break
#define CASES(e, c) CASE(e, c, 0, 0); CASE(e, c, 0, 1); CASE(e, c, 1, 0); CASE(e, c, 1, 1)
    switch (8 * edges + 4 * k->convolves + 2 * k->reacts + (alpha != 0)) { CASES(0, 0); CASES(0, 1); CASES(1, 0); CASES(1, 1); }
#undef CASES
#undef CASE
    fill_ghosts(t, out, boundary);
}
