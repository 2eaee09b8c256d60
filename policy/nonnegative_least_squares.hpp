// Least squares with coefficients that are at least zero, over normal equations: for a handful of
// unknowns, the best of all supports is found by trying them all.
#pragma once

#include <array>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>

namespace tandem::policy {

/// Sums of w * x * x^T, w * x * y and w * y^2 over samples (x, y) of weight w. Sums can be added
/// and subtracted, which is what makes cross-validation cheap.
template <std::size_t N>
struct NormalEquations {
  std::array<std::array<double, N>, N> xx{};  ///< upper triangle
  std::array<double, N> xy{};
  double yy = 0;

  void add(const std::array<double, N>& x, double y, double weight) {
    for (std::size_t i = 0; i < N; ++i) {
      const double wx = weight * x[i];
      for (std::size_t j = i; j < N; ++j) xx[i][j] += wx * x[j];
      xy[i] += wx * y;
    }
    yy += weight * y * y;
  }
  NormalEquations& accumulate(const NormalEquations& other, double times) {
    for (std::size_t i = 0; i < N; ++i) {
      for (std::size_t j = i; j < N; ++j) xx[i][j] += times * other.xx[i][j];
      xy[i] += times * other.xy[i];
    }
    yy += times * other.yy;
    return *this;
  }
};

template <std::size_t N>
struct Solution {
  std::array<double, N> x{};
  double loss = 0;  ///< sum of squared errors
};

namespace detail {

/// Solves the equations of the columns in `support` by Cholesky; false if they are not independent.
template <std::size_t N>
bool solve_support(const NormalEquations<N>& sums, std::uint32_t support, Solution<N>& out) {
  std::array<std::size_t, N> column{};
  std::size_t count = 0;
  for (std::size_t i = 0; i < N; ++i)
    if (support >> i & 1U) column[count++] = i;
  std::array<std::array<double, N>, N> lower{};
  std::array<double, N> y{};
  for (std::size_t r = 0; r < count; ++r) {
    for (std::size_t c = 0; c <= r; ++c) {
      double sum = sums.xx[column[c]][column[r]];
      for (std::size_t k = 0; k < c; ++k) sum -= lower[r][k] * lower[c][k];
      if (c < r) {
        lower[r][c] = sum / lower[c][c];
        continue;
      }
      const double whole = sums.xx[column[r]][column[r]];
      if (!(sum > 1e-9 * whole) || whole <= 0) return false;
      lower[r][r] = std::sqrt(sum);
    }
    double sum = sums.xy[column[r]];
    for (std::size_t k = 0; k < r; ++k) sum -= lower[r][k] * y[k];
    y[r] = sum / lower[r][r];
  }
  out = {};
  for (std::size_t r = count; r > 0; --r) {
    double sum = y[r - 1];
    for (std::size_t k = r; k < count; ++k) sum -= lower[k][r - 1] * out.x[column[k]];
    out.x[column[r - 1]] = sum / lower[r - 1][r - 1];
  }
  out.loss = sums.yy;
  for (std::size_t i = 0; i < N; ++i) out.loss -= out.x[i] * sums.xy[i];
  return true;
}

}  // namespace detail

/// The x >= 0 of least loss. Columns not in `allowed` stay zero. Costs 2^(allowed columns) small
/// Cholesky factorizations: N up to 8 or so. A larger support must be better by more than rounding.
template <std::size_t N>
Solution<N> solve_nonnegative(const NormalEquations<N>& sums, std::uint32_t allowed) {
  Solution<N> best;
  best.loss = sums.yy;
  for (int size = 1; size <= std::popcount(allowed); ++size)
    for (std::uint32_t support = allowed; support != 0; support = (support - 1) & allowed) {
      if (std::popcount(support) != size) continue;
      Solution<N> candidate;
      if (!detail::solve_support(sums, support, candidate)) continue;
      bool valid = true;
      for (const double value : candidate.x) valid = valid && value >= 0;
      if (valid && candidate.loss < best.loss - 1e-12 * sums.yy) best = candidate;
    }
  return best;
}

}  // namespace tandem::policy
