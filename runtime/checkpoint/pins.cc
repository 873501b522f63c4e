#include "runtime/checkpoint/pins.h"

#include <cinttypes>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "runtime/base/text.h"
#include "runtime/checkpoint/load.h"

namespace muster::checkpoint {
namespace {

constexpr std::string_view kEnd = ".pin";

}  // namespace

std::string PinsFolder(const std::string& run) {
  return run + "/pins";
}

std::string PinFileName(const PinName& pin) {
  char text[100];
  std::snprintf(text, sizeof text, "g%010" PRIu64 "-s%012" PRIu64 "-u%013" PRIu64 "-",
                pin.commit.generation, pin.commit.step, pin.until_ms);
  return text + NonceText(pin.nonce) + std::string(kEnd);
}

std::optional<PinName> ParsePinName(const std::string& name) {
  if (!name.ends_with(kEnd)) return std::nullopt;
  const auto parts = Split(name.substr(0, name.size() - kEnd.size()), '-');
  if (parts.size() != 4 || parts[2].empty() || parts[2][0] != 'u') return std::nullopt;
  const auto save = ParseSaveName(parts[0] + "-" + parts[1] + "-" + parts[3]);
  const auto until = ParseUnsigned(parts[2].substr(1));
  if (!save || !until) return std::nullopt;
  return PinName{.commit = IdOf(*save), .until_ms = *until, .nonce = save->nonce};
}

Result<std::vector<PinName>> ListPins(Store& store, const std::string& run) {
  const auto names = store.List(PinsFolder(run));
  if (!names.ok() && names.status().code() == Code::kNotFound) return std::vector<PinName>();
  if (!names.ok()) return names.status();
  std::vector<PinName> pins;
  for (const std::string& name : *names) {
    if (const auto pin = ParsePinName(name)) pins.push_back(*pin);
  }
  return pins;
}

Result<std::vector<PinName>> LookForPins(Store& store, const std::string& run,
                                         std::uint64_t nonce) {
  RETURN_IF_ERROR(store.MakeFolder(PinsFolder(run)));
  const std::string look = PinsFolder(run) + "/.look-" + NonceText(nonce) + ".tmp";
  RETURN_IF_ERROR(UnlinkIfThere(store, look));
  RETURN_IF_ERROR(WriteWhole(store, look, ""));
  auto pins = ListPins(store, run);
  RETURN_IF_ERROR(UnlinkIfThere(store, look));
  return pins;
}

Status Pin(Store& store, const std::string& run, const PinName& pin, const std::string& reason) {
  RETURN_IF_ERROR(ReadCommit(store, run, pin.commit).status());
  const nlohmann::json text = {{"run", run}, {"reason", reason}};
  const std::string path = PinsFolder(run) + "/" + PinFileName(pin);
  RETURN_IF_ERROR(store.MakeFolder(PinsFolder(run)));
  RETURN_IF_ERROR(store.SyncFolder(run));
  RETURN_IF_ERROR(WriteWhole(
      store, path, text.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n"));
  RETURN_IF_ERROR(store.SyncFolder(PinsFolder(run)));
  Status there = ReadCommit(store, run, pin.commit).status();
  if (!there.ok()) static_cast<void>(store.Unlink(path));
  return there;
}

Status Unpin(Store& store, const std::string& run, const PinName& pin) {
  RETURN_IF_ERROR(UnlinkIfThere(store, PinsFolder(run) + "/" + PinFileName(pin)));
  return store.SyncFolder(PinsFolder(run));
}

}  // namespace muster::checkpoint
