#include "tests/soak/crashes/turns.h"

#include <ucontext.h>

#include <utility>

#include "runtime/base/check.h"

namespace muster::checkpoint {
namespace {

constexpr std::size_t kStack = 256U << 10U;

// Used again: a hundred thousand histories do not fault in a million stacks.
std::vector<std::unique_ptr<char[]>> g_stacks;

Turns* g_turns = nullptr;  // Whose Run it is: makecontext(3) passes no pointers.

std::unique_ptr<char[]> TakeStack() {
  if (g_stacks.empty()) return std::make_unique<char[]>(kStack);
  auto stack = std::move(g_stacks.back());
  g_stacks.pop_back();
  return stack;
}

}  // namespace

struct Turns::Act {
  std::unique_ptr<char[]> stack;
  ucontext_t context{};
  std::function<void()> work;
  std::function<bool()> ready;
  bool ended = false;
};

struct Turns::Caller {
  ucontext_t context{};
};

Turns::Turns(std::uint64_t seed, unsigned sticky)
    : random_(seed), sticky_(sticky), caller_(std::make_unique<Caller>()) {}

Turns::~Turns() = default;

void Turns::Start(std::function<void()> act) {
  acts_.push_back(std::make_unique<Act>());
  Act& mine = *acts_.back();
  mine.work = std::move(act);
  mine.stack = TakeStack();
  CHECK(getcontext(&mine.context) == 0);
  mine.context.uc_stack.ss_sp = mine.stack.get();
  mine.context.uc_stack.ss_size = kStack;
  makecontext(
      &mine.context, [] { g_turns->Work(); }, 0);
}

void Turns::Work() {
  Act& ended = *running_;
  std::exchange(ended.work, nullptr)();  // And what it held is gone, too.
  ended.ended = true;
  running_ = Draw();
  // Never comes back.  Not setcontext, which the address sanitizer does not know.
  swapcontext(&ended.context, running_ == nullptr ? &caller_->context : &running_->context);
}

void Turns::Run() {
  g_turns = this;
  running_ = Draw();
  if (running_ != nullptr) CHECK(swapcontext(&caller_->context, &running_->context) == 0);
  for (const auto& act : acts_) g_stacks.push_back(std::move(act->stack));
  acts_.clear();
}

Turns::Act* Turns::Draw() {
  waiting_.clear();
  bool any = false;
  for (const auto& act : acts_) {
    if (act->ended) continue;
    any = true;
    if (!act->ready || act->ready()) waiting_.push_back(act.get());
  }
  CHECK(!any || !waiting_.empty());
  return any ? waiting_[random_() % waiting_.size()] : nullptr;
}

void Turns::Pass() {
  if (random_() % 100 < sticky_) {
    ++taken_;
  } else {
    Await(nullptr);
  }
}

void Turns::Await(std::function<bool()> ready) {
  ++taken_;
  Act* mine = running_;
  mine->ready = std::move(ready);
  running_ = Draw();
  if (running_ != mine) CHECK(swapcontext(&mine->context, &running_->context) == 0);
  mine->ready = nullptr;
}

}  // namespace muster::checkpoint
