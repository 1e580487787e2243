// Convolutions of float32 NHWC images by 3x3 kernels with stride 1, in fewer products: Winograd's F(2x2, 3x3) of Lavin
// and Gray 2016 (arXiv 1509.09308, section 4.1).
//
// An image is cut into tiles of 2x2 outputs, which 4x4 inputs make. Both and the kernels are transformed to 4x4 numbers
// a channel; then each of these 16 is a matrix product over the channels: 16 products for 4 outputs in place of 36. The
// gradient of the kernels is that of these products, over the tiles, transformed back.
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
constexpr int64_t BLOCK = ROWS * (14 / ROWS);

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

// m = v u for ROWS tiles and VECTORS vectors of outputs. A vector of inputs or outputs of a tile lies next to that of the
// next tile, so that the distances between what is multiplied at a time are known to the compiler.
template <int VECTORS>
__attribute__((noinline)) void multiply(const float* v, const float* u, int64_t inputs, float* m) {
  Lanes sums[ROWS][VECTORS];
  for (int r = 0; r < ROWS; ++r) {
    for (int s = 0; s < VECTORS; ++s) sums[r][s] = Lanes{};
  }
  for (const float* end = v + inputs * BLOCK; v < end; v += BLOCK * LANES) {
#pragma GCC unroll 16
    for (int c = 0; c < LANES; ++c, u += VECTORS * LANES) {
      Lanes weights[VECTORS];
      for (int s = 0; s < VECTORS; ++s) weights[s] = lanes(u + s * LANES);
#pragma GCC unroll 32
      for (int r = 0; r < ROWS; ++r) {
        const float value = v[r * LANES + c];
        for (int s = 0; s < VECTORS; ++s) sums[r][s] += value * weights[s];
      }
    }
  }
#pragma GCC unroll 32
  for (int r = 0; r < ROWS; ++r) {
    for (int s = 0; s < VECTORS; ++s) lanes(m + (s * BLOCK + r) * LANES) = sums[r][s];
  }
}

template <int VECTORS>
inline void multiply_all(const float* v, const float* u, int64_t tiles, int64_t inputs, int64_t outputs, float* m) {
  for (int64_t point = 0; point < POINTS; ++point) {
    for (int64_t k = 0; k < outputs; k += VECTORS * LANES) {
      const float* weights = u + (point * outputs + k) * inputs;
      for (int64_t tile = 0; tile < tiles; tile += ROWS) {
        multiply<VECTORS>(v + point * BLOCK * inputs + tile * LANES, weights, inputs,
                          m + (point * outputs + k) * BLOCK + tile * LANES);
      }
    }
  }
}

// The transform of the inputs of a tile of a block: v gets its numbers for point 0, ..., which lie block * inputs apart.
__attribute__((noinline)) inline void transform_inputs(const float* const from[POINTS], int64_t inputs, int64_t block,
                                                       float* v) {
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
      float* to = v + (i * READ * inputs + c) * block;
      lanes(to) = d[i][0] - d[i][2];
      lanes(to + block * inputs) = d[i][1] + d[i][2];
      lanes(to + 2 * block * inputs) = d[i][2] - d[i][1];
      lanes(to + 3 * block * inputs) = d[i][1] - d[i][3];
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

inline void read_tile(const Position& tile, const float* x, const float* zeros, int64_t block, float* v) {
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
  transform_inputs(from, sizes.inputs, block, v);
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
      for (int i = 0; i < READ; ++i) p[i] = lanes(m + ((i * READ + j) * outputs + k) * BLOCK);
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
    for (int64_t i = 0; i < tiles; ++i, reading.next()) read_tile(reading, x, zeros.data(), BLOCK, v.data() + i * LANES);
    if (vectors(outputs) == 1) {
      multiply_all<1>(v.data(), u, tiles, inputs, outputs, m.data());
    } else {
      multiply_all<2>(v.data(), u, tiles, inputs, outputs, m.data());
    }
    for (int64_t i = 0; i < tiles; ++i, writing.next()) finish_tile(writing, m.data() + i * LANES, finish);
  }
}

// The transform of a tile of 2x2 gradients at the outputs `from` to `to`: w gets what transform_inputs() writes of inputs.
inline void read_gradients(const Position& tile, const float* dy, const float* zeros, int64_t from, int64_t to,
                           int64_t block, float* w) {
  const Sizes& sizes = tile.sizes;
  const int64_t row = sizes.columns * sizes.outputs, point = block * (to - from);
  const float* first =
      dy + ((tile.image * sizes.rows + tile.row * TILE) * sizes.columns + tile.column * TILE) * sizes.outputs;
  const bool has_below = tile.row * TILE + 1 < sizes.rows, has_right = tile.column * TILE + 1 < sizes.columns;
  const float *right = has_right ? first + sizes.outputs : zeros, *below = has_below ? first + row : zeros;
  const float* last = has_below && has_right ? first + row + sizes.outputs : zeros;
  for (int64_t k = from; k < to; k += LANES, w += block * LANES) {
    const Lanes a = lanes(first + k), b = lanes(right + k), c = lanes(below + k), d = lanes(last + k);
    const Lanes left_column[READ] = {a, a + c, a - c, -c}, right_column[READ] = {b, b + d, b - d, -d};
#pragma GCC unroll 4
    for (int i = 0; i < READ; ++i) {
      float* out = w + i * READ * point;
      lanes(out) = left_column[i];
      lanes(out + point) = left_column[i] + right_column[i];
      lanes(out + 2 * point) = left_column[i] - right_column[i];
      lanes(out + 3 * point) = -right_column[i];
    }
  }
}

