/* The adjoint of march.c: gradients by the state and by the coefficients.

   The stencils are flat, so their adjoint is taken for a cotangent q that is 0 at the ghosts; what arrives at a ghost
   is folded back to the cell that it mirrors. A plane's states on the way are computed again, in cache. */

#include "tile.h"

enum { GRAD_KAPPA, GRAD_SHARPNESS, GRAD_VELOCITY, GRAD_CONV = 4, GRAD_BIAS = 22, GRAD_REACTION = 24 };

#define CHUNK 4096 /* cells whose sums are added in float, those of a plane in double */

typedef struct {
    float *q, *adjoint;                    /* cotangent of the stage, 0 at the ghosts; that of its argument */
    float *kappa, *to_kappa, *bend;        /* edge-stopping: κ, its cotangent, and that of |∇v|² */
    float *up[2], *down[2], *inner[2];     /* convolved velocity: q times both parts, and the cotangent before tanh */
} Scratch;

/* The adjoint of fill_ghosts; the ghosts are 0 afterwards. */
INLINE void fold_ghosts(const Tile *t, float *buffer, int boundary) {
    float *first = buffer + first_cell(t), *above = buffer + first_ghost(t), *below = buffer + past_cells(t) - 1;
    int64_t rows = t->rows, cols = t->cols, ld = t->ld, x = mirrored(boundary, cols), y = mirrored(boundary, rows);
    if (boundary != DIRICHLET) {
        float *low = first + y * ld - 1, *high = first + (rows - 1 - y) * ld - 1;
        for (int64_t i = 0; i < ld; i++) low[i] += above[i];
        for (int64_t i = 0; i < ld; i++) high[i] += below[i];
        for (int64_t i = 0; i < rows; i++) {
            float *row = first + i * ld;
            row[x] += row[-1], row[cols - 1 - x] += row[cols];
        }
    }
    clear_ghosts(t, buffer);
}

/* The share of the slope from below in upwind differences: 1 or 0 as the velocity is, and 1/2 at rest. */
INLINE float ahead(float velocity) { return most(0.0f, least(1.0f, velocity * 1e30f + 0.5f)); }

/* The derivative of the upwind slope along an axis by its velocity. */
INLINE float by_velocity(float velocity, float low, float high) { return ahead(velocity) * (low + high) - high; }

/* adjoint = β·q + scale·(A(v)v)′ᵀq of what has weights of its own, constant stencils and the reaction; and the sums
   over the cells of q times the differences to the neighbours, and q times powers of v. */
INLINE void pull_cells(const Channel *k, const Tile *t, const float *restrict v, const float *restrict q, float scale,
                       float beta, float *restrict out, double *grads, int64_t from, int64_t to, const int reacts) {
    int64_t ld = t->ld;
    Weights w = {scale * k->w.north, scale * k->w.south, scale * k->w.west, scale * k->w.east};
    float own = beta - (w.north + w.south + w.west + w.east);
    float a0 = own + scale * k->reaction[0], a1 = 2 * scale * k->reaction[1], a2 = 3 * scale * k->reaction[2];
    float north = 0, south = 0, west = 0, east = 0, first = 0, second = 0, third = 0;
    SIMD_SUM(north, south, west, east, first, second, third)
    for (int64_t i = from; i < to; i++) {
        float c = v[i], p = q[i];
        out[i] = w.north * q[i + ld] + w.south * q[i - ld] + w.west * q[i + 1] + w.east * q[i - 1] +
                 (reacts ? a0 + (a1 + a2 * c) * c : own) * p;
        north += p * (v[i - ld] - c), south += p * (v[i + ld] - c);
        west += p * (v[i - 1] - c), east += p * (v[i + 1] - c);
        if (reacts) {
            float once = p * c, twice = once * c;
            first += once, second += twice, third += twice * c;
        }
    }
    if (k->profile == UNIFORM) grads[GRAD_KAPPA] += scale * (k->wy * (north + south) + k->wx * (west + east));
    grads[GRAD_VELOCITY] += scale * k->sy * by_velocity(k->velocity[0], north, south);
    grads[GRAD_VELOCITY + 1] += scale * k->sx * by_velocity(k->velocity[1], west, east);
    grads[GRAD_REACTION] += scale * first, grads[GRAD_REACTION + 1] += scale * second;
    grads[GRAD_REACTION + 2] += scale * third;
}

