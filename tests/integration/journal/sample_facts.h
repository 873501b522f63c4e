// Lives of jobs as a coordinator would journal them: any number of decisions, every kind of fact,
// each legal after those before it.  The same seed gives the same facts.
#pragma once

#include <cstddef>
#include <cstdint>
#include <random>
#include <vector>

#include "launcher/coordinator/facts.h"

namespace muster {

class SampleFacts {
 public:
  // `weight`: bytes of environment that each job brings along.
  explicit SampleFacts(std::uint64_t seed, std::size_t weight = 100);

  // The facts of the next decision, never none.  `state`: what those before led to.
  std::vector<Fact> Next(const State& state);

 private:
  std::vector<Fact> NewLife();
  std::vector<Fact> NodeNews(const State& state);
  Fact Accepted(const State& state);
  std::vector<Fact> GoOn(const Job& job);
  std::vector<Fact> Place(const Job& job);
  std::vector<Fact> EndAttempt(const Job& job);
  std::vector<Fact> Sweep(const State& state);

  std::uint64_t Below(std::uint64_t n) { return chance_() % n; }

  std::mt19937_64 chance_;
  std::size_t weight_;
  bool began_ = false;
};

}  // namespace muster