// sums, rows of `width`, become v^T w of the tiles, or this is added, for INPUTS inputs and VECTORS vectors of outputs.
template <int INPUTS, int VECTORS>
__attribute__((noinline)) void add_products(const float* v, const float* w, int64_t tiles, int64_t block, bool adds,
                                            int64_t width, float* sums) {
  Lanes s[INPUTS][VECTORS];
#pragma GCC unroll 16
  for (int c = 0; c < INPUTS; ++c) {
    for (int k = 0; k < VECTORS; ++k) s[c][k] = adds ? lanes(sums + c * width + k * LANES) : Lanes{};
  }
  for (int64_t tile = 0; tile < tiles; ++tile, v += LANES, w += LANES) {
    Lanes gradients[VECTORS];
    for (int k = 0; k < VECTORS; ++k) gradients[k] = lanes(w + k * block * LANES);
#pragma GCC unroll 16
    for (int c = 0; c < INPUTS; ++c) {
      for (int k = 0; k < VECTORS; ++k) s[c][k] += v[c] * gradients[k];
    }
  }
#pragma GCC unroll 16
  for (int c = 0; c < INPUTS; ++c) {
    for (int k = 0; k < VECTORS; ++k) lanes(sums + c * width + k * LANES) = s[c][k];
  }
}

template <int VECTORS>
inline void add_all_products(const float* v, const float* w, int64_t tiles, int64_t block, bool adds, int64_t inputs,
                             int64_t outputs, int64_t width, float* sums) {
  constexpr int INPUTS = LANES / VECTORS;   // at a time
  for (int64_t point = 0; point < POINTS; ++point) {
    for (int64_t k = 0; k < outputs; k += VECTORS * LANES) {
      for (int64_t c = 0; c < inputs; c += INPUTS) {
        add_products<INPUTS, VECTORS>(v + (point * inputs + c / LANES * LANES) * block + c % LANES,
                                      w + (point * outputs + k) * block, tiles, block, adds, width,
                                      sums + (point * inputs + c) * width + k);
      }
    }
  }
}

// Sums, [POINTS, inputs, outputs], get at the outputs `from` to `to` the gradient of the transformed kernels by the tiles
// `first` to `last`.
inline void differentiate(const Sizes& sizes, const float* x, const float* dy, int64_t first, int64_t last,
                          int64_t from, int64_t to, float* sums) {
  const int64_t inputs = sizes.inputs, outputs = to - from;
  // Sums are read and written once for each block, of which the tiles take as much memory as these, and enough tiles that
  // this is little of the work; tiles of few channels stay in a core's cache with them.
  const int64_t block = std::min(std::max(std::min<int64_t>(inputs, 40), inputs * outputs / (inputs + outputs)),
                                 last - first);
  Floats v(POINTS * block * inputs), w(POINTS * block * outputs), zeros(std::max(inputs, sizes.outputs));
  Position of_x(sizes, first), of_dy(sizes, first);
  for (int64_t start = first; start < last; start += block) {
    const int64_t tiles = std::min(block, last - start);
    for (int64_t i = 0; i < tiles; ++i, of_x.next(), of_dy.next()) {
      read_tile(of_x, x, zeros.data(), block, v.data() + i * LANES);
      read_gradients(of_dy, dy, zeros.data(), from, to, block, w.data() + i * LANES);
    }
    const auto add = vectors(outputs) == 1 ? add_all_products<1> : add_all_products<2>;
    add(v.data(), w.data(), tiles, block, start > first, inputs, outputs, sizes.outputs, sums + from);
  }
}

// The gradient g along an axis of what kernel_axis() transforms.
inline void gradient_axis(const Lanes u[READ], Lanes out[3]) {
  const Lanes half = (u[1] + u[2]) * .5f;
  out[0] = u[0] + half;
  out[1] = (u[1] - u[2]) * .5f;
  out[2] = half + u[3];
}

// The gradient of the kernels [3, 3, inputs, outputs] of the inputs `first` to `last`, from `parts` sums.
inline void kernel_gradients(const Sizes& sizes, const float* sums, int64_t parts, int64_t first, int64_t last,
                             float* gradient) {
  const int64_t outputs = sizes.outputs, tap = sizes.inputs * outputs;   // also of a point
  for (int64_t c = first; c < last; ++c) {
    for (int64_t k = 0; k < outputs; k += LANES) {
      Lanes columns[READ][3];
      for (int j = 0; j < READ; ++j) {
        Lanes u[READ];
        for (int i = 0; i < READ; ++i) {
          const float* from = sums + (i * READ + j) * tap + c * outputs + k;
          u[i] = lanes(from);
          for (int64_t part = 1; part < parts; ++part) u[i] += lanes(from + part * POINTS * tap);
        }
        gradient_axis(u, columns[j]);
      }
#pragma GCC unroll 3
      for (int i = 0; i < 3; ++i) {
        const Lanes u[READ] = {columns[0][i], columns[1][i], columns[2][i], columns[3][i]};
        Lanes all[3];
        gradient_axis(u, all);
        for (int j = 0; j < 3; ++j) lanes(gradient + (i * 3 + j) * tap + c * outputs + k) = all[j];
      }
    }
  }
}

}  // namespace winograd

#endif  // CORE_CPU_KERNELS_WINOGRAD_H_
