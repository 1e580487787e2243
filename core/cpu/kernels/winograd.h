// Convolutions of float32 NHWC images by 3x3 kernels with stride 1, in fewer products: Winograd's F(2x2, 3x3) of Lavin
// and Gray 2016 (arXiv 1509.09308, section 4.1).
//
// An image is cut into tiles of 2x2 outputs, which 4x4 inputs make. Both and the kernels are transformed to 4x4 numbers
// a channel; then each of these 16 is a matrix product over the channels: 16 products for 4 outputs in place of 36.
#ifndef CORE_CPU_KERNELS_WINOGRAD_H_
#define CORE_CPU_KERNELS_WINOGRAD_H_

#include <algorithm>
#include <cstdint>

#include "lanes.h"
#include "threads.h"

namespace winograd {

constexpr int ROWS = LANES == 16 ? 14 : 6;   // twice ROWS of the 32 or 16 registers add up products

constexpr int64_t TILE = 2, READ = 4, POINTS = READ * READ;
// Tiles that are computed at a time: their numbers stay in a core's cache.
constexpr int64_t BLOCK = ROWS * (28 / ROWS);

struct Sizes {
  int64_t batch, height, width, inputs;      // of the images
  int64_t rows, columns, outputs;            // of the outputs
  int64_t top, left;                         // padding

  int64_t tile_rows() const { return (rows + TILE - 1) / TILE; }
  int64_t tile_columns() const { return (columns + TILE - 1) / TILE; }
  int64_t tiles() const { return batch * tile_rows() * tile_columns(); }
};

// Channels are computed in whole vectors.
inline bool is_for(int64_t inputs, int64_t outputs) { return inputs % LANES == 0 && outputs % LANES == 0; }

// The outputs that are multiplied at a time, as many as fill one or two vectors.
inline int64_t vectors(int64_t outputs) { return outputs % (2 * LANES) ? 1 : 2; }

// The transform of the three numbers g along an axis: four.
inline void kernel_axis(const Lanes g[3], Lanes out[READ]) {
  const Lanes half = (g[0] + g[2]) * .5f, middle = g[1] * .5f;
  out[0] = g[0];
  out[1] = half + middle;
  out[2] = half - middle;
  out[3] = g[2];
}

// Transforms the kernels [3, 3, inputs, outputs] of the inputs `first` to `last` to
// [POINTS][outputs / width][inputs][width] with the width of what is multiplied at a time.
inline void transform_kernels(const float* kernel, int64_t inputs, int64_t outputs, int64_t first, int64_t last,
                              float* out) {
  const int64_t width = vectors(outputs) * LANES, tap = inputs * outputs;   // also of a point
  for (int64_t c = first; c < last; ++c) {
    for (int64_t k = 0; k < outputs; k += LANES) {
      float* to = out + k / width * width * inputs + c * width + k % width;
      Lanes columns[3][READ];   // transformed along the rows
      for (int j = 0; j < 3; ++j) {
        const float* from = kernel + j * tap + c * outputs + k;
        const Lanes g[3] = {lanes(from), lanes(from + 3 * tap), lanes(from + 6 * tap)};
        kernel_axis(g, columns[j]);
      }
#pragma GCC unroll 4
      for (int i = 0; i < READ; ++i) {
        const Lanes g[3] = {columns[0][i], columns[1][i], columns[2][i]};
        Lanes all[READ];
        kernel_axis(g, all);
        for (int j = 0; j < READ; ++j) lanes(to + (i * READ + j) * tap) = all[j];
      }
    }
  }
}

// m = v u for ROWS tiles and VECTORS vectors of outputs.
template <int VECTORS>
__attribute__((noinline)) void multiply(const float* v, const float* u, int64_t inputs, int64_t outputs, float* m) {
  Lanes sums[ROWS][VECTORS];
  for (int r = 0; r < ROWS; ++r) {
    for (int s = 0; s < VECTORS; ++s) sums[r][s] = Lanes{};
  }
  for (int64_t c = 0; c < inputs; ++c) {
    Lanes weights[VECTORS];
    for (int s = 0; s < VECTORS; ++s) weights[s] = lanes(u + (c * VECTORS + s) * LANES);
#pragma GCC unroll 32
    for (int r = 0; r < ROWS; ++r) {
      const float value = v[r * inputs + c];
      for (int s = 0; s < VECTORS; ++s) sums[r][s] += value * weights[s];
    }
  }
#pragma GCC unroll 32
  for (int r = 0; r < ROWS; ++r) {
    for (int s = 0; s < VECTORS; ++s) lanes(m + r * outputs + s * LANES) = sums[r][s];
  }
}

template <int VECTORS>
inline void multiply_all(const float* v, const float* u, int64_t tiles, int64_t inputs, int64_t outputs, float* m) {
  for (int64_t point = 0; point < POINTS; ++point) {
    for (int64_t k = 0; k < outputs; k += VECTORS * LANES) {
      const float* weights = u + (point * outputs + k) * inputs;
      for (int64_t tile = 0; tile < tiles; tile += ROWS) {
        multiply<VECTORS>(v + (point * BLOCK + tile) * inputs, weights, inputs, outputs,
                          m + (point * BLOCK + tile) * outputs + k);
      }
    }
  }
}

// The transform of the inputs of a tile: v gets its numbers for point 0, ..., which lie BLOCK * inputs apart.
__attribute__((noinline)) inline void transform_inputs(const float* const from[POINTS], int64_t inputs, float* v) {
  for (int64_t c = 0; c < inputs; c += LANES) {
    Lanes d[READ][READ];
#pragma GCC unroll 4
    for (int j = 0; j < READ; ++j) {
      Lanes x[READ];
      for (int i = 0; i < READ; ++i) x[i] = lanes(from[i * READ + j] + c);
      d[0][j] = x[0] - x[2];
      d[1][j] = x[1] + x[2];
      d[2][j] = x[2] - x[1];
      d[3][j] = x[1] - x[3];
    }
#pragma GCC unroll 4
    for (int i = 0; i < READ; ++i) {
      float* to = v + i * READ * BLOCK * inputs + c;
      lanes(to) = d[i][0] - d[i][2];
      lanes(to + BLOCK * inputs) = d[i][1] + d[i][2];
      lanes(to + 2 * BLOCK * inputs) = d[i][2] - d[i][1];
      lanes(to + 3 * BLOCK * inputs) = d[i][1] - d[i][3];
    }
  }
}

// The numbers of a tile: the image, and in it the tile's row and column.
struct Position {
  const Sizes& sizes;
  int64_t image, row, column;