INLINE void pull_edge_stopping(const Channel *k, const Tile *t, const float *restrict v, float scale, const Scratch *m,
                               double *grads, int boundary) {
    int64_t ld = t->ld;
    const float *restrict q = m->q, *restrict kappa = m->kappa;
    float *restrict to_kappa = m->to_kappa, *restrict bend = m->bend, *restrict out = m->adjoint;
    float wy = scale * k->wy, wx = scale * k->wx, hy = 0.5f * wy, hx = 0.5f * wx;
    /* Through the flux of each face, (κ_i + κ_j)/2·(v_j − v_i), to κ at its two cells, ghosts included. */
    SIMD for (int64_t i = first_ghost(t); i < past_ghosts(t); i++) {
        float p = q[i], c = v[i];
        to_kappa[i] = hy * ((p - q[i + ld]) * (v[i + ld] - c) + (p - q[i - ld]) * (v[i - ld] - c)) +
                      hx * ((p - q[i + 1]) * (v[i + 1] - c) + (p - q[i - 1]) * (v[i - 1] - c));
    }
    fold_ghosts(t, to_kappa, of_material(boundary));
    float top = k->kappa, inverse = top > 0 ? 1.0f / top : 0, sharp2 = k->sharp2;
    float sy = 0.5f * sharp2 * k->wy, sx = 0.5f * sharp2 * k->wx;
    int profile = k->profile;
    for (int64_t from = first_cell(t), past = past_cells(t); from < past; from += CHUNK) {
        float by_kappa = 0, by_sharpness = 0;
        int64_t to = from + CHUNK < past ? from + CHUNK : past;
        SIMD_SUM(by_kappa, by_sharpness) for (int64_t i = from; i < to; i++) {
            float g = kappa[i] * inverse;
            float fall = profile == RATIONAL ? g * g : profile == EXPONENTIAL ? g : 0.5f * g * g * g; /* −g′ */
            float bent = -to_kappa[i] * top * fall;
            by_kappa += to_kappa[i] * g, by_sharpness += bent * squared_differences(v + i, ld, sy, sx);
            bend[i] = bent * sharp2; /* 0 at the ghosts, as the cotangent of κ is now */
        }
        grads[GRAD_KAPPA] += by_kappa;
        grads[GRAD_SHARPNESS] += 2 * by_sharpness / sqrtf(k->sharp2);
    }
    SIMD for (int64_t i = first_ghost(t); i < past_ghosts(t); i++) {
        float c = v[i], b = bend[i], own = kappa[i], p = q[i];
        out[i] += hy * ((own + kappa[i - ld]) * (q[i - ld] - p) + (own + kappa[i + ld]) * (q[i + ld] - p)) +
                  hx * ((own + kappa[i - 1]) * (q[i - 1] - p) + (own + kappa[i + 1]) * (q[i + 1] - p)) +
                  k->wy * ((c - v[i - ld]) * (b + bend[i - ld]) + (c - v[i + ld]) * (b + bend[i + ld])) +
                  k->wx * ((c - v[i - 1]) * (b + bend[i - 1]) + (c - v[i + 1]) * (b + bend[i + 1]));
    }
}

