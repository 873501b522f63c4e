// Acts that take turns: each has a stack of its own, one runs at a time, in an order that a seed
// gives.  What a seed shows it shows again.
//
// Everything but Run is called by acts (Start also before Run).  A turn ends only in Pass and
// Await.  One thread.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <random>
#include <vector>

namespace muster::checkpoint {

class Turns {
 public:
  // `sticky`: in how many of 100 cases the one that passes goes on itself.
  Turns(std::uint64_t seed, unsigned sticky);
  ~Turns();
  Turns(const Turns&) = delete;
  Turns& operator=(const Turns&) = delete;

  void Start(std::function<void()> act);
  // Until every act has returned.  That all wait for each other is a bug of theirs, and ends in a
  // CHECK.
  void Run();

  void Pass();
  // As Pass; this act goes on when `ready` holds.
  void Await(std::function<bool()> ready);

  std::uint64_t taken() const { return taken_; }  // Turns, so far: the time.

 private:
  struct Act;
  struct Caller;
  void Work();
  Act* Draw();

  std::mt19937_64 random_;
  const unsigned sticky_;
  std::unique_ptr<Caller> caller_;
  std::vector<std::unique_ptr<Act>> acts_;
  std::vector<Act*> waiting_;
  Act* running_ = nullptr;
  std::uint64_t taken_ = 0;
};

}  // namespace muster::checkpoint
