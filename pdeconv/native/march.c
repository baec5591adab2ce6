/* Explicit steps of  u_t = ∇·(κ∇u) − v·∇u + (a₀ + a₁u + a₂u²)u  on planes of one channel, in cache.

   A tile of a plane is copied into scratch memory with a ring of ghost cells, marched there for several stages, and
   copied out: memory is read and written once for all of them. A cut edge of a tile has a halo as wide as the stages
   reach, where values are computed and thrown away; so what the ghosts of a cut edge hold does not matter.

   Every loop runs over whole rows, ghosts included, as one flat array that the compiler vectorises. The plain PyTorch
   operators are the reference: see tests/test_native.py. */

#include "tile.h"

/* All steps on the tiles begin ≤ i < end of the planes; a tile has side_y × side_x cells and its halo. */
CLONED static int march_tiles(const Equation *e, const float *u, float *out, int64_t side_y, int64_t side_x,
                              int64_t halo, int64_t begin, int64_t end) {
    if (begin == end) return 0;
    int64_t height = e->height, width = e->width;
    int64_t down = (height + side_y - 1) / side_y, across = (width + side_x - 1) / side_x;
    int boundary = (int)e->boundary, streams = outgrows(e->batch * e->channels * height * width);
    Tile largest = tile_of(side_y + 2 * halo, side_x + 2 * halo);
    float *memory = scratch(4, &largest);
    if (!memory) return 1;
    for (int64_t item = begin; item < end; item++) {
        int64_t plane = item / (down * across), place = item % (down * across);
        int64_t y0 = place / across * side_y, x0 = place % across * side_x;
        int64_t y1 = y0 + side_y < height ? y0 + side_y : height, x1 = x0 + side_x < width ? x0 + side_x : width;
        int64_t top = y0 - halo, bottom = y1 + halo, left = x0 - halo, right = x1 + halo;
        /* An edge of the image needs no halo; a periodic image has none where it is cut. */
        if (boundary != PERIODIC || down == 1) top = top < 0 ? 0 : top, bottom = bottom > height ? height : bottom;
        if (boundary != PERIODIC || across == 1) left = left < 0 ? 0 : left, right = right > width ? width : right;
        Tile t = tile_of(bottom - top, right - left);
        Channel k = channel_of(e, plane % e->channels);
        float *base = memory, *now = memory + t.size, *next = now + t.size, *kappa = next + t.size;
        load(&t, base, u + plane * height * width, height, width, top, left);
        fill_ghosts(&t, base, boundary);
        if (item + 1 < end && down * across == 1) expect(u + (plane + 1) * height * width, height * width);
        for (int64_t step = 0; step < e->steps; step++) {
            const float *v = base;
            for (int64_t stage = 0; stage < e->stages; stage++) {
                pdeconv_stage(&k, &t, v, kappa, base, e->alpha[stage], next, boundary);
                float *unused = now;
                v = now = next, next = unused;
            }
            float *spare = next;
            next = base, base = now, now = spare; /* one stage then takes turns between two buffers */
        }
        for (int64_t y = y0; y < y1; y++)
            store(out + (plane * height + y) * width + x0, base + first_cell(&t) + (y - top) * t.ld + x0 - left,
                  x1 - x0, streams);
    }
    free(memory);
    end_streams();
    return 0;
}

/* What library.py must have been written for. */
int64_t pdeconv_layout(void) { return (int64_t)sizeof(Equation) * 1000 + GRADS; }

/* 0, or 1 where memory ran out. The threads are those of PyTorch's OpenMP. */
int pdeconv_march(const Equation *e, const float *u, float *out, int64_t side_y, int64_t side_x, int64_t halo,
                  int64_t threads) {
    int64_t tiles = ((e->height + side_y - 1) / side_y) * ((e->width + side_x - 1) / side_x);
    int64_t items = e->batch * e->channels * tiles;
    int failed = 0;
#pragma omp parallel for schedule(static, 1) num_threads(threads) reduction(| : failed)
    for (int64_t i = 0; i < threads; i++)
        failed |= march_tiles(e, u, out, side_y, side_x, halo, items * i / threads, items * (i + 1) / threads);
    return failed;
}