  Position(const Sizes& sizes, int64_t tile) : sizes(sizes) {
    column = tile % sizes.tile_columns();
    row = tile / sizes.tile_columns() % sizes.tile_rows();
    image = tile / sizes.tile_columns() / sizes.tile_rows();
  }
  void next() {  // without the divisions, which would take a third of the time for images of few channels
    if (++column < sizes.tile_columns()) return;
    column = 0;
    if (++row < sizes.tile_rows()) return;
    row = 0;
    ++image;
  }
};

inline void read_tile(const Position& tile, const float* x, const float* zeros, float* v) {
  const Sizes& sizes = tile.sizes;
  const int64_t top = tile.row * TILE - sizes.top, left = tile.column * TILE - sizes.left;
  const float* from[POINTS];
  for (int64_t i = 0; i < READ; ++i) {
    const bool is_inside = top + i >= 0 && top + i < sizes.height;
    const float* row = x + ((tile.image * sizes.height + top + i) * sizes.width + left) * sizes.inputs;
    for (int64_t j = 0; j < READ; ++j) {
      from[i * READ + j] = is_inside && left + j >= 0 && left + j < sizes.width ? row + j * sizes.inputs : zeros;
    }
  }
  transform_inputs(from, sizes.inputs, v);
}

// Calls finish(number, channel, values) for the vectors of outputs of a tile, of which the first is the output `number`
// of all.
template <typename Finish>
inline void finish_tile(const Position& tile, const float* m, Finish finish) {
  const Sizes& sizes = tile.sizes;
  const int64_t outputs = sizes.outputs, row = sizes.columns * outputs;
  const int64_t first = ((tile.image * sizes.rows + tile.row * TILE) * sizes.columns + tile.column * TILE) * outputs;
  const bool has_below = tile.row * TILE + 1 < sizes.rows, has_right = tile.column * TILE + 1 < sizes.columns;
  for (int64_t k = 0; k < outputs; k += LANES) {
    Lanes upper[READ], lower[READ];
#pragma GCC unroll 4
    for (int j = 0; j < READ; ++j) {
      Lanes p[READ];
      for (int i = 0; i < READ; ++i) p[i] = lanes(m + (i * READ + j) * BLOCK * outputs + k);
      upper[j] = p[0] + p[1] + p[2];
      lower[j] = p[1] - p[2] - p[3];
    }
    const int64_t number = first + k;
    finish(number, k, upper[0] + upper[1] + upper[2]);
    if (has_right) finish(number + outputs, k, upper[1] - upper[2] - upper[3]);
    if (has_below) finish(number + row, k, lower[0] + lower[1] + lower[2]);
    if (has_below && has_right) finish(number + row + outputs, k, lower[1] - lower[2] - lower[3]);
  }
}

// The convolution of the tiles `first` to `last` with the transformed kernels u; finish() takes the outputs. What a
// tile becomes does not depend on its neighbours, so any division of the tiles among threads gives the same bits.
template <typename Finish>
void convolve(const Sizes& sizes, const float* x, const float* u, int64_t first, int64_t last, Finish finish) {
  const int64_t inputs = sizes.inputs, outputs = sizes.outputs;
  Floats v(POINTS * BLOCK * inputs), m(POINTS * BLOCK * outputs), zeros(inputs);
  Position reading(sizes, first), writing(sizes, first);
  for (int64_t start = first; start < last; start += BLOCK) {
    const int64_t tiles = std::min(BLOCK, last - start);
    for (int64_t i = 0; i < tiles; ++i, reading.next()) read_tile(reading, x, zeros.data(), v.data() + i * inputs);
    if (vectors(outputs) == 1) {
      multiply_all<1>(v.data(), u, tiles, inputs, outputs, m.data());
    } else {
      multiply_all<2>(v.data(), u, tiles, inputs, outputs, m.data());
    }
    for (int64_t i = 0; i < tiles; ++i, writing.next()) finish_tile(writing, m.data() + i * outputs, finish);
  }
}

}  // namespace winograd

#endif  // CORE_CPU_KERNELS_WINOGRAD_H_
