#include "tests/fakes/faulty_store.h"

#include <algorithm>
#include <cstring>
#include <set>

#include "runtime/base/text.h"

namespace muster::checkpoint {
namespace {

Status Missing(const std::string& path) {
  return Status(Code::kNotFound, path + " is not there");
}

Status FaultStatus(Fault fault, const std::string& kind) {
  switch (fault) {
    case Fault::kFull:
    case Fault::kFullAtSync:
      return Status(Code::kExhausted, kind + ": No space left on device");
    case Fault::kQuota:
      return Status(Code::kExhausted, kind + ": Disk quota exceeded");
    case Fault::kStale:
      return Status(Code::kUnavailable, kind + ": Stale file handle");
    case Fault::kReadOnly:
      return Status(Code::kDenied, kind + ": Read-only file system");
    case Fault::kIo:
      return Status(Code::kUnavailable, kind + ": Input/output error");
    case Fault::kLostReply:
    case Fault::kLate:
      return Status(Code::kUnavailable, kind + ": Connection timed out");
  }
  return {};
}

}  // namespace

class FaultyFile final : public StoreFile {
 public:
  FaultyFile(FaultyStore& store, FaultyStore::NodePtr node)
      : store_(store), node_(std::move(node)) {}

  Status WriteAt(std::uint64_t offset, std::span<const std::byte> bytes) override {
    const auto write = [this, offset](std::span<const std::byte> part) {
      if (node_->bytes.size() < offset + part.size()) node_->bytes.resize(offset + part.size());
      std::memcpy(node_->bytes.data() + offset, part.data(), part.size());
      return Status();
    };
    Status written = store_.Call(
        "write", [&] { return write(bytes); },
        [&] { static_cast<void>(write(bytes.first(bytes.size() / 2))); });
    if (std::exchange(store_.swallowed_, false)) node_->doomed = true;
    return written;
  }

  Status SyncAndClose() override {
    Status synced = store_.Call("fsync", [this] {
      if (node_->doomed) return FaultStatus(Fault::kFull, "fsync");
      node_->synced = node_->bytes;
      return Status();
    });
    // After a failed write-back the kernel forgets the bytes; who reads on finds anything.
    if (!synced.ok() && !store_.dead_ && node_->synced != node_->bytes) {
      std::fill(node_->bytes.begin(), node_->bytes.end(), '\0');
    }
    return synced;
  }

