#include "launcher/coordinator/journal_threads.h"

#include <pthread.h>

#include <utility>

#include "launcher/coordinator/journal_files_posix.h"

namespace muster {

JournalThread::JournalThread(std::string path, Clock& clock)
    : path_(std::move(path)), clock_(clock) {}

JournalThread::~JournalThread() {
  End(Ending::kAtOnce);
}

Result<LoadedState> JournalThread::Load() {
  auto loaded = OpenAndLoad();
  if (loaded.ok()) return loaded;
  database_.reset();
  lock_.Reset();
  return std::move(loaded).status().While("journal " + path_);
}

Result<LoadedState> JournalThread::OpenAndLoad() {
  CHECK(database_ == nullptr);
  auto lock = LockJournal(path_);
  if (!lock.ok()) return std::move(lock).status();
  lock_ = *std::move(lock);
  const auto found = FindJournal(path_);
  if (!found.ok()) return found.status();
  if (!*found) {
    const auto name = PrepareNewJournal(path_);
    if (!name.ok()) return name.status();
    RETURN_IF_ERROR(JournalDatabase::Create(*name));
    RETURN_IF_ERROR(PublishNewJournal(path_));
  }
  auto database = JournalDatabase::Open(path_);
  if (!database.ok()) return std::move(database).status();
  database_ = *std::move(database);
  return database_->Load();
}

void JournalThread::Start(Listener listener) {
  CHECK(database_ != nullptr && !thread_.joinable());
  listener_ = std::move(listener);
  thread_ = std::thread([this] { Loop(); });
}

std::uint64_t JournalThread::Append(std::vector<Fact> facts) {
  Push(std::move(facts));
  return ++appended_;
}

void JournalThread::Snapshot(State state) {
  Push(std::move(state));
}

Status JournalThread::Stop() {
  End(Ending::kAfterQueue);
  return progress_.failure;
}

void JournalThread::End(Ending ending) {
  if (thread_.joinable()) {
    {
      MutexLock lock(mutex_);
      ending_ = ending;
    }
    wake_.notify_one();
    thread_.join();
  }
  database_.reset();
  lock_.Reset();
}

void JournalThread::Push(Item item) {
  {
    MutexLock lock(mutex_);
    if (queue_.size() >= kQueueMax) {
      overrun_ = true;
    } else {
      queue_.push_back(std::move(item));
    }
  }
  wake_.notify_one();
}

// False: there is nothing left to do.
bool JournalThread::Take(std::vector<Item>* items) {
  MutexLock lock(mutex_);
  while (queue_.empty() && ending_ == Ending::kNo) wake_.wait(mutex_);
  if (ending_ == Ending::kAtOnce) return false;
  items->clear();
  items->swap(queue_);
  if (overrun_ && progress_.failure.ok()) {
    progress_.failure =
        Status(Code::kExhausted, "journal " + path_ + ": the disk is " + std::to_string(kQueueMax) +
                                     " decisions behind");
    Tell();
  }
  return !items->empty() || ending_ == Ending::kNo;
}

void JournalThread::Loop() {
  pthread_setname_np(pthread_self(), "journal");
  std::vector<Item> items;
  while (Take(&items)) {
    if (!progress_.failure.ok()) continue;
    Status status = Write(std::move(items));
    if (status.ok()) status = database_->Checkpoint();
    if (status.ok()) continue;
    progress_.failure = std::move(status).While("journal " + path_);
    Tell();
  }
}

// All facts up to a snapshot are one transaction, the snapshot is the next: nobody waits for one.
Status JournalThread::Write(std::vector<Item> items) {
  std::vector<Batch> batches;
  for (Item& item : items) {
    if (auto* batch = std::get_if<Batch>(&item)) {
      batches.push_back(std::move(*batch));
      continue;
    }
    RETURN_IF_ERROR(Commit(&batches));
    RETURN_IF_ERROR(database_->TakeSnapshot(std::get<State>(item), clock_.Wall()));
  }
  return Commit(&batches);
}

Status JournalThread::Commit(std::vector<Batch>* batches) {
  if (batches->empty()) return Status();
  RETURN_IF_ERROR(database_->Commit(*batches, clock_.Wall()));
  progress_.durable += batches->size();
  batches->clear();
  Tell();
  return Status();
}

void JournalThread::Tell() {
  if (listener_) listener_(progress_);
}

}  // namespace muster
