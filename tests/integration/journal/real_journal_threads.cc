#include "tests/integration/journal/real_journal_threads.h"

#include <array>
#include <chrono>
#include <cstdio>
#include <utility>

namespace muster::testing {

Journal::Listener Told::Listener() {
  return [this](const JournalProgress& progress) {
    {
      MutexLock lock(mutex_);
      progress_ = progress;
      ++calls_;
    }
    changed_.notify_all();
  };
}

JournalProgress Told::WaitFor(std::uint64_t durable) {
  MutexLock lock(mutex_);
  while (progress_.durable < durable && progress_.failure.ok()) {
    if (changed_.wait_for(mutex_, std::chrono::minutes(1)) == std::cv_status::timeout) break;
  }
  return progress_;
}

int Told::calls() {
  MutexLock lock(mutex_);
  return calls_;
}

Life::Life(const std::string& path, std::uint64_t seed)
    : journal_(std::make_unique<JournalThread>(path, RealClock())), source_(seed) {}

Status Life::Begin() {
  auto loaded = journal_->Load();
  if (!loaded.ok()) return std::move(loaded).status();
  state_ = std::move(loaded->state);
  facts_since_snapshot_ = loaded->facts_since_snapshot;
  journal_->Start(told_.Listener());
  return Status();
}

std::uint64_t Life::Decide() {
  std::vector<Fact> facts = source_.Next(state_);
  for (const Fact& fact : facts) Apply(state_, fact);
  return journal_->Append(std::move(facts));
}

JournalProgress Life::DecideAndWait(int decisions) {
  std::uint64_t last = 0;
  for (int i = 0; i < decisions; ++i) last = Decide();
  return told_.WaitFor(last);
}

Result<State> Reopen(const std::string& path) {
  JournalThread journal(path, RealClock());
  auto loaded = journal.Load();
  if (!loaded.ok()) return std::move(loaded).status();
  return std::move(loaded->state);
}

std::string Shell(const std::string& path, const std::string& sql) {
  const std::string command = "sqlite3 '" + path + "' \"" + sql + "\" 2>&1";
  FILE* pipe = popen(command.c_str(), "r");
  CHECK(pipe != nullptr);
  std::string out;
  std::array<char, 4096> buffer;
  while (const std::size_t n = std::fread(buffer.data(), 1, buffer.size(), pipe)) {
    out.append(buffer.data(), n);
  }
  pclose(pipe);
  return out;
}

}  // namespace muster::testing