/* Adds the gradients by the nine weights and the bias of both axes. */
INLINE void sum_taps(const Tile *t, const float *restrict v, float *const inner[2], double *grads, int64_t from,
                     int64_t to) {
    int64_t ld = t->ld;
    const float *restrict iy = inner[0], *restrict ix = inner[1];
    float n0 = 0, n1 = 0, n2 = 0, c0 = 0, c1 = 0, c2 = 0, s0 = 0, s1 = 0, s2 = 0, one = 0;
    float m0 = 0, m1 = 0, m2 = 0, d0 = 0, d1 = 0, d2 = 0, r0 = 0, r1 = 0, r2 = 0, two = 0;
    SIMD_SUM(n0, n1, n2, c0, c1, c2, s0, s1, s2, one, m0, m1, m2, d0, d1, d2, r0, r1, r2, two)
    for (int64_t i = from; i < to; i++) {
        const float *n = v + i - ld, *c = v + i, *s = v + i + ld;
        float y = iy[i], x = ix[i], a;
        a = n[-1], n0 += y * a, m0 += x * a, a = n[0], n1 += y * a, m1 += x * a, a = n[1], n2 += y * a, m2 += x * a;
        a = c[-1], c0 += y * a, d0 += x * a, a = c[0], c1 += y * a, d1 += x * a, a = c[1], c2 += y * a, d2 += x * a;
        a = s[-1], s0 += y * a, r0 += x * a, a = s[0], s1 += y * a, r1 += x * a, a = s[1], s2 += y * a, r2 += x * a;
        one += y, two += x;
    }
    const float sums[18] = {n0, n1, n2, c0, c1, c2, s0, s1, s2, m0, m1, m2, d0, d1, d2, r0, r1, r2};
    for (int i = 0; i < 18; i++) grads[GRAD_CONV + i] += sums[i];
    grads[GRAD_BIAS] += one, grads[GRAD_BIAS + 1] += two;
}

INLINE float spread(const float *w, const float *z, int64_t ld) { /* the adjoint of convolved() */
    const float *n = z - ld, *s = z + ld;
    return w[0] * s[1] + w[1] * s[0] + w[2] * s[-1] + w[3] * z[1] + w[4] * z[0] + w[5] * z[-1] + w[6] * n[1] +
           w[7] * n[0] + w[8] * n[-1];
}

INLINE void pull_convolved_velocity(const Channel *k, const Tile *t, const float *restrict v, float scale,
                                    const Scratch *m, double *grads) {
    int64_t ld = t->ld;
    const float *restrict q = m->q;
    float *restrict out = m->adjoint, top = k->ceiling, sy = scale * k->sy, sx = scale * k->sx;
    float *restrict uy = m->up[0], *restrict dy = m->down[0], *restrict iy = m->inner[0];
    float *restrict ux = m->up[1], *restrict dx = m->down[1], *restrict ix = m->inner[1];
    SIMD for (int64_t i = first_cell(t); i < past_cells(t); i++) {
        const float *p = v + i;
        float c = p[0], ty = tanh_of(convolved(k->conv[0], k->bias[0], p, ld)), vy = top * ty;
        float tx = tanh_of(convolved(k->conv[1], k->bias[1], p, ld)), vx = top * tx;
        float qy = sy * q[i], qx = sx * q[i], fy = vy * qy, fx = vx * qx, ay = ahead(vy), ax = ahead(vx);
        uy[i] = ay * fy, dy[i] = fy - ay * fy, ux[i] = ax * fx, dx[i] = fx - ax * fx;
        float n = p[-ld] - c, s = p[ld] - c, w = p[-1] - c, e = p[1] - c;
        iy[i] = qy * (ay * (n + s) - s) * (top - ty * vy), ix[i] = qx * (ax * (w + e) - e) * (top - tx * vx);
    }
    /* All six are 0 at the ghosts, as q is. */
    SIMD for (int64_t i = first_ghost(t); i < past_ghosts(t); i++)
        out[i] += (uy[i + ld] - uy[i]) + (dy[i] - dy[i - ld]) + (ux[i + 1] - ux[i]) + (dx[i] - dx[i - 1]) +
                  spread(k->conv[0], iy + i, ld) + spread(k->conv[1], ix + i, ld);
    for (int64_t i = first_cell(t), end = past_cells(t); i < end; i += CHUNK)
        sum_taps(t, v, m->inner, grads, i, i + CHUNK < end ? i + CHUNK : end);
}

