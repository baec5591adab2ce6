/* Tiles of a plane in scratch memory, and what the stencils of march.c and adjoint.c share. */

#ifndef PDECONV_TILE_H
#define PDECONV_TILE_H

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#ifdef __SSE2__
#include <emmintrin.h>
#endif

#if defined(__x86_64__) && defined(__GLIBC__) && defined(__GNUC__) && __GNUC__ >= 12 && !defined(__clang__)
#define CLONED __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define CLONED
#endif
#define INLINE static inline __attribute__((always_inline))
#define PRAGMA(text) _Pragma(#text)
#define SIMD PRAGMA(omp simd)
#define SIMD_SUM(...) PRAGMA(omp simd reduction(+ : __VA_ARGS__))

enum { NEUMANN, PERIODIC, DIRICHLET, REFLECT };
enum { UNIFORM, RATIONAL, EXPONENTIAL, CHARBONNIER }; /* profiles of κ; UNIFORM is constant in space */

/* As pdeconv/native/library.py lays it out. Pointers are to numbers of each channel, NULL for an absent term. */
typedef struct {
    int64_t batch, channels, height, width;
    int64_t boundary, profile, stages, steps;
    float dt, step_y, step_x, ceiling;   /* 1/dx along each axis, 0 for one that is not there; of the velocity */
    const float *alpha;                  /* of each stage: v ← α·u + (1 − α)·(v + dt·A(v)v) */
    const float *kappa, *sharpness;      /* (channels) each; the second for profiles */
    const float *velocity, *conv, *bias; /* (channels, 2), or (channels, 2, 9) and (channels, 2) */
    const float *reaction;               /* (channels, 3) */
} Equation;

enum { GRADS = 27 }; /* numbers a plane that the gradients by the coefficients take */

typedef struct { float north, south, west, east; } Weights; /* of the differences to the four neighbours */

typedef struct { /* what belongs to one channel */
    int profile, diffuses, convolves, reacts;
    float dt, sy, sx, wy, wx, kappa, sharp2, ceiling;
    Weights w; /* of constant diffusion and constant upwind advection together */
    float velocity[2], conv[2][9], bias[2], reaction[3];
} Channel;

/* Of the compiler's min and max instructions; the second where it is a NaN. */
INLINE float least(float a, float b) { return a < b ? a : b; }
INLINE float most(float a, float b) { return a > b ? a : b; }
INLINE float positive(float v) { return 0.5f * (v + fabsf(v)); }
INLINE float negative(float v) { return 0.5f * (v - fabsf(v)); }

static inline Channel channel_of(const Equation *e, int64_t c) {
    Channel k = {0};
    k.dt = e->dt, k.sy = e->step_y, k.sx = e->step_x, k.wy = k.sy * k.sy, k.wx = k.sx * k.sx, k.ceiling = e->ceiling;
    k.profile = (int)e->profile, k.diffuses = e->kappa != NULL, k.convolves = e->conv != NULL, k.reacts = e->reaction != NULL;
    if (e->kappa) k.kappa = e->kappa[c];
    if (e->sharpness) k.sharp2 = e->sharpness[c] * e->sharpness[c];
    if (e->velocity) memcpy(k.velocity, e->velocity + 2 * c, sizeof k.velocity);
    if (e->conv) memcpy(k.conv, e->conv + 18 * c, sizeof k.conv), memcpy(k.bias, e->bias + 2 * c, sizeof k.bias);
    if (e->reaction) memcpy(k.reaction, e->reaction + 3 * c, sizeof k.reaction);
    float uniform = k.profile == UNIFORM ? k.kappa : 0;
    k.w.north = uniform * k.wy + positive(k.velocity[0]) * k.sy, k.w.south = uniform * k.wy - negative(k.velocity[0]) * k.sy;
    k.w.west = uniform * k.wx + positive(k.velocity[1]) * k.sx, k.w.east = uniform * k.wx - negative(k.velocity[1]) * k.sx;
    return k;
}

/* A buffer holds rows × cols cells in a ring of ghost cells, between guard rows, which the adjoint needs to be 0. */
typedef struct { int64_t rows, cols, ld, size; } Tile;

static inline Tile tile_of(int64_t rows, int64_t cols) {
    int64_t ld = cols < 128 ? cols + 2 : (cols + 2 + 15) / 16 * 16; /* aligned rows where they are cheap */
    return (Tile){rows, cols, ld, ((rows + 6) * ld + 32 + 15) / 16 * 16};
}

INLINE int64_t first_cell(const Tile *t) { return 3 * t->ld + 16; }
INLINE int64_t past_cells(const Tile *t) { return first_cell(t) + t->rows * t->ld; }
INLINE int64_t first_ghost(const Tile *t) { return first_cell(t) - t->ld - 1; }
INLINE int64_t past_ghosts(const Tile *t) { return past_cells(t) + t->ld - 1; }

static inline float *scratch(int64_t buffers, const Tile *t) {
    size_t bytes = buffers * t->size * sizeof(float);
    float *memory = aligned_alloc(64, bytes);
    if (memory) memset(memory, 0, bytes);
    return memory;
}

/* The cell, counted from an edge, whose value the ghost beyond that edge has. */
INLINE int64_t mirrored(int boundary, int64_t n) { return boundary == PERIODIC ? n - 1 : boundary == REFLECT && n > 1; }

