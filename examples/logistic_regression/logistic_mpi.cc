// Logistic regression, data-parallel: a training loop of one's own on muster's process groups.
//
//   muster run -N 2 --ranks-per-node 2 -- build/release/bin/logistic_regression
//
// The data are cut into 64 parts.  Each rank computes the gradients of its run of parts, all_gather
// brings every rank all of them, and everyone adds them up in the parts' order: the same bits on 1,
// 2, 4, ... 64 ranks.  (Where that does not matter, all_reduce of one's own sum does.)
#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <numeric>
#include <vector>

#include "runtime/client/muster_client.h"
#include "runtime/comm/group_mpi.h"

namespace {

constexpr std::size_t kParts = 64, kSamples = 64,
                      kAll = kParts * kSamples;  // Samples of each part.
constexpr std::size_t kFeatures = 16;            // The first is always 1: its weight is the bias.
constexpr double kLearningRate = 0.5;
using Weights = std::array<double, kFeatures>;

// Of a part, what is summed: the gradient, the loss in nats, and how many samples it gets right.
struct Sum {
  Weights gradient{};
  double loss = 0, right = 0;
};
constexpr std::size_t kDoubles = sizeof(Sum) / sizeof(double);

double Uniform(
    std::uint64_t i) {  // In [-1, 1): number i of "splitmix64" (Steele, Lea, Flood 2014).
  std::uint64_t z = (i + 1) * 0x9e3779b97f4a7c15U;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9U;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebU;
  return 2 * (static_cast<double>((z ^ (z >> 31)) >> 11) * 0x1p-53) - 1;
}

double Dot(const Weights& a, const Weights& b) {
  return std::inner_product(a.begin(), a.end(), b.begin(), 0.0);
}

// Of the mean loss -log(sigmoid(+-w.x)): its gradient is (sigmoid(w.x) - y) x.
Sum Differentiate(std::size_t part, const Weights& weights) {
  Sum sum;
  Weights truth, x;  // What made the labels, and a sample.
  for (std::size_t k = 0; k < kFeatures; ++k) truth[k] = Uniform(k);
  for (std::size_t i = part * kSamples; i < (part + 1) * kSamples; ++i) {
    const std::uint64_t first = 1000 + i * (kFeatures + 1);
    for (std::size_t k = 0; k < kFeatures; ++k) x[k] = k == 0 ? 1 : Uniform(first + k);
    const double label = Dot(truth, x) + 0.3 * Uniform(first + kFeatures) > 0 ? 1 : 0;
    const double guess = 1 / (1 + std::exp(-Dot(weights, x)));
    for (std::size_t k = 0; k < kFeatures; ++k) sum.gradient[k] += (guess - label) * x[k];
    sum.loss -= std::log(std::max(label > 0 ? guess : 1 - guess, 1e-300));
    sum.right += (guess > 0.5) == (label > 0.5);
  }
  return sum;
}

int Train(muster::ProcessGroup& group, std::uint64_t steps) {
  const auto ranks = static_cast<std::size_t>(group.world_size());
  const std::size_t share = kParts / ranks, first = static_cast<std::size_t>(group.rank()) * share;
  std::vector<Sum> mine(share), all(kParts);
  Weights weights{};
  Sum total;
  for (std::uint64_t step = 0; step < steps && muster_should_stop() == 0; ++step) {
    for (std::size_t i = 0; i < share; ++i) mine[i] = Differentiate(first + i, weights);
    const muster::Status gathered =
        group.all_gather({mine.data(), share * kDoubles, muster::DType::kF64},
                         {all.data(), kParts * kDoubles, muster::DType::kF64});
    if (!gathered.ok()) return std::fprintf(stderr, "%s\n", gathered.message().c_str()), 1;
    total = {};
    for (const Sum& part : all) {
      for (std::size_t k = 0; k < kFeatures; ++k) total.gradient[k] += part.gradient[k];
      total.loss += part.loss;
      total.right += part.right;
    }
    for (std::size_t k = 0; k < kFeatures; ++k)
      weights[k] -= kLearningRate * total.gradient[k] / double{kAll};
    muster_progress(step + 1, total.loss / kAll, (step + 1) * kAll);
  }
  if (group.rank() != 0) return 0;
  std::printf("%.0f of %zu samples right, the loss is %.17g\n", total.right, kAll,
              total.loss / kAll);
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  const std::uint64_t steps = argc > 1 ? std::strtoull(argv[1], nullptr, 10) : 200;
  const int ranks = muster_world_size();
  if (kParts % static_cast<std::size_t>(ranks) != 0) {
    return std::fprintf(stderr, "%d ranks do not divide %zu parts\n", ranks, kParts), 2;
  }
  const auto mpi = muster::MpiSession::Start(ranks);
  if (!mpi.ok()) return std::fprintf(stderr, "%s\n", mpi.status().message().c_str()), 1;
  return Train(*(*mpi)->World(), steps);
}