/* adjoint = β·q + scale·(A(v)v)′ᵀq with its ghosts folded, for q that is 0 at the ghosts; adds to the gradients. */
INLINE void pull_tile(const Channel *k, const Tile *t, const float *v, float scale, float beta, const Scratch *m,
                      double *grads, int boundary) {
    int sums = k->reacts || !k->convolves || k->diffuses;
    for (int64_t i = first_ghost(t), past = past_ghosts(t); sums && i < past; i += CHUNK) {
        int64_t to = i + CHUNK < past ? i + CHUNK : past;
        if (k->reacts)
            pull_cells(k, t, v, m->q, scale, beta, m->adjoint, grads, i, to, 1);
        else
            pull_cells(k, t, v, m->q, scale, beta, m->adjoint, grads, i, to, 0);
    }
    if (!sums)
        SIMD for (int64_t i = 0; i < t->size; i++) m->adjoint[i] = beta * m->q[i];
    if (k->profile != UNIFORM) {
        pdeconv_edge_stopping(k, t, v, m->kappa, boundary);
        pull_edge_stopping(k, t, v, scale, m, grads, boundary);
    }
    if (k->convolves) pull_convolved_velocity(k, t, v, scale, m, grads);
    fold_ghosts(t, m->adjoint, boundary);
}

/* The planes begin ≤ i < end: gradients by u, and GRADS numbers a plane by the coefficients. */
CLONED static int pull_planes(const Equation *e, const float *u, const float *grad_out, float *grad_u, double *grads,
                              int64_t begin, int64_t end) {
    if (begin == end) return 0;
    int boundary = (int)e->boundary, streams = outgrows(e->batch * e->channels * e->height * e->width);
    int64_t height = e->height, width = e->width, stages = e->stages, total = e->steps * stages;
    Tile t = tile_of(height, width);
    float *states = scratch(total + 13, &t), *rest = states + total * t.size;
    if (!states) return 1;
    float *buffer[13];
    for (int i = 0; i < 13; i++) buffer[i] = rest + i * t.size;
    Scratch m = {buffer[0], buffer[1], buffer[2], buffer[3], buffer[4], {buffer[5], buffer[6]}, {buffer[7], buffer[8]},
                 {buffer[9], buffer[10]}};
    float *to_start = buffer[11], *kappa = buffer[12];
    for (int64_t plane = begin; plane < end; plane++) {
        Channel k = channel_of(e, plane % e->channels);
        double *sums = grads + plane * GRADS;
        memset(sums, 0, GRADS * sizeof(double));
        load(&t, states, u + plane * height * width, height, width, 0, 0);
        fill_ghosts(&t, states, boundary);
        for (int64_t i = 0; i + 1 < total; i++)
            pdeconv_stage(&k, &t, states + i * t.size, kappa, states + i / stages * stages * t.size,
                          e->alpha[i % stages], states + (i + 1) * t.size, boundary);
        load(&t, m.q, grad_out + plane * height * width, height, width, 0, 0);
        clear_ghosts(&t, m.q);
        if (plane + 1 < end) {
            expect(u + (plane + 1) * height * width, height * width);
            expect(grad_out + (plane + 1) * height * width, height * width);
        }
        for (int64_t i = total - 1; i >= 0; i--) {
            float alpha = e->alpha[i % stages], beta = 1 - alpha;
            if (i % stages == stages - 1 && stages > 1) memset(to_start, 0, t.size * sizeof(float));
            if (alpha != 0) SIMD for (int64_t j = 0; j < t.size; j++) to_start[j] += alpha * m.q[j];
            pull_tile(&k, &t, states + i * t.size, k.dt * beta, beta, &m, sums, boundary);
            float *unused = m.q;
            m.q = m.adjoint, m.adjoint = unused;
            if (i % stages == 0 && stages > 1) SIMD for (int64_t j = 0; j < t.size; j++) m.q[j] += to_start[j];
        }
        for (int64_t y = 0; y < height; y++)
            store(grad_u + (plane * height + y) * width, m.q + first_cell(&t) + y * t.ld, width, streams);
    }
    free(states);
    end_streams();
    return 0;
}

/* 0, or 1 where memory ran out. The threads are those of PyTorch's OpenMP. */
int pdeconv_march_backward(const Equation *e, const float *u, const float *grad_out, float *grad_u, double *grads,
                           int64_t threads) {
    int64_t planes = e->batch * e->channels;
    int failed = 0;
#pragma omp parallel for schedule(static, 1) num_threads(threads) reduction(| : failed)
    for (int64_t i = 0; i < threads; i++)
        failed |= pull_planes(e, u, grad_out, grad_u, grads, planes * i / threads, planes * (i + 1) / threads);
    return failed;
}