 private:
  FaultyStore& store_;
  FaultyStore::NodePtr node_;
};

FaultyStore::FaultyStore() {
  root_->folder = true;
}

FaultyStore::FaultyStore(const FaultyStore& other) : Store() {
  std::map<const Node*, NodePtr> known;
  root_ = Clone(other.root_, known);
}

FaultyStore::NodePtr FaultyStore::Clone(const NodePtr& node,
                                        std::map<const Node*, NodePtr>& known) {
  if (const auto at = known.find(node.get()); at != known.end()) return at->second;
  auto copy = std::make_shared<Node>(
      Node{.folder = node->folder, .bytes = node->bytes, .synced = node->synced});
  known[node.get()] = copy;  // A node with two names stays one node.
  for (const auto& [name, child] : node->names) copy->names[name] = Clone(child, known);
  for (const auto& [name, child] : node->durable) copy->durable[name] = Clone(child, known);
  return copy;
}

void FaultyStore::Set(Plan plan) {
  plan_ = std::move(plan);
  kinds_.clear();
}
void FaultyStore::DieAt(std::size_t call, Death death) {
  Set({.call = call, .death = death});
}
void FaultyStore::FailAt(std::size_t call, Fault fault) {
  Set({.call = call, .fault = fault});
}
void FaultyStore::FailFrom(std::size_t call, Fault fault) {
  Set({.call = call, .lasting = true, .fault = fault});
}
void FaultyStore::ActAt(std::size_t call, std::function<void()> act) {
  Set({.call = call, .act = std::move(act)});
}
void FaultyStore::Heal() {
  plan_.reset();
}

void FaultyStore::Restart(Loss loss, std::uint64_t seed) {
  plan_.reset();
  dead_ = false;
  late_ = nullptr;
  std::mt19937_64 random(seed);
  if (loss != Loss::kNothing) Forget(*root_, loss, random);
}

// Cut off anywhere, or each block as it was or as it should be, in no order.
void FaultyStore::Tear(Node& node, std::mt19937_64& random) {
  if ((random() & 1U) != 0) return node.bytes.resize(random() % (node.bytes.size() + 1));
  constexpr std::size_t kBlock = 64;
  node.synced.resize(node.bytes.size());
  for (std::size_t at = 0; at < node.bytes.size(); at += kBlock) {
    if ((random() & 1U) != 0) node.bytes.replace(at, kBlock, node.synced, at, kBlock);
  }
}

void FaultyStore::Forget(Node& node, Loss loss, std::mt19937_64& random) {
  const auto coin = [&] { return loss == Loss::kRandom && (random() & 1U) != 0; };
  if (!node.folder) {
    if (node.bytes != node.synced) {
      if (coin()) {
        Tear(node, random);
      } else {
        node.bytes = node.synced;
      }
    }
    node.synced = node.bytes;
    return;
  }
  std::set<std::string> names;
  for (const auto& [name, child] : node.names) names.insert(name);
  for (const auto& [name, child] : node.durable) names.insert(name);
  for (const std::string& name : names) {
    const auto now = node.names.find(name);
    const auto then = node.durable.find(name);
    const bool there = now != node.names.end();
    const bool was = then != node.durable.end();
    if (there == was && (!there || now->second == then->second)) continue;
    if (coin()) continue;
    if (was) {
      node.names[name] = then->second;
    } else {
      node.names.erase(name);
    }
  }
  node.durable = node.names;
  for (const auto& [name, child] : node.names) Forget(*child, loss, random);
}

Status FaultyStore::Call(const char* kind, const std::function<Status()>& effect,
                         const std::function<void()>& half) {
  if (others_turn_) return effect();
  if (dead_) return Status(Code::kUnavailable, "the process is dead");
  const std::size_t call = kinds_.size();
  kinds_.emplace_back(kind);
  if (late_ != nullptr && call >= late_at_) {
    static_cast<void>(late_());
    late_ = nullptr;
  }
  if (!plan_.has_value()) return effect();
  if (call != plan_->call && !(plan_->lasting && call > plan_->call)) return effect();
  ++struck_[kind];
  if (plan_->act) {
    others_turn_ = true;
    plan_->act();
    others_turn_ = false;
    return effect();
  }
  if (plan_->death.has_value()) {
    dead_ = true;
    if (*plan_->death == Death::kAfter) static_cast<void>(effect());
    if (*plan_->death == Death::kHalf && half) half();
    return Status(Code::kUnavailable, "the process is dead");
  }
  return Strike(kind, effect);
}

Status FaultyStore::Strike(const char* kind, const std::function<Status()>& effect) {
  const Fault fault = *plan_->fault;
  const bool folder_change = std::string_view(kind) == "link" || std::string_view(kind) == "unlink";
  if (fault == Fault::kFullAtSync && std::string_view(kind) == "write") {
    swallowed_ = true;
    return {};
  }
  if (fault == Fault::kLostReply) static_cast<void>(effect());
  if (fault == Fault::kLate && folder_change && late_ == nullptr) {
    late_ = effect;
    late_at_ = kinds_.size() + kinds_.size() % 3;
  }
  return FaultStatus(fault, kind);
}

FaultyStore::NodePtr FaultyStore::Find(const std::string& path) const {
  NodePtr at = root_;
  if (path.empty()) return at;
  for (const std::string& name : Split(path, '/')) {
    const auto next = at->names.find(name);
    if (next == at->names.end()) return nullptr;
    at = next->second;
  }
  return at;
}

Result<FaultyStore::NodePtr> FaultyStore::FindFolder(const std::string& path) const {
  NodePtr node = Find(path);
  if (node == nullptr) return Missing(path);
  if (!node->folder) return Status(Code::kUnavailable, path + " is no folder");
  return node;
}

Result<FaultyStore::NodePtr> FaultyStore::FindFile(const std::string& path) const {
  NodePtr node = Find(path);
  if (node == nullptr) return Missing(path);
  if (node->folder) return Status(Code::kUnavailable, path + " is a folder");
  return node;
}

Result<FaultyStore::Place> FaultyStore::FindPlace(const std::string& path) const {
  const std::size_t slash = path.rfind('/');
  auto folder = FindFolder(slash == std::string::npos ? "" : path.substr(0, slash));
  if (!folder.ok()) return std::move(folder).status();
  return Place{.folder = *folder,
               .name = slash == std::string::npos ? path : path.substr(slash + 1)};
}

Status FaultyStore::MakeFolder(const std::string& path) {
  return Call("mkdir", [&] {
    auto place = FindPlace(path);
    if (!place.ok()) return std::move(place).status();
    NodePtr& node = place->folder->names[place->name];
    if (node != nullptr && !node->folder) return Status(Code::kUnavailable, path + " is no folder");
    if (node == nullptr) node = std::make_shared<Node>(Node{.folder = true});
    return Status();
  });
}

Status FaultyStore::SyncFolder(const std::string& path) {
  return Call("fsync folder", [&] {
    auto folder = FindFolder(path);
    if (!folder.ok()) return std::move(folder).status();
    (*folder)->durable = (*folder)->names;
    return Status();
  });
}

Result<std::vector<std::string>> FaultyStore::List(const std::string& path) {
  std::vector<std::string> names;
  Status listed = Call("list", [&] {
    auto folder = FindFolder(path);
    if (!folder.ok()) return std::move(folder).status();
    for (const auto& [name, child] : (*folder)->names) names.push_back(name);
    return Status();
  });
  if (!listed.ok()) return listed;
  std::reverse(names.begin(), names.end());  // No order is promised.
  return names;
}

Result<std::unique_ptr<StoreFile>> FaultyStore::Create(const std::string& path) {
  NodePtr node;
  Status created = Call("create", [&] {
    auto place = FindPlace(path);
    if (!place.ok()) return std::move(place).status();
    NodePtr& slot = place->folder->names[place->name];
    if (slot != nullptr) return Status(Code::kExists, path + " exists");
    slot = std::make_shared<Node>();
    node = slot;
    return Status();
  });
  if (!created.ok()) return created;
  return std::unique_ptr<StoreFile>(std::make_unique<FaultyFile>(*this, std::move(node)));
}

Status FaultyStore::Link(const std::string& from, const std::string& to) {
  return Call("link", [this, from, to] {
    auto file = FindFile(from);
    if (!file.ok()) return std::move(file).status();
    auto place = FindPlace(to);
    if (!place.ok()) return std::move(place).status();
    NodePtr& slot = place->folder->names[place->name];
    if (slot != nullptr) return Status(Code::kExists, to + " exists");
    slot = *file;
    return Status();
  });
}

Result<std::size_t> FaultyStore::Read(const std::string& path, std::uint64_t offset,
                                      std::span<std::byte> into) {
  std::size_t n = 0;
  Status read = Call("read", [&] {
    auto file = FindFile(path);
    if (!file.ok()) return std::move(file).status();
    const std::string& bytes = (*file)->bytes;
    n = offset >= bytes.size() ? 0 : std::min<std::size_t>(into.size(), bytes.size() - offset);
    if (n > 0) std::memcpy(into.data(), bytes.data() + offset, n);
    bytes_read_ += n;
    return Status();
  });
  if (!read.ok()) return read;
  return n;
}

Result<std::uint64_t> FaultyStore::Size(const std::string& path) {
  std::uint64_t size = 0;
  Status sized = Call("size", [&] {
    auto file = FindFile(path);
    if (!file.ok()) return std::move(file).status();
    size = (*file)->bytes.size();
    return Status();
  });
  if (!sized.ok()) return sized;
  return size;
}

Status FaultyStore::Unlink(const std::string& path) {
  return Call("unlink", [this, path] {
    auto file = FindFile(path);
    if (!file.ok()) return std::move(file).status();
    auto place = FindPlace(path);
    place->folder->names.erase(place->name);
    return Status();
  });
}

Status FaultyStore::RemoveFolder(const std::string& path) {
  return Call("rmdir", [&] {
    auto folder = FindFolder(path);
    if (!folder.ok()) return std::move(folder).status();
    if (!(*folder)->names.empty()) return Status(Code::kUnavailable, path + ": not empty");
    auto place = FindPlace(path);
    place->folder->names.erase(place->name);
    return Status();
  });
}

void FaultyStore::Collect(const Node& node, const std::string& path,
                          std::vector<std::string>& into) {
  for (const auto& [name, child] : node.names) {
    const std::string full = path.empty() ? name : path + "/" + name;
    if (child->folder) {
      Collect(*child, full, into);
    } else {
      into.push_back(full);
    }
  }
}

std::vector<std::string> FaultyStore::Files() const {
  std::vector<std::string> files;
  Collect(*root_, "", files);
  return files;
}

std::string& FaultyStore::Bytes(const std::string& path) {
  auto file = FindFile(path);
  CHECK(file.ok());
  return (*file)->bytes;
}

}  // namespace muster::checkpoint
