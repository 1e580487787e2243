// Activations and their slopes, one value at a time. A loop over them is computed with vector instructions.
#ifndef CORE_CPU_KERNELS_FUNCTIONS_H_
#define CORE_CPU_KERNELS_FUNCTIONS_H_

#include <algorithm>
#include <cmath>
#include <cstring>

// exp(x) for x of -87 to 88, to a relative error of 1e-7.
inline float exponential(float x) {
  const float twos = std::nearbyint(x * 1.44269504f);
  float r = x - twos * 0.693359375f;  // ln 2 in two parts, the first of which is exact times `twos`
  r = r + twos * 2.12194440e-4f;
  const float p = 1 + r * (1 + r * (.5f + r * (1.6666665e-1f + r * (4.1665795e-2f + r * (8.3334519e-3f +
                  r * (1.3981999e-3f + r * 1.9875691e-4f))))));
  const int32_t bits = (static_cast<int32_t>(twos) + 127) << 23;
  float power;
  std::memcpy(&power, &bits, sizeof power);
  return p * power;
}

// log(x) for normal x > 0, to 1e-7: x is m 2^n with m from 2/3 to 4/3, and log(m) is 2 artanh((m - 1) / (m + 1)), of
// which the argument is at most 1/5.
inline float logarithm(float x) {
  int32_t bits;
  std::memcpy(&bits, &x, sizeof bits);
  const int32_t exponent = (bits - 0x3f2aaaab) >> 23;  // bits of 2/3
  bits -= exponent << 23;
  float m;
  std::memcpy(&m, &bits, sizeof m);
  const float s = (m - 1) / (m + 1), q = s * s;
  const float series = 1 + q * (1.f / 3 + q * (1.f / 5 + q * (1.f / 7 + q * (1.f / 9))));
  return exponent * 0.693147181f + 2 * s * series;
}

// With e = exp(x), tanh(softplus(x)) = n / (n + 2) with n = e (e + 2). Beyond 20 the quotient rounds to 1.
inline float clipped(float x) { return std::min(std::max(x, -87.f), 20.f); }

struct MishValue {
  float operator()(float x) const {
    const float e = exponential(clipped(x)), n = e * (e + 2);
    return x * (n / (n + 2));
  }
};

// The slope is gate + x (1 - gate) (1 + gate) sigmoid(x) with gate = n / (n + 2), brought to one denominator.
struct MishSlope {
  float operator()(float dy, float x) const {
    const float e = exponential(clipped(x)), n = e * (e + 2), d = n + 2;
    return dy * ((n * d + 4 * x * e * (e + 1)) / (d * d));
  }
};

// log(1 + exp(x)) is max(x, 0) + log(1 + t) with t = exp(-|x|), and log(1 + t) is 2 artanh(t / (2 + t)), of which the
// argument is at most 1/3: 9 terms of the series have a relative error of 1e-9.
struct SoftplusValue {
  float operator()(float x) const {
    const float t = exponential(std::max(-std::fabs(x), -87.f)), s = t / (2 + t), q = s * s;
    const float series = 1 + q * (1.f / 3 + q * (1.f / 5 + q * (1.f / 7 + q * (1.f / 9 + q * (1.f / 11 + q * (
                         1.f / 13 + q * (1.f / 15 + q * (1.f / 17))))))));
    return std::max(x, 0.f) + 2 * s * series;
  }
};

struct ReluValue {
  float operator()(float x) const { return x < 0 ? 0 : x; }
};

struct ReluSlope {
  float operator()(float dy, float x) const { return x > 0 ? dy : 0; }
};

struct LeakyReluValue {
  float alpha;
  float operator()(float x) const { return x > 0 ? x : alpha * x; }
};

struct LeakyReluSlope {
  float alpha;
  float operator()(float dy, float x) const { return x > 0 ? dy : alpha * dy; }
};

struct IdentityValue {
  float operator()(float x) const { return x; }
};

struct IdentitySlope {
  float operator()(float dy, float) const { return dy; }
};

#endif  // CORE_CPU_KERNELS_FUNCTIONS_H_