/* The ghosts to the left and right of some rows. */
INLINE void fill_side_ghosts(const Tile *t, float *buffer, int boundary, int64_t top, int64_t bottom) {
    int64_t cols = t->cols, x = mirrored(boundary, cols);
    for (int64_t i = top; i < bottom; i++) {
        float *row = buffer + first_cell(t) + i * t->ld;
        row[-1] = boundary == DIRICHLET ? 0 : row[x], row[cols] = boundary == DIRICHLET ? 0 : row[cols - 1 - x];
    }
}

/* The row of ghosts above the tile, or below it, corners included. */
INLINE void fill_ghost_row(const Tile *t, float *buffer, int boundary, int below) {
    int64_t y = mirrored(boundary, t->rows), bytes = t->ld * sizeof(float);
    float *ghosts = buffer + (below ? past_cells(t) - 1 : first_ghost(t));
    if (boundary == DIRICHLET)
        memset(ghosts, 0, bytes);
    else
        memcpy(ghosts, buffer + first_cell(t) - 1 + (below ? t->rows - 1 - y : y) * t->ld, bytes);
}

INLINE void fill_ghosts(const Tile *t, float *buffer, int boundary) {
    fill_side_ghosts(t, buffer, boundary, 0, t->rows);
    fill_ghost_row(t, buffer, boundary, 0);
    fill_ghost_row(t, buffer, boundary, 1);
}

INLINE void clear_ghosts(const Tile *t, float *buffer) { fill_ghosts(t, buffer, DIRICHLET); }

/* κ goes on beyond a dirichlet edge, where the state is 0. */
INLINE int of_material(int boundary) { return boundary == DIRICHLET ? NEUMANN : boundary; }

INLINE int64_t wrapped(int64_t i, int64_t n) {
    while (i < 0) i += n;
    while (i >= n) i -= n;
    return i;
}

/* Copies cells of a plane into the tile, whose first cell is (top, left); they wrap where the image does. */
INLINE void load(const Tile *t, float *buffer, const float *plane, int64_t height, int64_t width, int64_t top,
                 int64_t left) {
    int within = left >= 0 && left + t->cols <= width;
    for (int64_t y = 0; y < t->rows; y++) {
        float *restrict to = buffer + first_cell(t) + y * t->ld;
        const float *restrict from = plane + wrapped(top + y, height) * width;
        if (within)
            SIMD for (int64_t x = 0; x < t->cols; x++) to[x] = from[left + x];
        else
            for (int64_t x = 0; x < t->cols; x++) to[x] = from[wrapped(left + x, width)];
    }
}

/* Copies n cells to memory that is not read again soon, past the cache where the processor can and they are aligned. */
INLINE void store(float *restrict to, const float *restrict from, int64_t n, int streams) {
#ifdef __SSE2__
    if (streams && n % 4 == 0 && (uintptr_t)to % 16 == 0) {
        for (int64_t i = 0; i < n; i += 4) _mm_stream_ps(to + i, _mm_loadu_ps(from + i));
        return;
    }
#endif
    (void)streams;
    SIMD for (int64_t i = 0; i < n; i++) to[i] = from[i];
}

INLINE void end_streams(void) {
#ifdef __SSE2__
    _mm_sfence();
#endif
}

/* Whether results of so many cells outgrow the caches: then they are better written past them. */
INLINE int outgrows(int64_t cells) { return cells >= 2097152; }

/* Asks for a small plane, which the processor would ask for only when it is read: its pages are as small. */
INLINE void expect(const float *plane, int64_t cells) {
    if (cells > 4096) return;
    for (int64_t i = 0; i < cells; i += 16) __builtin_prefetch(plane + i, 0, 2);
}

/* Of the differences to the four neighbours, with a weight for each axis. */
INLINE float squared_differences(const float *v, int64_t ld, float wy, float wx) {
    float n = v[-ld] - v[0], s = v[ld] - v[0], w = v[-1] - v[0], e = v[1] - v[0];
    return wy * (n * n + s * s) + wx * (w * w + e * e);
}

/* tanh(x) within 4e-7 of it, relatively: a rational function fitted on [−8, 8]. */
INLINE float tanh_of(float x) {
    x = least(8.0f, most(-8.0f, x));
    float z = x * x;
    float p = 1.523071269e-08f, q = 8.522566190549696e-07f;
    p = p * z + 2.189486986026168e-05f, p = p * z + 0.003571610664948821f, p = p * z + 0.13444508612155914f;
    q = q * z + 0.0003411312645766884f, q = q * z + 0.02616449072957039f, q = q * z + 0.46777835488319397f;
    return x * (p * z + 1.0f) / (q * z + 1.0f);
}

INLINE float convolved(const float *w, float bias, const float *v, int64_t ld) {
    const float *n = v - ld, *s = v + ld;
    return bias + w[0] * n[-1] + w[1] * n[0] + w[2] * n[1] + w[3] * v[-1] + w[4] * v[0] + w[5] * v[1] + w[6] * s[-1] +
           w[7] * s[0] + w[8] * s[1];
}

/* In stage.c. Both leave the ghosts filled. */
void pdeconv_edge_stopping(const Channel *k, const Tile *t, const float *v, float *kappa, int boundary);
void pdeconv_stage(const Channel *k, const Tile *t, const float *v, float *kappa, const float *base, float alpha,
                   float *out, int boundary);

#endif
